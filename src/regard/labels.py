"""Class indices and their labels: looked up, checked, named."""

from __future__ import annotations

import difflib
import operator
from collections import Counter
from collections.abc import Sequence
from typing import Literal, Protocol

from regard.errors import TargetError

Outputs = Literal["softmax", "sigmoid", "scalar", "embedding"]
"""What a classifier's output means: exclusive classes, independent ones, measurements, no head at all."""


class Subject(Protocol):
    """What a target must know of a classifier to be checked before any compute."""

    @property
    def labels(self) -> Sequence[str] | None: ...
    @property
    def class_count(self) -> int | None: ...
    @property
    def outputs(self) -> Outputs: ...
    @property
    def hash(self) -> str: ...
    @property
    def width(self) -> int | None: ...


def class_index(which: int | str, subject: Subject) -> int:
    """A class index or label → the index, checked.

    A label matches without regard to case, whole or as one of its comma-separated synonyms.

    Raises:
        TargetError: with the nearest labels, or with all candidates of an ambiguous one.
    """
    classes = class_count(subject)
    if not isinstance(which, str):
        index = _whole(which)
        if not 0 <= index < classes:
            raise TargetError("there is no such class", came=f"class {index}", expected=f"0 to {classes - 1}")
        return index
    if subject.labels is None:
        raise TargetError(
            f"the classifier has no labels, so {which!r} names no class",
            expected=f"an index from 0 to {classes - 1}",
            remedy="give labels=[…] when you make the classifier",
        )
    found = classes_called(which, subject)
    if len(found) == 1:
        return found[0]
    if found:
        candidates = ", ".join(f"{index} ({subject.labels[index]})" for index in found)
        raise TargetError(f"the label {which!r} names {len(found)} classes", came=candidates, remedy="give the index")
    raise TargetError(
        f"no class is called {which!r}",
        expected=f"perhaps {_nearest(which.strip().casefold(), subject.labels)}",
        remedy="regard models NAME --labels lists them all",
    )


def classes_called(label: str, subject: Subject) -> list[int]:
    """Indices of the classes that a label names, whole or as a synonym, without regard to case; perhaps none."""
    wanted, labels = label.strip().casefold(), subject.labels or ()
    whole = [index for index, name in enumerate(labels) if wanted in _spellings(index, name)]
    return whole or [index for index, name in enumerate(labels) if wanted in _synonyms(name)]


def _spellings(index: int, label: str) -> tuple[str, str]:
    """A label as it is, and as `class_name` writes it where several classes share it."""
    return label.casefold(), f"{label} ({index})".casefold()


def _whole(which: object) -> int:
    if not isinstance(which, bool):
        try:
            return operator.index(which)  # type: ignore[arg-type]  # that is the question
        except TypeError:
            pass
    raise TargetError("a class is named by its index or its label", came=repr(which)[:80])


def _synonyms(label: str) -> list[str]:
    return [name.strip().casefold() for name in label.split(",")]


def _nearest(wanted: str, labels: Sequence[str]) -> str:
    names = {synonym: label for label in labels for synonym in _synonyms(label)}
    close = difflib.get_close_matches(wanted, names, n=4, cutoff=0.6)
    within = [name for name in names if wanted and wanted in name][:4]
    found = list(dict.fromkeys(names[name] for name in [*close, *within])) or list(labels[:4])
    return " | ".join(repr(label) for label in found[:5])


def class_name(index: int, subject: Subject) -> str:
    """The label of a class, with its index where several classes share the label; or the index in words."""
    return class_names([index], subject)[0]


def class_names(indices: Sequence[int], subject: Subject) -> list[str]:
    """`class_name` of many: the labels are counted once."""
    labels = subject.labels
    if labels is None:
        return [f"class {index}" for index in indices]
    times = Counter(labels)
    return [f"{labels[index]} ({index})" if times[labels[index]] > 1 else labels[index] for index in indices]


def class_count(subject: Subject) -> int:
    """How many classes there are, or TargetError without a head."""
    if subject.class_count is None:
        raise TargetError(
            "the classifier has no head, so it knows no classes",
            remedy="ask for a Concept or a Similarity, or give it a head: Classifier(backbone, preparation, head=…)",
        )
    return subject.class_count
