"""What a sitting found: each cell's means over seeds, its difference from the default, and what becomes of claims."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from regard.exams.sdc.cell import Cell
from regard.exams.sdc.grid import Grid
from regard.exams.sdc.published import CLAIMS, PUBLISHED, Claim, Published
from regard.exams.sdc.sitting import SEED
from regard.statistics import Estimate, PairedDifference, interval, paired

GOOD = 90.0
"""Per cent right in training that a run of the original "best runs" has more than."""
FIGURES = ("train accuracy", "train FTPT", "train FFPT", "test accuracy", "test FTPT", "test FFPT", "class-coded")
"""What a line estimates, in per cent."""
COMPARED = "test FTPT"

FACTORS: Mapping[str, frozenset[str]] = {
    "Way of learning": frozenset({"paradigm"}),
    "Weights and entropy": frozenset({"weights", "entropy", "warm_up"}),
    "Layer at which is averaged": frozenset({"layer"}),
    "Task": frozenset({"task", "segments", "leaky"}),
    "Networks": frozenset({"focus", "classifier"}),
    "Mosaics to learn from": frozenset({"train"}),
    "Beginning, and which module learns": frozenset({"focus_begins", "classifier_begins", "learns"}),
    "Training": frozenset({"test", "epochs", "optimizer", "rate", "batch", "stop"}),
}
"""A cell belongs to the first factor of which it changes something: what stands below are its conditions."""

Verdict = Literal["agrees", "disagrees", "undecided"]


@dataclass(frozen=True)
class Line:
    """A cell.

    Attributes:
        name: of it.
        factor: to which it belongs; "" for the default.
        seeds: how many.
        found: estimates over all seeds, of `FIGURES`.
        good: how many seeds are right in more than 90 % of training.
        of_good: estimates over these alone: what filtering by success makes of it.
        difference: of `COMPARED` from the default, seed by seed; None for the default.
        modes: how many seeds have which mode of error.
        published: what is known of it.
    """

    name: str
    factor: str
    seeds: int
    found: Mapping[str, Estimate]
    good: int
    of_good: Mapping[str, Estimate]
    difference: PairedDifference | None
    modes: Mapping[str, int]
    published: Published | None

    def to_json(self) -> dict[str, Any]:
        """JSON values; NaN is None."""
        words = asdict(self)
        for name in ("found", "of_good"):
            words[name] = {figure: _finite(estimate) for figure, estimate in words[name].items()}
        return words | {"difference": _finite(words["difference"])}


@dataclass(frozen=True)
class Trend:
    """What became of a claim.

    Attributes:
        claim: itself.
        slope: mean over seeds of the figure's least-squares slope over the claim's cells, from one to the next, in per
            cent; of two cells their difference; of one its value. Its p value is of no slope at all.
        verdict: "undecided" where the interval of the slope holds 0.
    """

    claim: Claim
    slope: PairedDifference
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"claim": asdict(self.claim), "slope": _finite(asdict(self.slope)), "verdict": self.verdict}


@dataclass(frozen=True)
class Table:
    """A sitting.

    Attributes:
        grid: what was asked.
        seeds: of each cell.
        lines: the default first, then by factor in the order of the grid.
        trends: of the claims whose cells are all there.
    """

    grid: Grid
    seeds: tuple[int, ...]
    lines: tuple[Line, ...]
    trends: tuple[Trend, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "grid": self.grid.name,
            "seeds": [*self.seeds],
            "cells": {name: cell.words() for name, cell in self.grid.cells.items()},
            "left_out": [*self.grid.left_out],
            "lines": [line.to_json() for line in self.lines],
            "trends": [trend.to_json() for trend in self.trends],
        }


def table_of(rows: Sequence[Mapping[str, Any]], grid: Grid) -> Table:
    """The table of a sitting's rows.

    Args:
        rows: of all kinds, with every seed of every cell of the grid.
        grid: the cells.
    """
    values: dict[str, dict[int, Mapping[str, Any]]] = {name: {} for name in grid.cells}
    for row in rows:
        if row["kind"] == SEED:
            values[row["method"]][row["seed"]] = row
    seeds = tuple(sorted(next(iter(values.values()))))
    figures = {
        name: {figure: [_per_cent(of[seed], figure) for seed in seeds] for figure in FIGURES}
        for name, of in values.items()
    }
    default = next(iter(grid.cells))
    known = PUBLISHED.get(grid.name, {})
    lines = []
    for name, cell in grid.cells.items():
        other = None if name == default else paired(figures[name][COMPARED], figures[default][COMPARED], 0)
        modes = Counter(values[name][seed]["mode"] for seed in seeds)
        lines.append(_line(name, _factor(cell, grid.default), figures[name], other, modes, known.get(name)))
    order = ["", *FACTORS]
    return Table(
        grid,
        seeds,
        tuple(sorted(lines, key=lambda line: order.index(line.factor))),
        tuple(trend_of(claim, figures) for claim in CLAIMS.get(grid.name, ()) if {*claim.cells} <= {*figures}),
    )


def trend_of(claim: Claim, figures: Mapping[str, Mapping[str, Sequence[float]]]) -> Trend:
    """What becomes of a claim.

    Args:
        claim: the claim.
        figures: cell → figure → values in per cent, of the same seeds in the same order.
    """
    columns = [figures[cell][claim.figure] for cell in claim.cells]
    middle = (len(columns) - 1) / 2
    steps = [place - middle for place in range(len(columns))] if len(columns) > 1 else [1.0]
    norm = sum(step * step for step in steps)
    slopes = [
        sum(step * value for step, value in zip(steps, each, strict=True)) / norm for each in zip(*columns, strict=True)
    ]
    slope = paired(slopes, [0.0] * len(slopes), 0)
    return Trend(claim, slope, _verdict(slope, claim.rises))


def _verdict(slope: PairedDifference, rises: bool) -> Verdict:
    low, high = slope.interval or (slope.mean, slope.mean)
    if slope.photos < 2 or not (low > 0 or high < 0):
        return "undecided"
    return "agrees" if (low > 0) == rises else "disagrees"


def _line(
    name: str,
    factor: str,
    figures: Mapping[str, Sequence[float]],
    difference: PairedDifference | None,
    modes: Mapping[str, int],
    published: Published | None,
) -> Line:
    good = [value > GOOD for value in figures["train accuracy"]]
    kept = {figure: [value for value, fine in zip(each, good, strict=True) if fine] for figure, each in figures.items()}
    return Line(
        name=name,
        factor=factor,
        seeds=len(good),
        found={figure: interval(each, 0) for figure, each in figures.items()},
        good=sum(good),
        of_good={figure: interval(each, 0) for figure, each in kept.items()},
        difference=difference,
        modes=dict(Counter(modes).most_common()),
        published=published,
    )


def _factor(cell: Cell, default: Cell) -> str:
    changed = {*cell.changed(default)}
    return next((factor for factor, names in FACTORS.items() if names & changed), "")


def _per_cent(row: Mapping[str, Any], figure: str) -> float:
    return 100 * float(row["mode"] == "class-coded focus" if figure == "class-coded" else row[figure])


def _finite(estimate: dict[str, Any] | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in estimate.items()}
