"""A mode is named by all of its numbers, and by none alone."""

import math
from dataclasses import replace

import pytest
import torch

from regard.exams.sdc.error_modes import named
from regard.exams.sdc.evidence import Coded, Evidence, hard_bound

BOXES = Evidence(
    examples=1000,
    chance=35.7,
    accuracy=95.2,
    FTPT=39.1,
    FFPT=56.1,
    train=96.0,
    test=95.2,
    train_elsewhere=58.0,
    right_elsewhere=92.1,
    foreground_last=60.9,
    lean=42.0,
    support=2.0,
    coded=Coded(
        "foreground 1", of_all=46.3, elsewhere=94.2, focus=4.9, others_focus=55.3, kept=93.8, rival=4.0, zeroed=93.8
    ),
    hard=29.8,
    bound=40.2,
    one_hot=67.3,
    drawn=62.6,
    alike=60.0,
    without_foreground=31.4,
    follows=62.8,
)
"""Of a linear focus trained on boxes-2: one label is coded, the others leak besides."""


def test_modes_of_which_none_dominates_are_all_told():
    found = named(BOXES, leaky=False)
    assert found.mode == "unnamed"
    assert [note.partition(":")[0] for note in found.notes] == ["in part a class-coded focus", "in part leakage"]
    coded = replace(BOXES, coded=replace(BOXES.coded, of_all=50.0))
    assert named(coded, leaky=False).mode == "class-coded focus"
    assert named(coded, leaky=False).notes == ()


