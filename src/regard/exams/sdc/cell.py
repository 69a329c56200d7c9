"""A cell of a grid: one task, one model, one way to learn, for any seed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from regard.attention.selective import SelectiveModel, aggregated_shape
from regard.attention.selective_networks import Norm, classifier_called, focus_called, functionally_zero
from regard.attention.selective_weights import weights_called
from regard.errors import UnsupportedError
from regard.exams.sdc.registry import task_called, task_names
from regard.exams.sdc.task import SelectiveTask
from regard.exams.sdc.told import tell_classifier, tell_focus
from regard.training.selective.recipe import (
    Learner,
    Optimizer,
    Paradigm,
    Phase,
    SelectiveRecipe,
    alternating,
    hybrid,
    stage_wise,
)

Begin = Literal["random", "zero", "told"]
"""How a module begins: at random; 0 for all segments (a focus alone, `functionally_zero`); or knowing the answer
(`regard.exams.sdc.told`)."""


class ImpossibleCellError(UnsupportedError):
    """Each word of a cell is known, and together they cannot be."""


PARADIGMS = (*get_args(Paradigm), "hybrid", "stage-wise", "alternating")
POINTS = ("d1", "d2", "boxes-1", "boxes-2", "boxes-4", "singletons")
"""Tasks without pictures."""
TURNS = 10
"""Of "alternating"."""

_WORDS = {
    "task": "{}",
    "segments": "m {}",
    "train": "{} mosaics",
    "leaky": "{}leaky",
    "focus": "focus {}",
    "classifier": "classifier {}",
    "layer": "layer {}",
    "weights": "{}",
    "paradigm": "{}",
    "entropy": "k {:g}",
    "focus_begins": "focus {}",
    "classifier_begins": "classifier {}",
    "learns": "{} learns",
}
"""What a table calls a cell by; the other fields, only where all of these are the same."""


@dataclass(frozen=True)
class Cell:
    """A named point of a grid; `build` and `recipe` are what `fit_selective` needs.

    Attributes:
        task: its name, see `task_called`.
        segments: m; None for the task's own.
        train: mosaics to learn from; None likewise.
        test: mosaics to be examined with; None likewise.
        leaky: whether both parts have the same items.
        focus: network, see `focus_called`.
        classifier: network, see `classifier_called`. A "cnn-6" has batch norm with running statistics, as published.
        layer: at which is averaged, see `SelectiveModel`.
        weights: see `weights_called`.
        paradigm: one of `Paradigm`; or "hybrid", half of the epochs soft, half marginal; "stage-wise", half for the
            classifier, half for the focus; "alternating", ten turns of these; all by soft attention but hybrid's end.
        entropy: k, see `SelectiveRecipe`.
        warm_up: epochs in which k grows.
        focus_begins: see `Begin`.
        classifier_begins: "random" or "told".
        learns: which module.
        epochs: at most.
        optimizer: see `SelectiveRecipe`, also the next three.
        rate: also of what is told before.
        batch: mosaics of a step.
        stop: training loss at which a seed is done; None for never.

    Raises:
        ImpossibleCellError: words that cannot be together.
        UnsupportedError: words or numbers that cannot be.
    """

    task: str = "d1"
    segments: int | None = None
    train: int | None = None
    test: int | None = None
    leaky: bool = False
    focus: str = "mlp-50-50"
    classifier: str = "mlp-50"
    layer: int = 0
    weights: str = "softmax"
    paradigm: str = "soft"
    entropy: float = 0.0
    warm_up: int = 0
    focus_begins: Begin = "random"
    classifier_begins: Begin = "random"
    learns: Learner = "both"
    epochs: int = 250
    optimizer: Optimizer = "adam"
    rate: float = 1e-3
    batch: int = 250
    stop: float | None = 0.01

    def __post_init__(self) -> None:
        _known("task", self.task, task_names())
        _known("paradigm", self.paradigm, PARADIGMS)
        _known("beginning of a focus", self.focus_begins, get_args(Begin))
        _known("beginning of a classifier", self.classifier_begins, ("random", "told"))
        weights_called(self.weights)
        for fault, reason in (
            (
                self.weights == "spherical" and self.focus_begins == "zero",
                "spherical weights of scores that are all 0 have no direction to learn in",
            ),
            (
                self.layer > 0 and self.classifier_begins == "told",
                "a classifier behind a layer of the focus cannot be told before that layer has learnt",
            ),
            (
                self.paradigm in ("stage-wise", "alternating") and self.learns != "both",
                f"{self.paradigm!r} says itself which module learns when",
            ),
            (self.paradigm in ("hybrid", "stage-wise") and self.epochs < 2, f"{self.paradigm!r} has two phases"),
        ):
            if fault:
                raise ImpossibleCellError("this cell cannot be", came=reason)
        self.recipe()

    def recipe(self) -> SelectiveRecipe:
        """How it learns."""
        half = self.epochs // 2
        if self.paradigm == "hybrid":
            phases = tuple(Phase(each.epochs, each.paradigm, self.learns) for each in hybrid(half, self.epochs - half))
        elif self.paradigm == "stage-wise":
            phases = stage_wise(half, self.epochs - half)
        elif self.paradigm == "alternating":
            phases = alternating(max(1, self.epochs // TURNS), self.epochs)
        else:
            phases = (Phase(self.epochs, self.paradigm, self.learns),)  # type: ignore[arg-type]
        return SelectiveRecipe(
            phases=phases,
            entropy=self.entropy,
            warm_up=self.warm_up,
            optimizer=self.optimizer,
            rate=self.rate,
            batch=self.batch,
            stop=self.stop,
        )

    def made_task(self, data: str | Path | None = None) -> SelectiveTask:
        """The task, the same mosaics for every cell that asks for the same.

        Args:
            data: where its pictures are; points need none.
        """
        return task_called(self.task, None if self.task in POINTS else data, **self.task_settings())

    def task_settings(self) -> dict[str, Any]:
        """Those of `task_called` that are not the task's own."""
        asked = {"segments": self.segments, "train": self.train, "test": self.test, "leaky": self.leaky or None}
        return {name: value for name, value in asked.items() if value is not None}

    def untold(self, task: SelectiveTask, seed: int) -> SelectiveModel:
        """A model of first weights, before anything is told; focus and classifier have other draws of a seed.

        Raises:
            UnsupportedError: networks that do not fit each other or the task.
        """
        focus = focus_called(self.focus, task.shape, seed, _norm(self.focus))
        read = aggregated_shape(focus, task.shape, self.layer)
        classifier = classifier_called(self.classifier, read, len(task.labels), seed, _norm(self.classifier))
        if self.focus_begins == "zero":
            functionally_zero(focus)
        return SelectiveModel(focus, classifier, weights=weights_called(self.weights, seed), layer=self.layer)

    def build(self, task: SelectiveTask, seed: int) -> SelectiveModel:
        """A model as it begins; see `untold`."""
        model = self.untold(task, seed)
        if self.focus_begins == "told":
            tell_focus(model.focus, task.train.items, seed, self.rate)
        if self.classifier_begins == "told":
            tell_classifier(model.classifier, task.train.items, seed, self.rate)
        return model

    def words(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    def changed(self, default: Cell) -> tuple[str, ...]:
        """The names of the fields in which it is not the default."""
        names = (field.name for field in fields(self))
        return tuple(name for name in names if getattr(self, name) != getattr(default, name))

    def called(self, default: Cell) -> str:
        """What makes it another one than the default: "layer 2", or "focus told, classifier learns"."""
        changed = self.changed(default)
        values = {name: getattr(self, name) for name in changed} | {"leaky": "" if self.leaky else "not "}
        named = [_WORDS[name].format(values[name]) for name in changed if name in _WORDS]
        named = named or [f"{name.replace('_', ' ')} {getattr(self, name)}" for name in changed]
        return ", ".join(named) or "default"


def _norm(network: str) -> Norm:
    return "running" if network == "cnn-6" else "none"


def _known(what: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UnsupportedError(f"there is no such {what}", came=repr(value), expected=", ".join(known))
