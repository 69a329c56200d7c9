"""Sparse weights, against bisection, Brent's method and a quadratic program, and what is known of them."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from regard.attention.entmax import LARGEST_ALPHA, entmax, sparsemax

from . import slow_weights as slow
from .test_weights import close, rows, scores_of

SPREADS = [0.01, 0.5, 1.0, 5.0]


def by_row(function, scores, *given):
    return torch.tensor([function(row, *given) for row in scores.tolist()], dtype=torch.float64)


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("alpha", [1.01, 1.25, 1.5, 1.9, 2.0])
def test_it_is_what_bisection_finds(alpha, spread):
    scores = scores_of(4, 9, seed=1, spread=spread)
    expected = by_row(slow.by_bisection, scores, alpha)
    close(entmax(scores, alpha), expected)
    close(entmax(scores, torch.tensor([alpha], dtype=torch.float64)), expected)
    close(entmax(scores.float(), alpha).double(), expected, 3e-7)


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("alpha", [1.25, 3.0, 6.0])
def test_it_is_what_another_library_finds(alpha, spread):
    """Beyond α = 2 a weight near 0 is a root of a difference: half its digits are rounding."""
    scores = scores_of(4, 9, seed=2, spread=spread)
    close(entmax(scores, alpha), by_row(slow.by_brent, scores, alpha), 1e-12 if alpha < 2 else 1e-7)


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_sparsemax_is_what_a_quadratic_program_finds(count):
    scores = scores_of(4, count, seed=3)
    close(sparsemax(scores), by_row(slow.by_quadratic_program, scores), 1e-6)


@pytest.mark.parametrize("alpha", [1.25, 1.5, 2.0])
@pytest.mark.parametrize("spread", [0.0, 1e-6, 1e-3, 0.02, 1.0])
def test_rows_of_4096_segments_are_exact_in_float32(alpha, spread):
    """Cumulative sums of thousands of scores just above the threshold lose five digits; weights must not."""
    scores = scores_of(1, 4096, seed=4, spread=spread).float()
    scores[:, 7] += 0.9
    weights = entmax(scores, alpha).double()
    assert (weights.sum(dim=1) - 1).abs().max() < 2e-7
    close(weights, by_row(slow.by_bisection, scores.double(), alpha), 2e-7)


@pytest.mark.parametrize("alpha", [1.25, 1.5, 2.0])
def test_rows_of_100_000_segments_are_as_in_float64(alpha):
    scores = scores_of(1, 100_000, seed=4, spread=1e-5).float()
    scores[:, 7] += 1.9
    weights = entmax(scores, alpha).double()
    assert (weights.sum(dim=1) - 1).abs().max() < 1e-6
    close(weights, entmax(scores.double(), alpha), 2e-7)


def test_hand_worked_numbers():
    """(1, 0.6, −1): τ = 0.3.   α = 1.5 of equal scores beside a far one: two halves.   One ahead by 1: alone."""
    close(sparsemax(torch.tensor([1.0, 0.6, -1])), torch.tensor([0.7, 0.3, 0]), 1e-7)
    close(entmax(torch.tensor([2.0, 2, -2])), torch.tensor([0.5, 0.5, 0]), 1e-7)
    assert sparsemax(torch.tensor([3.0, 2, 2, 2])).tolist() == [1, 0, 0, 0]
    assert entmax(torch.tensor([3.0, 1, 1, 1])).tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("alpha", [1.0, 1, 1 + 1e-9, torch.tensor(1.0)], ids=["1.0", "1", "just above", "learnt"])
def test_at_1_it_is_softmax(alpha):
    scores = scores_of(5, 9, spread=3)
    close(entmax(scores, alpha), scores.softmax(dim=-1), 1e-8 if alpha == 1 + 1e-9 else 1e-14)


def test_at_2_it_is_sparsemax_and_continuous_there():
    scores = scores_of(5, 9)
    close(entmax(scores, 2), sparsemax(scores), 0)
    close(entmax(scores, torch.tensor(2.0)), sparsemax(scores))
    close(entmax(scores, 2 + 1e-9), sparsemax(scores), 1e-7)
    close(entmax(scores, 1.5 + 1e-9), entmax(scores), 1e-7)


@given(scores=rows)
@trials(max_examples=50)
def test_a_point_of_the_simplex_is_its_own_sparsemax(scores):
    weights = sparsemax(scores)
    close(sparsemax(weights), weights)


@pytest.mark.parametrize("gap", [1.0, 1.5, 40.0])
def test_sparsemax_is_one_hot_where_the_largest_is_ahead_by_1(gap):
    scores = torch.cat([torch.zeros(4, 6, dtype=torch.float64), torch.full((4, 1), gap, dtype=torch.float64)], dim=1)
    assert sparsemax(scores).tolist() == [[0.0] * 6 + [1.0]] * 4
    assert (sparsemax(scores * (1 - 1e-9) if gap == 1 else scores / gap * 0.99)[:, 0] > 0).all()


def test_the_jacobian_of_sparsemax_is_that_of_its_support():
    for row in scores_of(8, 9, seed=6):
        inside = (sparsemax(row) > 0).double()
        expected = torch.diag(inside) - torch.outer(inside, inside) / inside.sum()
        close(torch.autograd.functional.jacobian(sparsemax, row), expected, 1e-15)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_what_is_far_below_the_threshold_has_no_weight_however_sums_are_rounded(kind):
    scores = scores_of(2000, 9, seed=7, spread=2).to(kind)
    for power in (1, 2):
        weights = entmax(scores, 1 + 1 / power)
        assert not weights[scores <= scores.amax(dim=1, keepdim=True) - power].any()
        assert weights[weights > 0].min() > 1e-14


@pytest.mark.parametrize("shape", [(), (3, 1)], ids=["one", "one a row"])
@pytest.mark.parametrize("alpha", [1.05, 1.5, 2.4])
def test_alpha_has_the_gradient_of_finite_differences(shape, alpha):
    scores = scores_of(3, 4, seed=5).requires_grad_()
    alpha = (
        alpha + 0.04 * torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ).requires_grad_()
    assert torch.autograd.gradcheck(entmax, (scores, alpha))
    assert torch.autograd.gradgradcheck(entmax, (scores, alpha))
    close(entmax(scores.T, alpha.reshape(alpha.shape[::-1]), 0).T.detach(), entmax(scores, alpha).detach(), 0)


@pytest.mark.parametrize("distance", [0, 1e-12, 1e-6, 1e-3])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_the_gradient_of_alpha_loses_no_digits_towards_1(distance, kind):
    """At 1 it is ½ a ( Σ a L² − L² ) with L = log a, by hand; next to it, it has moved no further than α."""
    scores = scores_of(9, spread=2)
    alpha = torch.tensor(1 + distance, dtype=kind, requires_grad=True)
    weights = scores.softmax(dim=-1)
    logs = weights.log()
    expected = weights / 2 * ((weights * logs**2).sum() - logs**2)
    (gradient,) = torch.autograd.grad(entmax(scores.to(kind), alpha)[2], alpha)
    assert float(gradient) == pytest.approx(
        float(expected[2]), abs=3 * distance + (1e-6 if kind is torch.float32 else 1e-12)
    )


@pytest.mark.parametrize("alpha", [1.01, 1.03, 1.2, 1.5, 2.0, 2.7])
def test_the_gradient_of_alpha_is_the_published_one(alpha):
    """( a − v / V ) / β² − ( a L + H v / V ) / β with v = a^(2 − α) on the support, as in arXiv 1909.00015."""
    scores, beta = scores_of(9), alpha - 1
    learnt = torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
    weights = entmax(scores, learnt)
    (gradient,) = torch.autograd.grad(weights[scores.argmax()], learnt)
    terms = [(a, a ** (2 - alpha), a * math.log(a)) for a in weights.tolist() if a > 0]
    (a, slope, log), total, entropy = max(terms), sum(v for _, v, _ in terms), -sum(x for *_, x in terms)
    share = slope / total
    assert float(gradient) == pytest.approx((a - share) / beta**2 - (log + entropy * share) / beta, rel=1e-10)


@given(scores=rows, low=st.floats(1, 3), more=st.floats(0.01, 2))
@trials(max_examples=40)
def test_the_larger_alpha_the_larger_the_largest_weight_and_the_fewer_above_0(scores, low, more):
    softer, harder = entmax(scores, low), entmax(scores, low + more)
    assert harder.max() >= softer.max() - 1e-12
    assert (harder > 1e-9).sum() <= (softer > 0).sum()


def test_models_of_several_alphas_together_are_as_one_after_another():
    scores, alphas = scores_of(3, 4, 6), torch.tensor([1.0, 1.4, 2.2], dtype=torch.float64)

    def loss(scores, alpha):
        return (entmax(scores, alpha) * torch.arange(6.0)).square().sum()

    together = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)))(scores, alphas)
    alone = [torch.func.grad(loss, argnums=(0, 1))(*each) for each in zip(scores, alphas, strict=True)]
    for came, expected in zip(together, zip(*alone, strict=True), strict=True):
        close(came, torch.stack(expected))
    shared = torch.func.vmap(torch.func.grad(loss, argnums=1), (0, None))(scores, alphas[1])
    close(shared, torch.stack([torch.func.grad(loss, argnums=1)(each, alphas[1]) for each in scores]))


@pytest.mark.parametrize("learnt", [False, True])
def test_at_the_largest_alpha_and_many_segments_nothing_overflows(learnt):
    scores = torch.zeros(2, 30_000)
    scores[1, 0] = 3
    weights = entmax(scores, torch.tensor(LARGEST_ALPHA) if learnt else LARGEST_ALPHA)
    close(weights[0], torch.full((30_000,), 1 / 30_000), 1e-9)
    assert weights[1].tolist() == [1] + [0] * 29_999


@pytest.mark.parametrize("weigh", [sparsemax, entmax, partial(entmax, alpha=1.2)], ids=["2", "1.5", "1.2"])
def test_segments_without_weight_get_no_gradient(weigh):
    scores = torch.tensor([4.0, 3.8, -5, -math.inf], requires_grad=True)
    weigh(scores)[0].backward()
    assert not scores.grad[2:].any()
    assert float(scores.grad[0]) == pytest.approx(-float(scores.grad[1]), rel=1e-5)
    assert float(scores.grad[0]) > 0
