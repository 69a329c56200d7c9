"""The tables of benchmarks/study_tame.py, from the numbers of single photos."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from regard.statistics import interval, paired

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
DROP, DROP_SMALL, GAIN = "average-drop 50%", "average-drop 15%", "increase-in-confidence 50%"
AGAINST = {"regard:efficientnet-lite0": "grad-cam", "regard:vit-small": "cdam"}


def document(tables: Mapping[str, Rows]) -> str:
    return "\n".join(line for name, rows in tables.items() for line in section(name, rows)) + "\n"


def section(name: str, rows: Rows) -> list[str]:
    against = AGAINST[name]
    columns = [
        "",
        "seeds",
        "average drop 50 %",
        f"less {against} [95 %]",
        "15 %",
        "increase in confidence 50 %",
        "mean mask",
        "second class on its photo",
        "epoch",
    ]
    lines = [f"### `{name}`", "", f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    return [*lines, *(line(row, seeds, rows.get(against)) for row, seeds in rows.items()), ""]


def line(name: str, seeds: Sequence[Mapping[str, Any]], against: Sequence[Mapping[str, Any]] | None) -> str:
    """One row: means over seeds; differences photo by photo, of means over seeds."""
    difference = "" if against is None else compared(averaged(seeds, DROP), against[0][DROP])
    cells = [
        name,
        str(len(seeds)),
        spread(seeds, DROP, percent),
        difference,
        spread(seeds, DROP_SMALL, percent),
        spread(seeds, GAIN, percent),
        spread(seeds, "mask", number) if seeds[0]["mask"] else "",
        spread(seeds, "second", number),
        ", ".join(str(seed["epoch_chosen"]) for seed in seeds if seed.get("epoch_chosen")),
    ]
    return f"| {' | '.join(cells)} |"


def averaged(seeds: Sequence[Mapping[str, Any]], column: str) -> list[float]:
    return [statistics.fmean(values) for values in zip(*(seed[column] for seed in seeds), strict=True)]


def spread(seeds: Sequence[Mapping[str, Any]], column: str, form: Any) -> str:
    """The mean over photos; of several seeds their mean, least and largest, of one the photos' interval."""
    means = [interval(seed[column], 0) for seed in seeds]
    if len(seeds) > 1:
        values = [mean.mean for mean in means]
        return f"{form(statistics.fmean(values))} ({form(min(values))} to {form(max(values))})"
    within = means[0].interval
    return form(means[0].mean) + (f" [{form(within[0])}, {form(within[1])}]" if within else "")


def compared(first: Sequence[float], second: Sequence[float]) -> str:
    found = paired(first, second, 0)
    if found.interval is None:
        return ""
    low, high = found.interval
    return f"{100 * found.mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def number(value: float) -> str:
    return f"{value:.2f}"
