import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays
from scipy.stats import spearmanr

from regard.errors import NotFiniteError, PixelsError
from regard.metrics.rank_correlation import rank_correlation

# few different values, so that ties are common; none so small that a product of two is lost
values = some.sampled_from([-7.0, -2.5, -1.0, -0.0, 0.0, 0.25, 1.0, 3.0, 1e6])
maps = arrays.arrays(np.float64, (3, 4), elements=values).map(torch.from_numpy)


def slow_ranks(numbers):
    """Average ranks from 1, each counted one by one."""
    return [sum(b < a for b in numbers) + (1 + sum(b == a for b in numbers)) / 2 for a in numbers]


def slow(first, second):
    one, other = slow_ranks(first.flatten().tolist()), slow_ranks(second.flatten().tolist())
    middle = (len(one) + 1) / 2
    above = sum((a - middle) * (b - middle) for a, b in zip(one, other, strict=True))
    below = sum((a - middle) ** 2 for a in one) * sum((b - middle) ** 2 for b in other)
    return above / math.sqrt(below) if below else math.nan


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([[1.0, 2.0], [3.0, 4.0]], [[10.0, 20.0], [30.0, 40.0]], 1.0),
        ([[1.0, 2.0], [3.0, 4.0]], [[4.0, 3.0], [2.0, 1.0]], -1.0),
        ([[1.0, 2.0, 3.0]], [[1.0, 3.0, 2.0]], 0.5),  # ranks 1 2 3 and 1 3 2: (1 + 0 + 0) / 2
        ([[1.0, 1.0, 2.0]], [[1.0, 2.0, 3.0]], math.sqrt(3) / 2),  # ranks 1.5 1.5 3: 1.5 / √(1.5 · 2)
        ([[0.0, -0.0, 1.0]], [[-0.0, 0.0, 2.0]], 1.0),  # both zeros are one value
    ],
    ids=["same order", "reversed", "one swap", "a tie", "two zeros"],
)
def test_correlations_worked_by_hand(first, second, expected):
    assert float(rank_correlation(torch.tensor(first), torch.tensor(second))) == pytest.approx(expected, abs=1e-15)


@settings(max_examples=60)
@given(maps, maps)
def test_it_is_scipy_s_and_a_slow_one_s_with_ties_too(first, second):
    found, expected = float(rank_correlation(first, second)), slow(first, second)
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)
    if not math.isnan(expected):
        assert found == pytest.approx(spearmanr(first.flatten(), second.flatten()).statistic, abs=1e-12)


@settings(max_examples=40)
@given(maps, maps)
def test_only_the_order_counts_either_way_round_and_it_stays_in_bounds(first, second):
    plain = rank_correlation(first, second)
    assert rank_correlation(second, first).equal(plain) or plain.isnan()
    assert rank_correlation(first.sign() * first.abs().sqrt() * 5 - 2, second).equal(plain) or plain.isnan()
    assert torch.allclose(rank_correlation(-first, second), -plain, atol=1e-12, equal_nan=True)
    assert plain.isnan() or -1 <= float(plain) <= 1
    whole = rank_correlation(first, first)
    assert whole.isnan() or float(whole) == pytest.approx(1)


def test_every_map_of_a_batch_is_correlated_alone():
    draw = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 3, 4, 5, generator=draw), torch.randn(2, 3, 4, 5, generator=draw).round()
    found = rank_correlation(first, second)
    assert found.shape == (2, 3)
    assert found.dtype == torch.float64
    for image in range(2):
        for target in range(3):
            assert float(found[image, target]) == pytest.approx(slow(first[image, target], second[image, target]))


@pytest.mark.parametrize("shape", [(2, 3), (1, 1), (0, 0), (4, 0)])
def test_what_orders_nothing_correlates_with_nothing(shape):
    draw = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert rank_correlation(torch.full(shape, 3.0), draw).isnan()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_nan_and_infinity_are_refused_with_their_place(value, place):
    pair = [torch.zeros(2, 3, 3), torch.ones(2, 3, 3)]
    pair[place][1, 0, 2] = value
    with pytest.raises(NotFiniteError, match=r"\(1, 0, 2\)"):
        rank_correlation(*pair)


@pytest.mark.parametrize(("first", "second"), [((2, 3), (3, 2)), ((1, 2, 3), (2, 3)), ((6,), (6,)), ((), ())])
def test_maps_of_different_shapes_and_what_are_no_maps_are_refused(first, second):
    with pytest.raises(PixelsError):
        rank_correlation(torch.ones(first), torch.ones(second))


def test_whole_numbers_half_precision_and_gradients_do_no_harm():
    first = torch.tensor([[1, 2], [3, 4]])
    assert float(rank_correlation(first, first.half())) == 1
    learnt = first.float().requires_grad_()
    assert not rank_correlation(learnt, first.float()).requires_grad
