"""What a head is worth, on photos that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from torch import Tensor

from regard.labels import Outputs
from regard.statistics import bootstrap_interval

AnyFigure = TypeVar("AnyFigure")

MOST_CONFUSED = 20
"""Classes up to which the table of confusions is kept: more cannot be read."""


@dataclass(frozen=True)
class Figure:
    """One number and what it is to be compared with.

    Attributes:
        name: of the class or the measurement.
        photos: held-out photos that the value is about.
        value: the accuracy, or the root mean square error.
        interval: 95 % of the bootstrap over photos; None where all photos are alike, such as all answered rightly,
            of which it would say nothing.
        chance: what one gets who has not seen the photos.
        r_squared: share of a measurement's variance that is explained; None for classes, or where nothing varies.
        shown: held-out photos that show the class: those of "softmax" that its value is about, some of those of
            "sigmoid"; None for measurements and for all classes together.
    """

    name: str
    photos: int
    value: float
    interval: tuple[float, float] | None
    chance: float
    r_squared: float | None = None
    shown: int | None = None


def figure_of_words(kind: type[AnyFigure], words: Mapping[str, Any]) -> AnyFigure:
    """A figure of a kind from what `dataclasses.asdict` made of it, after JSON."""
    interval = words["interval"]
    return kind(**{**words, "interval": None if interval is None else tuple(interval)})


@dataclass(frozen=True)
class HeldOut:
    """Figures of the held-out photos.

    Attributes:
        measure: what `value` is.
        photos: how many.
        overall: of all classes; None for measurements, whose units differ.
        each: of each class that was held out, or measurement.
        unexamined: classes that no held-out photo shows.
        confusion: row: the true class, column: the answer; None for more than 20 classes and for other outputs.
    """

    measure: Literal["accuracy", "root mean square error"]
    photos: int
    overall: Figure | None
    each: tuple[Figure, ...]
    unexamined: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] | None = None


def examined(
    outputs: Outputs, answers: Tensor, truth: Tensor, learnt: Tensor, names: Sequence[str], seed: int
) -> HeldOut:
    """Figures of answers.

    "softmax": the share of photos whose likeliest class is the true one, of all and of each class. Chance: always the
    class most frequent in training; for a single class, its share there.

    "sigmoid": the share of right yes and no among all photos, at probability ½; of all, the mean over classes.
    Chance: always the more frequent answer in training.

    "scalar": √ mean (answer − truth)², and R² = 1 − Σ (answer − truth)² / Σ (truth − mean truth)². Chance: always the
    mean in training.

    Args:
        outputs: what the answers mean.
        answers: logits or measurements of the held-out photos (n, C).
        truth: class indices (n,), or 0 and 1 (n, C), or measurements (n, C).
        learnt: the same of the photos trained on.
        names: of the C columns.
        seed: of the bootstrap.
    """
    answers, truth, learnt = answers.double(), truth.double(), learnt.double()
    if outputs == "scalar":
        each = [
            _measurement(name, answers[:, column], truth[:, column], float(learnt[:, column].mean()), seed)
            for column, name in enumerate(names)
        ]
        return HeldOut("root mean square error", len(truth), None, tuple(each))
    if outputs == "sigmoid":
        return _independent(answers, truth, learnt, names, seed)
    return _exclusive(answers, truth.long(), learnt.long(), names, seed)


def _measurement(name: str, answers: Tensor, truth: Tensor, mean: float, seed: int) -> Figure:
    squared = (answers - truth).square()
    interval = bootstrap_interval(squared, seed)
    varied = float((truth - truth.mean()).square().sum())
    return Figure(
        name=name,
        photos=len(truth),
        value=float(squared.mean().sqrt()),
        interval=None if interval is None else (interval[0] ** 0.5, interval[1] ** 0.5),
        chance=float((truth - mean).square().mean().sqrt()),
        r_squared=1 - float(squared.sum()) / varied if varied > 0 else None,
    )


def _independent(answers: Tensor, truth: Tensor, learnt: Tensor, names: Sequence[str], seed: int) -> HeldOut:
    right = ((answers > 0) == (truth > 0.5)).double()
    guessed = (truth == (learnt.mean(dim=0) > 0.5).double()).double()
    shown = truth.sum(dim=0).int().tolist()
    each = [
        _accuracy(name, right[:, column], float(guessed[:, column].mean()), seed, shown[column])
        for column, name in enumerate(names)
    ]
    return HeldOut(
        measure="accuracy",
        photos=len(truth),
        overall=_accuracy("all classes", right.mean(dim=1), float(guessed.mean()), seed),
        each=tuple(figure for figure in each if figure.shown),
        unexamined=tuple(figure.name for figure in each if not figure.shown),
    )


def _exclusive(answers: Tensor, truth: Tensor, learnt: Tensor, names: Sequence[str], seed: int) -> HeldOut:
    answered = answers.argmax(dim=1)
    right = (answered == truth).double()
    frequent = learnt.bincount(minlength=len(names))
    shares = (frequent.double() / len(learnt)).tolist()
    shown = [truth == index for index in range(len(names))]
    confusion = (truth * len(names) + answered).bincount(minlength=len(names) ** 2).view(len(names), -1).tolist()
    return HeldOut(
        measure="accuracy",
        photos=len(truth),
        overall=_accuracy("all classes", right, float((truth == frequent.argmax()).double().mean()), seed),
        each=tuple(
            _accuracy(name, right[of_class], share, seed, int(of_class.sum()))
            for name, of_class, share in zip(names, shown, shares, strict=True)
            if bool(of_class.any())
        ),
        unexamined=tuple(name for name, of_class in zip(names, shown, strict=True) if not bool(of_class.any())),
        confusion=tuple(map(tuple, confusion)) if len(names) <= MOST_CONFUSED else None,
    )


def _accuracy(name: str, right: Tensor, chance: float, seed: int, shown: int | None = None) -> Figure:
    return Figure(name, len(right), float(right.mean()), bootstrap_interval(right, seed), chance, shown=shown)
