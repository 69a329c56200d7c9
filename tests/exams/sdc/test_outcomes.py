"""Outcomes and figures of weights are those of plain loops, ties are treated as named, nonsense is refused."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from regard.errors import MetricError, NotFiniteError
from regard.exams.sdc import OUTCOMES, by_class, in_per_cent, outcomes
from regard.exams.sdc.outcomes import background_to_class, focus_shares
from regard.exams.sdc.weight_figures import calibration, figures, largest_weights

POLICIES = ("fractional", "first", "strict")


@some.composite
def answers(draw, ragged=True):
    """(weights, logits, label, position, mask) with many ties."""
    count, segments, labels = draw(some.integers(1, 6)), draw(some.integers(1, 5)), draw(some.integers(1, 4))
    rows, masks, places = [], [], []
    for _ in range(count):
        length = draw(some.integers(1, segments)) if ragged else segments
        there = draw(some.permutations([True] * length + [False] * (segments - length)))
        parts = [draw(some.integers(0, 3)) if here else 0 for here in there]
        if not sum(parts):
            parts = [int(here) for here in there]
        rows.append([part / sum(parts) for part in parts])
        masks.append(there)
        places.append(draw(some.sampled_from([place for place, here in enumerate(there) if here])))
    logits = [[draw(some.sampled_from([-1.0, 0.0, 2.5])) for _ in range(labels)] for _ in range(count)]
    label = [draw(some.integers(0, labels - 1)) for _ in range(count)]
    return (
        torch.tensor(rows, dtype=torch.float64),
        torch.tensor(logits),
        torch.tensor(label),
        torch.tensor(places),
        torch.tensor(masks) if ragged else None,
    )


def share(values, there, right, ties):
    """How much of the choice of the largest lies on `right`, as a fraction."""
    present = [place for place in range(len(values)) if there[place]]
    best = max(values[place] for place in present)
    largest = [place for place in present if values[place] == best]
    if ties == "fractional":
        return Fraction(right in largest, len(largest))
    if ties == "first":
        return Fraction(largest[0] == right)
    return Fraction(largest == [right])


def by_loops(weights, logits, label, position, mask, ties):
    found = []
    for row in range(len(weights)):
        there = [True] * weights.shape[1] if mask is None else mask[row].tolist()
        focus = share(weights[row].tolist(), there, int(position[row]), ties)
        prediction = share(logits[row].tolist(), [True] * logits.shape[1], int(label[row]), ties)
        right, wrong = 1 - focus, 1 - prediction
        found.append([focus * prediction, right * prediction, focus * wrong, right * wrong])
    return torch.tensor([[float(value) for value in row] for row in found], dtype=torch.float64)


@settings(max_examples=50)
@given(given_=answers(), ties=some.sampled_from(POLICIES))
def test_outcomes_are_those_of_loops_and_part_the_whole(given_, ties):
    found = outcomes(*given_, ties=ties)
    assert found.shape == (len(given_[0]), 4)
    assert found.dtype == torch.float64
    assert torch.allclose(found, by_loops(*given_, ties), atol=1e-12)
    assert torch.allclose(found.sum(dim=1), torch.ones(len(found)).double(), atol=1e-12)
    means = in_per_cent(found)
    assert math.isclose(sum(means[name] for name in OUTCOMES), 100, abs_tol=1e-9)
    right = [share(row.tolist(), [True] * len(row), int(at), ties) for row, at in zip(*given_[1:3], strict=True)]
    assert math.isclose(means["accuracy"], 100 * float(sum(right)) / len(right), abs_tol=1e-9)
    there = [[True] * given_[0].shape[1]] * len(right) if given_[4] is None else given_[4].tolist()
    seen = [share(row.tolist(), *rest, ties) for row, *rest in zip(given_[0], there, given_[3].tolist(), strict=True)]
    assert math.isclose(means["focus-accuracy"], 100 * float(sum(seen)) / len(seen), abs_tol=1e-9)


@settings(max_examples=50)
@given(given_=answers(ragged=False), order=some.randoms(use_true_random=False))
def test_segments_in_another_order_have_the_same_outcomes(given_, order):
    weights, logits, label, position, _ = given_
    places = [*range(weights.shape[1])]
    order.shuffle(places)
    moved = torch.tensor([places.index(int(at)) for at in position])
    for ties in ("fractional", "strict"):
        one = outcomes(weights, logits, label, position, ties=ties)
        assert torch.equal(outcomes(weights[:, places], logits, label, moved, ties=ties), one)


@pytest.mark.parametrize("segments", [2, 9, 50])
def test_weights_all_alike_find_the_foreground_by_the_policy_alone(segments):
    position = torch.arange(segments).repeat(4)[: 3 * segments + 1]
    weights = torch.full((len(position), segments), 1 / segments)
    logits = torch.tensor([[1.0, 0.0]]).expand(len(position), 2)
    label = torch.zeros(len(position), dtype=torch.long)

    def focused(ties, **settings):
        return in_per_cent(outcomes(weights, logits, label, position, ties=ties, **settings))["focus-accuracy"]

    assert math.isclose(focused("fractional"), 100 / segments, rel_tol=1e-12)
    assert focused("strict") == 0
    assert math.isclose(focused("first"), 100 * float((position == 0).double().mean()), rel_tol=1e-12)


def test_ties_by_lot_hang_on_the_seed_and_give_each_its_share_in_the_mean():
    weights = torch.full((6000, 2), 0.5)
    logits = torch.zeros(6000, 2)
    label, position = torch.zeros(2, 6000, dtype=torch.long)
    one, again, other = (outcomes(weights, logits, label, position, ties="random", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert {*one.flatten().tolist()} == {0.0, 1.0}
    # the four of two fair lots that know nothing of each other: a quarter each, with a deviation of 0.6 %
    assert all(abs(in_per_cent(one)[name] - 25) < 2.5 for name in OUTCOMES)
    assert focus_shares(torch.tensor([[0.4, 0.2, 0.4]]).expand(50, 3), ties="random")[:, 1].sum() == 0


def test_an_oracle_has_no_false_focus_and_an_inverted_one_no_true():
    position = torch.arange(40) % 2
    oracle = torch.eye(2)[position]
    logits, label = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3
    told, fooled = (in_per_cent(outcomes(weights, logits, label, position)) for weights in (oracle, 1 - oracle))
    assert (told["FFPT"], told["FFPF"]) == (0, 0)
    assert (fooled["FTPT"], fooled["FTPF"]) == (0, 0)
    assert told["accuracy"] == fooled["accuracy"] > 0


def test_figures_worked_by_hand():
    weights = torch.tensor(
        [[0.7, 0.295, 0.005, 0.0], [0.25, 0.25, 0.25, 0.25], [0.0, 0.0, 0.0, 1.0], [0.1, 0.4, 0.5, 0]]
    )
    mask = torch.tensor([[True] * 4, [True] * 4, [True] * 4, [True] * 3 + [False]])
    logits = torch.tensor([[1.0, 0], [1.0, 0], [0, 1.0], [0.0, 0.0]])
    found = figures(weights, logits, torch.tensor([0, 1, 1, 0]), torch.tensor([0, 2, 3, 1]), mask)
    # shares of (focus, prediction): (1, 1), (1/4, 0), (1, 1), (0, 1/2)
    expected = {
        "FTPT": 50.0,
        "FFPT": 12.5,
        "FTPF": 6.25,
        "FFPF": 31.25,
        "accuracy": 62.5,
        "focus-accuracy": 56.25,
        "soft-FTPT": 100 * (0.7 + 0 + 1 + 0.4 / 2) / 4,
        "foreground-weight": (0.7 + 0.25 + 1 + 0.4) / 4,
        "margin": ((0.7 - 0.295) + 0 + 1 + (0.4 - 0.5)) / 4,
        "support": (2 + 4 + 1 + 3) / 4,
        "simplex-distance": (
            math.sqrt(0.3**2 + 0.295**2 + 0.005**2)
            + math.sqrt(0.75**2 + 3 * 0.25**2)
            + 0
            + math.sqrt(0.1**2 + 0.4**2 + 0.5**2)
        )
        / 4,
        "entropy": (
            -(0.7 * math.log2(0.7) + 0.295 * math.log2(0.295) + 0.005 * math.log2(0.005))
            + 2
            + 0
            - (0.1 * math.log2(0.1) + 0.4 * math.log2(0.4) + 0.5 * math.log2(0.5))
        )
        / 4,
        # bins 7, 2, 9 and 5: the focus is right there 1, 1/4, 1 and 0
        "calibration-error": (0.3 + 0 + 0 + 0.5) / 4,
        "confident": 75.0,
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name


def test_one_segment_has_all_the_weight_and_margin():
    one = figures(torch.ones(3, 1), torch.eye(3), torch.arange(3), torch.zeros(3, dtype=torch.long))
    assert (one["FTPT"], one["margin"], one["entropy"], one["simplex-distance"], one["support"]) == (100, 1, 0, 0, 1)


@settings(max_examples=50)
@given(given_=answers(), ties=some.sampled_from((*POLICIES, "random")))
def test_figures_lie_in_their_ranges_with_every_policy(given_, ties):
    found = figures(*given_, ties=ties)
    segments = given_[0].shape[1]
    for name, value in found.items():
        least, most = {
            "margin": (-1, 1),
            "support": (1, segments),
            "simplex-distance": (0, math.sqrt(2)),
            "entropy": (0, math.log2(segments)),
            "foreground-weight": (0, 1),
            "calibration-error": (0, 1),
        }.get(name, (0, 100))
        assert least - 1e-9 <= value <= most + 1e-9, name
    assert found["FTPT"] + found["FTPF"] == pytest.approx(found["focus-accuracy"])


def test_a_focus_that_is_right_as_often_as_its_weight_says_is_calibrated():
    weights = torch.tensor([[0.75, 0.25]]).repeat(8, 1)
    position = torch.tensor([0, 0, 0, 1] * 2)
    each = outcomes(weights, torch.zeros(8, 2), torch.zeros(8, dtype=torch.long), position)
    found = calibration(weights, each)
    assert found.error == 0
    assert found.counts.tolist() == [0] * 7 + [8, 0, 0]
    assert (found.weight[7], found.right[7]) == (0.75, 0.75)
    assert found.right[0].isnan()
    alike = torch.full((8, 2), 0.5)
    assert calibration(alike, outcomes(alike, torch.zeros(8, 2), position, position)).error == 0
    wrong = outcomes(weights, torch.zeros(8, 2), position, torch.ones(8, dtype=torch.long))
    assert calibration(weights, wrong).error == 0.75


def test_largest_weights_are_counted_by_outcome():
    weights = torch.tensor([[0.5, 0.5, 0], [0.4, 0.3, 0.3], [0, 0, 1.0]])
    each = outcomes(
        weights, torch.tensor([[1.0, 0], [0, 1.0], [0, 1.0]]), torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1])
    )
    assert largest_weights(weights, each).tolist() == [[0, 0.5], [0, 1.5], [1, 0], [0, 0]]
    assert largest_weights(weights, each, bins=5).sum(dim=0).tolist() == [0, 0, 2, 0, 1]


def test_classes_have_their_own_outcomes():
    each = torch.eye(4).double()[[0, 0, 1, 3]]
    found = by_class(each, torch.tensor([2, 2, 2, 0]), 4)
    assert found[2].tolist() == pytest.approx([200 / 3, 100 / 3, 0, 0])
    assert found[0].tolist() == [0, 0, 0, 100]
    assert found[[1, 3]].isnan().all()
    for label in ([2, 4, 0, 0], [-1, 0, 0, 0]):
        with pytest.raises(MetricError, match="no such label"):
            by_class(each, torch.tensor(label), 4)


def test_what_is_said_of_the_focused_background():
    weights = torch.tensor([[0.1, 0.9, 0], [0.5, 0.5, 0.0], [0.2, 0.8, 0.0], [0.2, 0.8, 0.0]])
    classes = torch.tensor([[0, 5, 4], [3, 4, 0], [1, 5, -1], [5, 1, 3]])
    said = torch.tensor([[0, 1, 2], [2, 2, 0], [0, 1, 0], [0, 1, 0]])
    position, mask = torch.tensor([0, 2, 0, 1]), classes >= 0
    found = background_to_class(weights, torch.eye(3)[said], classes, position, mask)
    # rows 0 and 2: class 5, told 1. Row 1: a half each of 3 and 4, told 2. Row 3: the foreground is focused
    expected = torch.zeros(6, 3)
    expected[5, 1], expected[3, 2], expected[4, 2] = 2, 0.5, 0.5
    assert torch.equal(found, expected.double())
    assert background_to_class(weights, torch.eye(3)[said], classes, position, mask, count=10).shape == (10, 3)
    whole = torch.eye(3)[[0, 1, 2, 2]][:, None].expand(-1, 3, -1)
    assert background_to_class(weights, whole, classes, position, mask)[5].tolist() == [1, 0, 1]
    by_lot = background_to_class(weights, torch.eye(3)[said], classes, position, mask, "random")
    assert sorted(by_lot[[3, 4], 2].tolist()) == [0, 1]
    with pytest.raises(MetricError, match="more classes than rows"):
        background_to_class(weights, torch.eye(3)[said], classes, position, mask, count=5)
    with pytest.raises(MetricError, match="every segment has logits"):
        background_to_class(weights, torch.eye(3)[said[:, 0]], classes, position)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_weights_and_logits_of_any_precision_count(kind):
    weights = torch.softmax(torch.randn(50, 300, generator=torch.Generator().manual_seed(0)), dim=1).to(kind)
    logits, label = torch.eye(3, dtype=kind).repeat(17, 1)[:50], torch.arange(50, dtype=torch.int16) % 3
    weights.requires_grad_()
    found = outcomes(weights, logits, label, weights.argmax(dim=1).int(), ties="first")
    assert in_per_cent(found)["FTPT"] == 100
    assert not found.requires_grad


RIGHT = {
    "weights": torch.tensor([[0.5, 0.5], [1.0, 0.0]]),
    "logits": torch.zeros(2, 3),
    "label": torch.tensor([0, 2]),
    "position": torch.tensor([1, 0]),
}


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ({"weights": torch.tensor([[0.5, 0.2], [1, 0]])}, "do not add up to one"),
        ({"weights": torch.tensor([[1.5, -0.5], [1, 0]])}, "below zero"),
        ({"weights": torch.tensor([[1, 0], [1, 0]])}, "examples and segments"),
        ({"weights": torch.zeros(0, 2)}, "examples and segments"),
        ({"weights": torch.zeros(2)}, "examples and segments"),
        ({"weights": torch.tensor([[0.5, math.nan], [1, 0]])}, "a weight is NaN"),
        ({"weights": torch.tensor([[math.inf, 0.5], [1, 0]])}, "a weight is NaN"),
        ({"logits": torch.tensor([[0, math.nan], [0, 0]])}, "a logit is NaN"),
        ({"logits": torch.tensor([[0, math.inf], [0, 0]])}, "a logit is NaN"),
        ({"logits": torch.zeros(3, 3)}, "a number for each label"),
        ({"logits": torch.zeros(2, 0)}, "a number for each label"),
        ({"logits": torch.zeros(2, 3, dtype=torch.long)}, "a number for each label"),
        ({"label": torch.tensor([0, 3])}, "no such label"),
        ({"label": torch.tensor([0, -1])}, "no such label"),
        ({"label": torch.tensor([0.0, 1.0])}, "has a label"),
        ({"label": torch.tensor([0])}, "has a label"),
        ({"position": torch.tensor([2, 0])}, "no such position"),
        ({"position": torch.tensor([[1], [0]])}, "has a position"),
        ({"mask": torch.tensor([[True, False], [True, True]])}, "weight where there is no segment"),
        (
            {"mask": torch.tensor([[True, True], [True, False]]), "position": torch.tensor([1, 1])},
            "no segment at a position",
        ),
        ({"mask": torch.ones(2, 2)}, "whether it is there"),
        ({"mask": torch.ones(2, 3, dtype=torch.bool)}, "whether it is there"),
        ({"ties": "last"}, "no such way with ties"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_what_cannot_be_judged_is_refused(fault, problem):
    with pytest.raises((MetricError, NotFiniteError), match=problem):
        outcomes(**{**RIGHT, **fault})


def test_an_impossible_label_is_no_fault_and_bins_must_be_some():
    each = outcomes(
        **RIGHT | {"logits": torch.tensor([[0.0, -math.inf], [-math.inf, -math.inf]]), "label": torch.tensor([0, 1])}
    )
    assert each[:, :2].sum(dim=1).tolist() == [1, 0.5]
    for bins in (0, 2.5):
        with pytest.raises(MetricError, match="bins"):
            calibration(RIGHT["weights"], each, bins=bins)
    with pytest.raises(MetricError, match="four outcomes"):
        largest_weights(RIGHT["weights"], each[:1])
