"""Ranked maps over a photo, each rank in its own colour, and a legend of what each adds to the answer."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from regard.drawing import (
    PANEL_INCHES,
    TITLE_INCHES,
    Scale,
    cover,
    photo_title,
    pictures_with_maps,
    row_heights,
    scale_of,
    shortened,
    show,
)
from regard.errors import UnsupportedError
from regard.images import Photo
from regard.question import TargetAnswer

if TYPE_CHECKING:
    from regard.explanation import Explanation

RANK_COLOURS = {
    "red": "#ff0000",
    "green": "#00ff00",
    "blue": "#0000ff",
    "orange": "#ff8000",
    "violet": "#9000ff",
    "cyan": "#00ffff",
    "pink": "#ff00a0",
    "yellow": "#ffff00",
}
"""Of the first rank, the second, …: the first three as published. Ranks beyond the last colour are not drawn."""
_CODES = tuple(RANK_COLOURS.values())
MOST_LINES = 18
"""Of a legend, before its long ones are folded; of more targets it says how many it shows."""
_LEAST_LETTERS, _MOST_LETTERS = 24, 70
"""Of a legend's lines, the longest of which with a colour says where the others are folded."""
_COLOUR_INCHES, _LETTER_INCHES, _LINE_INCHES = 0.3, 0.055, 0.165


@dataclass(frozen=True)
class Line:
    """Of a legend: the words, and the rank whose colour stands before them; None for no colour."""

    words: str
    rank: int | None = None


