"""Sections of runs of `regard train`: curves of epochs and steps, what came out, class by class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from regard.report.blocks import Block, Charts, Facts, Grid, Section, Words
from regard.report.charts import Chart, Point, Tick, curves
from regard.report.failures import failures
from regard.report.trained_photos import gallery
from regard.runs import SeenRun

KEYS = ("configuration_hash", "image", "method", "target", "epoch", "seed")
"""Columns of rows that are no figures."""
OF_RUNS = frozenset(
    {"format", "version", "command", "arguments", "configuration", "configuration_hash", "started", "finished", "rows"}
) | {"versions", "unreadable"}
"""What manifests of all runs hold."""


def sections(run: SeenRun) -> list[Section]:
    """Of `train`: what came out, curves, failures, photos."""
    return [_outcome(run), _curves(run), failures(run), gallery(run)]


def _outcome(run: SeenRun) -> Section:
    """All that the manifest of a training says besides what every manifest does."""
    facts = {name: value for name, value in (run.manifest or {}).items() if name not in OF_RUNS}
    return Section("outcome", "What came out", _blocks("", facts))


def _blocks(title: str, facts: Mapping[str, Any]) -> list[Block]:
    """Single numbers as facts, lists of figures as tables, groups of either one after the other."""
    plain = [(_words(name), _number(value)) for name, value in facts.items() if not isinstance(value, (dict, list))]
    blocks: list[Block] = [Facts([(f"{title}: {name}" if title else name, value) for name, value in plain])]
    for name, value in facts.items():
        called = f"{title}: {_words(name)}" if title else _words(name)
        if isinstance(value, Mapping):
            blocks += [_table(called, [value])] if "value" in value else _blocks(called, value)
        elif isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
            blocks.append(_table(called, value))
        elif isinstance(value, list) and value and all(isinstance(each, list) for each in value):
            blocks.append(_confusion(called, value, facts))
        elif isinstance(value, list) and value:
            blocks.append(Facts([(called, ", ".join(map(_number, value)))]))
    return [block for block in blocks if not isinstance(block, Facts) or block.pairs]


def _table(name: str, several: Sequence[Mapping[str, Any]]) -> Grid:
    columns = list(dict.fromkeys(column for each in several for column in each))
    columns = [column for column in columns if any(each.get(column) is not None for each in several)]
    rows = [[_number(each.get(column)) for column in columns] for each in several]
    return Grid([[_words(column) for column in columns], *rows], name, folded=len(rows) > 40)


def _confusion(name: str, rows: Sequence[Sequence[Any]], facts: Mapping[str, Any]) -> Grid:
    """A table of counts; classes by the names that stand beside it."""
    each = facts.get("each") or []
    known = [str(one.get("name")) for one in each] if len(each) == len(rows) else []
    names = known or [str(number) for number in range(len(rows))]
    lines = [[called, *map(_number, row)] for called, row in zip(names, rows, strict=False)]
    return Grid([["true, below; answer, across", *names], *lines], name)


def _curves(run: SeenRun) -> Section:
    """A chart a figure, by epoch, then a chart a part of the loss, by step."""
    rows = [row for row in run.rows if row.get("epoch") is not None]
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in KEYS]
    chosen = (run.manifest or {}).get("epoch_chosen")
    mark = None if chosen is None else Tick(float(chosen), "chosen")
    by_epoch = [curves(_words(name), "epoch", _lines(rows, name), mark) for name in names]
    steps = [event for event in run.log if event.get("event") == "step" and isinstance(event.get("means"), Mapping)]
    parts = dict.fromkeys(name for event in steps for name in event["means"])
    by_step = [
        curves(
            _words(name),
            "step",
            {_words(name): [Point(event["step"], _value(event["means"].get(name))) for event in steps]},
        )
        for name in parts
    ]
    return Section(
        "curves", "Curves", [*_charts("Held out, after every epoch", by_epoch), *_charts("While it learnt", by_step)]
    )


def _charts(title: str, found: Sequence[Chart | None]) -> list[Block]:
    drawn = [chart for chart in found if chart is not None]
    return [Words(title), Charts(drawn)] if drawn else []


def _lines(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, list[Point]]:
    """Curves by what they are of."""
    found: dict[str, list[Point]] = {}
    for row in sorted(rows, key=lambda row: row["epoch"]):
        found.setdefault(f"{row['method']}, {row['image']}", []).append(Point(row["epoch"], _value(row.get(name))))
    return found


def _value(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan


def _words(name: str) -> str:
    return name.replace("_", " ")


def _number(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {None: "–", True: "yes", False: "no"}[value]
    if isinstance(value, (list, tuple)):
        return f"{_number(value[0])} to {_number(value[1])}" if len(value) == 2 else ", ".join(map(_number, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
