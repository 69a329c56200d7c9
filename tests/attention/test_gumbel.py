"""One segment drawn: how often, and with which gradient."""

import pytest
import torch

from regard.attention.gumbel import gumbel, gumbel_noise

from .test_weights import close, mask_of, scores_of


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_segment_is_drawn_as_often_as_softmax_says():
    scores = torch.tensor([1.0, 0, -1, 0.5])
    count = 20_000
    often = gumbel(scores.expand(count, 4), generator=seeded()).mean(dim=0)
    chance = scores.exp() / scores.exp().sum()
    assert ((often - chance).abs() < 4 * (chance * (1 - chance) / count).sqrt()).all()


def test_among_equal_scores_of_any_size_it_is_drawn_too():
    scores = torch.tensor([1e30, 1e30, -1e30])
    often = gumbel(scores.expand(4000, 3), generator=seeded(1), temperature=1.2e-38).mean(dim=0)
    assert float(often[0]) == pytest.approx(0.5, abs=0.04)
    assert often[2] == 0


def test_noise_is_gumbels():
    stats = pytest.importorskip("scipy.stats")
    noise = gumbel_noise(torch.zeros(4000), seeded(2))
    assert stats.kstest(noise.numpy(), "gumbel_r").pvalue > 0.01
    assert gumbel_noise(torch.zeros(3, dtype=torch.float64), seeded()).dtype is torch.float64
    assert gumbel_noise(torch.zeros(3, dtype=torch.bfloat16), seeded()).dtype is torch.float32


@pytest.mark.parametrize("temperature", [0.3, 1.0, 5.0])
def test_backward_it_is_a_softmax_of_the_noisy_scores(temperature):
    scores, noise, wanted = scores_of(5, 6, seed=1), scores_of(5, 6, seed=2), scores_of(5, 6, seed=3)
    mask = mask_of(5, 6)
    given, other = scores.clone().requires_grad_(), scores.clone().requires_grad_()
    drawn = gumbel(given, noise=noise, temperature=temperature, mask=mask)
    (drawn * wanted).sum().backward()
    soft = ((other + noise).masked_fill(~mask, float("-inf")) / temperature).softmax(dim=1)
    (soft * wanted).sum().backward()
    close(given.grad, other.grad)
    assert drawn.argmax(dim=1).tolist() == soft.argmax(dim=1).tolist()
    assert set(drawn.flatten().tolist()) == {0, 1}


def test_the_same_seed_draws_the_same_and_temperature_does_not_change_it():
    scores = scores_of(50, 4)
    drawn = gumbel(scores, generator=seeded(3))
    assert torch.equal(drawn, gumbel(scores, generator=seeded(3), temperature=0.01))
    assert not torch.equal(drawn, gumbel(scores, generator=seeded(4)))
    before = torch.get_rng_state()
    gumbel(scores, generator=seeded(3))
    assert torch.equal(before, torch.get_rng_state())


def test_of_equal_scores_without_noise_the_first_is_taken():
    assert gumbel(torch.tensor([0.0, 2, 2, 2]), noise=torch.zeros(4)).tolist() == [0, 1, 0, 0]


def test_models_with_noise_of_their_own_together_are_as_one_after_another():
    scores, noise = scores_of(3, 4, 6), scores_of(3, 4, 6, seed=1)

    def loss(scores, noise):
        return (gumbel(scores, noise=noise) * torch.arange(6.0)).square().sum()

    together = torch.func.vmap(torch.func.grad(loss))(scores, noise)
    close(together, torch.stack([torch.func.grad(loss)(*each) for each in zip(scores, noise, strict=True)]))
