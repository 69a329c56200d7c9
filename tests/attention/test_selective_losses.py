"""Losses of selective models: plain sums, exact expectations over all draws, gradients (papers/sdc.md, 9 to 13)."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from regard.attention.entmax import sparsemax
from regard.attention.selective_losses import (
    focus_loss,
    hard_loss,
    marginal_loss,
    posterior,
    posterior_loss,
    regularised,
    sampled_loss,
    segment_losses,
    weights_entropy,
)
from regard.errors import UnsupportedError

EXAMPLES, SEGMENTS, CLASSES = 5, 4, 3


def draw(*shape, seed=0, scale=2.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def case(seed=0):
    """Scores, log weights, losses of segments; scores with a gradient."""
    scores = draw(EXAMPLES, SEGMENTS, seed=seed).requires_grad_()
    return scores, scores.log_softmax(dim=1), draw(EXAMPLES, SEGMENTS, seed=seed + 100).abs()


def gradient(losses, by):
    return torch.autograd.grad(losses.sum(), by, retain_graph=True)[0]


def test_each_loss_is_the_formula():
    logs, losses = (each.detach() for each in case()[1:])
    labels = torch.tensor([0, 2, 1, 1, 0])
    logits = draw(EXAMPLES, SEGMENTS, CLASSES, seed=7)
    each = segment_losses(logits, labels)
    for row, column in itertools.product(range(EXAMPLES), range(SEGMENTS)):
        powers = [math.exp(value) for value in logits[row, column].tolist()]
        assert float(each[row, column]) == pytest.approx(-math.log(powers[labels[row]] / sum(powers)))
    for row in range(EXAMPLES):
        pairs = [(math.exp(log), loss) for log, loss in zip(logs[row].tolist(), losses[row].tolist(), strict=True)]
        likely = [weight * math.exp(-loss) for weight, loss in pairs]
        shares = [each / sum(likely) for each in likely]
        expected = {
            hard_loss: sum(weight * loss for weight, loss in pairs),
            marginal_loss: -math.log(sum(likely)),
            posterior_loss: -sum(
                share * (math.log(weight) - loss) for share, (weight, loss) in zip(shares, pairs, strict=True)
            ),
        }
        for loss, value in expected.items():
            first = logs.exp() if loss is hard_loss else logs
            assert float(loss(first, losses)[row]) == pytest.approx(value)
        assert posterior(logs, losses)[row].tolist() == pytest.approx(shares)
        assert float(weights_entropy(logs)[row]) == pytest.approx(-sum(w * math.log(w) for w, _ in pairs))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 50))
def test_marginal_is_at_most_hard(seed, scale):
    logs = draw(EXAMPLES, SEGMENTS, seed=seed, scale=scale).log_softmax(dim=1)
    losses = draw(EXAMPLES, SEGMENTS, seed=seed + 1).abs()
    assert bool((marginal_loss(logs, losses) <= hard_loss(logs.exp(), losses) + 1e-9).all())


def test_one_segment_leaves_the_cross_entropy_in_all_of_them():
    losses = case()[2][:, :1].requires_grad_()
    none = torch.zeros(EXAMPLES, 1).double()
    for loss in (hard_loss(none.exp(), losses), marginal_loss(none, losses), posterior_loss(none, losses)):
        assert torch.allclose(loss, losses[:, 0])
        assert torch.allclose(gradient(loss, losses), torch.ones_like(losses))


def test_one_hot_weights_make_soft_hard_and_marginal_the_same_with_the_same_gradient_of_the_classifier():
    matrix, segments = draw(CLASSES, 2, seed=3).requires_grad_(), draw(EXAMPLES, SEGMENTS, 2, seed=4)
    weights = functional.one_hot(torch.tensor([0, 3, 1, 2, 2]), SEGMENTS).double()
    labels = torch.tensor([0, 2, 1, 1, 0])
    soft = functional.cross_entropy((weights[..., None] * segments).sum(dim=1) @ matrix.T, labels, reduction="none")
    each = segment_losses(segments @ matrix.T, labels)
    for other in (hard_loss(weights, each), marginal_loss(weights.log(), each), posterior_loss(weights.log(), each)):
        assert torch.allclose(other, soft, atol=1e-12)
        assert torch.allclose(gradient(other, matrix), gradient(soft, matrix), atol=1e-12)


def test_gradients_of_scores_are_those_of_the_closed_forms():
    scores, logs, losses = case()
    weights = logs.exp()
    hard = weights * (losses - (weights * losses).sum(dim=1, keepdim=True))
    likely = weights * (-losses).exp()
    marginal = weights - likely / likely.sum(dim=1, keepdim=True)
    assert torch.allclose(gradient(hard_loss(weights, losses), scores), hard, atol=1e-12)
    assert torch.allclose(gradient(marginal_loss(logs, losses), scores), marginal, atol=1e-12)
    assert torch.allclose(gradient(posterior_loss(logs, losses), scores), marginal, atol=1e-12)


@pytest.mark.parametrize("loss", [hard_loss, marginal_loss, posterior_loss, lambda logs, _: weights_entropy(logs)])
def test_gradients_pass_gradcheck(loss):
    losses = case()[2].requires_grad_()
    first = (lambda s: s.softmax(dim=1)) if loss is hard_loss else (lambda s: s.log_softmax(dim=1))
    if loss is posterior_loss:  # its q is held, so it is no function of what numeric differences change
        held = posterior(first(case()[0]), losses)
        expected = -(held * (first(case()[0]) - losses)).sum(dim=1)
        assert torch.allclose(posterior_loss(first(case()[0]), losses), expected)
        return
    assert torch.autograd.gradcheck(lambda s, each: loss(first(s), each), (case()[0], losses))


@pytest.mark.parametrize("loss", [marginal_loss, posterior_loss])
def test_segments_without_weight_count_for_nothing(loss):
    scores = torch.tensor([[2.0, 1.7, -4.0, -math.inf]]).double().requires_grad_()
    weights = sparsemax(scores)
    there = weights > 0
    logs = weights.where(there, 1).log().masked_fill(~there, -math.inf)
    losses = torch.tensor([[0.3, 0.1, 0.01, 70.0]]).double()
    came = loss(logs, losses)
    assert float(came.detach()) == pytest.approx(float(loss(logs[:, :2], losses[:, :2]).detach()))
    found = gradient(came, scores)
    assert found.isfinite().all()
    assert torch.equal(found[0, 2:], torch.zeros(2).double())


# --- REINFORCE: the expectation over all draws, not a sample of it ----------------------------------------------------


def all_draws(logs, count):
    """(probability, draws) of every way to draw `count` segments for one example, by the middles of their shares."""
    weights = logs.detach().exp()[0]
    ends = weights.cumsum(dim=0)
    middles = ends - weights / 2
    for which in itertools.product(range(len(weights)), repeat=count):
        yield math.prod(weights[list(which)].tolist()), middles[list(which)][None]


def moments(baseline, count, scores, losses):
    """Mean and variance over all draws of the gradients of scores and losses."""
    logs = scores.log_softmax(dim=1)
    mean, square = 0, 0
    for share, draws in all_draws(logs, count):
        found = torch.cat(
            torch.autograd.grad(sampled_loss(logs, losses, draws, baseline).sum(), (scores, losses), retain_graph=True)
        )
        mean, square = mean + share * found, square + share * found.square()
    return mean, square - mean.square()


@pytest.mark.parametrize(
    ("baseline", "count"),
    [("none", 1), ("none", 2), ("self-critical", 1), ("self-critical", 2), ("leave-one-out", 2), ("leave-one-out", 3)],
)
def test_a_sampled_loss_has_on_average_the_exact_gradient(baseline, count):
    scores, losses = draw(1, 3, seed=2).requires_grad_(), draw(1, 3, seed=3).abs().requires_grad_()
    exact = torch.cat(torch.autograd.grad(hard_loss(scores.softmax(dim=1), losses).sum(), (scores, losses)))
    mean, _ = moments(baseline, count, scores, losses)
    assert torch.allclose(mean, exact, atol=1e-12)


@pytest.mark.parametrize("baseline", ["leave-one-out", "self-critical"])
def test_a_baseline_lowers_the_variance(baseline):
    """Check 11: of the whole gradient of the scores, in every drawn row, and to a third on average.

    Losses lie about log 3, as those of a classifier that is not yet taught: where they lie about 0, a baseline has
    nothing to take away.
    """
    shares = []
    for seed in range(10):
        scores = draw(1, 3, seed=seed).requires_grad_()
        losses = (math.log(3) + 0.3 * draw(1, 3, seed=seed + 100)).clamp_min(0).requires_grad_()
        (_, with_it), (_, without) = (moments(each, 2, scores, losses) for each in (baseline, "none"))
        shares.append(float(with_it[0].sum() / without[0].sum()))
    assert max(shares) < 1
    assert sum(shares) / len(shares) < 1 / 3


def test_each_draw_is_held_against_the_mean_of_the_others():
    logs = torch.tensor([[0.2, 0.3, 0.5]]).double().log().requires_grad_()
    losses, draws = torch.tensor([[1.0, 4.0, 10.0]]).double(), torch.tensor([[0.1, 0.6, 0.9]])  # 0, 2 and 2
    found = gradient(sampled_loss(logs, losses, draws, "leave-one-out"), logs)
    assert torch.allclose(found, torch.tensor([[(1 - 10) / 3, 0, 2 * (10 - 5.5) / 3]]).double())
    against_largest = gradient(sampled_loss(logs, losses, draws, "self-critical"), logs)
    assert torch.allclose(against_largest, torch.tensor([[(1 - 10) / 3, 0, 0]]).double())


def test_a_segment_without_weight_is_never_drawn():
    logs = torch.tensor([[-math.inf, 0.0, -math.inf]])
    ends = torch.tensor([[0.0, 0.5, 1 - 2**-24]])
    losses = torch.tensor([[9.0, 1.0, 9.0]])
    assert torch.equal(sampled_loss(logs, losses, ends, "none"), torch.tensor([1.0]))


# --- entropy and the told focus --------------------------------------------------------------------------------------


def test_without_a_share_nothing_is_changed_and_with_all_of_it_no_label_counts():
    _, logs, losses = case()
    hard = hard_loss(logs.exp(), losses)
    assert torch.equal(regularised(hard, logs, 0), hard)
    assert torch.allclose(regularised(hard, logs, 1), weights_entropy(logs))
    part = regularised(hard, logs, 0.25)
    assert torch.allclose(part, 0.75 * hard + 0.25 * weights_entropy(logs))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0, 500))
def test_entropy_lies_between_nothing_and_log_m(seed, scale):
    entropy = weights_entropy(draw(EXAMPLES, SEGMENTS, seed=seed, scale=scale).log_softmax(dim=1))
    assert bool(((entropy >= -1e-12) & (entropy <= math.log(SEGMENTS) + 1e-12)).all())


@pytest.mark.parametrize("scores", [[1.0, 1.0, 1.0], [0.0, -1000.0, -1000.0], [0.0, -math.inf, -math.inf]])
def test_entropy_has_no_gradient_at_uniform_and_at_one_hot(scores):
    given_ = torch.tensor([scores]).double().requires_grad_()
    found = gradient(weights_entropy(given_.log_softmax(dim=1)), given_)
    assert torch.allclose(found, torch.zeros(1, 3).double(), atol=1e-12)


def test_the_told_focus_is_the_surprise_of_where_to_look():
    scores = torch.tensor([[0.5, 2.0, -math.inf]])
    expected = -math.log(math.exp(0.5) / (math.exp(0.5) + math.exp(2.0)))
    assert float(focus_loss(scores, torch.tensor([0]))) == pytest.approx(expected)


@pytest.mark.parametrize(("baseline", "count"), [("mean", 3), ("leave-one-out", 1), ("self-critical", 0)])
def test_baselines_that_cannot_be_are_refused(baseline, count):
    _, logs, losses = case()
    with pytest.raises(UnsupportedError):
        sampled_loss(logs, losses, torch.rand(EXAMPLES, count), baseline)
