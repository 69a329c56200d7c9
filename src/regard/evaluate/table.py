"""What the rows of a run say of its methods: means with intervals, differences, and where chance cannot be excluded."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from regard.evaluate.contest import GATE, JUDGED, OVERLAP
from regard.evaluate.gate import COUNTED
from regard.evaluate.judge import AGAIN
from regard.evaluate.statistics import Estimate, PairedDifference, holm, interval, paired
from regard.metrics.metric import MapMetric
from regard.metrics.of_maps import RankCorrelation

COSTS = ("forwards", "backwards", "milliseconds", "megabytes")
RANKED = "average-drop-0.5"
"""What orders the methods of a table, where it was measured: binary retention of the top half by rank."""
CONTROL = "random"
ALPHA = 0.05


@dataclass(frozen=True)
class Difference:
    """Two methods on one metric, over the photos that both were judged on; p values adjusted over its pairs by Holm."""

    metric: str
    first: str
    second: str
    found: PairedDifference
    adjusted: float


@dataclass(frozen=True)
class Table:
    """Methods × metrics.

    Attributes:
        methods: best first by the ranked score.
        metrics: columns that any method has.
        cells: (method, metric) → mean, interval, photos, missing.
        costs: method → mean of each cost.
        differences: of the best of each metric, and of the random control, from all others; none across models.
        overlap: (method, method) → mean rank correlation of their maps.
        photos: method → photos judged; of these, whose maps were not finite, and whose were zero everywhere.
        answers: method → its classifier's accuracy on labelled photos, and the mean probability of the class on the
            whole photos that were judged; None where there are no labels, no probabilities.
    """

    methods: tuple[str, ...]
    metrics: tuple[MapMetric, ...]
    cells: Mapping[tuple[str, str], Estimate]
    costs: Mapping[str, Mapping[str, float | None]]
    differences: tuple[Difference, ...]
    overlap: Mapping[tuple[str, str], Estimate]
    photos: Mapping[str, tuple[int, int, int]]
    answers: Mapping[str, tuple[float | None, float | None]]

    def best(self, metric: MapMetric) -> str | None:
        """The method of the best mean; None where neither direction is better or nothing was measured."""
        return _best(self.methods, self.cells, metric)

    def like(self, name: str | None, metric: MapMetric) -> set[str]:
        """A method that was compared with all, and those whose difference from it could be chance (p ≥ 0.05, Holm)."""
        same = set() if name is None else {name}
        for difference in self.differences:
            pair = {difference.first, difference.second}
            if difference.metric == metric.column and name in pair and not difference.adjusted < ALPHA:
                same |= pair
        return same

    def to_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {
            "metrics": {
                metric.column: {"higher_is_better": metric.higher_is_better, "rule": metric.rule, **metric.settings}
                for metric in self.metrics
            },
            "methods": [
                {
                    "method": name,
                    "photos": self.photos[name][0],
                    "not_finite": self.photos[name][1],
                    "zero": self.photos[name][2],
                    "accuracy": self.answers[name][0],
                    "clean_probability": self.answers[name][1],
                    **{metric.column: asdict(self.cells[name, metric.column]) for metric in self.metrics},
                    "cost": self.costs[name],
                }
                for name in self.methods
            ],
            "differences": [
                {"metric": one.metric, "first": one.first, "second": one.second, **asdict(one.found)}
                | {"holm": one.adjusted}
                for one in self.differences
            ],
            "overlap": [
                {"first": first, "second": second, **asdict(estimate)}
                for (first, second), estimate in self.overlap.items()
            ],
        }


def tabulated(rows: Sequence[Mapping[str, Any]], metrics: Sequence[MapMetric], seed: int, *, pairs: bool) -> Table:
    """The table of a run's rows.

    Args:
        rows: of the run, all kinds.
        metrics: that were measured.
        seed: of the bootstrap and the permutation tests.
        pairs: whether methods are compared photo by photo; not where they explain different networks.
    """
    by_method: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        if row["kind"] == JUDGED:
            by_method.setdefault(row["method"], {})[row["image"]] = row
    columns = {name for found in by_method.values() for row in found.values() for name in row if _has(row, name)}
    present = tuple(metric for metric in metrics if metric.column in columns)
    cells = {
        (name, metric.column): interval(_asked(found, metric), seed)
        for name, found in by_method.items()
        for metric in present
    }
    return Table(
        methods=_ordered(by_method, cells, present),
        metrics=present,
        cells=cells,
        costs={name: {cost: _mean(found, cost) for cost in COSTS} for name, found in by_method.items()},
        differences=_differences(by_method, cells, present, seed) if pairs else (),
        overlap=_overlap(rows, seed),
        photos={
            name: (
                len(found),
                sum(row["status"] != JUDGED for row in found.values()),
                sum(bool(row.get("zero")) for row in found.values()),
            )
            for name, found in by_method.items()
        },
        answers={name: _answers(found, rows) for name, found in by_method.items()},
    )


def _answers(
    found: Mapping[str, Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> tuple[float | None, float | None]:
    classifier = next(iter(found.values()))["classifier"]
    gate = [row for row in rows if row["kind"] == GATE and row["classifier"] == classifier and _has(row, "label")]
    right = [row["status"] == COUNTED for row in gate]
    return sum(right) / len(right) if right else None, _mean(found, "probability")


def _has(row: Mapping[str, Any], name: str) -> bool:
    return row.get(name) is not None


def _asked(found: Mapping[str, Mapping[str, Any]], metric: MapMetric) -> list[float]:
    """A metric's values on the photos on which it was asked, NaN where it has none there."""
    return [
        math.nan if row[metric.column] is None else row[metric.column] for row in found.values() if _was(row, metric)
    ]


