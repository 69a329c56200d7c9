"""Photos parted by class: whole classes on one side, drawn by content, refused where that cannot be."""

import pytest

from regard.errors import ClassifierError, PhotoError
from regard.training.embeddings import fingerprint
from regard.training.few_shot.class_parts import class_split, parted_by_class
from regard.training.targets import answers_of

from .fewshot_trainings import HELD_OUT, LABELS, NAMES, PHOTOS, start

MARKS = list(map(fingerprint, PHOTOS))


def split_of(labels=LABELS, marks=MARKS, held_out=0.3, choosing=0.3, seed=0):
    return class_split(answers_of(labels, "softmax"), marks, held_out, choosing, seed)


def parts_of(photos=PHOTOS, labels=LABELS, marks=None):
    marks = list(map(fingerprint, photos)) if marks is None else marks
    answers = answers_of(labels, "softmax")
    split = class_split(answers, marks, 0.3, 0.3, 0)
    return split, parted_by_class(photos, marks, answers, split, start().preparation, lambda _, parts: parts)


def test_every_class_is_for_one_thing():
    split = split_of()
    assert sorted((*split.learnt, *split.chosen_by, *split.examined)) == sorted(NAMES)
    assert [len(split.learnt), len(split.chosen_by), len(split.examined)] == [5, 2, 3]
    assert split_of(choosing=0).chosen_by == ()
    others = {split_of(seed=seed).examined for seed in range(8)}
    assert len(others) > 3


def test_classes_are_drawn_by_their_photos_whatever_they_are_called():
    renamed = {name: f"z{9 - number}" for number, name in enumerate(NAMES)}
    split, other = split_of(), split_of([renamed[label] for label in LABELS])
    assert {renamed[name] for name in split.examined} == {*other.examined}
    assert {renamed[name] for name in split.chosen_by} == {*other.chosen_by}
    assert split_of(LABELS[::-1], MARKS[::-1]) == split


def test_marks_say_which_classes_are_examined_and_no_class_stands_on_both_sides():
    assert split_of(held_out=HELD_OUT).examined == tuple(NAMES[7:])
    with pytest.raises(ClassifierError, match="never seen") as refused:
        split_of(held_out=[True, *HELD_OUT[1:]])
    assert "1 classes both to train on and held out: kind 0" in refused.value.came


@pytest.mark.parametrize("held_out", [[True] * 50, [False] * 50], ids=["all", "none"])
def test_one_side_without_classes_is_refused(held_out):
    with pytest.raises(ClassifierError, match="too few classes"):
        split_of(held_out=held_out)


def test_parts_hold_the_photos_of_their_classes_and_each_photo_once():
    photos, labels = [*PHOTOS, PHOTOS[3]], [*LABELS, LABELS[3]]
    split, parts = parts_of(photos, labels, [*MARKS, MARKS[3]])
    for part, names in (
        (parts.learnt, split.learnt),
        (parts.chosen_by, split.chosen_by),
        (parts.examined, split.examined),
    ):
        found = {mark: names[label] for mark, label in zip(part.marks, part.classes, strict=True)}
        assert found == {mark: label for mark, label in zip(MARKS, LABELS, strict=True) if label in names}
        assert len(part) == 5 * len(names)
        assert list(part.marks) == sorted(part.marks)
        assert [fingerprint(photo) for photo in part.photos] == list(part.marks)


def test_a_photo_that_cannot_be_read_is_left_out_with_its_reason(tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"nothing")
    _, parts = parts_of([*PHOTOS, broken], [*LABELS, NAMES[0]])
    assert list(parts.unreadable) == [str(broken)]
    assert sum(map(len, (parts.learnt, parts.chosen_by, parts.examined))) == len(PHOTOS)
    with pytest.raises(PhotoError, match="no photo can be read"):
        parts_of([tmp_path / f"{number}.jpg" for number in range(50)], LABELS)