def draw_ranks(explanation: Explanation, photos: Sequence[Photo] | None = None) -> Figure:
    """A grid: one row an image, the picture, its ranks in colours over it, and a legend; see `Explanation.rank_figure`.

    Where ranks overlap their colours add up, as light does. Cover grows with a rank's map over the largest value of all
    ranks of the picture, so that it says how strong one is beside the others. Cells are drawn as they are. A rank that
    is not valid is not drawn.

    Raises:
        UnsupportedError: the explanation has no ranks.
    """
    ranks = explanation.ranks
    if ranks is None:
        raise UnsupportedError(f"the maps of {explanation.method} have no ranks", remedy="regard.BRNPA gives them")
    pictures, placed = pictures_with_maps(replace(explanation, maps=ranks.maps), photos, "nearest")
    drawn = [valid[: len(RANK_COLOURS)].nonzero()[:, 0].tolist() for valid in ranks.valid]
    scales = [scale_of(maps[shown], signed=False) for maps, shown in zip(ranks.maps, drawn, strict=True)]
    said = [[*legend_of(explanation, row), *_on_scale(scale)] for row, scale in enumerate(scales)]
    letters = _letters([line for lines in said for line in lines])
    legends = [_folded(lines, letters) for lines in said]
    pairs = zip(row_heights(pictures), legends, strict=True)
    heights = [
        max(height, _LINE_INCHES * sum(line.words.count("\n") + 1 for line in legend)) for height, legend in pairs
    ]
    widths = [PANEL_INCHES, PANEL_INCHES, _COLOUR_INCHES + _LETTER_INCHES * letters]
    figure = Figure((sum(widths), sum(heights) + TITLE_INCHES * (len(heights) + 0.5)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(heights), 3, squeeze=False, height_ratios=heights, width_ratios=widths)
    for row, (picture, maps) in enumerate(zip(pictures, placed, strict=True)):
        show(grid[row, 0], picture, photo_title(explanation, row))
        show(grid[row, 1], coloured(picture, maps.numpy(), drawn[row], scales[row]), _title(drawn[row]))
        _draw_legend(grid[row, 2], legends[row], drawn[row])
    figure.suptitle(f"{explanation.method} · {explanation.classifier}", fontsize=9, x=0.01, ha="left", parse_math=False)
    return figure


def coloured(picture: np.ndarray, maps: np.ndarray, ranks: Sequence[int], scale: Scale) -> np.ndarray:
    """Lay some ranks of maps (K, height, width) over a picture, each in its colour: uint8 (height, width, 3).

    What is below zero, or no number, has no colour; where all are NaN the classifier did not see the photo: pale.
    """
    finite = np.nan_to_num(maps[list(ranks)], nan=0.0, posinf=0.0, neginf=0.0)
    strengths = np.clip(finite / scale.vmax, 0, 1)
    colours = np.array([to_rgb(_CODES[rank]) for rank in ranks]).reshape(-1, 3)
    light = np.einsum("khw,kc->hwc", strengths, colours)
    brightest = light.max(axis=2, keepdims=True)
    hue = 255 * light / np.where(brightest > 0, brightest, 1)
    return cover(picture, hue, strengths.max(axis=0, initial=0.0), np.isnan(maps).all(axis=0))


def legend_of(explanation: Explanation, image: int) -> list[Line]:
    """What is said of an image's ranks: for each target a line a rank, with what it adds to the score.

    In per cent where none adds more than the whole score, else as it is. Where no score is such a sum, ranks alone are
    named.
    """
    ranks = explanation.ranks
    assert ranks is not None
    if image in explanation.not_finite:
        return [Line("no map: NaN or infinity")]
    names = [f"rank {rank + 1}" + ("" if valid else ", nothing new") for rank, valid in enumerate(ranks.valid[image])]
    alone = [Line(name, rank) for rank, name in enumerate(names)]
    if ranks.shares is None:
        return [*alone, Line("the classifier does not decide by these")]
    answered = zip(explanation.targets[image], ranks.shares[image].tolist(), strict=True)
    sums = [(answer, shares) for answer, shares in answered if all(map(math.isfinite, shares))]
    if not sums:
        return [*alone, Line("what is asked is no sum over ranks")]
    shown = sums[: max(1, MOST_LINES // len(names))]
    left_out = [] if len(shown) == len(sums) else [Line(f"{len(shown)} of {len(sums)} targets")]
    return [line for answer, shares in shown for line in _sum_of(answer, shares, names)] + left_out


def _sum_of(answer: TargetAnswer, shares: Sequence[float], names: Sequence[str]) -> list[Line]:
    """A score as the sum of what ranks add, and of the head's bias where it is to be seen."""
    score = answer.score
    assert score is not None
    parts: list[tuple[int | None, str, float]] = [*zip(range(len(names)), names, shares, strict=True)]
    bias = score - sum(shares)
    if abs(bias) > 0.005 * abs(score):
        parts.append((None, "bias", bias))
    of_score = score > 0 and max(abs(part) for _, _, part in parts) <= 1.005 * score
    said = [f"{name}: {part / score:.0%}" if of_score else f"{name}: {part:+.3g}" for _, name, part in parts]
    said[0] += f" of the {'score' if answer.index is None else 'logit'} of {shortened(answer.name)!r}, {score:.3g}"
    return [Line(words, rank) for words, (rank, _, _) in zip(said, parts, strict=True)]


def _on_scale(scale: Scale) -> list[Line]:
    return [Line(scale.said)] if scale.said else []


def _letters(lines: Sequence[Line]) -> int:
    """How long lines of legends are: sentences, which have no colour, take no more than what has one."""
    longest = max((len(line.words) for line in lines if line.rank is not None), default=0)
    return min(max(longest, _LEAST_LETTERS), _MOST_LETTERS)


def _folded(lines: Sequence[Line], letters: int) -> list[Line]:
    return [replace(line, words="\n".join(textwrap.wrap(line.words, letters))) for line in lines]


def _draw_legend(axes: Axes, lines: Sequence[Line], drawn: Sequence[int]) -> None:
    colours = ["none" if line.rank is None or line.rank not in drawn else _CODES[line.rank] for line in lines]
    axes.set_axis_off()
    legend = axes.legend(
        [Patch(color=colour) for colour in colours],
        [line.words for line in lines],
        loc="upper left",
        borderaxespad=0,
        frameon=False,
        fontsize=7.5,
        handlelength=1.2,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _title(ranks: Sequence[int]) -> str:
    """Which ranks are drawn, as a person counts them."""
    numbers = ", ".join(str(rank + 1) for rank in ranks)
    return f"rank{'s' * (len(ranks) > 1)} {numbers}" if ranks else "no rank"
