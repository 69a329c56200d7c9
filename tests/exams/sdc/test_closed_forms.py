"""Modes of error that can be worked out by hand (papers: SDC, section 5) have the outcomes that they must have."""

import math

import pytest
import torch

from regard.exams.sdc import by_class, in_per_cent, outcomes, task_called
from regard.exams.sdc.outcomes import background_to_class
from regard.exams.sdc.weight_figures import figures


def attended(found, slope):
    """Weights of the focus f(x) = slope · x, and the weighted sum z, in double precision."""
    points = found.segments[..., 0].double()
    weights = torch.softmax(slope * points, dim=1)
    return weights, (weights * points).sum(dim=1)


def examined(found, weights, logits):
    return outcomes(weights, logits, found.label, found.position)


def above(values, threshold):
    """Logits that say the second label above a threshold."""
    return torch.stack([threshold - values, values - threshold], dim=1)


@pytest.mark.parametrize("slope", [0.3, 2.0, 10.0, 50.0])
def test_class_coded_focus_is_always_right_and_finds_one_class_alone(slope):
    found = task_called("singletons", background=0.0, train=1000).train[:]
    weights, mixed = attended(found, slope)
    each = examined(found, weights, above(mixed, 0.5))
    assert in_per_cent(each)["accuracy"] == 100
    assert by_class(each, found.label, 2).tolist() == [[0, 100, 0, 0], [100, 0, 0, 0]]
    assert in_per_cent(each)["FTPT"] == pytest.approx(50, abs=5)
    # the background says: minus one
    points = found.segments[..., 0].double()
    table = background_to_class(weights, above(points.flatten(), 0.5).view(1000, 2, 2), found.classes, found.position)
    assert table.tolist() == [[0, 0], [0, 0], [int((found.label == 0).sum()), 0]]


def test_the_entropy_of_a_class_coded_focus_goes_to_zero():
    found = task_called("singletons", background=0.0, train=100).train[:]
    slopes = (0.5, 2.0, 10.0, 50.0)
    entropies = [figures(*_given(found, *attended(found, slope)))["entropy"] for slope in slopes]
    # both labels have the gap 1 between the scores: the entropy of σ(w), in bits
    shares = [1 / (1 + math.exp(-slope)) for slope in slopes[:3]]
    expected = [-(each * math.log2(each) + (1 - each) * math.log2(1 - each)) for each in shares]
    assert entropies[:3] == pytest.approx(expected, rel=1e-6)
    assert 0 < entropies[3] < 1e-15 * 100


def _given(found, weights, mixed):
    return weights, above(mixed, 0.5), found.label, found.position


STILL = 0.5 * math.log(1 + math.sqrt(2))


@pytest.mark.parametrize("slope", [0.2, STILL, 1.0, 2.0])
def test_inverted_focus_leaks_what_it_does_not_look_at(slope):
    found = task_called("singletons", background=3.0, train=1000).train[:]
    weights, mixed = attended(found, slope)
    minus, plus = (mixed[found.label == label] for label in (0, 1))

    def sigmoid(value):
        return 1 / (1 + math.exp(-value))

    expected = 3 - 4 * sigmoid(-4 * slope), 3 - 2 * sigmoid(-2 * slope)
    assert torch.allclose(minus, torch.tensor(expected[0]).double(), atol=1e-12)
    assert torch.allclose(plus, torch.tensor(expected[1]).double(), atol=1e-12)
    if slope == STILL:
        assert expected[0] == pytest.approx(expected[1], abs=1e-14)
        return
    logits = above(mixed, sum(expected) / 2) * (1 if expected[1] > expected[0] else -1)
    each = in_per_cent(examined(found, weights, logits))
    assert (each["accuracy"], each["FFPT"]) == (100, 100)


def test_the_same_focus_chosen_hard_tells_nothing():
    found = task_called("singletons", background=3.0, train=1000).train[:]
    weights, _ = attended(found, 2.0)
    focused = found.segments[..., 0].gather(1, weights.argmax(dim=1, keepdim=True))[:, 0].double()
    assert (focused == 3).all()
    each = examined(found, weights, above(focused, 0.0))
    assert by_class(each, found.label, 2).tolist() == [[0, 0, 0, 100], [0, 100, 0, 0]]
    # and where nothing is said at all, a half is right of either label
    assert in_per_cent(examined(found, weights, torch.zeros(1000, 2)))["accuracy"] == 50


@pytest.mark.parametrize("segments", [2, 9])
def test_uniform_mixing_over_a_background_of_one_point_loses_nothing_and_finds_nothing(segments):
    task = task_called("d1", segments=segments, spread=0.0, train=1000)
    found = task.train[:]
    weights = torch.full((1000, segments), 1 / segments)
    behind = found.segments[found.classes >= 3][0].double()
    mixed = found.segments.double().mean(dim=1)
    undone = segments * mixed - (segments - 1) * behind
    foreground = found.segments[torch.arange(1000), found.position].double()
    assert torch.allclose(undone, foreground, atol=1e-9)
    means = torch.tensor([(4, 6.5), (5.5, 6), (4.5, 4.5)], dtype=torch.float64)
    each = in_per_cent(examined(found, weights, -torch.cdist(undone, means)))
    assert each["accuracy"] == pytest.approx(100)
    assert each["FTPT"] == pytest.approx(100 / segments)
    assert each["FFPT"] == pytest.approx(100 - 100 / segments)
