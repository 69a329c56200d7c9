import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays

from regard.errors import MetricError, NotFiniteError, PixelsError
from regard.metrics.sparsity import (
    compactness,
    compactness_curve,
    effective_area,
    entropy,
    gini,
    inverse_rho,
    rho,
    sparsity_ratio,
)

# single precision as maps are, held in double so that a change of scale rounds nothing
sizes = some.floats(-100, 100, width=32)
maps = arrays.arrays(np.float64, (3, 4), elements=sizes).map(torch.from_numpy)
FIGURES = (compactness, gini, rho, inverse_rho, entropy, effective_area)
THRESHOLDS = (0.2, 0.0, 0.05, 1.0)


def curve(values):
    """All of the curve as one figure."""
    return compactness_curve(values, THRESHOLDS)


def slow_entropy(values):
    sizes = [abs(value) for value in values.flatten().tolist()]
    shares = [size / sum(sizes) for size in sizes]
    return -sum(share * math.log(share) for share in shares if share > 0) / math.log(len(sizes))


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


@pytest.mark.parametrize(
    ("values", "full", "spread", "area"),
    [
        ([[0.0, 0.0], [0.0, -3.0]], 0.25, 0.0, 0.25),
        ([[0.0, 2.0], [0.0, -2.0]], 0.5, 0.5, 0.5),  # two of four: ln 2 / ln 4
        ([[2.0, -2.0], [2.0, 2.0]], 1.0, 1.0, 1.0),
        ([[4.0, 2.0], [1.0, 1.0]], 0.5, 0.875, 64 / (4 * 22)),  # shares ½, ¼, ⅛, ⅛: 1¾ bits of 2
    ],
    ids=["one place", "two places", "constant size", "halves"],
)
def test_how_full_how_spread_and_how_large_worked_by_hand(values, full, spread, area):
    values = torch.tensor(values)
    assert float(rho(values)) == full
    assert float(inverse_rho(values)) == 1 / full
    assert float(entropy(values)) == pytest.approx(spread, abs=1e-15)
    assert float(effective_area(values)) == pytest.approx(area, abs=1e-15)


@pytest.mark.parametrize(("shape", "places"), [((2, 2), 1), ((7, 7), 5), ((14, 14), 196), ((4, 9), 12)])
def test_equal_places_among_n_are_k_of_n_full_and_large(shape, places):
    """BR-NPA check 28: ρ = 1 for a uniform map, 1/n for one place; and what lies between."""
    values = torch.zeros(shape)
    values.view(-1)[:places] = -1e-20
    cells = values.numel()
    assert float(rho(values)) == pytest.approx(places / cells, rel=1e-14)
    assert float(inverse_rho(values)) == pytest.approx(cells / places, rel=1e-14)
    assert float(effective_area(values)) == pytest.approx(places / cells, rel=1e-14)
    assert float(entropy(values)) == pytest.approx(math.log(places) / math.log(cells), abs=1e-14)


def test_a_map_of_one_place_is_full_and_has_no_entropy():
    single = torch.tensor([[0.3]])
    assert float(rho(single)) == float(inverse_rho(single)) == float(effective_area(single)) == 1
    assert entropy(single).isnan()


def test_a_faint_haze_moves_the_entropy_far_and_the_effective_area_little():
    """Why the area is no exponential of the entropy: one strong place among a thousand at 1 %."""
    sharp, hazy = torch.zeros(32, 32), torch.full((32, 32), 0.001)
    sharp[3, 4] = hazy[3, 4] = 1.0
    assert float(effective_area(sharp)) == 1 / 1024
    assert float(effective_area(hazy)) < 5 / 1024
    assert math.exp(slow_entropy(hazy) * math.log(1024)) > 50


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
    assert float(rho(values)) == pytest.approx(sum(sizes) / len(sizes) / max(sizes), rel=1e-12)
    assert float(inverse_rho(values)) == pytest.approx(len(sizes) * max(sizes) / sum(sizes), rel=1e-12)
    assert float(entropy(values)) == pytest.approx(slow_entropy(values), abs=1e-12)
    relative = [size / max(sizes) for size in sizes]  # squares of the smallest floats are 0
    expected = sum(relative) ** 2 / len(sizes) / sum(size * size for size in relative)
    assert float(effective_area(values)) == pytest.approx(expected, rel=1e-12)
    assert 0 <= float(compactness(values)) < 1
    assert 0 < float(rho(values)) <= 1
    assert 0 <= float(entropy(values)) <= 1
    assert 0 <= float(gini(values)) < 1


@settings(max_examples=60)
@given(maps, some.integers(-12, 12), some.permutations(range(12)))
def test_scale_sign_and_place_do_not_matter(values, power, order):
    for figure in (*FIGURES, curve):
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
    for figure in FIGURES:
        found = figure(values)
        assert found.shape == (2, 2)
        assert found.isnan().tolist() == [[True, False], [True, True]]


@pytest.mark.parametrize("figure", [*FIGURES, curve])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_refused_with_their_place(figure, value):
    values = torch.ones(2, 3, 3)
    values[1, 2, 0] = value
    with pytest.raises(NotFiniteError, match=r"\(1, 2, 0\)"):
        figure(values)


@pytest.mark.parametrize("figure", [*FIGURES, curve])
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


def test_a_curve_holds_the_figure_of_each_threshold_in_the_order_given():
    values = torch.tensor([[[-100.0, 5.0], [5.25, -1.0]], [[0.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]])
    assert curve(values)[0].tolist() == [0.75, 0.0, 0.5, 1.0]
    assert curve(values)[1].isnan().all()
    assert curve(values)[2].tolist() == [0.75, 0.75, 0.75, 1.0]
    assert curve(values.view(3, 1, 2, 2)).shape == (3, 1, 4)


@settings(max_examples=30)
@given(maps)
def test_a_curve_is_the_figure_at_many_thresholds(values):
    figures = torch.stack([compactness(values, threshold) for threshold in THRESHOLDS])
    assert torch.equal(curve(values).nan_to_num(-1), figures.nan_to_num(-1))


@pytest.mark.parametrize("thresholds", [[], [0.5, 1.1], [-0.1], [math.nan], [[0.1]], 0.1])
def test_thresholds_that_are_no_shares_are_refused(thresholds):
    with pytest.raises(MetricError, match="0 to 1"):
        compactness_curve(torch.ones(2, 2), thresholds)


def test_maps_of_a_batch_are_judged_one_by_one():
    values = torch.randn(3, 2, 4, 5, generator=torch.Generator().manual_seed(0))
    for figure in (*FIGURES, curve):
        alone = torch.stack([torch.stack([figure(one) for one in row]) for row in values])
        assert torch.equal(figure(values), alone)
