import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays

from regard.errors import MetricError, NotFiniteError, PixelsError
from regard.metrics.placement import (
    area_inside,
    average_precision,
    intersection_over_union,
    mass_inside,
    pointing_game,
)

MEASURES = (pointing_game, mass_inside, intersection_over_union, average_precision)
RANKED = (pointing_game, intersection_over_union, average_precision)

few_values = arrays.arrays(np.float64, (4, 6), elements=some.integers(-3, 5).map(float)).map(torch.from_numpy)
masks = arrays.arrays(np.bool_, (4, 6)).map(torch.from_numpy)
fine_masks = arrays.arrays(np.bool_, (8, 18)).map(torch.from_numpy)


def pixels_of(values, region):
    """(value, inside) of every pixel, a cell's value repeated over its pixels."""
    high, wide = region.shape[0] // values.shape[0], region.shape[1] // values.shape[1]
    rows, columns = region.shape
    return [
        (float(values[row // high, column // wide]), bool(region[row, column]))
        for row in range(rows)
        for column in range(columns)
    ]


def slow_pointing(pixels):
    top = max(value for value, _ in pixels)
    hits = [inside for value, inside in pixels if value == top]
    return sum(hits) / len(hits)


def slow_mass(pixels):
    mass = sum(value for value, _ in pixels if value > 0)
    return sum(value for value, inside in pixels if inside and value > 0) / mass if mass else math.nan


def slow_overlap(pixels):
    """Levels are taken whole from the top while they fit; of the level that does not, the share that does."""
    size = left = sum(inside for _, inside in pixels)
    shared = 0.0
    for level in sorted({value for value, _ in pixels}, reverse=True):
        equal = [inside for value, inside in pixels if value == level]
        share = min(1.0, left / len(equal))
        shared += share * sum(equal)
        left -= share * len(equal)
    return shared / (2 * size - shared)


def slow_precision(pixels):
    """One threshold a level: recall gained there times the precision of all above and at it."""
    size, area = sum(inside for _, inside in pixels), 0.0
    for level in {value for value, _ in pixels}:
        chosen = [inside for value, inside in pixels if value >= level]
        gained = sum(inside for value, inside in pixels if value == level) / size
        area += gained * sum(chosen) / len(chosen)
    return area


SLOW = dict(zip(MEASURES, (slow_pointing, slow_mass, slow_overlap, slow_precision), strict=True))


@pytest.mark.parametrize(
    ("values", "region", "points", "mass", "overlap", "precision"),
    [
        ([[9, 1], [1, 1]], [[1, 0], [0, 0]], 1, 9 / 12, 1, 1),
        ([[1, 1], [1, 1]], [[1, 0], [0, 0]], 1 / 4, 1 / 4, 1 / 7, 1 / 4),  # ¼ of a place shared, of 2 − ¼
        ([[0, 0], [0, 0]], [[1, 0], [0, 0]], 1 / 4, math.nan, 1 / 7, 1 / 4),
        ([[4, 3], [2, 1]], [[0, 1], [1, 0]], 0, 5 / 10, 1 / 3, (1 / 2 + 2 / 3) / 2),
        ([[5, 5], [1, -7]], [[1, 0], [1, 0]], 1 / 2, 6 / 11, 1 / 3, (1 / 2 + 2 / 3) / 2),
        ([[-1, -2], [-3, -4]], [[0, 0], [0, 1]], 0, math.nan, 0, 1 / 4),
        ([[4, 3], [2, 1]], [[1, 1], [1, 1]], 1, 1, 1, 1),
        ([[4, 3], [2, 1]], [[0, 0], [0, 0]], math.nan, math.nan, math.nan, math.nan),
        ([[3, 2, 2], [2, 0, 0]], [[1, 1, 0], [0, 0, 0]], 1, 5 / 9, (4 / 3) / (8 / 3), (1 + 2 / 4) / 2),
    ],
    ids=["oracle", "uniform", "nothing", "half", "ties", "against", "all region", "no region", "part of a tie"],
)
def test_figures_worked_by_hand(values, region, points, mass, overlap, precision):
    values, region = torch.tensor(values, dtype=torch.float32), torch.tensor(region, dtype=torch.bool)
    for measure, expected in zip(MEASURES, (points, mass, overlap, precision), strict=True):
        assert float(measure(values, region)) == pytest.approx(expected, abs=1e-15, nan_ok=True), measure.__name__


@settings(max_examples=60, deadline=None)
@given(few_values, masks)
def test_it_is_what_plain_loops_give(values, region):
    assume(bool(region.any()))
    for measure, slow in SLOW.items():
        assert float(measure(values, region)) == pytest.approx(slow(pixels_of(values, region)), abs=1e-12, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(few_values, fine_masks)
def test_a_coarse_map_is_judged_as_if_its_cells_were_cut_into_pixels(values, region):
    """A region whose edges cross the cells: 2×3 pixels each."""
    assume(bool(region.any()))
    for measure, slow in SLOW.items():
        assert float(measure(values, region)) == pytest.approx(slow(pixels_of(values, region)), abs=1e-9, nan_ok=True)


def test_precision_agrees_with_scikit_learn_ties_and_shares_of_cells_included():
    sklearn = pytest.importorskip("sklearn.metrics", exc_type=ImportError)
    draw = np.random.default_rng(0)
    for _ in range(20):
        values, region = draw.integers(0, 6, (5, 4)), draw.random((5, 4))
        inside = np.repeat([1, 0], region.size)
        weights = np.concatenate([region.ravel(), 1 - region.ravel()])
        expected = sklearn.average_precision_score(inside, np.tile(values.ravel(), 2), sample_weight=weights)
        found = average_precision(torch.from_numpy(values), torch.from_numpy(region))
        assert float(found) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(few_values, masks)
def test_a_perfect_map_scores_one_and_a_constant_one_chance(values, region):
    assume(bool(region.any()))
    perfect = region.double() * (5 + values) + 3
    chance = float(region.double().mean())
    assert float(area_inside(region)) == pytest.approx(chance, abs=1e-15)
    for measure in RANKED:
        assert float(measure(perfect, region)) == pytest.approx(1, abs=1e-12)
    assert float(mass_inside(region.double(), region)) == 1
    for height in (0.0, 2.5, -1.0):
        constant = torch.full((4, 6), height)
        assert float(pointing_game(constant, region)) == pytest.approx(chance, abs=1e-12)
        assert float(average_precision(constant, region)) == pytest.approx(chance, abs=1e-12)
        assert float(intersection_over_union(constant, region)) == pytest.approx(chance / (2 - chance), abs=1e-12)
    assert float(mass_inside(torch.full((4, 6), 2.5), region)) == pytest.approx(chance, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(few_values, masks, some.permutations(range(24)))
def test_only_ranks_count_where_places_are_ranked_and_places_move_with_the_region(values, region, order):
    assume(bool(region.any()))
    for measure in RANKED:
        plain = measure(values, region)
        for changed in (values + 7, values * 0.25, values**3, values.exp()):
            assert torch.allclose(measure(changed, region), plain, rtol=0, atol=1e-12)
    moves = (lambda part: part.flip(0), lambda part: part.flip(1), lambda part: part.flatten()[order].view(4, 6))
    for measure in MEASURES:
        for move in moves:
            moved = measure(move(values), move(region))
            assert torch.allclose(moved, measure(values, region), rtol=0, atol=1e-12, equal_nan=True)


@settings(max_examples=30, deadline=None)
@given(few_values, masks, some.integers(-30, 30))
def test_mass_does_not_know_the_scale_of_a_map_and_no_evidence_against(values, region, power):
    plain = mass_inside(values, region)
    for changed in (values * 2.0**power, values.clamp(min=0), torch.where(values < 0, values * 9, values)):
        assert torch.allclose(mass_inside(changed, region), plain, rtol=0, atol=1e-12, equal_nan=True)


def test_scores_of_extreme_maps_are_numbers():
    region = torch.tensor([[1.0, 0], [0, 0]])
    for height in (1e-45, 3e38):
        values = torch.tensor([[1.0, 1], [0, 0]]) * height
        assert float(mass_inside(values, region)) == 0.5
        assert float(pointing_game(values, region)) == 0.5


def test_a_region_goes_with_all_targets_of_its_picture_and_batches_change_nothing():
    draw = torch.Generator().manual_seed(0)
    maps, regions = torch.randn(3, 2, 4, 4, generator=draw), torch.rand(3, 1, 9, 9, generator=draw) > 0.6
    regions[1] = False
    maps[2, 1] = -1
    for measure in MEASURES:
        found = measure(maps, regions)
        alone = torch.stack(
            [torch.stack([measure(one, regions[image, 0]) for one in maps[image]]) for image in range(3)]
        )
        assert found.shape == (3, 2)
        assert found.dtype == torch.float64
        assert torch.allclose(found, alone, rtol=0, atol=1e-15, equal_nan=True)
        assert found.isnan().tolist() == [[False, False], [True, True], [False, measure is mass_inside]]


def test_nothing_given_is_changed():
    maps, region = torch.randn(2, 3, 3, requires_grad=True), torch.ones(3, 3, dtype=torch.bool)
    before = maps.detach().clone()
    for measure in MEASURES:
        assert not measure(maps, region).requires_grad
    assert maps.equal(before)
    assert region.all()


@pytest.mark.parametrize("measure", MEASURES)
def test_bad_maps_and_regions_that_do_not_fit_are_refused(measure):
    region = torch.ones(4, 4, dtype=torch.bool)
    broken = torch.ones(2, 3, 3)
    broken[1, 2, 0] = math.nan
    with pytest.raises(NotFiniteError, match=r"\(1, 2, 0\)"):
        measure(broken, region)
    with pytest.raises(PixelsError):
        measure(torch.ones(5), region)
    with pytest.raises(PixelsError):
        measure(torch.ones(2, 0, 3), region)
    with pytest.raises(MetricError, match="broadcast"):
        measure(torch.ones(2, 3, 3), torch.ones(3, 4, 4))
