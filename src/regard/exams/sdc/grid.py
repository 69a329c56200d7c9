"""Grids of cells: some round a default, one factor at a time; or the product of what is asked for."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from regard.errors import UnsupportedError
from regard.exams.sdc.cell import Cell, ImpossibleCellError
from regard.exams.sdc.task import SelectiveTask


@dataclass(frozen=True)
class Grid:
    """Cells by name.

    Attributes:
        name: of the grid; "" for one of a person's own.
        cells: the first is the default, with which the others are compared.
        seeds: of each, unless something else is asked for.
        left_out: combinations that cannot be, with the reason.
    """

    name: str
    cells: Mapping[str, Cell]
    seeds: int
    left_out: tuple[str, ...] = ()

    @property
    def default(self) -> Cell:
        return next(iter(self.cells.values()))


def around(name: str, default: Cell, seeds: int, changes: Iterable[Mapping[str, Any]]) -> Grid:
    """A default and cells that differ from it, each by what is said.

    Raises:
        UnsupportedError: one of them cannot be.
    """
    cells = [default, *(replace(default, **change) for change in changes)]
    return Grid(name, _by_name(cells), seeds)


def product(settings: Mapping[str, Sequence[Any]], usual: Callable[[str], Cell], seeds: int) -> Grid:
    """All combinations of values, the first of those that can be as the default.

    Args:
        settings: field of `Cell` → values, the task's among them.
        usual: task → what holds where nothing is said.
        seeds: see `Grid`.

    Raises:
        UnsupportedError: a value that cannot be, or none of the combinations can.
    """
    cells, left_out = [], []
    for values in itertools.product(*settings.values()):
        asked = dict(zip(settings, values, strict=True))
        try:
            cells.append(replace(usual(asked["task"]), **asked))
        except ImpossibleCellError as reason:
            left_out.append(_reason(", ".join(f"{name} {value}" for name, value in asked.items()), reason))
    return _some(Grid("", _by_name(cells), seeds, tuple(left_out)))


def possible(grid: Grid, tasks: Mapping[Cell, SelectiveTask]) -> Grid:
    """The cells whose networks fit each other and their task; what does not fit is left out.

    Args:
        grid: all cells.
        tasks: those of the cells.

    Raises:
        UnsupportedError: none fits.
    """
    cells, left_out = {}, [*grid.left_out]
    for name, cell in grid.cells.items():
        try:
            cell.untold(tasks[cell], 0)
            cells[name] = cell
        except UnsupportedError as reason:
            left_out.append(_reason(name, reason))
    kept = [*cells.values()]
    same = not kept or kept[0] is grid.default
    return _some(replace(grid, cells=cells if same else _by_name(kept), left_out=tuple(left_out)))


def _by_name(cells: Sequence[Cell]) -> dict[str, Cell]:
    """Each by what makes it another one than the first; of those that this does not tell apart also how it learns."""
    brief = Counter(cell.called(cells[0]) for cell in cells)
    found = {}
    for cell in cells:
        name, besides = cell.called(cells[0]), cell.besides(cells[0])
        if brief[name] > 1 and besides:
            name = besides if name == "default" else f"{name}, {besides}"
        found[name] = cell
    if len(found) < len(cells):
        raise UnsupportedError("two cells of a grid are the same", remedy="say every value once")
    return found


def _some(grid: Grid) -> Grid:
    if not grid.cells:
        raise UnsupportedError("no cell of this grid can be", came="; ".join(grid.left_out)[:1000])
    return grid


def _reason(name: str, reason: UnsupportedError) -> str:
    return f"{name}: {reason.problem}" + (f" ({reason.came})" if reason.came else "")