@pytest.mark.parametrize(
    "change",
    [
        {"others_focus": 49.0},
        {"focus": 30.0},
        {"elsewhere": 49.0},
        {"kept": 4.0},
        {"of_all": 49.0},
        {"zeroed": 46.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_label_is_coded_only_if_all_of_its_numbers_say_so(change):
    coded = Coded(
        "foreground 1", of_all=60.0, elsewhere=94.2, focus=4.9, others_focus=55.3, kept=93.8, rival=4.0, zeroed=93.8
    )
    assert named(replace(BOXES, coded=coded), leaky=False).mode == "class-coded focus"
    assert named(replace(BOXES, coded=replace(coded, **change)), leaky=False).mode == "unnamed"


def test_one_coded_label_of_many_is_named_however_small_its_share():
    """Of 50 labels it is 2 % of all right answers."""
    coded = Coded(
        "foreground 7",
        of_all=100.0,
        elsewhere=100.0,
        focus=0.0,
        others_focus=100.0,
        kept=100.0,
        rival=0.0,
        zeroed=100.0,
    )
    seen = replace(BOXES, chance=2.0, FTPT=98.0, FFPT=2.0, accuracy=100.0, train=100.0, test=100.0, coded=coded)
    assert named(seen, leaky=False).mode == "class-coded focus"
    astray = replace(coded, of_all=3.0, elsewhere=4.0, focus=96.0)
    assert named(replace(seen, coded=astray), leaky=False).mode == "interpretable"


def test_an_inverted_focus_that_finds_one_label_now_and_then_is_not_called_coded():
    coded = Coded(
        "minus one", of_all=50.3, elsewhere=100.0, focus=0.0, others_focus=1.0, kept=100.0, rival=0.0, zeroed=100.0
    )
    seen = replace(BOXES, chance=50.0, FTPT=0.5, FFPT=99.5, accuracy=100.0, train=100.0, test=100.0, coded=coded)
    seen = replace(seen, one_hot=50.0, drawn=55.0, foreground_last=99.5)
    assert named(seen, leaky=False).mode == "inverted focus with leakage"


def test_the_bound_is_the_largest_share_of_a_label_and_three_standard_errors():
    label = torch.tensor([0] * 30 + [1] * 60 + [2] * 10)
    assert hard_bound(label) == pytest.approx(100 * (0.6 + 3 * math.sqrt(0.6 * 0.4 / 100)))
    assert hard_bound(torch.zeros(5, dtype=torch.long)) == 100


@pytest.mark.parametrize(
    ("accuracy", "support", "mode"),
    [(49.0, 1.05, "collapse"), (49.0, 1.2, "nothing learnt"), (53.0, 1.05, "interpretable")],
)
def test_half_right_of_three_labels_is_what_was_learnt(accuracy, support, mode):
    """35.7 + 25 % of the way to 100 is 51.8."""
    seen = replace(BOXES, accuracy=accuracy, FTPT=accuracy, FFPT=0.0, train=accuracy, test=accuracy, support=support)
    assert named(replace(seen, coded=None), leaky=False).mode == mode


SUPERVISED = replace(
    BOXES,
    accuracy=99.6,
    FTPT=67.7,
    FFPT=31.9,
    train=99.6,
    test=99.6,
    lean=41.6,
    coded=Coded(
        "foreground 3", of_all=100, elsewhere=100, focus=0, others_focus=100, kept=49.2, rival=28.5, zeroed=49.2
    ),
    one_hot=83.8,
    alike=82.9,
)
"""Of a linear focus on boxes-2 that was told: weights of 0.71, and half of a label's background means that label."""


def test_background_stands_for_the_label_that_it_is_told_most():
    assert named(SUPERVISED, leaky=False).mode == "class-coded focus"
    other = named(replace(SUPERVISED, coded=replace(SUPERVISED.coded, kept=24.3, rival=50.1, zeroed=24.3)), leaky=False)
    assert other.mode == "unnamed"
    assert len(other.notes) == 1
    assert "by its outcomes alone" in other.notes[0]
    assert "24 % of these are right, and 50 % another label" in other.notes[0]
    tied = replace(SUPERVISED, coded=replace(SUPERVISED.coded, kept=50.0, rival=50.0, zeroed=50.0))
    assert named(tied, leaky=False).mode == "unnamed"


@pytest.mark.parametrize(
    ("change", "mode"),
    [
        ({}, "uniform mixing"),
        ({"lean": 18.2}, "unnamed"),  # weights of 0.59 of two: a classifier that was told, and a focus that learns
        ({"alike": 85.0}, "unnamed"),  # the answers hang on what little the weights differ
        ({"alike": None, "one_hot": None, "drawn": None, "hard": None}, "uniform mixing"),
        ({"foreground_last": 95.0}, "unnamed"),
    ],
    ids=["alike", "leaning", "amplified", "not asked", "inverted"],
)
def test_weights_are_alike_by_how_far_they_lean_and_by_what_the_answers_need(change, mode):
    coded = Coded(
        "foreground 3", of_all=40, elsewhere=50, focus=50, others_focus=50, kept=11.0, rival=60.0, zeroed=11.0
    )
    even = replace(BOXES, accuracy=99.0, FTPT=49.5, FFPT=49.5, train=99.0, test=99.0, lean=4.0, alike=98.0, coded=coded)
    assert named(replace(even, **change), leaky=False).mode == mode


def test_a_model_that_forgets_is_memorising_only_if_it_learnt_by_looking_elsewhere():
    """EM-E is accurate on what was learnt from, and looks elsewhere there."""
    seen = replace(BOXES, train=99.0, accuracy=60.0, test=60.0, FTPT=59.5, FFPT=0.5, coded=None)
    looking = named(replace(seen, train_elsewhere=1.0), leaky=False)
    assert looking.mode == "interpretable"
    assert "99.0 % are right of what was learnt from, 60.0 % of the test" in looking.notes[0]
    astray = named(replace(seen, train_elsewhere=90.0), leaky=False)
    assert astray.mode == "memorisation"
    assert "90.0 % of right answers look elsewhere" in astray.because
    assert not any("what was learnt holds" in note for note in astray.notes)


LATE = replace(
    BOXES, chance=50.0, accuracy=100.0, FTPT=0.0, FFPT=100.0, test=100.0, drawn=100.0, one_hot=50.0, alike=100.0
)
LATE = replace(LATE, without_foreground=50.0, follows=100.0, coded=None, foreground_last=100.0)


@pytest.mark.parametrize(
    ("change", "mode"),
    [
        ({}, "late aggregation"),
        ({"without_foreground": 90.0}, "unnamed"),  # another segment tells of the foreground
        ({"without_foreground": float("nan")}, "late aggregation"),  # no mosaic has another segment
        ({"follows": 60.0, "one_hot": 90.0}, "unnamed"),  # the answer is not of what stands there
        ({"follows": 0.0}, "inverted focus with leakage"),  # what leaks is the weight: it contradicts
        ({"follows": 0.0, "without_foreground": 90.0}, "unnamed"),
        ({"follows": None}, "late aggregation"),
    ],
    ids=["closed form", "others tell", "alone", "does not follow", "leaks", "leaks, others tell", "one label"],
)
def test_what_leaks_and_what_is_averaged_late_is_told_by_taking_and_swapping_the_foreground(change, mode):
    found = named(replace(LATE, **change), leaky=False)
    assert found.mode == mode
    assert any("other segments tell of it" in note for note in found.notes) == (change.get("without_foreground") == 90)
