"""Photos parted by class, not by photo: what is examined are classes that training has never seen."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from regard.errors import ClassifierError, PhotoError
from regard.images import Photo
from regard.models.preparation import Preparation
from regard.training.parts import Part, Parts
from regard.training.readable import Watched, listed_by_name, reasons_against
from regard.training.split import held_out_marks
from regard.training.targets import Answers


@dataclass(frozen=True)
class ClassSplit:
    """Which classes are for what, by name, in the order of the answers.

    Attributes:
        learnt: trained on.
        chosen_by: not trained on; they say which epoch is kept. Empty where the last one is.
        examined: kept from training and from every choice.
    """

    learnt: tuple[str, ...]
    chosen_by: tuple[str, ...]
    examined: tuple[str, ...]

    def check(self, ways: int) -> None:
        """Refuse a part that has fewer classes than an episode.

        Raises:
            ClassifierError: so it is.
        """
        for what, names in (("train on", self.learnt), ("choose by", self.chosen_by), ("examine", self.examined)):
            if 0 < len(names) < ways:
                raise ClassifierError(
                    f"there are too few classes to {what} for episodes of {ways}",
                    came=", ".join(names),
                    remedy="photos of more classes, fewer ways, or other shares: choosing 0 keeps the last epoch",
                )


def class_split(
    answers: Answers, marks: Sequence[str], held_out: float | Sequence[bool], choosing: float, seed: int
) -> ClassSplit:
    """Part classes by the content of their photos: what classes are called changes nothing.

    Args:
        answers: "softmax" ones, the class of each photo.
        marks: of the content of each photo.
        held_out: share of the classes that is examined; or one mark a photo, the same for all photos of a class.
        choosing: share of the other classes by which the epoch is chosen; 0 for none.
        seed: another one, another draw of those examined.

    Raises:
        ClassifierError: photos of one class on both sides, or nothing on one.
        PhotoError: no photo is there.
    """
    if not any(marks):
        raise PhotoError("no photo can be read", came="no such files" if marks else "no photos")
    apart = (
        _drawn(answers, marks, answers.names, held_out, f"held out {seed}")
        if isinstance(held_out, (int, float))
        else _marked(answers, held_out)
    )
    taught = [name for name in answers.names if name not in apart]
    inner = _drawn(answers, marks, taught, choosing, "inner") if choosing else set()
    learnt = [name for name in taught if name not in inner]
    for what, names in (("train on", learnt), ("examine", apart), *([("choose by", inner)] if choosing else [])):
        if not names:
            raise ClassifierError(f"there are too few classes: none is left to {what}", came=f"{len(answers.names)}")
    return ClassSplit(
        tuple(learnt),
        tuple(name for name in taught if name in inner),
        tuple(name for name in answers.names if name in apart),
    )


def parted_by_class(
    photos: Sequence[Photo],
    marks: Sequence[str],
    answers: Answers,
    split: ClassSplit,
    preparation: Preparation,
    tracked: Watched,
) -> Parts:
    """The photos of each part, in the order of their content; of those of the same content and class the first alone.

    Photos twice would be given and asked for in the same episode. Classes of a part are counted from 0, in the order
    of the split.

    Raises:
        PhotoError: no photo can be read.
    """
    order = sorted(range(len(photos)), key=marks.__getitem__)
    reasons = reasons_against(photos, order, preparation, tracked)
    names = [answers.names[index] for index in answers.values.tolist()]
    first: dict[tuple[str, str], int] = {}
    for place in order:
        if place not in reasons:
            first.setdefault((names[place], marks[place]), place)
    known = [place for place in order if first.get((names[place], marks[place])) == place]

    def part(classes: Sequence[str]) -> Part:
        index = {name: number for number, name in enumerate(classes)}
        places = [place for place in known if names[place] in index]
        return Part(
            tuple(photos[place] for place in places),
            tuple(marks[place] for place in places),
            tuple(index[names[place]] for place in places),
        )

    return Parts(
        part(split.learnt),
        part(split.chosen_by),
        part(split.examined),
        listed_by_name(photos, reasons),
    )


def _drawn(answers: Answers, marks: Sequence[str], names: Sequence[str], share: float, draw: str) -> set[str]:
    """A share of classes, by what their photos are."""
    if len(names) < 2:
        return set()
    content = _contents(answers, marks)
    chosen = held_out_marks([content[name] for name in names], [""] * len(names), share, draw)
    return {name for name, here in zip(names, chosen, strict=True) if here}


def _contents(answers: Answers, marks: Sequence[str]) -> Mapping[str, str]:
    """Class → SHA-256 of its photos' marks, whatever their order."""
    found: dict[str, list[str]] = defaultdict(list)
    for index, mark in zip(answers.values.tolist(), marks, strict=True):
        found[answers.names[index]].append(mark)
    return {name: hashlib.sha256("\n".join(sorted(listed)).encode()).hexdigest() for name, listed in found.items()}


def _marked(answers: Answers, held_out: Sequence[bool]) -> set[str]:
    sides: dict[str, set[bool]] = defaultdict(set)
    for index, here in zip(answers.values.tolist(), held_out, strict=True):
        sides[answers.names[index]].add(bool(here))
    if both := [name for name, found in sides.items() if len(found) > 1]:
        raise ClassifierError(
            "few-shot classification is examined on classes that training has never seen",
            came=f"photos of {len(both)} classes both to train on and held out: {', '.join(sorted(both)[:10])}",
            expected="all photos of a class on one side",
            remedy="mark whole classes (train, val), or give no marks to have a share of the classes held out",
        )
    return {name for name, found in sides.items() if True in found}
