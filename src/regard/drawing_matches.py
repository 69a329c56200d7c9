"""A query and what it found: photos with ranked maps, right ones told from wrong ones by frame and by sign."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from regard.drawing import TITLE_INCHES, pictures_with_maps, scale_of, shortened, show
from regard.errors import PhotoError, UnsupportedError
from regard.images import Photo
from regard.rank_drawing import RANK_COLOURS, coloured

if TYPE_CHECKING:
    from regard.explanation import Explanation
    from regard.ranks import Ranks

RANKS_DRAWN = tuple(RANK_COLOURS)[:3]
"""In red, green and blue; further ranks are not drawn."""
RIGHT, WRONG = ("#1a9641", "✓"), ("#d7191c", "✗")
"""Frame and sign."""
_COLUMN_INCHES, _WORDS_INCHES, _FRAME_POINTS = 1.6, 0.35, 3.0


def draw_matches(
    explanation: Explanation,
    right: Sequence[bool],
    photos: Sequence[Photo] | None = None,
    words: Sequence[str] | None = None,
) -> Figure:
    """One column a photo, the query first, then its gallery from the best match on: the photo, beneath it its maps.

    The maps are those of the first three ranks, in red, green and blue, each photo on a scale of its own. Right matches
    have a green frame and a tick, wrong ones a red frame and a cross. Where the explanation is of one target that is a
    sum over ranks, as `Similarity` to the query's embedding, its score stands above each match and what each of these
    ranks adds to it beneath.

    Args:
        explanation: by `regard.BRNPA`, of the query and then of the gallery photos, in the order in which they were
            found.
        right: of each gallery photo, whether it is a right match.
        photos: to draw over in place of the explanation's pictures: of the query, then of the gallery.
        words: of each photo, the query's first, for a line beneath it: the camera, say.

    Raises:
        UnsupportedError: the explanation has no ranks, or there are not as many marks or words as photos.
        PhotoError: there is no match, or photos that are not those explained.
    """
    ranks = explanation.ranks
    if ranks is None:
        raise UnsupportedError(f"the maps of {explanation.method} have no ranks", remedy="regard.BRNPA gives them")
    _check(len(explanation), right, words)
    pictures, placed = pictures_with_maps(replace(explanation, maps=ranks.maps), photos, "nearest")
    tallest = _COLUMN_INCHES * max(min(2.5, picture.shape[0] / picture.shape[1]) for picture in pictures)
    size = (_COLUMN_INCHES * len(pictures), 2 * (tallest + _WORDS_INCHES) + TITLE_INCHES)
    figure = Figure(size, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(pictures), squeeze=False)
    for column, (picture, maps) in enumerate(zip(pictures, placed, strict=True)):
        drawn = ranks.valid[column, : len(RANKS_DRAWN)].nonzero()[:, 0].tolist()
        scale = scale_of(ranks.maps[column, drawn], signed=False)
        show(grid[0, column], picture, _title(explanation, column, right))
        show(grid[1, column], coloured(picture, maps.numpy(), drawn, scale), "")
        _write_beneath(grid[0, column], "" if words is None else shortened(words[column]))
        _write_beneath(grid[1, column], _sum(ranks, column) if column else _ranks_named(drawn))
        if column:
            _frame(grid[0, column], right[column - 1])
    figure.suptitle(f"{explanation.method} · {explanation.classifier}", fontsize=9, x=0.01, ha="left", parse_math=False)
    return figure


def _title(explanation: Explanation, column: int, right: Sequence[bool]) -> str:
    """Place and sign of a match, and its score where one target was asked for."""
    if not column:
        return "query"
    targets = explanation.targets[column]
    score = targets[0].score if len(targets) == 1 else None
    sign = (RIGHT if right[column - 1] else WRONG)[1]
    return f"{sign} {column}" + ("" if score is None or math.isnan(score) else f" · {score:.2f}")


def _sum(ranks: Ranks, column: int) -> str:
    """What the ranks add to the score, where they are parts of one."""
    if ranks.shares is None or ranks.shares.shape[1] != 1:
        return ""
    shares = ranks.shares[column, 0, : len(RANKS_DRAWN)].tolist()
    return "" if any(map(math.isnan, shares)) else " ".join(f"{share:+.2f}" for share in shares)


def _ranks_named(drawn: Sequence[int]) -> str:
    return ", ".join(f"{rank + 1} {RANKS_DRAWN[rank]}" for rank in drawn)


def _write_beneath(axes: Axes, words: str) -> None:
    place = axes.transAxes
    axes.text(0.5, -0.03, words, ha="center", va="top", fontsize=6.5, color="0.35", transform=place, parse_math=False)


def _frame(axes: Axes, right: bool) -> None:
    colour = (RIGHT if right else WRONG)[0]
    frame = Rectangle((0, 0), 1, 1, transform=axes.transAxes, fill=False, clip_on=False)
    frame.set(edgecolor=colour, linewidth=_FRAME_POINTS)
    axes.add_patch(frame)


def _check(photos: int, right: Sequence[bool], words: Sequence[str] | None) -> None:
    if photos < 2:
        raise PhotoError("a query alone has no matches", came=f"{photos} photo explained")
    if len(right) != photos - 1:
        raise UnsupportedError("every match is right or wrong", came=f"{len(right)} marks for {photos - 1} matches")
    if words is not None and len(words) != photos:
        raise UnsupportedError("every photo has its words", came=f"{len(words)} for {photos} photos")
