"""Which rows of a source are meant: COLUMN=VALUE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from regard.errors import PhotoError

Row = TypeVar("Row")


def selected(
    rows: Iterable[tuple[Mapping[str, str], Row]], where: str | None, columns: Iterable[str], source: object
) -> list[Row]:
    """Rows whose cell in a column is a value; all of them where nothing is asked.

    Args:
        rows: cells by column, and what they belong to.
        where: "column=value", as in "split=val".
        columns: that there are.
        source: where the rows come from.

    Raises:
        PhotoError: written otherwise, no such column, or no row with that value.
    """
    if where is None:
        return [row for _, row in rows]
    column, equals, value = (part.strip() for part in where.partition("="))
    known = list(columns)
    if not equals or column not in known:
        raise PhotoError(
            f"rows of {str(source)!r} cannot be chosen like that",
            came=where,
            expected=f"COLUMN=VALUE, where the column is {' | '.join(known) or 'none: it has no columns'}",
        )
    cells = [(cells[column], row) for cells, row in rows]
    found = [row for cell, row in cells if cell == value]
    if not found:
        others = sorted({cell for cell, _ in cells})
        more = f" and {len(others) - 10} more" if len(others) > 10 else ""
        raise PhotoError(
            f"no photo of {str(source)!r} has {column}={value}", expected=" | ".join(others[:10]) + more or None
        )
    return found
