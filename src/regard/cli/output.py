"""What the commands print: tables for people, JSON for programs; progress on standard error, for terminals only."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table that folds to the terminal's width; on a pipe every row is one tab-separated line."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            print("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def print_as_they_come(columns: Sequence[str], rows: Iterable[Sequence[str]], shares: Sequence[int]) -> None:
    """A table whose rows are printed one by one, its head with the first: on a pipe as by `print_table`.

    Args:
        columns: the head.
        rows: may take long to come.
        shares: of the terminal's width for each column, since what is still to come cannot be measured.
    """
    for place, row in enumerate(rows):
        for line in (columns, row) if place == 0 else (row,):
            if sys.stdout.isatty():
                _print_line(line, shares, head=line is columns)
            else:
                print("\t".join(line), flush=True)


def _print_line(cells: Sequence[str], shares: Sequence[int], head: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    line = Table.grid(padding=(0, 2, 0, 0), expand=True)
    for share in shares:
        line.add_column(overflow="fold", ratio=share, style="bold" if head else "")
    line.add_row(*cells)
    Console().print(line)


def announce(text: str) -> None:
    """One line of what is about to happen, on standard error."""
    print(text, file=sys.stderr, flush=True)


def tracked(items: Sequence[Item], seconds: float, what: str) -> Iterator[Item]:
    """Iterate with a progress bar, if it will take over two seconds and a person is watching."""
    if seconds <= 2 or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, description=what, console=Console(stderr=True), transient=True)
