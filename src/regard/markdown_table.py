"""Tables as lines of Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def table_lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows, the head first, as lines of Markdown; a bar in a cell, which would end it, becomes a slash."""
    return [_line(rows[0]), _line(["---"] * len(rows[0])), *map(_line, rows[1:])]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
