"""How much study_brnpa_tasks.py does, what a row of it is of, and where rows and trainings are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measuring import shortened
from study_tame import kept

REPRESENTATIVE = {"1": (1,), "2": (2,), "3": (3,), "1+2": (1, 2), "2+3": (2, 3), "1+2+3": (1, 2, 3)}
"""Sets of ranks that are asked alone."""
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Extent:
    """How much is done.

    Attributes:
        seeds: trainings that differ in the seed alone.
        every: so-manieth character and person is taken.
        epochs, episodes: of few-shot trainings.
        examined: episodes.
        rounds: times that a person is seen, in re-identification.
        judged: drawings, or photos of persons, whose maps are judged.
        masks: of RISE.
        showings: times that a photo of clothing is seen, in each task.
    """

    seeds: int = 3
    every: int = 1
    epochs: int = 10
    episodes: int = 100
    examined: int = 600
    rounds: int = 30
    judged: int = 48
    masks: int = 200
    showings: int = 15


QUICK = Extent(1, every=4, epochs=1, episodes=2, examined=20, rounds=1, judged=3, masks=8, showings=1)


@dataclass(frozen=True)
class Case:
    """A network that is trained: the recipe of its task with something changed.

    Attributes:
        name: what it is.
        changed: of the recipe.
        teacher: the case whose network of the same seed teaches it; none where it is empty.
    """

    name: str
    changed: Mapping[str, Any] = field(default_factory=dict)
    teacher: str = ""

    @property
    def has_ranks(self) -> bool:
        return self.changed.get("pooling", "representative") == "representative"

    @property
    def crosses(self) -> bool:
        """Whether cross attention decides, whose weights are not kept with the network."""
        return "comparison" in self.changed


@dataclass(frozen=True)
class Keep:
    """Where rows, and runs of trainings, are kept.

    Attributes:
        rows: a file each: all that tables are made of.
        folder: of runs; one that is gone is trained again, to the same answers.
    """

    rows: Path
    folder: Path

    def row(self, *words: object, make: Callable[[], Row]) -> None:
        """Make a row, called by these words, where there is none yet."""
        kept(self.rows / f"{slug(*words)}.json", lambda: shortened(make()))

    def run(self, *words: object) -> Path:
        """The folder of a training."""
        return self.folder / "runs" / slug(*words)


def slug(*words: object) -> str:
    text = "-".join(map(str, words)).lower().replace(" = ", "").replace("×", "x")
    return text.translate(str.maketrans(" :=", "---", ","))
