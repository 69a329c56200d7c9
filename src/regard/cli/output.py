"""What the commands print: tables for people, JSON for programs; progress on standard error, for terminals only."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, ensure_ascii=False, indent=1))


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


def printable(text: str) -> str:
    """Text as Unicode: the bytes of a file name that are none become escapes, in hexadecimal."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")
