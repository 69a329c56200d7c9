"""Drawings of curves and intervals as places on a canvas; `templates/charts.html` makes SVG of them.

Vectors of our own, since they take 2 kB where matplotlib's SVG takes 40, follow the page's light and dark colours,
and are text that can be read aloud. Ticks are matplotlib's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 420, 240
"""Of a chart of curves, in units of its own; it is scaled to its place."""
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 36
ROW = 22
"""Height of a line of intervals."""
NAMES = 150
"""Width of the names beside intervals."""
LONGEST_NAME = 24
"""Characters of a name beside its interval."""
COLOURS = 8
"""That the page has, told apart by colour-blind eyes; further curves take them again."""


class Point(NamedTuple):
    """A number that was measured, and where."""

    x: float
    y: float


class Tick(NamedTuple):
    """A place on an axis and what stands there."""

    place: float
    words: str


class Line(NamedTuple):
    """A curve: its name, its colour's number, its path in SVG, and where its points are, with what each says."""

    name: str
    colour: int
    path: str
    dots: tuple[tuple[float, float, str], ...]


class Bar(NamedTuple):
    """A mean with its interval on a line of its own: places; `low` and `high` are None without an interval."""

    name: str
    y: float
    mean: float
    low: float | None
    high: float | None
    words: str
    strong: bool


@dataclass(frozen=True)
class Chart:
    """What is drawn, in units of the canvas.

    Attributes:
        title: above it.
        said: in a sentence, for those who do not see it.
        across: what the horizontal axis is.
        size: (width, height).
        inner: (left, top, right, bottom) of the place of the curves.
        x_ticks, y_ticks: of the axes.
        lines: curves.
        bars: intervals.
        mark: a place on the horizontal axis that is marked, and what it is.
    """

    title: str
    said: str
    across: str
    size: tuple[float, float]
    inner: tuple[float, float, float, float]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...] = ()
    lines: tuple[Line, ...] = ()
    bars: tuple[Bar, ...] = ()
    mark: Tick | None = None


def curves(title: str, across: str, several: Mapping[str, Sequence[Point]], mark: Tick | None = None) -> Chart | None:
    """Curves by name; what is not finite is a gap. None where nothing is left.

    Args:
        title: what is measured.
        across: what the horizontal axis is.
        several: name → points, in order.
        mark: a value on the horizontal axis that is marked, and what it is.
    """
    finite = [point for points in several.values() for point in points if math.isfinite(point.y)]
    if not finite:
        return None
    inner = (LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM)
    x_values = [point.x for points in several.values() for point in points]
    whole = all(float(value).is_integer() for value in x_values)
    x_ticks, x_ends = _ticks(x_values, inner[0], inner[2], whole=whole, tight=True)
    y_ticks, y_ends = _ticks([point.y for point in finite], inner[3], inner[1])
    lines = tuple(
        Line(name, number % COLOURS, *_drawn(points, (x_ends, inner[0], inner[2]), (y_ends, inner[3], inner[1])))
        for number, (name, points) in enumerate(several.items())
    )
    marked = mark and Tick(_placed(mark.place, x_ends, inner[0], inner[2]), mark.words)
    ends = "; ".join(_said(name, points) for name, points in several.items())
    return Chart(
        title, f"{title} by {across}: {ends}.", across, (WIDTH, HEIGHT), inner, x_ticks, y_ticks, lines, (), marked
    )


def intervals(
    title: str, across: str, rows: Sequence[tuple[str, float, tuple[float, float] | None, bool]]
) -> Chart | None:
    """Means with their intervals, one a line; those that are not finite are left out, and None where nothing is left.

    Args:
        title: what is measured.
        across: what the horizontal axis is.
        rows: name, mean, interval, and whether it is drawn strongly.
    """
    known = [row for row in rows if math.isfinite(row[1])]
    if not known:
        return None
    width, height = WIDTH + NAMES // 2, TOP + BOTTOM + ROW * len(known)
    inner = (NAMES, TOP, width - RIGHT, height - BOTTOM)
    values = [value for _, mean, interval, _ in known for value in (mean, *(interval or ()))]
    ticks, ends = _ticks(values, inner[0], inner[2])
    bars = []
    for number, (name, mean, interval, strong) in enumerate(known):
        low, high = (None, None) if interval is None else (_placed(end, ends, inner[0], inner[2]) for end in interval)
        words = f"{name}: {mean:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
        y = TOP + ROW * (number + 0.5)
        short = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
        bars.append(Bar(short, y, _placed(mean, ends, inner[0], inner[2]), low, high, words, strong))
    said = f"{title}, means with 95 % intervals: " + "; ".join(bar.words for bar in bars) + "."
    return Chart(title, said, across, (width, height), inner, ticks, bars=tuple(bars))


def _ticks(
    values: Sequence[float], start: float, end: float, *, whole: bool = False, tight: bool = False
) -> tuple[tuple[Tick, ...], tuple[float, float]]:
    """Ticks of an axis, and its ends: those of the values where it is tight, else those of the ticks."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.5, high + 0.5
    found = [float(value) for value in MaxNLocator(nbins=5, integer=whole).tick_values(low, high)]
    ends = (low, high) if tight else (found[0], found[-1])
    inside = [value for value in found if ends[0] <= value <= ends[1]]
    return tuple(Tick(_placed(value, ends, start, end), f"{value:.4g}") for value in inside), ends


def _placed(value: float, ends: tuple[float, float], start: float, end: float) -> float:
    return round(start + (value - ends[0]) / (ends[1] - ends[0]) * (end - start), 1)


Axis = tuple[tuple[float, float], float, float]


def _drawn(points: Sequence[Point], across: Axis, up: Axis) -> tuple[str, tuple[tuple[float, float, str], ...]]:
    """The path of a curve, with gaps, and the dots of one that is short enough to have them."""
    path, dots, pen = [], [], "M"
    for point in points:
        if not math.isfinite(point.y):
            pen = "M"
            continue
        x, y = _placed(point.x, *across), _placed(point.y, *up)
        path.append(f"{pen}{x:g} {y:g}")
        dots.append((x, y, f"{point.x:g}: {point.y:.4g}"))
        pen = "L"
    return "".join(path), tuple(dots) if len(dots) <= 40 else ()


def _said(name: str, points: Sequence[Point]) -> str:
    known = [point for point in points if math.isfinite(point.y)]
    if not known:
        return f"{name} without values"
    return f"{name} from {known[0].y:.4g} at {known[0].x:g} to {known[-1].y:.4g} at {known[-1].x:g}"
