"""A cell of a grid: one task, one model, one way to learn, for any seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, cast, get_args

from torch import Tensor

from regard.attention.selective import SelectiveModel, aggregated_shape
from regard.attention.selective_losses import Baseline
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
    "spread": "spread {}",
    "overlap": "overlap {}",
    "skew": "skew {}",
    "label_noise": "label noise {}",
    "gamma": "γ {}",
    "foreground": "foreground {}",
    "focus": "focus {}",
    "classifier": "classifier {}",
    "layer": "layer {}",
    "norm": "norm {}",
    "weights": "{}",
    "paradigm": "{}",
    "samples": "{} samples",
    "baseline": "baseline {}",
    "entropy": "k {}",
    "warm_up": "warm-up {}",
    "focus_begins": "focus {}",
    "classifier_begins": "classifier {}",
    "learns": "{} learns",
}
"""What a table calls a cell by; the other fields, how it is trained, only where these do not tell cells apart."""
_ARRANGED = ("segments", "train", "test", "spread", "overlap", "skew", "label_noise", "gamma", "foreground")
"""Of the task: where nothing is said, as the task has it."""
_SAID_IF_ASKED = ("spread", "overlap", "skew", "label_noise", "gamma", "foreground", "norm", "samples", "baseline")
"""They are in no words of a cell that does not ask for them, so that a new factor leaves runs without it what they
were: a configuration is the same as long as the numbers are."""
_SETTINGS: Mapping[str, tuple[str, type]] = {
    "softmax": ("temperature", float),
    "gumbel": ("temperature", float),
    "entmax": ("alpha", float),
    "top-k": ("k", int),
}
"""Of weights: what stands behind the colon."""


@dataclass(frozen=True)
class Cell:
    """A named point of a grid; `build` and `recipe` are what `fit_selective` needs.

    Attributes:
        task: its name, see `task_called`.
        segments: m, or (least, most); None for the task's own, as of all of the task but `leaky`: see `task_called`.
        train: mosaics to learn from.
        test: mosaics to be examined with.
        leaky: whether both parts have the same items.
        spread: of the background about its mean.
        overlap: share of the background that lies about a foreground class.
        skew: share of mosaics whose foreground stands first.
        label_noise: share of what is learnt from whose label is another one.
        gamma: dose of "implanted".
        foreground: classes of pictures that decide, by name or number.
        focus: network, see `focus_called`.
        classifier: network, see `classifier_called`.
        norm: of both networks that have convolutions; None for running batch norm in a "cnn-6", as published, and none
            in others.
        layer: at which is averaged, see `SelectiveModel`.
        weights: see `weights_called`; with a setting behind a colon: "softmax:0.5" and "gumbel:0.5" (temperature),
            "entmax:1.3" (α), "top-k:2" (k).
        paradigm: one of `Paradigm`; or "hybrid", half of the epochs soft, half marginal; "stage-wise", half for the
            classifier, half for the focus; "alternating", ten turns of these; all by soft attention but hybrid's end.
        samples: of "sampled", see `SelectiveRecipe`.
        baseline: likewise.
        entropy: k, see `SelectiveRecipe`.
        warm_up: epochs in which k grows.
        focus_begins: see `Begin`.
        classifier_begins: "random" or "told".
        learns: which module.
        epochs: at most.
        optimizer: see `SelectiveRecipe`, also the next three.
        rate: of its training; what is told before has its own, see `regard.exams.sdc.told`.
        batch: mosaics of a step.
        stop: training loss at which a seed is done; None for never.

    Raises:
        ImpossibleCellError: words that cannot be together.
        UnsupportedError: words or numbers that cannot be.
    """

    task: str = "d1"
    segments: int | tuple[int, int] | None = None
    train: int | None = None
    test: int | None = None
    leaky: bool = False
    spread: float | None = None
    overlap: float | None = None
    skew: float | None = None
    label_noise: float | None = None
    gamma: float | None = None
    foreground: tuple[str | int, ...] | None = None
    focus: str = "mlp-50-50"
    classifier: str = "mlp-50"
    layer: int = 0
    norm: Norm | None = None
    weights: str = "softmax"
    paradigm: str = "soft"
    samples: int = 4
    baseline: Baseline = "leave-one-out"
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
        _known("norm", self.norm or "none", get_args(Norm))
        _weights(self.weights, 0)
        for fault, reason in (
            (self.gamma is not None and self.task != "implanted", "a dose is given in the task implanted alone"),
            (self.foreground is not None and self.task in POINTS, "the foreground of points is what they are"),
            (
                self.norm is not None and not any(name.startswith("cnn") for name in (self.focus, self.classifier)),
                "networks without convolutions have no norm",
            ),
            (
                self.paradigm != "sampled" and (self.samples, self.baseline) != (Cell.samples, Cell.baseline),
                "samples and their baseline are of the paradigm sampled alone",
            ),
            (self.warm_up > 0 and not self.entropy, "where the loss has no entropy its share cannot grow"),
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
            phases = (Phase(self.epochs, cast(Paradigm, self.paradigm), self.learns),)
        return SelectiveRecipe(
            phases=phases,
            samples=self.samples,
            baseline=self.baseline,
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
        asked = {name: getattr(self, name) for name in _ARRANGED} | {"leaky": self.leaky or None}
        return {name: value for name, value in asked.items() if value is not None}

    def untold(self, task: SelectiveTask, seed: int) -> SelectiveModel:
        """A model of first weights, before anything is told; focus and classifier have other draws of a seed.

        Raises:
            UnsupportedError: networks that do not fit each other or the task.
        """
        focus = focus_called(self.focus, task.shape, seed, self._norm(self.focus))
        read = aggregated_shape(focus, task.shape, self.layer)
        classifier = classifier_called(self.classifier, read, len(task.labels), seed, self._norm(self.classifier))
        if self.focus_begins == "zero":
            functionally_zero(focus)
        return SelectiveModel(focus, classifier, weights=_weights(self.weights, seed), layer=self.layer)

    def build(self, task: SelectiveTask, seed: int) -> SelectiveModel:
        """A model as it begins; see `untold`."""
        model = self.untold(task, seed)
        if self.focus_begins == "told":
            tell_focus(model.focus, task.train.items, seed)
        if self.classifier_begins == "told":
            tell_classifier(model.classifier, task.train.items, seed)
        return model

    def words(self) -> dict[str, Any]:
        """JSON values."""
        usual = Cell()
        asked = {name for name in self.changed(usual) if name in _SAID_IF_ASKED}
        return {name: value for name, value in asdict(self).items() if name in asked or name not in _SAID_IF_ASKED}

    @classmethod
    def of_words(cls, words: Mapping[str, Any]) -> Cell:
        """The cell of such values."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in words.items()
        }
        return cls(**values)

    def changed(self, default: Cell) -> tuple[str, ...]:
        """The names of the fields in which it is not the default."""
        names = (field.name for field in fields(self))
        return tuple(name for name in names if getattr(self, name) != getattr(default, name))

    def called(self, default: Cell) -> str:
        """What makes it another one than the default: "layer 2", or "focus told, classifier learns".

        How it is trained is not said: where that alone is different, it is called as the default is; see `besides`.
        """
        return ", ".join(self._word(name) for name in self.changed(default) if name in _WORDS) or "default"

    def besides(self, default: Cell) -> str:
        """What else is different: "epochs 200, rate 0.1"."""
        return ", ".join(self._word(name) for name in self.changed(default) if name not in _WORDS)

    def _word(self, name: str) -> str:
        value = getattr(self, name)
        if isinstance(value, tuple):
            value = ("-" if name == "segments" else "+").join(map(str, value))
        elif isinstance(value, bool):
            value = "" if value else "not "
        elif isinstance(value, float):
            value = f"{value:g}"
        elif value is None:
            value = "never" if name == "stop" else "usual"
        return _WORDS.get(name, f"{name} {{}}").format(value)

    def _norm(self, network: str) -> Norm:
        if not network.startswith("cnn"):
            return "none"
        return self.norm or ("running" if network == "cnn-6" else "none")


def _weights(asked: str, seed: int) -> Callable[[Tensor], Tensor]:
    """Weights by name, with a setting behind a colon where one is asked for."""
    name, colon, value = asked.partition(":")
    if not colon and name != "top-k":
        return weights_called(name, seed)
    if name not in _SETTINGS:
        raise UnsupportedError("these weights have no setting", came=repr(asked), expected=f"of {', '.join(_SETTINGS)}")
    setting, kind = _SETTINGS[name]
    try:
        return weights_called(name, seed, **{setting: kind(value)})
    except ValueError as reason:
        raise UnsupportedError(
            f"{setting} of weights is a number behind a colon", came=repr(asked), expected=f"such as {name}:2"
        ) from reason


def _known(what: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UnsupportedError(f"there is no such {what}", came=repr(value), expected=", ".join(known))