def _was(row: Mapping[str, Any], metric: MapMetric) -> bool:
    """Whether a metric was measured on this photo at all: one that asks the method again is on fewer."""
    return metric.needs not in AGAIN or metric.needs in row["again"].split(", ")


def _mean(found: Mapping[str, Mapping[str, Any]], name: str) -> float | None:
    known = [row[name] for row in found.values() if _has(row, name)]
    return sum(known) / len(known) if known else None


def _best(methods: Iterable[str], cells: Mapping[tuple[str, str], Estimate], metric: MapMetric) -> str | None:
    known = [name for name in methods if not math.isnan(cells[name, metric.column].mean)]
    if metric.higher_is_better is None or not known:
        return None
    sign = 1 if metric.higher_is_better else -1
    return max(known, key=lambda name: (sign * cells[name, metric.column].mean, name))


def _ordered(
    methods: Mapping[str, object], cells: Mapping[tuple[str, str], Estimate], metrics: Sequence[MapMetric]
) -> tuple[str, ...]:
    """Best first by the ranked score, else by the first metric; methods without a value last, by name."""
    by = next((metric for metric in metrics if metric.column == RANKED), next(iter(metrics), None))
    if by is None:
        return tuple(sorted(methods))
    sign = -1 if by.higher_is_better else 1
    means = {name: sign * cells[name, by.column].mean for name in methods}
    return tuple(sorted(methods, key=lambda name: (math.isnan(means[name]), means[name], name)))


def _differences(
    by_method: Mapping[str, Mapping[str, Mapping[str, Any]]],
    cells: Mapping[tuple[str, str], Estimate],
    metrics: Sequence[MapMetric],
    seed: int,
) -> tuple[Difference, ...]:
    """The best method of each metric, and the random control, against every other, adjusted over these pairs.

    Not every two methods: each further pair would cost the others power.
    """
    found: list[Difference] = []
    for metric in metrics:
        best = _best(by_method, cells, metric)
        known = sorted(name for name in by_method if not math.isnan(cells[name, metric.column].mean))
        ends = [name for name in dict.fromkeys((best, CONTROL)) if name in known]
        pairs = [pair for pair in itertools.combinations(known, 2) if best is not None and set(pair) & set(ends)]
        tests = [_paired(by_method[first], by_method[second], metric, seed) for first, second in pairs]
        adjusted = holm([test.p_value for test in tests])
        found += [
            Difference(metric.column, first, second, test, value)
            for (first, second), test, value in zip(pairs, tests, adjusted, strict=True)
        ]
    return tuple(found)


def _paired(
    first: Mapping[str, Mapping[str, Any]], second: Mapping[str, Mapping[str, Any]], metric: MapMetric, seed: int
) -> PairedDifference:
    both = [image for image in first if image in second and _was(first[image], metric) and _was(second[image], metric)]
    one, other = (
        [math.nan if found[image][metric.column] is None else found[image][metric.column] for image in both]
        for found in (first, second)
    )
    return paired(one, other, seed)


def _overlap(rows: Sequence[Mapping[str, Any]], seed: int) -> dict[tuple[str, str], Estimate]:
    values: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row["kind"] == OVERLAP:
            first, _, second = row["method"].partition(" | ")
            value = row.get(RankCorrelation.name)
            values.setdefault((first, second), []).append(math.nan if value is None else value)
    return {pair: interval(several, seed) for pair, several in values.items()}
