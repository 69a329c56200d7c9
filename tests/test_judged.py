"""The judgement of benchmarks/judged.py itself: papers/cdam.md, section 5.3, check 25."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import regard
from regard.fills import Colour

from .explainers.networks import classifier_of, pixels_of, vit


@pytest.fixture(scope="module")
def judged():
    folder = Path(__file__).parent.parent / "benchmarks"
    specification = importlib.util.spec_from_file_location("judged", folder / "judged.py")
    module = importlib.util.module_from_spec(specification)
    sys.path.insert(0, str(folder))
    try:
        specification.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
    return module


def removals(judged, classifier, pixels, classes):
    return {
        "dropping": judged.by_dropping(classifier, pixels, classes),
        "fill": judged.by_filling(classifier, pixels, classes, Colour((0.0, 0.0, 0.0))),
    }


@pytest.mark.parametrize("how", ["dropping", "fill"])
def test_curves_meet_at_both_ends_and_the_area_turns_with_the_map(judged, how):
    classifier, pixels = classifier_of(vit()), pixels_of(3)
    classes = classifier(pixels).argmax(1)
    chances = removals(judged, classifier, pixels, classes)[how]
    scores = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    orders = judged.removal_orders(scores)
    owners, everything = torch.arange(3), [torch.arange(16)] * 3
    with torch.no_grad():
        whole = classifier(pixels).softmax(1)[owners, classes]
    assert torch.allclose(chances(owners, [torch.arange(0)] * 3), whole, atol=1e-5)
    ends = [chances(owners, [order[image] for image in range(3)]) for order in orders]
    assert torch.allclose(ends[0], ends[1], atol=1e-5)
    assert torch.allclose(ends[0], chances(owners, everything), atol=1e-5)
    area, turned = (judged.areas(judged.removal_orders(sign * scores), chances) for sign in (1, -1))
    assert np.abs(area).max() > 1e-2
    assert area == pytest.approx(-turned, abs=1e-5)


def test_the_area_is_the_trapezoid_worked_by_hand(judged):
    """A class that lives on patch 0 alone: its probability is 1 with it and 0 without."""

    def chances(owners, removed):
        return torch.tensor([0.0 if 0 in gone.tolist() else 1.0 for gone in removed])

    scores = torch.arange(16.0).flip(0)[None]
    assert judged.areas(judged.removal_orders(scores), chances).tolist() == [pytest.approx(15 / 16)]


def test_a_random_map_is_worth_nothing_within_three_standard_errors(judged):
    classifier, pixels = classifier_of(vit()), pixels_of(40)
    classes = classifier(pixels).argmax(1)
    scores = regard.Random(classifier)(pixels, 0).maps.flatten(1)
    found = judged.areas(judged.removal_orders(scores), judged.by_dropping(classifier, pixels, classes))
    assert abs(found.mean()) <= 3 * found.std(ddof=1) / 40**0.5


def test_equal_scores_fall_in_the_order_of_their_places(judged):
    most, least = judged.removal_orders(torch.tensor([[1.0, 2.0, 1.0, 2.0]]))
    assert (most.tolist(), least.tolist()) == ([[1, 3, 0, 2]], [[0, 2, 1, 3]])


def test_maps_of_pixels_are_averaged_over_patches(judged):
    maps = torch.arange(16.0).view(1, 1, 4, 4)
    assert judged.by_patch(maps, (2, 2)).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
