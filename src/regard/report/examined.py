"""Sections of runs of `regard exam`: what its cells come to, by the code of its own table, their curves and figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regard.errors import PhotoError, UnsupportedError
from regard.exams.sdc.cell import Cell
from regard.exams.sdc.grid import Grid as Cells
from regard.exams.sdc.grid_figures import FIGURES
from regard.exams.sdc.outcomes import OUTCOMES
from regard.exams.sdc.page import ABOUT_CLAIMS, BESIDES, HEAD, READING, besides, cells, claims
from regard.exams.sdc.sitting import EPOCH, SEED, in_a_file
from regard.exams.sdc.table import COMPARED, Table, table_of
from regard.images import open_photo
from regard.report.blocks import Block, Charts, Grid, Picture, Pictures, Section, Words
from regard.report.charts import Chart, Point, curves, intervals
from regard.report.failures import failures
from regard.report.thumbnails import shown
from regard.runs import SeenRun

Row = Mapping[str, Any]
SHOWN = {
    "curves": "curves of each seed",
    "examination": "examined",
    "weights": "largest weights by outcome",
    "mosaics": "mosaics of every outcome",
    "regions": "answers and focus in the plane",
}
"""The figures of a cell, and what they are called; regions there are of points of the plane alone."""
LONGEST = 1400
"""Of a figure, in pixels: figures are 900 wide, and seldom higher than that."""
MOST_POINTS = 100
"""Of a curve; of more epochs some are shown, spread evenly."""


def sections(run: SeenRun) -> list[Section]:
    """Of `exam`: tables by factor, claims, curves of the four outcomes, kept figures, failures."""
    table = _table(run)
    return [_outcomes(run, table), _claims(table), _curves(run), _pictures(run), failures(run)]


def _table(run: SeenRun) -> Table | None:
    """The table of the cells that are done; None before the first is, or where another regard had other cells."""
    try:
        every = {name: Cell.of_words(words) for name, words in run.configuration["cells"].items()}
    except (TypeError, UnsupportedError):
        return None
    done = {(row["method"], row["seed"]) for row in run.rows if row["kind"] == SEED}
    whole = {
        name: cell for name, cell in every.items() if all((name, seed) in done for seed in run.configuration["seeds"])
    }
    if next(iter(every)) not in whole:
        return None
    rows = [row for row in run.rows if row["method"] in whole]
    return table_of(rows, Cells(run.configuration["grid"], whole, len(run.configuration["seeds"])))


def _outcomes(run: SeenRun, table: Table | None) -> Section:
    if table is None:
        return Section(
            "outcomes", "What was found", [Words("The first cell is not done, or of another regard.", "note")]
        )
    blocks: list[Block] = [Words(READING)]
    if missing := len(run.configuration["cells"]) - len(table.lines):
        blocks.append(Words(f"{missing} cells are not done.", "warning"))
    left_out = (run.manifest or {}).get("left_out") or []
    blocks += [Words(f"Left out: {reason}", "note") for reason in left_out]
    chart = intervals(
        f"{COMPARED}, % of mosaics",
        "%",
        [(line.name, line.found[COMPARED].mean, line.found[COMPARED].interval, True) for line in table.lines],
    )
    blocks += [] if chart is None else [Charts([chart])]
    known = len(HEAD) if any(line.published for line in table.lines) else len(HEAD) - 1
    for factor, rows in cells(table, long=True):
        blocks.append(Grid([HEAD[:known], *(row[:known] for row in rows)], factor))
        blocks += [Grid(besides(table, factor), f"{factor}: more")] if factor in BESIDES else []
    return Section("outcomes", "What was found", blocks)


def _claims(table: Table | None) -> Section:
    judgements = () if table is None else table.judgements
    blocks: list[Block] = [Words(ABOUT_CLAIMS), Grid(claims(judgements), "Claims")] if judgements else []
    return Section("claims", "What becomes of claims", blocks)


def _curves(run: SeenRun) -> Section:
    by_cell: dict[str, list[Row]] = {}
    for row in run.rows:
        if row["kind"] == EPOCH:
            by_cell.setdefault(row["method"], []).append(row)
    order = [name for name in run.configuration["cells"] if name in by_cell]
    drawn = [chart for name in order if (chart := _chart(name, by_cell[name])) is not None]
    words = "Per cent of the test's mosaics by epoch, means over seeds; a seed that ended keeps its last figures."
    return Section("curves", "The four outcomes as they were learnt", [Words(words), Charts(drawn)] if drawn else [])


def _chart(name: str, rows: Sequence[Row]) -> Chart | None:
    by_seed: dict[int, list[Row]] = {}
    for row in sorted(rows, key=lambda row: int(row["epoch"])):
        by_seed.setdefault(row["seed"], []).append(row)
    longest = max(map(len, by_seed.values()))
    epochs = np.unique(np.linspace(0, longest - 1, min(longest, MOST_POINTS)).round().astype(int))
    several = {}
    for outcome in OUTCOMES:
        each = [[100 * row[f"test {outcome}"] for row in own] for own in by_seed.values()]
        mean = np.mean([np.pad(values, (0, longest - len(values)), mode="edge") for values in each], axis=0)
        several[outcome] = [Point(float(epoch), float(mean[epoch])) for epoch in epochs]
    return curves(name, "epoch", several)


def _pictures(run: SeenRun) -> Section:
    return Section("pictures", "What the models of the first seed do", [*_drawn(run)])


def _drawn(run: SeenRun) -> Iterator[Pictures]:
    """The figures of each cell that the command drew, folded."""
    for name in run.configuration["cells"]:
        files = {words: run.folder / FIGURES / f"{in_a_file(name)}-{what}.png" for what, words in SHOWN.items()}
        there = [picture for words, file in files.items() if (picture := _picture(f"{name}, {words}", file))]
        if there:
            yield Pictures(name, there)


def _picture(words: str, file: Path) -> Picture | None:
    try:
        found = shown(open_photo(file), LONGEST)
    except PhotoError:
        return None
    return Picture(words, str(found.source), found.size)
