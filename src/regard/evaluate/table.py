"""What the rows of a run say of its methods: where they stand on every metric, what they cost, how alike they are."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from regard.evaluate.contest import GATE, JUDGED, OVERLAP
from regard.evaluate.gate import COUNTED, FAILED
from regard.evaluate.judge import AGAIN
from regard.evaluate.standing import Standing, standing
from regard.metrics.metric import MapMetric
from regard.metrics.of_curves import AverageDrop
from regard.notebook import html_table
from regard.statistics import Estimate, interval

RANKED = AverageDrop().column
"""What orders the methods of a table, where it was measured: binary retention of the top half by rank."""

OTHER = "other maps"
"""What metrics need that compare two methods: they stand in a table of their own."""

Row = Mapping[str, Any]
ByMethod = Mapping[str, Mapping[str, Row]]
"""Method → photo → row."""


@dataclass(frozen=True)
class Cost:
    """Of one map: passes, a mean; milliseconds, the median; MiB, the largest peak of a call; None where unknown."""

    forwards: float
    backwards: float
    milliseconds: float | None
    megabytes: float | None


@dataclass(frozen=True)
class Line:
    """A method beside its numbers.

    Attributes:
        method: its name.
        not_finite: photos whose map was not finite.
        zero: photos whose map was zero everywhere.
        failed: photos that it could not explain.
        again_failed: photos on which asking it again failed.
        control: whether it knows nothing of the classifier.
        accuracy: of its classifier on labelled photos; None without labels.
        clean_probability: mean probability of the class on the whole photos; None without probabilities.
        cost: of one map.
    """

    method: str
    not_finite: int
    zero: int
    failed: int
    again_failed: int
    control: bool
    accuracy: float | None
    clean_probability: float | None
    cost: Cost


@dataclass(frozen=True)
class Table:
    """Methods × metrics over the same photos.

    Attributes:
        photos: how many.
        lines: the methods, best first by the ranked score.
        standings: the metrics that any method has.
        unmeasured: metrics that were asked for and that no photo has.
    """

    photos: int
    lines: tuple[Line, ...]
    standings: tuple[Standing, ...]
    unmeasured: tuple[str, ...]

    def _repr_html_(self) -> str:
        """Means and intervals, as a notebook shows them."""
        head = ["method", *(one.heading for one in self.standings)]
        rows = [[line.method, *(str(one.cells.get(line.method, "–")) for one in self.standings)] for line in self.lines]
        return html_table([head, *rows], f"{self.photos} photos")

    def to_json(self) -> dict[str, Any]:
        """All of it, for programs; numbers that are none are null."""
        return {
            "photos": self.photos,
            "unmeasured": list(self.unmeasured),
            "methods": [
                asdict(line) | {one.name: _plain(one.cells.get(line.method)) for one in self.standings}
                for line in self.lines
            ],
            "metrics": {one.name: _said(one) for one in self.standings},
        }


def tables(rows: Sequence[Row], metrics: Sequence[MapMetric], seed: int, *, compared: bool) -> tuple[Table, ...]:
    """The tables of a run's rows: of the methods judged on all photos, then of all methods on the photos they share.

    Means over different photos would not be comparable, and slow methods take fewer. Of several classifiers one table,
    over the photos that all of them get right.

    Args:
        rows: of the run, all kinds.
        metrics: that were asked for.
        seed: of the bootstrap, the permutation tests, and metrics whose name says no other.
        compared: whether methods are compared photo by photo; not where they explain different networks.
    """
    by_method: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row["kind"] == JUDGED:
            by_method.setdefault(row["method"], {})[row["image"]] = row
    sizes = sorted({len(found) for found in by_method.values()}, reverse=True)
    found = []
    for size in sizes if compared else sizes[-1:]:
        methods = {name: images for name, images in by_method.items() if len(images) >= size or not compared}
        shared = set.intersection(*(set(images) for images in methods.values()))
        part = {
            name: {image: row for image, row in images.items() if image in shared} for name, images in methods.items()
        }
        found.append(_table(part, rows, metrics, seed, compared))
    return tuple(found)


def overlaps(rows: Sequence[Row], metrics: Sequence[MapMetric], seed: int) -> dict[tuple[str, str, str], Estimate]:
    """(Metric, method, method) → the mean of a metric that compares two methods' maps."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        if row["kind"] == OVERLAP:
            first, _, second = row["method"].partition(" | ")
            for metric in metrics:
                if metric.needs == OTHER:
                    pair = metric.called(seed=seed), first, second
                    values.setdefault(pair, []).append(_number(row.get(metric.column)))
    return {pair: interval(several, seed) for pair, several in values.items()}


