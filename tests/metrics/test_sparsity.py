import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays

from regard.errors import NotFiniteError, PixelsError
from regard.metrics.sparsity import compactness, gini, sparsity_ratio

# single precision as maps are, held in double so that a change of scale rounds nothing
sizes = some.floats(-100, 100, width=32)
maps = arrays.arrays(np.float64, (3, 4), elements=sizes).map(torch.from_numpy)


def slow_gini(values):
    """Half the mean absolute difference of all pairs over the mean: Gini's own definition."""
    sizes = [abs(value) for value in values.flatten().tolist()]
    pairs = sum(abs(a - b) for a in sizes for b in sizes)
    return pairs / (2 * len(sizes) * sum(sizes)) if sum(sizes) else math.nan


@pytest.mark.parametrize(
    ("values", "compact", "unequal"),
    [
        ([[0.0, 0.0], [0.0, 3.0]], 0.75, 0.75),
        ([[0.0, 0.0], [0.0, -3.0]], 0.75, 0.75),
        ([[2.0, -2.0], [2.0, 2.0]], 0.0, 0.0),
        ([[1.0, 2.0], [3.0, 4.0]], 0.0, 0.25),  # (−3·1 − 1·2 + 1·3 + 3·4) / (4 · 10)
        ([[-100.0, 5.0], [5.25, -1.0]], 0.5, (-3 * 1 - 5 + 5.25 + 3 * 100) / (4 * 111.25)),  # 5 is just at 5 %
        ([[7.0]], 0.0, 0.0),
    ],
    ids=["one place", "one place against", "constant size", "1 to 4", "at the threshold", "one cell"],
)
def test_figures_worked_by_hand(values, compact, unequal):
    values = torch.tensor(values)
    assert float(compactness(values)) == compact
    assert float(gini(values)) == pytest.approx(unequal, abs=1e-15)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (7, 7), (16, 16), (4, 9)])
def test_a_single_place_has_the_largest_figure_and_a_constant_the_smallest(shape):
    single = torch.zeros(shape)
    single[0, -1] = 1e-20
    places = shape[0] * shape[1]
    assert float(compactness(single)) == float(gini(single)) == pytest.approx(1 - 1 / places)
    constant = torch.full(shape, -0.1)
    assert float(compactness(constant)) == 0
    assert float(gini(constant)) == pytest.approx(0, abs=1e-15)


@settings(max_examples=60)
@given(maps)
def test_it_is_what_counting_gives(values):
    assume(bool(values.any()))
    sizes = [abs(value) for value in values.flatten().tolist()]
    assert float(compactness(values)) == sum(size <= 0.05 * max(sizes) for size in sizes) / len(sizes)
    assert float(gini(values)) == pytest.approx(slow_gini(values), abs=1e-12)
    assert 0 <= float(compactness(values)) < 1
    assert 0 <= float(gini(values)) < 1


@settings(max_examples=60)
@given(maps, some.integers(-12, 12), some.permutations(range(12)))
def test_scale_sign_and_place_do_not_matter(values, power, order):
    for figure in (compactness, gini):
        plain = figure(values)
        for changed in (values * 2.0**power, -values, values.abs(), values.flatten()[order].view(3, 4)):
            assert torch.allclose(figure(changed), plain, atol=1e-12, equal_nan=True)


@settings(max_examples=40)
@given(maps, some.floats(0, 1), some.floats(0, 1))
def test_a_higher_threshold_leaves_out_no_less(values, one, other):
    assume(bool(values.any()))
    assert compactness(values, min(one, other)) <= compactness(values, max(one, other))


def test_a_map_of_nothing_has_no_figure_and_spoils_no_other():
    values = torch.zeros(2, 2, 3, 3)
    values[0, 1, 1, 1] = 1
    for figure in (compactness, gini):
        found = figure(values)
        assert found.shape == (2, 2)
        assert found.isnan().tolist() == [[True, False], [True, True]]


@pytest.mark.parametrize("figure", [compactness, gini])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_refused_with_their_place(figure, value):
    values = torch.ones(2, 3, 3)
    values[1, 2, 0] = value
    with pytest.raises(NotFiniteError, match=r"\(1, 2, 0\)"):
        figure(values)


@pytest.mark.parametrize("figure", [compactness, gini])
@pytest.mark.parametrize("shape", [(), (5,), (0, 3), (2, 3, 0)])
def test_what_is_no_map_is_refused(figure, shape):
    with pytest.raises(PixelsError):
        figure(torch.ones(shape))


def test_the_published_ratio_changes_with_the_sign_of_a_map_and_compactness_does_not():
    """Check 24: of 4, −100, 0.1, 0: 0.1 and 0 lie below 5 % of 4; turned, 4, 0.1 and 0 lie below 5 % of 100."""
    maps = torch.tensor([[[4.0, -100.0], [0.1, 0.0]]])
    assert sparsity_ratio(maps).tolist() == [0.5]
    assert sparsity_ratio(-maps).tolist() == [0.75]
    assert compactness(maps).equal(compactness(-maps))
    assert sparsity_ratio(-maps.abs()).tolist() == [0.0]
    assert sparsity_ratio(3 * maps).equal(sparsity_ratio(maps))
