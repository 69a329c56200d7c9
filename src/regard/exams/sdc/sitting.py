"""A sitting: every cell of a grid trained with every seed, and what each model then did, as rows of a run.

Rows are of two kinds. One of kind "seed" for each cell and seed: figures after its last epoch and after the epoch of
the least training loss, shares from 0 to 1, and the diagnosis of the model; figures of the examination that are not
shares are in their own units. One of kind "epoch" for each of its epochs, from 0 on, which are its curves: a list in a
column would be one cell of thousands of numbers in `index.csv`. Image is the task, method the cell.

Seeds that are trained together are kept together, in one part: a sitting that was stopped, at whatever moment, has all
their rows or none and goes on to the same numbers to the last bit, which in a smaller stack would not be certain.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from regard.attention.selective import SelectiveModel
from regard.exams.sdc.cell import Cell
from regard.exams.sdc.examine import examine
from regard.exams.sdc.grid import Grid
from regard.exams.sdc.outcomes import OUTCOMES, outcomes
from regard.exams.sdc.task import SelectiveTask
from regard.runs import Run
from regard.training.selective.fit import TOGETHER, TrainedSeed, fit_selective
from regard.training.selective.stacked import can_be_stacked

SEED, EPOCH = "seed", "epoch"
BEGINS = "begins focus"
"""How often the focus is on the foreground of the test before anything of it is trained."""
MODELS = "models"
EXAMINED = ("soft-FTPT", "simplex-distance", "entropy", "margin", "calibration-error", "confident")
"""Figures of the test that no curve has; see `regard.exams.sdc.weight_figures.figures`."""


@dataclass(frozen=True)
class Group:
    """Seeds of a cell that are trained together.

    Attributes:
        name: of the cell.
        cell: itself.
        task: of it.
        seeds: all of them.
    """

    name: str
    cell: Cell
    task: SelectiveTask
    seeds: tuple[int, ...]

    @property
    def work(self) -> int:
        """Segments that are learnt from, at most."""
        return len(self.seeds) * self.cell.epochs * self.task.train.index.numel()


def tasks_of(grid: Grid, data: str | Path | None) -> dict[Cell, SelectiveTask]:
    """The task of each cell, each made once.

    Args:
        grid: the cells.
        data: where pictures are; tasks of points need none.
    """
    made: dict[str, SelectiveTask] = {}
    for cell in grid.cells.values():
        if (asked := repr((cell.task, cell.task_settings()))) not in made:
            made[asked] = cell.made_task(data)
    return {cell: made[repr((cell.task, cell.task_settings()))] for cell in grid.cells.values()}


def configuration(
    grid: Grid, tasks: Mapping[Cell, SelectiveTask], seeds: Sequence[int], device: str = "cpu"
) -> dict[str, Any]:
    """All that the numbers of a sitting depend on; of its pictures a digest, wherever they lie."""
    digests = {id(task): _digest(task) for task in {id(task): task for task in tasks.values()}.values()}
    return {
        "grid": grid.name,
        "cells": {name: cell.words() for name, cell in grid.cells.items()},
        "items": {name: digests[id(tasks[cell])] for name, cell in grid.cells.items()},
        "seeds": [*seeds],
        **({} if device == "cpu" else {"device": device}),
    }


def groups(grid: Grid, tasks: Mapping[Cell, SelectiveTask], seeds: Sequence[int]) -> Iterator[Group]:
    """All of a sitting, in order."""
    for name, cell in grid.cells.items():
        together = TOGETHER if can_be_stacked(cell.untold(tasks[cell], seeds[0])) else 1
        for start in range(0, len(seeds), together):
            yield Group(name, cell, tasks[cell], tuple(seeds[start : start + together]))


def left(run: Run, every: Sequence[Group]) -> list[Group]:
    """Those of which a run has no rows yet."""
    done = {(row["method"], row["seed"]) for row in run.rows() if row["kind"] == SEED}
    return [group for group in every if (group.name, group.seeds[0]) not in done]


def sit(
    run: Run,
    group: Group,
    keep: bool,
    heard: Callable[[int, int], None] = lambda *_: None,
    device: str = "cpu",
) -> None:
    """Train and examine a group, and keep its rows.

    Args:
        run: open.
        group: one that is left.
        keep: the model of its first seed, too.
        heard: see `fit_selective`.
        device: where models are trained and examined.
    """
    cell, task = group.cell, group.task
    trained = fit_selective(
        lambda seed: cell.build(task, seed).to(device),
        task.train,
        task.test,
        group.seeds,
        cell.recipe(),
        judged=outcome_columns,
        heard=heard,
    )
    if keep:
        _keep(trained[0].model, model_file(run.folder, group.name))
    rows = []
    for each in trained:
        rows += [_examined(each, task, group.name), *_curve(each, task.name, group.name)]
    run.write_rows(rows)


def model_file(folder: Path, cell: str) -> Path:
    """Where the model of a cell's first seed is kept in a run's folder."""
    return folder / MODELS / f"{in_a_file(cell)}.safetensors"


def kept_model(folder: Path, name: str, cell: Cell, task: SelectiveTask, seed: int) -> SelectiveModel:
    """The model of a cell's first seed, in eval mode.

    Raises:
        OSError: the run's folder has none.
    """
    model = cell.untold(task, seed)
    model.load_state_dict(load_file(model_file(folder, name)))
    model.prediction = cell.recipe().predicted(cell.epochs)
    return model.eval()


def in_a_file(cell: str) -> str:
    """The name of a cell as that of a file."""
    return re.sub(r"[^\w.]+", "-", cell)


def outcome_columns(
    weights: Tensor, logits: Tensor, label: Tensor, position: Tensor, mask: Tensor | None
) -> Mapping[str, Tensor]:
    """The outcomes of each example by name, as `fit_selective` has them judged."""
    return dict(zip(OUTCOMES, outcomes(weights, logits, label, position, mask).unbind(dim=1), strict=True))


def _examined(trained: TrainedSeed, task: SelectiveTask, name: str) -> dict[str, Any]:
    """The row of a seed."""
    found = examine(trained.model, task, seed=trained.seed)
    best = min(range(len(trained.epochs)), key=lambda epoch: trained.epochs[epoch]["train loss"])
    figures = {key: value for key, value in trained.epochs[-1].items() if key != "objective"}
    return {
        "kind": SEED,
        "image": task.name,
        "method": name,
        "target": f"seed {trained.seed:04d}",
        "seed": trained.seed,
        "epoch": len(trained.epochs) - 1,
        "end": trained.end,
        "collapsed": trained.collapsed,
        BEGINS: trained.epochs[0]["test FTPT"] + trained.epochs[0]["test FTPF"],
        **figures,
        **{f"test {figure}": found.figures[figure] for figure in EXAMINED},
        "best epoch": best,
        **{f"best {key}": trained.epochs[best][key] for key in figures},
        "mode": found.diagnosis.mode,
        "because": found.diagnosis.because,
        "notes": "; ".join(found.diagnosis.notes),
    }


def _curve(trained: TrainedSeed, task: str, name: str) -> list[dict[str, Any]]:
    """The rows of a seed's epochs; how it ended stands in all of them."""
    return [
        {
            "kind": EPOCH,
            "image": task,
            "method": name,
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


def _keep(model: SelectiveModel, file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    unfinished = file.with_suffix(".unfinished")
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, unfinished)
    unfinished.replace(file)


def _digest(task: SelectiveTask) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in (task.train, task.test):
        for values in (part.items.values, part.items.classes, part.index, part.label):
            digest.update(values.contiguous().numpy().data)
    return digest.hexdigest()
