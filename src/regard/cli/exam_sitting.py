"""The work of `regard exam sdc`, and what is said of it: before, on the way, and of the table in the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from regard.cli.output import announce, print_json, print_table

if TYPE_CHECKING:
    from regard.exams.sdc.cell import Cell
    from regard.exams.sdc.grid import Grid
    from regard.exams.sdc.sitting import Group
    from regard.exams.sdc.table import Table
    from regard.exams.sdc.task import SelectiveTask
    from regard.runs import Run

COMMAND = "exam sdc"
TABLE = "table.md"


def sat(
    grid: Grid,
    tasks: Mapping[Cell, SelectiveTask],
    seeds: Sequence[int],
    folder: Path,
    *,
    device: str,
    force: bool,
    figures: bool,
    as_json: bool,
) -> None:
    """Sit a grid in a run's folder, or take what stands there, write its table, and tell what was found.

    Args:
        grid: cells that can be.
        tasks: of them.
        seeds: of each.
        folder: of the run.
        device: where models are trained.
        force: replace what stands there.
        figures: draw, too.
        as_json: whether programs read what is printed.
    """
    from regard.exams.sdc.page import written
    from regard.exams.sdc.sitting import configuration
    from regard.exams.sdc.table import table_of
    from regard.provenance import versions
    from regard.runs import Run, finished_run

    asked = configuration(grid, tasks, seeds, device)
    there = None if force else finished_run(folder, COMMAND, asked)
    if there is None:
        results = Run.open(folder, COMMAND, asked, force)
        try:
            _go_on(results, grid, tasks, seeds, device)
        except KeyboardInterrupt:
            results.log("interrupted")
            announce(f"stopped; give the same command with --run {folder} to go on")
            raise typer.Exit(1) from None
        rows: Sequence[Mapping[str, Any]] = results.rows()
        by = versions()
    else:
        announce(f"the run in {folder} is finished: nothing is trained anew")
        rows, by = there.rows, there.manifest["versions"]
    table = table_of(rows, grid)
    (folder / TABLE).write_text(written(table, _facts(grid, seeds, by)), encoding="utf-8")
    if there is None:
        results.finish(left_out=[*grid.left_out])
    if figures:
        _draw(folder, rows, grid, tasks, seeds[0])
    _tell(table, folder, as_json)


def _go_on(results: Run, grid: Grid, tasks: Mapping[Cell, SelectiveTask], seeds: Sequence[int], device: str) -> None:
    """Train and examine what is left, saying how much it is and how long it may take."""
    from regard.exams.sdc.sitting import groups, left, sit

    every = [*groups(grid, tasks, seeds)]
    ahead = left(results, every)
    announce(_work(grid, every, ahead))
    begun, done = time.monotonic(), 0
    for place, group in enumerate(ahead):
        announce(f"{len(every) - len(ahead) + place + 1} of {len(every)}: {_in_words(group)}")
        started = time.monotonic()
        sit(results, group, group.seeds[0] == seeds[0], _heard(group.cell.epochs), device)
        done += group.work
        took, so_far = time.monotonic() - started, time.monotonic() - begun
        results.log("sat", cell=group.name, seeds=[*group.seeds], seconds=round(took, 2))
        more = so_far * sum(other.work for other in ahead[place + 1 :]) / done
        if place + 1 < len(ahead):
            announce(f"  {took:.0f} s; at most about {_duration(more)} more")


def _work(grid: Grid, every: Sequence[Group], ahead: Sequence[Group]) -> str:
    trainings = sum(len(group.seeds) for group in ahead)
    epochs = sum(len(group.seeds) * group.cell.epochs for group in ahead)
    segments = sum(group.work for group in ahead)
    gone_on = "" if len(ahead) == len(every) else f" left, of {sum(len(group.seeds) for group in every)}"
    return (
        f"{len(grid.cells)} cells: {trainings} trainings{gone_on}, {epochs} epochs and {segments / 1e6:.3g} million "
        "segments at most, each read forward and backward; models of a cell are trained together where they can be"
    )


def _in_words(group: Group) -> str:
    seeds = f"seed {group.seeds[0]}" if len(group.seeds) == 1 else f"seeds {group.seeds[0]} to {group.seeds[-1]}"
    return f"{group.name}, {seeds}, at most {group.cell.epochs} epochs"


def _heard(epochs: int) -> Callable[[int, int], None]:
    """Counts epochs where a person is watching."""

    def hear(epoch: int, seeds: int) -> None:
        if sys.stderr.isatty():
            print(f"\r  epoch {epoch} of {epochs}, {seeds} seeds go on ", end="\r", file=sys.stderr, flush=True)

    return hear


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _facts(grid: Grid, seeds: Sequence[int], by: Mapping[str, str]) -> list[str]:
    default = ", ".join(f"{name} {value}" for name, value in grid.default.words().items() if value is not None)
    others = {name: cell.besides(grid.default) for name, cell in grid.cells.items()}
    besides = [f"{name}: also {words}." for name, words in others.items() if words and words not in name]
    made = f"By regard {by['regard']}, torch {by['torch']} and Python {by['python']}, on {by['platform']}."
    return [f"Default: {default}.", *besides, f"Seeds of each cell: {len(seeds)}.", made]


def _draw(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    grid: Grid,
    tasks: Mapping[Cell, SelectiveTask],
    seed: int,
) -> None:
    from regard.exams.sdc.grid_figures import FIGURES, draw_sitting

    drawn = [*draw_sitting(folder, rows, grid, tasks, seed)]
    announce(f"{len(drawn)} figures in {folder / FIGURES}")


def _tell(table: Table, folder: Path, as_json: bool) -> None:
    """Means alone, without published figures; the page has all."""
    from regard.exams.sdc.page import HEAD, cells, claims

    if as_json:
        print_json({"run": str(folder), **table.to_json()})
        return
    for factor, rows in cells(table, long=False):
        print(factor)
        print_table(HEAD[:-1], rows)
    if table.judgements:
        head, *rest = claims(table.judgements)
        print("Claims")
        print_table(head, rest)
    print("per cent of mosaics that were not learnt from; FTPT right and looking at the foreground, FFPT elsewhere")
    print("≈ could be chance: sign flips over seeds, Holm over a table's differences")
    print(f"intervals and published figures in {folder / TABLE}; rows, curves and manifest beside it")
