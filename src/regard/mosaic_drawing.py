"""Mosaics with the attention that they were given, and the one picture of an examination, which ends in some."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional

from regard.drawing import shortened, write
from regard.errors import UnsupportedError
from regard.exam_drawing import (
    OUTCOME_COLOURS,
    WIDTH_INCHES,
    canvas,
    head,
    outcome_legend,
    show_largest_weights,
)

ATTENTION = "#7b2d8b"
"""Of frames and circles: no outcome has this colour."""
COLUMNS = 4
"""Mosaics side by side."""
SAID = 0.01
"""A weight from which on a segment's number stands there."""
_STAR = "#ffd60a"
_LEGEND = "★ the segment that decides; {} and numbers: attention, in %; frame of all: the outcome"
_SIDE, _GAP = 64, 10
"""Pixels of a drawn segment, and about it; the frame of all attention is as thick as the gap."""
_BAR_INCHES, _HISTOGRAM_INCHES, _TITLE_INCHES, _LINE_INCHES = 0.65, 2.0, 0.25, 0.16
_LETTERS = 150
"""Of a line as wide as a figure."""
_ROOM = 6.0
"""Of a part of the bar, in per cent, from which on its number stands in it."""
_READABLE_INCHES = 0.35
"""Of a segment's side, from which on a number can be read in it."""


@dataclass(frozen=True, eq=False)
class DrawnMosaic:
    """One mosaic, and what became of it.

    Attributes:
        segments: those that are there: pictures (m, 1 or 3, height, width) from −1 to 1, or points (m, 2); of all other
            segments the weights alone are drawn.
        weights: (m,), the attention.
        position: which segment decides.
        outcome: "FTPT", "FFPT", "FTPF" or "FFPF".
        words: what else stands above it.

    Raises:
        UnsupportedError: weights or a position that are not of these segments, or no such outcome.
    """

    segments: Tensor
    weights: Tensor
    position: int
    outcome: str
    words: str = ""

    def __post_init__(self) -> None:
        count = len(self.segments)
        if not count or self.weights.shape != (count,) or not 0 <= self.position < count:
            raise UnsupportedError(
                "a mosaic has a weight for each segment, one of which decides",
                came=f"{count} segments, weights {tuple(self.weights.shape)}, position {self.position}",
            )
        if not bool(((self.weights >= 0) & (self.weights <= 1.01)).all()):
            raise UnsupportedError("a weight is from 0 to 1", came=f"{self.weights.tolist()}"[:200])
        if self.outcome not in OUTCOME_COLOURS:
            raise UnsupportedError("no such outcome", came=repr(self.outcome), expected=", ".join(OUTCOME_COLOURS))

    @property
    def kind(self) -> str:
        """How it is drawn: "frames", "circles" or "bars"."""
        shape = self.segments.shape[1:]
        if len(shape) == 3 and shape[0] in (1, 3):
            return "frames"
        return "circles" if shape == (2,) else "bars"


