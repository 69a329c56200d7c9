"""The numbers of a run inside its report: its rows, by column, as JSON that no text in it can break out of."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from regard.evaluate.plan import spread
from regard.runs import SeenRun

Row = Mapping[str, Any]
Reasons = Callable[[Row], Mapping[str, str]]
"""Of a row: the columns that have no number there, and why."""


MOST_ROWS = 100_000
"""Inside of a page: with 25 metrics they are 20 MB."""


def rows_inside(run: SeenRun) -> Sequence[Row]:
    """All rows; of a run with more than `MOST_ROWS`, those of as many photos as fit, spread evenly.

    An exam has no photos: of one with more those of its seeds, without their epochs, whose curves are drawn.
    """
    if len(run.rows) <= MOST_ROWS:
        return run.rows
    if _is_exam(run):
        return [row for row in run.rows if row["kind"] == "seed"]
    counts = Counter(str(row.get("image")) for row in run.rows)
    total, chosen = 0, set()
    for image in spread(sorted(counts)):
        total += counts[image]
        if total > MOST_ROWS:
            break
        chosen.add(image)
    return [row for row in run.rows if str(row.get("image")) in chosen]


def said_inside(run: SeenRun) -> str:
    """How many rows are inside, in words."""
    inside = len(rows_inside(run))
    if inside == len(run.rows):
        return "all rows"
    return f"{inside:,} of {len(run.rows):,} rows, {'those of seeds' if _is_exam(run) else 'photos spread evenly'},"


def _is_exam(run: SeenRun) -> bool:
    return run.command.startswith("exam")


def embedded(run: SeenRun, reasons: Reasons) -> str:
    """A run as JSON for a page, inside of `<script type="application/json">`.

    `columns` holds each column of the rows: `values`, or of texts `levels` and, a row each, their `codes`, −1 for none.
    Columns of lists, which are curves of single photos, would double a page: they are left out, their means are drawn.
    What is no finite number is null; `null` says of column and reason in which rows. Of the characters that HTML reads,
    `<`, `>` and `&` are written as escapes of JSON.

    Args:
        run: the run.
        reasons: why numbers are missing.
    """
    rows = rows_inside(run)
    lists = {name for row in rows for name, value in row.items() if isinstance(value, list)}
    names = dict.fromkeys(name for row in rows for name in row if name not in lists)
    missing: dict[str, dict[str, list[int]]] = {}
    for number, row in enumerate(rows):
        lost = {name: _word(value) for name, value in row.items() if _is_lost(value)}
        for name, reason in {**lost, **reasons(row)}.items():
            missing.setdefault(name, {}).setdefault(reason, []).append(number)
    whole = {
        "format": "regard.report",
        "version": 1,
        "command": run.command,
        "configuration": run.configuration,
        "manifest": run.manifest,
        "rows": len(rows),
        "columns": {name: _column([row.get(name) for row in rows]) for name in names},
        "null": missing,
    }
    text = json.dumps(_finite(whole), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _column(values: Sequence[Any]) -> dict[str, Any]:
    if not all(value is None or isinstance(value, str) for value in values):
        return {"values": values}
    levels = {value: code for code, value in enumerate(dict.fromkeys(value for value in values if value is not None))}
    return {"levels": list(levels), "codes": [-1 if value is None else levels[value] for value in values]}


def _finite(value: Any) -> Any:
    """Null in the place of what is no finite number, however deep."""
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if _is_lost(value) else value


def _is_lost(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _word(value: float) -> str:
    return "not a number" if math.isnan(value) else "infinite"
