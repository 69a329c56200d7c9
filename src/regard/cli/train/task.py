"""What `--task` of `regard train br-npa` chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard.cli.train.told import Told

if TYPE_CHECKING:
    from regard.training import BRNPARecipe, Labelled


def _read(source: Path) -> Labelled:
    from regard.training import read_labelled

    return read_labelled(source)


def _given(labelled: Labelled) -> tuple[Any, ...]:
    return labelled.photos, labelled.labels


def _split(labelled: Labelled) -> Mapping[str, Any]:
    return {} if labelled.held_out is None else {"held_out": labelled.held_out}


@dataclass(frozen=True)
class TrainingTask:
    """A task that networks with representatives are trained for.

    Attributes:
        recipes: by the name of the preset.
        fit: trains a start, with the settings of `fit_brnpa`.
        announce: says what a start, what was read and the settings of `fit` will come to; seconds of a step.
        told: what came of it, in words, and of its teacher's file.
        read: what a source holds.
        given: what was read, as `fit` takes it behind the start.
        split: what a source says of what is held out, as a setting of `fit`.
        shares: of what training does not see, where the source does not say it, as settings of `fit`.
        drawn: draws what was trained, with what was read, into the folder of its run.
    """

    recipes: Mapping[str, BRNPARecipe]
    fit: Callable[..., Any]
    announce: Callable[..., float]
    told: Callable[[Any, Path | None], Told]
    read: Callable[[Path], Any] = _read
    given: Callable[[Any], tuple[Any, ...]] = _given
    split: Callable[[Any], Mapping[str, Any]] = _split
    shares: Mapping[str, float] = field(default_factory=lambda: {"held_out": 0.2, "choosing": 0.2})
    drawn: Callable[[Any, Any, Path], None] = lambda *_: None