def overlap_to_json(overlap: Mapping[tuple[str, str, str], Estimate]) -> list[dict[str, Any]]:
    """What `overlaps` found, for programs."""
    return [
        {"metric": metric, "first": first, "second": second, **(_plain(estimate) or {})}
        for (metric, first, second), estimate in overlap.items()
    ]


def _table(by_method: ByMethod, rows: Sequence[Row], metrics: Sequence[MapMetric], seed: int, compared: bool) -> Table:
    every = [row for images in by_method.values() for row in images.values()]
    columns = {name for row in every for name, value in row.items() if value is not None}
    present = [metric for metric in metrics if metric.column in columns and metric.needs != OTHER]
    standings = tuple(
        standing(
            metric,
            {name: _values(images, metric) for name, images in by_method.items()},
            [name for name, images in by_method.items() if _is_control(images)],
            seed,
            compared=compared,
        )
        for metric in present
    )
    return Table(
        photos=len(next(iter(by_method.values()))),
        lines=tuple(_line(name, by_method[name], rows) for name in _ordered(by_method, standings)),
        standings=standings,
        unmeasured=tuple(
            metric.called(seed=seed) for metric in metrics if metric.column not in columns and metric.needs != OTHER
        ),
    )


def _values(images: Mapping[str, Row], metric: MapMetric) -> dict[str, float]:
    """The values of the photos on which a metric was measured: one that asks the method again is on fewer."""
    return {
        image: _number(row.get(metric.column))
        for image, row in images.items()
        if metric.needs not in AGAIN or metric.needs in row["again"].split(", ")
    }


def _line(name: str, images: Mapping[str, Row], rows: Sequence[Row]) -> Line:
    classifier = next((row["classifier"] for row in rows if row["kind"] == JUDGED and row["method"] == name), None)
    gate = [row for row in rows if row["kind"] == GATE and row["classifier"] == classifier]
    right = [row["status"] == COUNTED for row in gate if row.get("label") is not None]
    peaks, times = _known(images, "megabytes"), _known(images, "milliseconds")
    statuses = [row["status"] for row in images.values()]
    chances = _known(images, "probability")
    return Line(
        method=name,
        not_finite=statuses.count("not finite"),
        zero=sum(bool(row.get("zero")) for row in images.values()),
        failed=statuses.count(FAILED),
        again_failed=len(_known(images, "again_error")),
        control=_is_control(images),
        accuracy=statistics.fmean(right) if right else None,
        clean_probability=statistics.fmean(chances) if chances else None,
        cost=Cost(
            forwards=statistics.fmean(_known(images, "forwards") or [0.0]),
            backwards=statistics.fmean(_known(images, "backwards") or [0.0]),
            milliseconds=statistics.median(times) if times else None,
            megabytes=max(peaks) if peaks else None,
        ),
    )


def ranking(standings: Sequence[Standing]) -> Standing | None:
    """What orders the methods: the ranked score, else the first metric."""
    return next((one for one in standings if one.metric.column == RANKED), next(iter(standings), None))


def _ordered(by_method: ByMethod, standings: Sequence[Standing]) -> list[str]:
    """Best first by the ranked score, else by the first metric; methods without a value last, by name."""
    by = ranking(standings)
    sign = -1 if by is not None and by.metric.higher_is_better else 1
    cells = {} if by is None else by.cells
    means = {name: sign * cells[name].mean if name in cells else math.nan for name in by_method}
    return sorted(by_method, key=lambda name: (math.isnan(means[name]), means[name], name))


def _is_control(images: Mapping[str, Row]) -> bool:
    return any(row["control"] for row in images.values())


def _known(images: Mapping[str, Row], name: str) -> list[Any]:
    return [row[name] for row in images.values() if row.get(name) is not None]


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _said(one: Standing) -> dict[str, Any]:
    """A metric, where rows have it, its direction and rule, and its tests."""
    metric = one.metric
    return {
        "column": metric.column,
        "higher_is_better": metric.higher_is_better,
        "rule": metric.rule,
        "photos": one.photos,
        **metric.settings,
        "best": sorted(one.best),
        "like_best": sorted(one.like_best),
        "like_chance": sorted(one.like_chance),
        "differences": [
            {"first": each.first, "second": each.second, **(_plain(each.found) or {}), "holm": _finite(each.adjusted)}
            for each in one.differences
        ],
    }


def _plain(estimate: Estimate | None) -> dict[str, Any] | None:
    """An estimate with null for NaN."""
    return None if estimate is None else {name: _finite(value) for name, value in asdict(estimate).items()}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