def draw_mosaics(rows: Sequence[Sequence[DrawnMosaic]], title: str = "") -> Figure:
    """Mosaics in rows, each segment with its attention.

    Pictures stand in a grid, the present ones first; the frame of each is as thick as its weight is large. Points stand
    where they are in the plane, all mosaics on one scale, in circles whose areas are the weights. Of other segments a
    bar is drawn each.

    Args:
        rows: of mosaics, all of the same kind of segments.
        title: above all.

    Raises:
        UnsupportedError: no mosaics, or of different kinds.
    """
    columns = max(map(len, rows), default=0)
    flat = [mosaic for row in rows for mosaic in row]
    words = f"{title}\n{_about(flat)}".strip()
    columns = max(columns, COLUMNS // 2)
    figure = canvas(len(rows) * (_height(flat, columns) + _TITLE_INCHES) + 0.4)
    head(figure, words)
    for places, row in zip(figure.subplots(len(rows), columns, squeeze=False), rows, strict=True):
        _show(places, row, flat)
    return figure


def draw_examination(
    title: str, words: str, shares: Mapping[str, float], counts: Tensor, mosaics: Sequence[DrawnMosaic]
) -> Figure:
    """What an examination found: how many of each outcome, what that is called, how sharp the focus is, and examples.

    Args:
        title: above all.
        words: the diagnosis; its lines are folded.
        shares: of each outcome, in per cent.
        counts: as of `regard.exam_drawing.draw_largest_weights`.
        mosaics: some, in a row.

    Raises:
        UnsupportedError: shares that are none of outcomes, or what the single figures refuse.
    """
    if [*shares] != [*OUTCOME_COLOURS] or not abs(sum(shares.values()) - 100) < 0.1:
        raise UnsupportedError("the four outcomes are all there is", came=f"{dict(shares)}", expected="100 % in all")
    lines = sum(1 + len(line) // _LETTERS for line in words.splitlines())
    columns = max(COLUMNS, len(mosaics))
    heights = [_BAR_INCHES, _LINE_INCHES * lines + 0.1, _HISTOGRAM_INCHES, _height(mosaics, columns) + _TITLE_INCHES]
    figure = canvas(sum(heights) + 0.3)
    head(figure, title)
    bar, said, histograms, examples = figure.subfigures(4, 1, squeeze=False, height_ratios=heights)[:, 0]
    _show_shares(bar.subplots(), shares)
    outcome_legend(bar)
    write(said.subplots(), words, _LETTERS)
    show_largest_weights([*histograms.subplots(1, 4, sharey=True)], counts)
    head(examples, _about(mosaics))
    _show([*examples.subplots(1, columns)], mosaics, mosaics)
    return figure


def _show_shares(axes: Axes, shares: Mapping[str, float]) -> None:
    """One bar of four parts, with a number in those that have room."""
    left = 0.0
    for (outcome, colour), words in zip(OUTCOME_COLOURS.items(), ("white", "white", "black", "black"), strict=True):
        axes.barh(0, shares[outcome], left=left, color=colour, edgecolor="white", linewidth=0.5)
        if shares[outcome] >= _ROOM:
            place = left + shares[outcome] / 2, 0
            axes.text(*place, f"{shares[outcome]:.1f} %", color=words, fontsize=8, ha="center", va="center")
        left += shares[outcome]
    axes.set_xlim(0, 100)
    axes.set_axis_off()


def _about(mosaics: Sequence[DrawnMosaic]) -> str:
    kinds = {mosaic.kind for mosaic in mosaics}
    if len(kinds) != 1:
        raise UnsupportedError("mosaics of one kind are drawn together", came=", ".join(sorted(kinds)) or "none")
    return _LEGEND.format(*kinds)


def _cells(mosaics: Sequence[DrawnMosaic]) -> tuple[int, int]:
    """Rows and columns of a grid in which the largest of these mosaics has room."""
    most = max(len(mosaic.weights) for mosaic in mosaics)
    columns = math.ceil(math.sqrt(most))
    return math.ceil(most / columns), columns


def _height(mosaics: Sequence[DrawnMosaic], columns: int) -> float:
    """Inches of a row of mosaics of which so many stand side by side."""
    rows, across = _cells(mosaics) if mosaics[0].kind == "frames" else (1, 1)
    return WIDTH_INCHES / columns * rows / across


def _show(places: Sequence[Axes], mosaics: Sequence[DrawnMosaic], all_of_them: Sequence[DrawnMosaic]) -> None:
    """A row of mosaics, on the scale of all; places that are left stay empty."""
    for axes in places[len(mosaics) :]:
        axes.set_axis_off()
    for axes, mosaic in zip(places, mosaics, strict=False):
        axes.set_title(shortened(f"{mosaic.outcome} · {mosaic.words}".rstrip(" ·")), fontsize=7, parse_math=False)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color=OUTCOME_COLOURS[mosaic.outcome], linewidth=2.5)
        if mosaic.kind == "frames":
            _pictures(axes, mosaic, all_of_them, WIDTH_INCHES / len(places))
        else:
            (_circles if mosaic.kind == "circles" else _bars)(axes, mosaic, all_of_them)


def _pictures(axes: Axes, mosaic: DrawnMosaic, all_of_them: Sequence[DrawnMosaic], inches: float) -> None:
    """Cells in a grid that is large enough for the largest mosaic, on axes of a width."""
    rows, columns = _cells(all_of_them)
    inches /= columns
    cells = [framed(*each) for each in zip(_in_pixels(mosaic.segments), mosaic.weights.tolist(), strict=True)]
    height, width = cells[0].shape[:2]
    whole = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for number, (cell, said) in enumerate(zip(cells, map(_said, mosaic.weights.tolist()), strict=True)):
        row, column = divmod(number, columns)
        whole[row * height : (row + 1) * height, column * width : (column + 1) * width] = cell
        if inches >= _READABLE_INCHES:
            box = {"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.8 * bool(said)}
            corner = (column + 1) * width - _GAP - 2, (row + 1) * height - _GAP - 2
            axes.text(*corner, said, ha="right", va="bottom", fontsize=6, bbox=box)
    axes.imshow(whole, interpolation="nearest")
    row, column = divmod(mosaic.position, columns)
    _star(axes, column * width + _GAP + 9, row * height + _GAP + 9, max(30, 120 * inches))


def framed(picture: np.ndarray, weight: float) -> np.ndarray:
    """A picture, uint8 (height, width, 3), in a white gap, and about it a frame as thick as its weight is large."""
    height, width = picture.shape[:2]
    thick = max(round(_GAP * min(weight, 1.0)), int(weight >= SAID))
    cell = np.full((height + 2 * _GAP, width + 2 * _GAP, 3), 255, np.uint8)
    edge = _GAP - thick
    cell[edge : height + 2 * _GAP - edge, edge : width + 2 * _GAP - edge] = np.array(to_rgb(ATTENTION)) * 255
    cell[_GAP:-_GAP, _GAP:-_GAP] = picture
    return cell


def _in_pixels(segments: Tensor) -> np.ndarray:
    """(m, 1 or 3, height, width) from −1 to 1 → uint8 (m, height, width, 3), about `_SIDE` a side."""
    values, (height, width) = segments.detach().float().cpu(), segments.shape[2:]
    longest = max(height, width)
    if longest > _SIDE:
        size = -(-height * _SIDE // longest), -(-width * _SIDE // longest)
        values = functional.adaptive_avg_pool2d(values, size)
    pixels = ((values + 1) * 127.5).round().clamp(0, 255).byte()
    pictures = pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    times = max(1, round(_SIDE / longest))
    return pictures.repeat(times, axis=1).repeat(times, axis=2)


def _circles(axes: Axes, mosaic: DrawnMosaic, all_of_them: Sequence[DrawnMosaic]) -> None:
    """Points on the one scale of all mosaics; the area of a circle is its weight."""
    low = np.min([each.segments.amin(dim=0).tolist() for each in all_of_them], axis=0)
    high = np.max([each.segments.amax(dim=0).tolist() for each in all_of_them], axis=0)
    margin = 0.15 * np.maximum(high - low, 1e-3)
    axes.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))
    points, weights = mosaic.segments.detach().cpu().numpy(), mosaic.weights.detach().cpu().numpy()
    across, upward = points.T
    axes.scatter(across, upward, s=900 * weights, color=ATTENTION, alpha=0.35, linewidths=0)
    axes.scatter(across, upward, s=8, color="0.2", linewidths=0)
    _star(axes, across[mosaic.position], upward[mosaic.position], 60)
    for rank, number in enumerate((-weights).argsort().tolist()):
        offset = (5, -9 if rank % 2 else 4)  # of two points on one place, both numbers can be read
        axes.annotate(_said(weights[number]), points[number], offset, textcoords="offset points", fontsize=6.5)


def _bars(axes: Axes, mosaic: DrawnMosaic, all_of_them: Sequence[DrawnMosaic]) -> None:
    most = max(len(each.weights) for each in all_of_them)
    weights = mosaic.weights.tolist()
    axes.bar(range(len(weights)), weights, color=ATTENTION)
    axes.set(xlim=(-0.6, most - 0.4), ylim=(0, 1.2))
    _star(axes, mosaic.position, weights[mosaic.position] + 0.13, 60)
    for number, weight in enumerate(weights):
        axes.text(number, weight, _said(weight), ha="center", va="bottom", fontsize=6.5)


def _said(weight: float) -> str:
    """In per cent, or nothing where it is next to nothing."""
    return f"{100 * weight:.0f}" if weight >= SAID else ""


def _star(axes: Axes, x: float, y: float, size: float) -> None:
    axes.scatter(x, y, s=size, marker="*", color=_STAR, edgecolors="black", linewidths=0.7, zorder=3, clip_on=False)
