"""Masks of a training: what they show, and that their gradient is that of what they show."""

import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.training.tame.masks import raised_to_mean, ranked_mask, soft_mask


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_soft_mask_is_the_sigmoid_enlarged():
    maps = torch.tensor([[[[0.0, 2.0], [-2.0, 0.0]]]])
    mask = soft_mask(maps, (2, 2))
    assert mask.flatten().tolist() == pytest.approx([0.5, 0.880797, 0.119203, 0.5], abs=1e-6)
    assert soft_mask(maps, (4, 4)).mean().item() == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("share", [0.15, 0.5, 0.8])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 100), shift=st.floats(-100, 100))
def test_a_ranked_mask_has_its_size_whatever_shifts_or_scales_the_map(share, seed, scale, shift):
    maps = drawn(2, 1, 5, 7, seed=seed)
    mask = ranked_mask(maps, (20, 28), share, 0.15)
    assert mask.mean(dim=(1, 2, 3)).tolist() == pytest.approx([share] * 2, abs=1e-4)
    assert torch.allclose(ranked_mask(scale * maps + shift, (20, 28), share, 0.15), mask, atol=0.02)


def test_a_narrow_ranked_mask_is_the_top_share_of_places():
    maps = drawn(3, 1, 6, 6)
    mask = ranked_mask(maps, (24, 24), 0.25, 1e-3)
    large = functional.interpolate(maps, size=(24, 24), mode="bilinear").flatten(1)
    for shown, values in zip(mask.flatten(1), large, strict=True):
        top = set(values.topk(144).indices.tolist())
        assert len(top & set(shown.topk(144).indices.tolist())) >= 143
        assert float(((shown > 0.01) & (shown < 0.99)).float().mean()) < 0.02


@pytest.mark.parametrize(("share", "width"), [(0.5, 0.15), (0.15, 0.3), (0.5, 1.0)])
def test_the_gradient_of_a_ranked_mask_is_that_of_finite_differences(share, width):
    maps, weights = drawn(2, 1, 4, 5), drawn(2, 1, 16, 20, seed=1)

    def value(these):
        return float((ranked_mask(these, (16, 20), share, width).double() * weights).sum())

    leaf = maps.clone().requires_grad_()
    (ranked_mask(leaf, (16, 20), share, width) * weights).sum().backward()
    step, expected = 1e-2, torch.zeros_like(maps)
    for place in range(maps.numel()):
        moved = torch.zeros_like(maps)
        moved.view(-1)[place] = step
        expected.view(-1)[place] = (value(maps + moved) - value(maps - moved)) / (2 * step)
    assert torch.allclose(leaf.grad, expected, atol=0.02 * float(expected.abs().max()))


def test_nothing_pushes_the_level_or_the_amplitude_of_a_ranked_mask():
    leaf, weights = drawn(4, 1, 6, 6).requires_grad_(), drawn(4, 1, 24, 24, seed=1)
    (ranked_mask(leaf, (24, 24), 0.5, 0.15) * weights).sum().backward()
    size = leaf.grad.abs().sum(dim=(1, 2, 3))
    assert float((leaf.grad.sum(dim=(1, 2, 3)) / size).abs().max()) < 1e-4
    # the floor of the deviation, a hundredth, leaves one part in 10,000 of the amplitude's
    along = (
        (leaf.grad * (leaf.detach() - leaf.detach().mean(dim=(2, 3), keepdim=True))).sum(dim=(1, 2, 3)) / size
    ).abs()
    assert float(along.max()) < 1e-3


@pytest.mark.parametrize("maps", [torch.zeros(1, 1, 3, 3), torch.full((1, 1, 3, 3), 1e4)])
def test_a_flat_map_shows_the_share_of_every_place_with_a_gradient_that_is_finite(maps):
    leaf = maps.clone().requires_grad_()
    mask = ranked_mask(leaf, (6, 6), 0.3, 0.15)
    (mask * drawn(1, 1, 6, 6)).sum().backward()
    assert mask.flatten().tolist() == pytest.approx([0.3] * 36, abs=1e-5)
    assert bool(leaf.grad.isfinite().all())
    assert float(leaf.grad.abs().max()) < 1e4


def test_a_map_of_two_values_shows_the_higher_ones():
    maps = torch.tensor([[[[3.0, 3.0], [-1.0, -1.0]]]]).requires_grad_()
    mask = ranked_mask(maps, (2, 2), 0.5, 0.01)
    mask.sum().backward()
    assert mask.flatten().tolist() == pytest.approx([1, 1, 0, 0], abs=1e-6)
    assert bool(maps.grad.isfinite().all())


def test_the_number_that_brings_a_map_to_a_mean_by_hand():
    """σ(c + s) of one value is p where s = logit(p) − c; of ±1 about zero the mean is a half where s is 0."""
    assert raised_to_mean(torch.tensor([[2.0]]), 0.3).item() == pytest.approx(-2.847298, abs=1e-5)
    assert raised_to_mean(torch.tensor([[1.0, -1.0], [3.0, 1.0]]), 0.5).tolist() == pytest.approx([0, -2], abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), mean=st.floats(0.02, 0.98), scale=st.floats(0.01, 50))
def test_raised_maps_have_the_mean_asked_for(seed, mean, scale):
    maps = scale * drawn(3, 200, seed=seed)
    raised = (maps + raised_to_mean(maps, mean)[:, None]).double().sigmoid().mean(dim=1)
    assert raised.tolist() == pytest.approx([mean] * 3, abs=1e-4)
