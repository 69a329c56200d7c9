"""What `--task` of `regard train br-npa` chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard.cli.train.told import Told

if TYPE_CHECKING:
    from regard.training import BRNPARecipe, Labelled


def _read(source: Path) -> Labelled:
    from regard.training import read_labelled

    return read_labelled(source)


@dataclass(frozen=True)
class TrainingTask:
    """A task that networks with representatives are trained for.

    Attributes:
        recipes: by the name of the preset.
        fit: trains, with the arguments of `fit_brnpa`.
        announce: says what a start, labelled photos and the arguments of `fit` will come to; seconds of a step.
        told: what came of it, in words, and of its teacher's file.
        read: photos, labels and what is held out, of a source.
    """

    recipes: Mapping[str, BRNPARecipe]
    fit: Callable[..., Any]
    announce: Callable[..., float]
    told: Callable[[Any, Path | None], Told]
    read: Callable[[Path], Any] = _read
