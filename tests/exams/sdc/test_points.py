"""D1, D2, boxes, singletons and the background's controls are what the specification says."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from scipy.stats import kstest

from regard.errors import UnsupportedError
from regard.exams.sdc import Items, task_called
from regard.exams.sdc.background import with_background
from regard.exams.sdc.boxes import boxes
from regard.exams.sdc.gaussians import d1, d2
from regard.exams.sdc.singletons import singletons

from .item_sets import counted

D1_FOREGROUND = [(4, 6.5), (5.5, 6), (4.5, 4.5)]
D1_BACKGROUND = [(3, 3.5), (2.5, 5.5), (3.5, 8), (5.5, 8), (7, 6.5), (6.5, 4.5), (5, 3)]
# mean, and the long coordinate counted from one, as the specification prints them
D2 = [
    ((3, 3, 3, 3, 0), 2),
    ((4, 4, 4, 4, 0), 1),
    ((10, 5, 5, 10, 0), 2),
    ((-10, -10, -10, -10, 0), 2),
    ((-21, 4, 4, -21, 0), 1),
    ((-10, 18, 18, -10, 0), 2),
    ((4, 20, 4, 20, 0), 1),
    ((4, -20, -20, 4, 0), 1),
    ((20, 20, 20, 20, 0), 2),
    ((20, -10, -10, 20, 0), 2),
]


def points_of(items, number):
    return items.values[items.classes == number].double().numpy()


def inside(point, corners):
    """Whether a point is a mean of corners: is there a weight for each, from 0 on, that add up to one?"""
    corners = np.array(corners, dtype=float)
    equations = np.vstack([corners.T, np.ones(len(corners))])
    return linprog(np.zeros(len(corners)), A_eq=equations, b_eq=[*point, 1.0], bounds=(0, None)).status == 0


def test_d1_has_its_means_and_covariance_and_its_foreground_lies_inside_the_background():
    for items in d1(seed=1):
        assert len(items.values) == 5000
        for number, mean in enumerate([*D1_FOREGROUND, *D1_BACKGROUND]):
            points = points_of(items, number)
            assert 420 < len(points) < 580
            assert np.abs(points.mean(axis=0) - mean).max() < 0.03
            assert np.abs(np.cov(points.T) - 0.01 * np.eye(2)).max() < 0.003
        means = [points_of(items, number).mean(axis=0) for number in range(10)]
        assert items.foreground == (0, 1, 2)
        assert all(inside(mean, means[3:]) for mean in means[:3])
        assert not inside((7, 8), means[3:])


def test_d2_is_ten_clouds_of_rank_two():
    for items in d2(seed=1):
        for number, (mean, long) in enumerate(D2):
            points = points_of(items, number)
            covariance = np.ones((5, 5))
            covariance[long - 1, long - 1] += 15
            assert len(points) == 500
            assert np.abs(points.mean(axis=0) - mean).max() < 4.5 * (16 / 500) ** 0.5
            found = np.cov(points.T)
            assert np.linalg.matrix_rank(found, tol=1e-4) == 2
            assert np.abs(found - covariance).max() < 4.5 * 16 * (2 / 500) ** 0.5
            # no other direction is in it than the common shift and the long axis
            rest = np.linalg.lstsq(np.stack([np.ones(5), np.eye(5)[long - 1]], axis=1), (points - mean).T, rcond=None)
            assert rest[1].max() < 1e-8


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (1, [((5, 2), (6, 4)), ((5, -5), (6, -3)), ((8, -2), (9, 0)), ((1, -1), (2, 5))]),
        (2, [((5, 2), (6, 4)), ((5, -5), (6, -3)), ((-3, -2), (-2, 0)), ((1, -8), (2, 5))]),
        (4, [*(((1, low), (2, low + 1)) for low in (5, 3, 1, -1, -3, -5)), ((5, 5), (6, 6))]),
    ],
    ids=["1", "2", "4"],
)
def test_boxes_are_filled_evenly_and_the_last_is_the_background(number, expected):
    for items in boxes(number, seed=0):
        assert items.background == (len(expected) - 1,)
        for kind, (low, high) in enumerate(expected):
            share = (points_of(items, kind) - low) / (np.array(high) - low)
            assert share.min() >= 0
            assert share.max() <= 1
            assert all(kstest(share[:, axis], "uniform").pvalue > 1e-3 for axis in (0, 1))


def test_there_are_no_other_boxes():
    with pytest.raises(UnsupportedError, match="no such boxes"):
        boxes(3, seed=0)


def test_singletons_are_three_numbers():
    train, _ = singletons(background=-3)
    assert train.values[:, 0].tolist() == [-1, 1, -3]
    task = task_called("singletons", background=3, segments=10, train=50)
    found = task.train[:]
    assert found.segments.shape == (50, 10, 1)
    assert {*found.segments.sum(dim=(1, 2)).tolist()} == {26.0, 28.0}


def classes_of(items):
    """Two foreground and two background classes of three points each, on a line."""
    values = torch.tensor(items, dtype=torch.float32)[:, None]
    return Items(values, torch.arange(4).repeat_interleave(3).short(), tuple("abcd"), (0, 1))


LINE = [0, 1, 2, 10, 11, 12, 20, 21, 22, 30, 33, 36]
"""Means 1, 11, 21 and 33; that of the background is 27."""


def test_the_background_spreads_about_the_mean_of_its_classes_and_the_foreground_stays():
    train, test = with_background(classes_of(LINE), classes_of([100 + value for value in LINE]), 0.5, 0.0, seed=0)
    assert train.values[:, 0].tolist() == [*LINE[:6], 23.5, 24.0, 24.5, 28.5, 30.0, 31.5]
    assert test.values[6:, 0].tolist() == [73.5, 74.0, 74.5, 78.5, 80.0, 81.5]  # about the training's mean
    assert test.values[:6, 0].tolist() == [100 + value for value in LINE[:6]]


def test_an_overlap_moves_a_share_of_the_background_onto_the_foregrounds_means():
    items = counted(classes=5, each=600, foreground=(4, 1))
    spread = Items(
        torch.randn(3000, 1, generator=torch.Generator().manual_seed(0)).add(items.classes[:, None] * 10),
        items.classes,
        items.names,
        (4, 1),
    )
    moved, _ = with_background(spread, spread, 0.5, 0.3, seed=2)
    means = torch.stack([spread.values[spread.classes == number].mean() for number in range(5)])
    middle = means[[0, 2, 3]].mean()
    counts = torch.zeros(3)
    for before, after, kind in zip(spread.values[:, 0], moved.values[:, 0], spread.classes.tolist(), strict=True):
        if kind in (4, 1):
            assert after == before
            continue
        places = [middle + 0.5 * (before - middle), *(means[to] + 0.5 * (before - means[kind]) for to in (4, 1))]
        near = [abs(float(after - place)) < 1e-4 for place in places]
        assert any(near)
        counts[near.index(True)] += 1
    assert 0.27 < counts[1:].sum() / counts.sum() < 0.33
    assert abs(counts[1] - counts[2]) < 4 * 540**0.5


def test_nothing_is_touched_where_the_background_stays_and_the_uint8_of_pictures_is_kept():
    one, other = classes_of(LINE), classes_of(LINE)
    assert with_background(one, other, 1.0, 0.0, seed=0) == (one, other)
    pixels = Items(
        torch.arange(8, dtype=torch.uint8)[:, None], torch.arange(8).remainder(4).short(), tuple("abcd"), (0,)
    )
    assert with_background(pixels, pixels, 1.0, 0.0, seed=0)[0].values.dtype == torch.uint8
    assert with_background(pixels, pixels, 0.5, 0.0, seed=0)[0].values.dtype == torch.float32


def test_a_spread_of_zero_makes_the_background_one_point():
    found = task_called("d1", spread=0.0, train=200).train[:]
    behind = found.segments[found.classes >= 3]
    assert torch.equal(behind, behind[:1].expand_as(behind))
