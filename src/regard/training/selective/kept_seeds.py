"""Seeds of a run: those that are done are not trained again.

A seed's rows are written at once, as it ends. So a run that was stopped has all rows of a seed or none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from regard.runs import Run
from regard.training.selective.fit import TrainedSeed


def seeds_left(run: Run, image: str, method: str, seeds: Sequence[int]) -> list[int]:
    """The seeds of one cell of a run that have no rows yet.

    Args:
        run: open.
        image: what was learnt, as its rows call it: the task.
        method: how, as its rows call it: the cell.
        seeds: all that are wanted.
    """
    there = {row["seed"] for row in run.rows() if (row["image"], row["method"]) == (image, method)}
    return [seed for seed in seeds if seed not in there]


def kept_in(run: Run, image: str, method: str) -> Callable[[TrainedSeed], None]:
    """What `fit_selective` tells each seed that ends, so that it is kept: a row for each of its epochs."""

    def keep(trained: TrainedSeed) -> None:
        run.write_rows(seed_rows(trained, image, method))

    return keep


def seed_rows(trained: TrainedSeed, image: str, method: str) -> list[dict[str, Any]]:
    """A seed's curve as rows: figures of every epoch; how it ended stands in all of them."""
    return [
        {
            "image": image,
            "method": method,
            "target": f"seed {trained.seed:04d}, epoch {epoch:04d}",
            "seed": trained.seed,
            "epoch": epoch,
            "last": epoch == len(trained.epochs) - 1,
            "end": trained.end,
            "collapsed": trained.collapsed,
            **figures,
        }
        for epoch, figures in enumerate(trained.epochs)
    ]
