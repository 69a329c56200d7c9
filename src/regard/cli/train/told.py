"""What is told of a trained network, whatever it was trained for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regard.cli.output import print_json, print_table

if TYPE_CHECKING:
    from regard.training.brnpa.trained import TrainedNetwork
    from regard.training.few_shot.figures import EpisodeFigure
    from regard.training.figures import Figure


@dataclass(frozen=True)
class Told:
    """A trained network in words.

    Attributes:
        trained_on: what, and by what it was examined; one line.
        columns: of the table of figures.
        rows: of it.
        notes: what forbids to trust the figures, or the file to stand for them.
    """

    trained_on: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]


def tell(trained: TrainedNetwork, told: Told, out: Path, folder: Path, as_json: bool) -> None:
    """Print what came of a training.

    Args:
        trained: the network that was written.
        told: it in words.
        out: its file.
        folder: of the finished run.
        as_json: as JSON.
    """
    if as_json:
        print_json(
            {
                "file": str(out),
                "run": str(folder),
                "classifier_hash": trained.classifier.hash,
                "labels": trained.classifier.labels,
                "training": dict(trained.training),
                **trained.figures(),
                "unreadable": dict(trained.unreadable),
                "notes": told.notes,
            }
        )
        return
    left_out = f"; {len(trained.unreadable)} photos cannot be read and are left out" if trained.unreadable else ""
    print(f"{trained.classifier.name}: {told.trained_on}{left_out}")
    print_table(told.columns, told.rows)
    for note in told.notes:
        print(f"note: {note}")
    print(f"written to {out}; explain with it: regard explain PHOTO --classifier {out} --method br-npa")


def row(figure: Figure | EpisodeFigure, count: int) -> list[str]:
    """A figure of so many photos, queries or episodes."""
    interval = "" if figure.interval is None else f"{figure.interval[0]:.1%} to {figure.interval[1]:.1%}"
    return [figure.name, str(count), f"{figure.value:.1%}", interval, f"{figure.chance:.1%}"]
