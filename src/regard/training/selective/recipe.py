"""What a training of selective models is made of (papers/sdc.md, 3 and 4)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

from regard.attention.selective import Prediction
from regard.attention.selective_losses import Baseline, check_baseline
from regard.errors import UnsupportedError

Paradigm = Literal["soft", "hard", "sampled", "marginal", "posterior", "supervised"]
"""By which loss; see `regard.attention.selective_losses`. "supervised" is soft, and the focus is told besides."""
Learner = Literal["both", "focus", "classifier"]
Optimizer = Literal["adam", "sgd"]

PREDICTED: Mapping[str, Prediction] = MappingProxyType(
    {
        "soft": "aggregate",
        "supervised": "aggregate",
        "hard": "chosen",
        "sampled": "chosen",
        "marginal": "chosen",
        "posterior": "chosen",
    }
)
"""What is predicted at test by what was trained: soft attention from the average, all others from one segment."""


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check(name: str, value: object, fits: bool, expected: str) -> None:
    if not fits:
        raise UnsupportedError(f"{name} of a training cannot be that", came=repr(value), expected=expected)


@dataclass(frozen=True)
class Phase:
    """Some epochs of one kind.

    Attributes:
        epochs: how many.
        paradigm: by which loss.
        learns: which module; the other one stays as it is, its batch norms too.
    """

    epochs: int
    paradigm: Paradigm = "soft"
    learns: Learner = "both"

    def __post_init__(self) -> None:
        whole = type(self.epochs) is int and self.epochs > 0
        _check("epochs", self.epochs, whole, "a whole number above 0")
        _check("paradigm", self.paradigm, self.paradigm in get_args(Paradigm), ", ".join(get_args(Paradigm)))
        _check("learns", self.learns, self.learns in get_args(Learner), ", ".join(get_args(Learner)))


def hybrid(first: int, then: int, paradigm: Paradigm = "marginal") -> tuple[Phase, ...]:
    """Soft attention for as long as its focus improves quickly, then one that goes on where soft falters.

    The follow-up (arXiv 2307.13421) names these complementary phases; how it combines them is not known to us.

    Args:
        first: epochs of soft attention.
        then: epochs after it.
        paradigm: of these.
    """
    return Phase(first), Phase(then, paradigm)


def stage_wise(classifier: int, focus: int, paradigm: Paradigm = "soft") -> tuple[Phase, ...]:
    """First the classifier with the focus as it begins, then the focus with that classifier."""
    return Phase(classifier, paradigm, "classifier"), Phase(focus, paradigm, "focus")


def alternating(every: int, epochs: int, paradigm: Paradigm = "soft") -> tuple[Phase, ...]:
    """Classifier and focus in turns of `every` epochs, `epochs` in all; the last turn may be shorter."""
    starts = range(0, epochs, every)
    turns = itertools.cycle(("classifier", "focus"))
    return tuple(
        Phase(min(every, epochs - start), paradigm, "classifier" if turn == "classifier" else "focus")
        for start, turn in zip(starts, turns, strict=False)
    )


@dataclass(frozen=True)
class SelectiveRecipe:
    """How selective models are trained.

    Attributes:
        phases: what is done in which epochs, one after the other.
        entropy: k of `regard.attention.selective_losses.regularised`, in every phase.
        warm_up: epochs in which k grows from 0 in equal steps, so that the focus is not sharp before it knows.
        samples: segments drawn for each example, of "sampled".
        baseline: of "sampled".
        prediction: at test; None for that of the phase, `PREDICTED`.
        optimizer: "adam", or "sgd" with momentum 0.9.
        rate: learning rate of both modules.
        batch: examples of a step; the last one of an epoch takes what is left.
        stop: a seed is done when its mean training loss is at most that; None goes on to the last epoch. The loss is
            the cross-entropy of what is predicted: the same question for every paradigm.

    Raises:
        UnsupportedError: a word or a number that cannot be.
    """

    phases: tuple[Phase, ...] = (Phase(2500),)
    entropy: float = 0.0
    warm_up: int = 0
    samples: int = 4
    baseline: Baseline = "leave-one-out"
    prediction: Prediction | None = None
    optimizer: Optimizer = "adam"
    rate: float = 1e-3
    batch: int = 250
    stop: float | None = 0.01

    def __post_init__(self) -> None:
        fits = isinstance(self.phases, tuple) and all(isinstance(each, Phase) for each in self.phases)
        _check("phases", self.phases, fits and len(self.phases) > 0, "a tuple of Phase")
        _check("entropy", self.entropy, _number(self.entropy) and 0 <= self.entropy <= 1, "from 0 to 1")
        _check("warm_up", self.warm_up, type(self.warm_up) is int and self.warm_up >= 0, "a whole number from 0 on")
        _check("samples", self.samples, type(self.samples) is int, "a whole number")
        _check("batch", self.batch, type(self.batch) is int and self.batch > 0, "a whole number above 0")
        check_baseline(self.baseline, self.samples)
        known = (None, *get_args(Prediction))
        _check("prediction", self.prediction, self.prediction in known, ", ".join(get_args(Prediction)) + ", None")
        _check("optimizer", self.optimizer, self.optimizer in get_args(Optimizer), ", ".join(get_args(Optimizer)))
        _check("rate", self.rate, _number(self.rate) and self.rate > 0, "a number above 0")
        _check("stop", self.stop, self.stop is None or (_number(self.stop) and self.stop >= 0), "a number from 0 on")

    @property
    def epochs(self) -> int:
        """The most epochs there are."""
        return sum(phase.epochs for phase in self.phases)

    def phase(self, epoch: int) -> Phase:
        """The phase of an epoch, counted from 1; epoch 0, before any training, counts to the first."""
        ends = itertools.accumulate(phase.epochs for phase in self.phases)
        return next(phase for phase, end in zip(self.phases, ends, strict=True) if epoch <= end)

    def share(self, epoch: int) -> float:
        """k in an epoch, counted from 1: the first of the warm-up is without."""
        return self.entropy * min(1.0, (epoch - 1) / self.warm_up) if self.warm_up else self.entropy

    def predicted(self, epoch: int) -> Prediction:
        """What is predicted after an epoch, counted from 1."""
        return self.prediction or PREDICTED[self.phase(epoch).paradigm]

    def words(self) -> dict[str, Any]:
        """JSON values, for run and file."""
        return {**asdict(self), "phases": [asdict(phase) for phase in self.phases]}
