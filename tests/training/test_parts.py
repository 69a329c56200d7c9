"""Photos in three parts: by content alone, none in two of them, no choice by what is examined."""

import numpy as np
import pytest

import regard
from regard.errors import ClassifierError, PhotoError
from regard.training.embeddings import fingerprint
from regard.training.parts import parted
from regard.training.targets import answers_of

from .pictures import COLOURS, pictures

PREPARATION = regard.Preparation(size=32)
PHOTOS, LABELS = pictures(10)


def parts(photos=PHOTOS, labels=LABELS, held_out=0.2, choosing=0.25, seed=0):
    marks = [fingerprint(photo) for photo in photos]
    answers = answers_of(labels, "softmax")
    return parted(photos, marks, answers, PREPARATION, held_out, choosing, seed, lambda _, work: work)


def test_every_photo_is_in_one_part_with_its_own_class():
    found = parts()
    all_of_them = (found.learnt, found.chosen_by, found.examined)
    assert [len(part) for part in all_of_them] == [18, 6, 6]  # of ten of each class: 6, 2 and 2
    marks = [mark for part in all_of_them for mark in part.marks]
    assert sorted(marks) == sorted(map(fingerprint, PHOTOS))
    names = sorted(COLOURS)
    known = {fingerprint(photo): label for photo, label in zip(PHOTOS, LABELS, strict=True)}
    for part in all_of_them:
        assert [names[index] for index in part.classes] == [known[mark] for mark in part.marks]
        assert [fingerprint(photo) for photo in part.photos] == list(part.marks)
        assert np.bincount(part.classes).tolist() == [len(part) // 3] * 3


def test_order_changes_nothing_and_another_seed_examines_others():
    backwards = parts(PHOTOS[::-1], LABELS[::-1])
    assert backwards.learnt.marks == parts().learnt.marks
    assert backwards.examined.classes == parts().examined.classes
    assert set(parts(seed=1).examined.marks) != set(parts().examined.marks)


def test_those_examined_are_those_that_a_head_is_examined_on():
    from regard.training import fit_head

    from ..explainers.networks import classifier_of, cnn

    trained = fit_head(classifier_of(cnn()), PHOTOS, LABELS, held_out=0.2, seed=3)
    assert {*map(fingerprint, trained.held_out_photos)} == set(parts(seed=3).examined.marks)


def test_marks_say_what_is_examined_and_no_share_leaves_none_to_choose_by():
    marked = [place % 5 == 0 for place in range(len(PHOTOS))]
    found = parts(held_out=marked, choosing=0)
    assert set(found.examined.marks) == {fingerprint(photo) for photo, mark in zip(PHOTOS, marked, strict=True) if mark}
    assert len(found.chosen_by) == 0
    assert len(found.learnt) == 24


def test_copies_fall_into_the_same_part():
    found = parts([*PHOTOS, *PHOTOS], [*LABELS, *LABELS])
    assert not set(found.examined.marks) & {*found.learnt.marks, *found.chosen_by.marks}
    assert not set(found.chosen_by.marks) & set(found.learnt.marks)


def test_what_cannot_be_read_is_left_out_and_said():
    found = parts([*PHOTOS, "nowhere.jpg"], [*LABELS, "red"])
    assert list(found.unreadable) == ["nowhere.jpg"]
    with pytest.raises(PhotoError, match="no photo can be read"):
        parts(["nowhere.jpg", "nor-here.jpg"], ["red", "blue"])


def test_too_few_photos_are_refused():
    with pytest.raises(ClassifierError, match="some held out"):
        parts(held_out=[True] * 30)
    with pytest.raises(ClassifierError, match="cannot teach everything"):
        parts(held_out=[label == "red" for label in LABELS])
    with pytest.raises(ClassifierError, match="too few photos"):
        parts(PHOTOS[:3], LABELS[:3])
