"""What a sitting found: each cell's means over seeds, its difference from the default, and what becomes of claims."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from regard.exams.sdc.cell import Cell
from regard.exams.sdc.evidence import json_values
from regard.exams.sdc.grid import Grid
from regard.exams.sdc.published import CLAIMS, PUBLISHED, Published
from regard.exams.sdc.sitting import BEGINS, SEED
from regard.exams.sdc.verdicts import Judgement, judged
from regard.statistics import Estimate, PairedDifference, holm, over_seeds, paired_over_seeds

GOOD = 90.0
"""Per cent right in training that a run of the original "best runs" has more than."""
RIGHTLY = "test rightly"
"""The share of right answers that look at the foreground, 100 FTPT / (FTPT + FFPT): FTPT without the accuracy in it."""
SHARES = ("train accuracy", "train FTPT", "train FFPT", "test accuracy", "test FTPT", "test FFPT", BEGINS)
OCCURRING: Mapping[str, frozenset[str]] = {
    "class-coded": frozenset({"class-coded focus"}),
    "not learnt": frozenset({"nothing learnt", "collapse"}),
}
"""Modes that may occur."""
SHARPNESS = ("test support", "test simplex-distance", "test entropy")
"""In segments, without unit, and in bits."""
FIGURES = (*SHARES, RIGHTLY, *OCCURRING, *SHARPNESS)
"""What a line estimates, all but `SHARPNESS` in per cent."""
COMPARED = "test FTPT"

WEIGHTS = "Weights and entropy"
BEGINNINGS = "Beginning, and which module learns"
FACTORS: Mapping[str, frozenset[str]] = {
    "Way of learning": frozenset({"paradigm", "samples", "baseline"}),
    WEIGHTS: frozenset({"weights", "entropy", "warm_up"}),
    "Layer at which is averaged": frozenset({"layer"}),
    "Task": frozenset({"task", "segments", "leaky", "spread", "overlap", "skew", "label_noise", "gamma", "foreground"}),
    "Networks": frozenset({"focus", "classifier", "norm"}),
    "Mosaics to learn from": frozenset({"train"}),
    BEGINNINGS: frozenset({"focus_begins", "classifier_begins", "learns"}),
    "Training": frozenset({"test", "epochs", "optimizer", "rate", "batch", "stop"}),
}
"""A cell belongs to the first factor of which it changes something: what stands below are its conditions."""


@dataclass(frozen=True)
class Line:
    """A cell.

    Attributes:
        name: of it.
        factor: to which it belongs; "" for the default.
        seeds: how many.
        found: estimates over all seeds, of `FIGURES`, with t intervals.
        good: how many seeds are right in more than 90 % of training.
        of_good: estimates over these alone: what filtering by success makes of it.
        difference: of `COMPARED` from the default, seed by seed; None for the default.
        adjusted: its p value, adjusted for the differences of all cells of its factor (Holm): a table each.
        modes: how many seeds have which mode of error.
        broken: how many seeds stopped since their numbers were no longer finite; they count with their last figures.
        published: what is known of it.
    """

    name: str
    factor: str
    seeds: int
    found: Mapping[str, Estimate]
    good: int
    of_good: Mapping[str, Estimate]
    difference: PairedDifference | None
    adjusted: float | None
    modes: Mapping[str, int]
    broken: int
    published: Published | None

    def to_json(self) -> dict[str, Any]:
        """JSON values; NaN is None."""
        found: dict[str, Any] = json_values(asdict(self))
        return found


@dataclass(frozen=True)
class Table:
    """A sitting.

    Attributes:
        grid: what was asked.
        seeds: of each cell.
        lines: the default first, then by factor in the order of the grid.
        judgements: of the claims whose cells are all there.
    """

    grid: Grid
    seeds: tuple[int, ...]
    lines: tuple[Line, ...]
    judgements: tuple[Judgement, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "grid": self.grid.name,
            "seeds": [*self.seeds],
            "cells": {name: cell.words() for name, cell in self.grid.cells.items()},
            "left_out": [*self.grid.left_out],
            "lines": [line.to_json() for line in self.lines],
            "claims": [judgement.to_json() for judgement in self.judgements],
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
        name: {figure: [_value(of[seed], figure) for seed in seeds] for figure in FIGURES}
        for name, of in values.items()
    }
    default = next(iter(grid.cells))
    known = PUBLISHED.get(grid.name, {})
    lines = [
        _line(
            name,
            _factor(cell, grid.default),
            figures[name],
            None if name == default else paired_over_seeds(figures[name][COMPARED], figures[default][COMPARED]),
            [values[name][seed] for seed in seeds],
            known.get(name),
        )
        for name, cell in grid.cells.items()
    ]
    by_factor = {factor: [line for line in lines if line.factor == factor] for factor in ("", *FACTORS)}
    claims = [claim for claim in CLAIMS.get(grid.name, ()) if claim.needs <= {*figures}]
    return Table(
        grid,
        seeds,
        tuple(line for several in by_factor.values() for line in _adjusted(several)),
        judged(claims, figures),
    )


def _adjusted(lines: Sequence[Line]) -> list[Line]:
    adjusted = iter(holm([line.difference.p_value for line in lines if line.difference is not None]))
    return [line if line.difference is None else replace(line, adjusted=next(adjusted)) for line in lines]


def _line(
    name: str,
    factor: str,
    figures: Mapping[str, Sequence[float]],
    difference: PairedDifference | None,
    rows: Sequence[Mapping[str, Any]],
    published: Published | None,
) -> Line:
    good = [value > GOOD for value in figures["train accuracy"]]
    kept = {figure: [value for value, fine in zip(each, good, strict=True) if fine] for figure, each in figures.items()}
    return Line(
        name=name,
        factor=factor,
        seeds=len(good),
        found={figure: _over_seeds(figure, each) for figure, each in figures.items()},
        good=sum(good),
        of_good={figure: _over_seeds(figure, each) for figure, each in kept.items()},
        difference=difference,
        adjusted=None,
        modes=dict(Counter(row["mode"] for row in rows).most_common()),
        broken=sum(row["end"] == "not finite" for row in rows),
        published=published,
    )


def _factor(cell: Cell, default: Cell) -> str:
    changed = {*cell.changed(default)}
    return next((factor for factor, names in FACTORS.items() if names & changed), "")


def _over_seeds(figure: str, values: Sequence[float]) -> Estimate:
    return over_seeds(values, 0, math.inf if figure in SHARPNESS else 100)


def _value(row: Mapping[str, Any], figure: str) -> float:
    """NaN where there is none: of a model that is never right, and in runs of before a figure was kept."""
    if figure in OCCURRING:
        return 100.0 * (row["mode"] in OCCURRING[figure])
    if figure == RIGHTLY:
        right = row["test FTPT"] + row["test FFPT"]
        return 100 * row["test FTPT"] / right if right else math.nan
    kept = row.get(figure)
    if kept is None:
        return math.nan
    return float(kept if figure in SHARPNESS else 100 * kept)
