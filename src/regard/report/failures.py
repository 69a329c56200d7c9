"""What any run has: its rows, and what went wrong in it, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regard.report.blocks import Block, Grid, Section, Words
from regard.runs import KEY, SeenRun

MOST = 200
"""Lines of the table; the rows inside of the report have all."""


def rows(run: SeenRun) -> Section:
    """The rows as they are, of a kind of run that has no sections of its own."""
    columns = [name for name in dict.fromkeys(name for row in run.rows for name in row) if name != KEY[0]]
    lines = [["–" if row.get(name) is None else str(row[name]) for name in columns] for row in run.rows[:MOST]]
    blocks: list[Block] = [Grid([columns, *lines], "Rows")] if lines else []
    if len(run.rows) > MOST:
        blocks.append(Words(f"{MOST} of {len(run.rows):,} are listed.", "note"))
    return Section("rows", "Rows", blocks)


def failures(run: SeenRun, *more: Block) -> Section:
    """Rows with an error, photos that could not be read, methods that could not be made.

    Args:
        run: the run.
        more: what the kind of run has to add.
    """
    found = [
        [str(row["image"]), _what(row), str(row.get("status") or "failed"), _reason(row)]
        for row in run.rows
        if _reason(row)
    ]
    unreadable = (run.manifest or {}).get("unreadable") or {}
    found += [[str(photo), "", "unreadable", str(reason)] for photo, reason in unreadable.items()]
    blocks: list[Block] = []
    if found:
        found = list(map(list, dict.fromkeys(map(tuple, found))))
        blocks.append(Grid([["photo", "of", "status", "reason"], *found[:MOST]], "Without a result"))
        if len(found) > MOST:
            blocks.append(Words(f"{MOST} of {len(found):,} are listed.", "note"))
    return Section("failures", "Failures and missing numbers", [*blocks, *more])


def _what(row: Mapping[str, Any]) -> str:
    return " · ".join(str(row[name]) for name in ("method", "target") if row.get(name))


def _reason(row: Mapping[str, Any]) -> str:
    return str(row.get("error") or row.get("again_error") or "")
