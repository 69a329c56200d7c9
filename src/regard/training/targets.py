"""Labels of photos as numbers that a head learns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from regard.errors import ClassifierError
from regard.labels import Outputs


@dataclass(frozen=True)
class Answers:
    """What the head should say of each photo.

    Attributes:
        names: of the C classes or measurements, in the order of the head's columns.
        values: class indices (n,) for "softmax"; 0 and 1, float64 (n, C), for "sigmoid"; float64 (n, C) for "scalar".
        strata: one per photo; photos of all of them should be in every part of a split.
    """

    names: tuple[str, ...]
    values: Tensor
    strata: tuple[str, ...]

    def of(self, photos: Sequence[int]) -> Answers:
        """Those of some of the photos."""
        return Answers(self.names, self.values[list(photos)], tuple(self.strata[photo] for photo in photos))


def answers_of(labels: Sequence[Any], outputs: Outputs) -> Answers:
    """The answers that labels ask for; see `labelled.Label`. Classes are in the order of their names, numbers by value.

    The stratum of a photo is its class, of several the one that fewest photos show; of measurements there is one.

    Raises:
        ClassifierError: a label of another kind, or less than two classes.
    """
    if outputs == "scalar":
        return _measured(labels)
    if outputs == "sigmoid":
        return _independent(labels)
    if outputs == "softmax":
        return _exclusive(labels)
    raise ClassifierError("no such outputs of a head", came=repr(outputs), expected="softmax, sigmoid or scalar")


def check_learnable(answers: Answers, outputs: Outputs) -> None:
    """Refuse classes of which the photos trained on show nothing, or nothing else, and measurements that do not vary.

    Raises:
        ClassifierError: which they are.
    """
    if outputs == "softmax":
        poor = answers.values.bincount(minlength=len(answers.names)) == 0
    else:
        poor = (answers.values == answers.values[:1]).all(dim=0)
    named = [name for name, is_poor in zip(answers.names, poor.tolist(), strict=True) if is_poor]
    if named:
        wanted = {"softmax": "a photo of each class", "sigmoid": "photos with and without each class"}
        raise ClassifierError(
            "the photos trained on cannot teach everything",
            came=", ".join(named)[:200],
            expected=wanted.get(outputs, "different values of each measurement"),
        )


def _check_apart(names: Sequence[str]) -> None:
    """Refuse classes that are the same but for case or spaces: who asks for one by its label could mean the other."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(" ".join(name.casefold().split()), name)
        if other != name:
            raise ClassifierError(
                "two classes have the same name but for case or spaces",
                came=f"{other!r} and {name!r}",
                remedy="spell them alike, or name them apart",
            )


def _exclusive(labels: Sequence[Any]) -> Answers:
    for place, label in enumerate(labels):
        if not isinstance(label, str) or not label:
            raise _wrong(place, label, "the name of its class", "[names[index] for index in indices]")
    names = tuple(sorted(set(labels), key=_by_name))
    _check_apart(names)
    if len(names) < 2:
        raise ClassifierError("a head tells classes apart", came=f"{len(names)} class", expected="two or more")
    index = {name: number for number, name in enumerate(names)}
    return Answers(names, torch.tensor([index[label] for label in labels]), tuple(labels))


def _independent(labels: Sequence[Any]) -> Answers:
    for place, label in enumerate(labels):
        listed = isinstance(label, (list, tuple, set, frozenset))
        if not listed or not all(isinstance(name, str) and name for name in label):
            raise _wrong(
                place, label, "a list of the names of its classes, or an empty one", "[[name] for name in names]"
            )
    names = tuple(sorted({name for label in labels for name in label}, key=_by_name))
    if not names:
        raise ClassifierError("no photo shows any class")
    _check_apart(names)
    values = torch.tensor([[float(name in label) for name in names] for label in labels], dtype=torch.float64)
    often = dict(zip(names, values.sum(dim=0).tolist(), strict=True))
    strata = [min(sorted(label), key=lambda name: often[name], default="") for label in labels]
    return Answers(names, values, tuple(strata))


def _measured(labels: Sequence[Any]) -> Answers:
    names = tuple(labels[0]) if labels and isinstance(labels[0], Mapping) else ()
    for place, label in enumerate(labels):
        if not isinstance(label, Mapping) or not label or set(label) != set(names):
            raise _wrong(place, label, "its measurements by name, the same of every photo", "{'age': 3.5}")
        if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in label.values()):
            raise _wrong(place, label, "finite numbers", None)
    values = torch.tensor([[label[name] for name in names] for label in labels], dtype=torch.float64)
    return Answers(names, values, ("",) * len(labels))


def _by_name(name: str) -> tuple[float, str]:
    return (int(name) if name.isdecimal() else math.inf, name)


def _wrong(place: int, label: object, expected: str, remedy: str | None) -> ClassifierError:
    return ClassifierError(
        f"the label of photo {place} is none", came=f"{label!r:.80}", expected=expected, remedy=remedy
    )
