"""The figures of a sitting: each cell's curves, and what the model of its first seed does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from regard.exam_drawing import draw_curves
from regard.exams.sdc.cell import Cell
from regard.exams.sdc.examine import examine
from regard.exams.sdc.figures import examination_figure, mosaic_figure, region_figure, weight_figure
from regard.exams.sdc.grid import Grid
from regard.exams.sdc.sitting import EPOCH, in_a_file, kept_model
from regard.exams.sdc.task import SelectiveTask

FIGURES = "figures"


def draw_sitting(
    folder: Path, rows: Sequence[Mapping[str, Any]], grid: Grid, tasks: Mapping[Cell, SelectiveTask], seed: int
) -> Iterator[Path]:
    """Draw all figures of a sitting into its folder, cell by cell, as they are asked for.

    Args:
        folder: of the run, with the models.
        rows: of it.
        grid: its cells.
        tasks: theirs.
        seed: whose models are kept.
    """
    place = folder / FIGURES
    place.mkdir(exist_ok=True)
    for name, cell in grid.cells.items():
        curves = [row for row in rows if row["kind"] == EPOCH and row["method"] == name]
        for what, figure in _figures(folder, name, cell, tasks[cell], seed, curves):
            file = place / f"{in_a_file(name)}-{what}.png"
            figure.savefig(file)
            yield file


def _figures(
    folder: Path,
    name: str,
    cell: Cell,
    task: SelectiveTask,
    seed: int,
    curves: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[str, Figure]]:
    by_seed: dict[int, list[Mapping[str, Any]]] = {}
    for row in sorted(curves, key=lambda row: int(row["epoch"])):
        by_seed.setdefault(row["seed"], []).append(row)
    yield "curves", draw_curves([*by_seed.values()], f"{task.name}: {name}")
    model = kept_model(folder, name, cell, task, seed)
    found = examine(model, task)
    yield "examination", examination_figure(found)
    yield "weights", weight_figure(found)
    yield "mosaics", mosaic_figure(found)
    if task.shape == (2,):
        yield "regions", region_figure(model, task)
