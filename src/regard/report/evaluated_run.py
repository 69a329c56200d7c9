"""A run of `regard evaluate`, as its report reads it. All numbers are those of its table, computed by the same code."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from regard.errors import MetricError
from regard.evaluate.contest import GATE, JUDGED
from regard.evaluate.judge import INSERTION, SHARES
from regard.evaluate.standing import CHANCE, Standing
from regard.evaluate.table import Table, ranking, tables
from regard.metrics.metric import MapMetric
from regard.metrics.registry import find, names
from regard.report.charts import Point
from regard.runs import SeenRun

Row = Mapping[str, Any]
FEW = 6
"""Methods whose numbers stand beside a photo and in tables of classes, the best ones; the random control besides."""


@dataclass(frozen=True)
class Evaluated:
    """A run with its tables.

    Attributes:
        run: the run.
        metrics: that were asked for, without those that this regard does not have.
        unknown: the columns of those.
        tables: as `regard evaluate` prints them.
        labels: class index → name, of the classes that were judged.
        seed: of the bootstrap.
    """

    run: SeenRun
    metrics: tuple[MapMetric, ...]
    unknown: tuple[str, ...]
    tables: tuple[Table, ...]
    labels: Mapping[int, str]
    seed: int

    @classmethod
    def of(cls, run: SeenRun) -> Evaluated:
        """The tables of a run's rows."""
        protocol = run.configuration["protocol"]
        asked = {column: _metric(column, settings) for column, _, settings in protocol["metrics"]}
        metrics = tuple(metric for metric in asked.values() if metric is not None)
        one = len(run.configuration["classifiers"]) == 1
        judged = [row for row in run.rows if row["kind"] == JUDGED]
        return cls(
            run=run,
            metrics=metrics,
            unknown=tuple(column for column, metric in asked.items() if metric is None),
            tables=tables(run.rows, metrics, protocol["seed"], compared=one) if judged else (),
            labels={row["class_index"]: row["target"] for row in judged},
            seed=protocol["seed"],
        )

    @property
    def tested(self) -> bool:
        """Whether methods were compared photo by photo."""
        return len(self.run.configuration["classifiers"]) == 1

    @property
    def ranked(self) -> Standing | None:
        """What the first table is ordered by."""
        return ranking(self.tables[0].standings) if self.tables else None

    @property
    def few(self) -> list[str]:
        """The best methods of the first table, and the random control."""
        lines = self.tables[0].lines if self.tables else ()
        best = [line.method for line in lines if not line.control][:FEW]
        return best + [line.method for line in lines if line.method.partition(" on ")[0] == CHANCE]

    @functools.cached_property
    def _judged(self) -> dict[str, dict[str, Row]]:
        found: dict[str, dict[str, Row]] = {}
        for row in self.run.rows:
            if row["kind"] == JUDGED:
                found.setdefault(row["method"], {})[row["image"]] = row
        return found

    def gate_rows(self) -> list[Row]:
        """The answers to all photos."""
        return [row for row in self.run.rows if row["kind"] == GATE]

    def rows_of(self, method: str) -> dict[str, Row]:
        """Photo → the row of a method that was judged on it."""
        return self._judged.get(method, {})

    @functools.cached_property
    def shared(self) -> set[str]:
        """The photos that all of the best methods were judged on: means over different ones would not be comparable."""
        return set.intersection(*(set(self.rows_of(method)) for method in self.few)) if self.few else set()

    def values(self, method: str) -> dict[str, float]:
        """Photo → value of the ranked metric, of photos that all of the best methods share."""
        column = "" if self.ranked is None else self.ranked.metric.column
        known = {image: row.get(column) for image, row in self.rows_of(method).items() if image in self.shared}
        return {image: value for image, value in known.items() if value is not None}

    def mean_curves(self, column: str) -> dict[str, list[Point]]:
        """Method → the mean of the shared photos' curves over shares of places in per cent, where any is kept.

        Curves whose points lie elsewhere, since a method's maps have other grids, are read between their points.
        """
        several = {}
        for method in self.few:
            rows = [row for image, row in self.rows_of(method).items() if image in self.shared and row.get(column)]
            if rows:
                each = [_curve(row, column) for row in rows]
                places = each[0][0]
                means = np.mean([np.interp(places, *curve) for curve in each], axis=0)
                several[method] = [Point(100 * place, value) for place, value in zip(places, means, strict=True)]
        return several

    def called(self, index: int | None) -> str:
        """The name of a class; of one that no map was asked of, its index."""
        return "" if index is None else self.labels.get(index, f"class {index}")


def _curve(row: Row, column: str) -> tuple[list[float], list[float]]:
    """Shares removed, or shown, ascending, and the answers there."""
    shown = row[SHARES]
    return (shown if column == INSERTION else [1 - share for share in reversed(shown)]), row[column]


def class_of(row: Row) -> int | None:
    """The class of an answer's row: the true one, where it is known."""
    index: int | None = row["predicted"] if row["label"] is None else row["label"]
    return index


def share(value: float | None) -> str:
    """In per cent; nothing where there is none."""
    return "" if value is None else f"{value:.1%}"


def _metric(column: str, settings: Mapping[str, Any]) -> MapMetric | None:
    """The metric of a column; None where this regard has none such."""
    for name in names():
        if column.startswith(name):
            try:
                metric = find(name)(**settings)
            except (TypeError, MetricError):
                continue
            if metric.column == column:
                return metric
    return None
