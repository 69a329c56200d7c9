"""Overlays, grids, colour scales. Nothing else in regard draws, and nothing here changes a number.

A signed map is drawn on a scale symmetric about zero (blue below, red above); an unsigned one from
zero up. Where the map says little the photo shows through, so that colour always means evidence. Maps of
single pixels are drawn averaged over small cells, on a scale without their extremes, and the bar says so.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch.nn import functional

from regard.errors import PhotoError
from regard.images import Interpolation, Photo, open_photo
from regard.question import TargetAnswer

if TYPE_CHECKING:
    from regard.explanation import Explanation

SIGNED: Colormap = LinearSegmentedColormap.from_list(
    "regard_signed", ["#08306b", "#1f78c8", "#86c5f4", "#f7f7f7", "#ffab5e", "#e0401b", "#67000d"]
)
"""Diverging: blue below, red above, lightness symmetric about zero; told apart by colour-blind eyes."""
UNSIGNED: Colormap = colormaps["inferno"]
"""Sequential and perceptually uniform."""

LONGEST = 640
"""Longer side of a drawn photo in pixels: enough to see a patch, small enough for hundreds of pictures."""
LONGEST_TITLE = 40
"""Characters of a target's name above its map."""
MOST_PANELS = 24
"""Targets that a figure shows of each image; the explanation holds all."""
_STRONGEST_COVER, _PALE_COVER = 0.85, 0.75
PANEL_INCHES, TITLE_INCHES, _BAR_INCHES = 3.0, 0.55, 0.7
MOST_ROWS = 12
"""Methods that a comparison shows; with its targets no more than `MOST_PANELS` maps."""
_WORDS_INCHES, _CELL_INCHES, _TALLEST_INCHES = 0.25, 0.3, 36.0
_LETTERS_AN_INCH, _LEAST_CELLS = 14, 6
_ALIKE: Colormap = LinearSegmentedColormap.from_list(
    "regard_alike", ["#1f78c8", "#86c5f4", "#f7f7f7", "#ffab5e", "#e0401b"]
)
"""Of correlations from −1 to 1: `SIGNED` without its dark ends, so that black numbers can be read on it."""
MOST_COARSE_CELLS = 64 * 64
"""Maps of more cells are fine: they say something of single pixels, as gradients at the input do."""
FINE_CELLS = 56
"""Cells a side over which fine maps are averaged to be drawn: 4 pixels of a frame of 224. Single pixels alternate in
sign and are too small to be seen in a figure."""
FINE_SHARE = 0.995
"""Where the scale of fine maps ends: a single extreme pixel would else take colour and cover from all others."""
FINE_SCALE = "averaged over cells of 1/56 of the frame\nscale ends at the 99.5th percentile"
"""What the bar says of them."""


class Scale(Normalize):
    """A colour scale, and what a person must know of it.

    Attributes:
        said: beside its bar; nothing where the scale reaches to the strongest value.
    """

    def __init__(self, strongest: float, signed: bool, said: str = "") -> None:
        super().__init__(-strongest if signed else 0.0, strongest)
        self.said = said


@dataclass(frozen=True)
class Panel:
    """One place in the grid of a comparison.

    Attributes:
        title: above it.
        values: a map over the photo (height, width), NaN where the classifier did not see it; None for no map.
        words: beneath the map, or in its place.
        scale: where the map is not on its row's.
    """

    title: str
    values: Tensor | None
    words: str = ""
    scale: Scale | None = None


@dataclass(frozen=True)
class PanelRow:
    """One row of a comparison.

    Attributes:
        title: of the row, above its photo.
        words: beneath its photo; all that is drawn where there are no panels.
        panels: one a target; none where the method cannot explain the classifier.
        scale: the row's one colour scale, from `scale_of`.
        signed: which colours.
        signs: what values below and above zero mean, where signed.
    """

    title: str
    words: str
    panels: tuple[Panel, ...]
    scale: Scale
    signed: bool
    signs: tuple[str, str]


def _is_fine(maps: Tensor) -> bool:
    """Whether maps (..., h, w) have more than `MOST_COARSE_CELLS` cells each."""
    return maps.dim() > 1 and maps.shape[-2] * maps.shape[-1] > MOST_COARSE_CELLS


def as_drawn(explanation: Explanation) -> Explanation:
    """An explanation with the maps that are drawn: fine ones averaged, see `FINE_CELLS`, others as they are."""
    return replace(explanation, maps=_averaged(explanation.maps)) if _is_fine(explanation.maps) else explanation


def _averaged(maps: Tensor) -> Tensor:
    """Maps (..., h, w) averaged over cells of 1/56 of a side, or as they are along a side of fewer."""
    height, width = maps.shape[-2:]
    size = (min(FINE_CELLS, height), min(FINE_CELLS, width))
    return functional.adaptive_avg_pool2d(maps.reshape(-1, 1, height, width), size).reshape(*maps.shape[:-2], *size)


def scale_of(maps: Tensor, signed: bool) -> Scale:
    """The colour scale of maps that are to be compared, over all finite values.

    ±max|value|, or 0 to max. Of fine maps ± the 99.5th percentile of |value|, as they are drawn: see `as_drawn`.
    """
    fine = _is_fine(maps)
    drawn = _averaged(maps) if fine else maps
    sizes = drawn[drawn.isfinite()].abs()
    strongest = float(sizes.max()) if sizes.numel() else 0.0
    if fine and strongest:
        strongest = float(np.quantile(sizes.cpu().numpy(), FINE_SHARE)) or strongest
    return Scale(strongest or 1.0, signed, FINE_SCALE if fine else "")


def overlay(picture: np.ndarray, values: np.ndarray, scale: Normalize, signed: bool) -> np.ndarray:
    """Lay one map over a picture.

    Args:
        picture: uint8 (height, width, 3).
        values: (height, width), NaN where the classifier did not see the photo; drawn pale.
        scale: from `scale_of`.
        signed: which colours.

    Returns:
        uint8 (height, width, 3). Cover grows as |value|^0.75: weak evidence is still seen, and none is not.
    """
    return cover(picture, colours_of(values, scale, signed), _strength(values, scale), np.isnan(values))


def layer(values: np.ndarray, scale: Normalize, signed: bool) -> np.ndarray:
    """One map (height, width) as `overlay` has it, alone: uint8 RGBA (height, width, 4), to lie over a greyed picture.

    For pages, where the picture is shared by many maps and the layer's opacity is a reader's choice.
    """
    unseen = np.isnan(values)[..., None]
    opacity = np.where(unseen, _PALE_COVER, _share(_strength(values, scale)))
    colours = np.where(unseen, 255, colours_of(values, scale, signed))
    found: np.ndarray = np.concatenate([colours, 255 * opacity], axis=2).round().astype(np.uint8)
    return found


def colours_of(values: np.ndarray, scale: Normalize, signed: bool) -> np.ndarray:
    """The colour of each value on a scale, (…, 3) from 0 to 255, not rounded; of NaN that of zero."""
    colours: np.ndarray = (SIGNED if signed else UNSIGNED)(scale(np.nan_to_num(values)))[..., :3] * 255
    return colours


def _strength(values: np.ndarray, scale: Normalize) -> np.ndarray:
    """How strong each value is: |value| on the scale."""
    strength: np.ndarray = np.abs(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)) / scale.vmax
    return strength


def _share(strength: np.ndarray) -> np.ndarray:
    """How much a colour covers, (height, width, 1)."""
    share: np.ndarray = _STRONGEST_COVER * np.clip(strength, 0, 1)[..., None] ** 0.75
    return share


def cover(picture: np.ndarray, colour: np.ndarray, strength: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """Lay colours over a picture.

    Args:
        picture: uint8 (height, width, 3).
        colour: (height, width, 3), 0 to 255.
        strength: (height, width), from 0, where the greyed picture is seen, to 1.
        unseen: (height, width) bool, what is drawn pale instead.
    """
    grey = picture.astype(np.float32).mean(axis=2, keepdims=True) * 0.75 + picture.astype(np.float32) * 0.25
    share = _share(strength)
    laid = grey * (1 - share) + colour * share
    return np.where(unseen[..., None], _pale(picture), laid).round().clip(0, 255).astype(np.uint8)


def _pale(picture: np.ndarray) -> np.ndarray:
    """What a classifier did not see."""
    return (picture * (1 - _PALE_COVER) + 255 * _PALE_COVER).round().astype(np.uint8)


def draw_explanation(explanation: Explanation, photos: Sequence[Photo] | None = None) -> Figure:
    """A grid: one row an image, first the picture, then one panel a target; see `Explanation.figure`."""
    rows, columns = len(explanation), min(MOST_PANELS, explanation.maps.shape[1])
    pictures, placed = pictures_with_maps(explanation, photos)
    heights = row_heights(pictures)
    size = ((columns + 1) * PANEL_INCHES + _BAR_INCHES, sum(heights) + TITLE_INCHES * (rows + 0.5))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns + 1, squeeze=False, height_ratios=heights)
    for row in range(rows):
        scale = scale_of(explanation.maps[row], explanation.signed)
        show(grid[row, 0], pictures[row], photo_title(explanation, row))
        for column in range(columns):
            values = placed[row][column].numpy()
            drawn = overlay(pictures[row], values, scale, explanation.signed)
            show(grid[row, column + 1], drawn, title_of(explanation.targets[row][column]))
            if np.isnan(values).all():
                _words(grid[row, column + 1], 0.5, 0.5, "no map", "center", "center")
        _bar(figure, list(grid[row]), scale, explanation.signed, explanation.signs)
    shown = "" if columns == explanation.maps.shape[1] else f" · {columns} of {explanation.maps.shape[1]} targets"
    figure.suptitle(
        f"{explanation.method} · {explanation.classifier}{shown}", fontsize=9, x=0.01, ha="left", parse_math=False
    )
    return figure


def draw_comparison(photo: Photo, rows: Sequence[PanelRow], alike: Sequence[tuple[str, Tensor]], name: str) -> Figure:
    """A grid: one row a method, its photo and one panel a target; beneath, how much the rows are alike.

    Args:
        photo: what all maps lie over.
        rows: from the top; each is drawn on its own scale, which stands beside it.
        alike: a title and the rank correlations (R, R) of the rows, for each column, the photo's first.
        name: of the photo, for the heading.

    At most `MOST_ROWS` rows are drawn, and of the targets no more than make `MOST_PANELS` maps; the heading says so.
    """
    drawn, targets = rows[:MOST_ROWS], max(len(row.panels) for row in rows)
    with_maps = [place for place, row in enumerate(drawn) if row.panels]
    columns = min(targets, max(1, MOST_PANELS // max(1, len(with_maps))))
    picture = _at_size_of_maps(photo, rows)
    heights = _heights(drawn, picture.shape[0] / picture.shape[1])
    size = ((columns + 1) * PANEL_INCHES + _BAR_INCHES, sum(heights) + TITLE_INCHES)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(heights), columns + 1, height_ratios=heights)
    letters = dict(zip(with_maps, ascii_uppercase, strict=False))
    for place, row in enumerate(drawn):
        if place in letters:
            axes = [figure.add_subplot(grid[place, column]) for column in range(columns + 1)]
            _draw_row(axes, picture, row, f"{letters[place]} · {row.title}")
            _bar(figure, axes, row.scale, row.signed, row.signs)
        else:
            write(figure.add_subplot(grid[place, :]), f"{row.title}\n{row.words}", int(size[0] * _LETTERS_AN_INCH))
    for column, (heading, matrix) in enumerate(alike[: columns + 1] if len(letters) > 1 else ()):
        part = matrix[with_maps][:, with_maps].numpy()
        _draw_matrix(figure.add_subplot(grid[len(drawn), column]), part, list(letters.values()), heading)
    counts = ((len(drawn), len(rows), "methods"), (columns, targets, "targets"))
    left_out = [f"{shown} of {there} {what}" for shown, there, what in counts if shown < there]
    heading = " · ".join([name, *left_out, "one colour scale a row"])
    figure.suptitle(heading, fontsize=9, x=0.01, ha="left", parse_math=False)
    return figure


def row_heights(pictures: Sequence[np.ndarray]) -> list[float]:
    """Inches of the rows that show these pictures."""
    return [PANEL_INCHES * min(2.5, picture.shape[0] / picture.shape[1]) for picture in pictures]


def _heights(rows: Sequence[PanelRow], aspect: float) -> list[float]:
    """Inches of every row, and of the correlations beneath where there are two rows to compare."""
    maps = sum(bool(row.panels) for row in rows)
    tall = min(PANEL_INCHES * aspect + TITLE_INCHES + _WORDS_INCHES, _TALLEST_INCHES / max(1, maps))
    heights = [tall if row.panels else TITLE_INCHES for row in rows]
    return [*heights, _CELL_INCHES * maps + TITLE_INCHES] if maps > 1 else heights


def _at_size_of_maps(photo: Photo, rows: Sequence[PanelRow]) -> np.ndarray:
    size = next(panel.values.shape for row in rows for panel in row.panels if panel.values is not None)
    return np.asarray(open_photo(photo).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def _draw_row(axes: Sequence[Axes], picture: np.ndarray, row: PanelRow, title: str) -> None:
    """The photo, pale where this classifier did not see it, and the row's maps."""
    unseen = next(panel.values.isnan() for panel in row.panels if panel.values is not None).cpu().numpy()
    show(axes[0], np.where(unseen[..., None], _pale(picture), picture), title)
    _write_beneath(axes[0], row.words)
    for place, panel in zip(axes[1:], row.panels, strict=False):
        if panel.values is None:
            place.set_title(panel.title, fontsize=8, parse_math=False)
            place.set_box_aspect(picture.shape[0] / picture.shape[1])
            write(place, panel.words, 36, middle=True)
        else:
            scale = panel.scale or row.scale
            show(place, overlay(picture, panel.values.cpu().numpy(), scale, row.signed), panel.title)
            _write_beneath(place, panel.words)


def write(axes: Axes, words: str, letters: int, middle: bool = False) -> None:
    """Words instead of a picture, folded to `letters` a line."""
    axes.set_axis_off()
    lines = [line for part in words.splitlines() for line in textwrap.wrap(part, letters)]
    (x, y), align = ((0.5, 0.5), "center") if middle else ((0.0, 1.0), "left")
    _words(axes, x, y, "\n".join(lines), align, "center" if middle else "top")


def _write_beneath(axes: Axes, words: str) -> None:
    _words(axes, 0.5, -0.02, words, "center", "top")


def _words(axes: Axes, x: float, y: float, words: str, across: str, down: str) -> None:
    place = axes.transAxes
    axes.text(x, y, words, ha=across, va=down, fontsize=7.5, color="0.35", transform=place, parse_math=False)


def _draw_matrix(axes: Axes, values: np.ndarray, letters: Sequence[str], heading: str) -> None:
    """Rank correlations of rows by their letters, below the diagonal; "–" where there is none."""
    count = len(values)
    below = np.tril(np.ones_like(values, dtype=bool), -1)
    hidden = np.ma.array(values, mask=~below | np.isnan(values))
    axes.imshow(hidden, cmap=_ALIKE, vmin=-1, vmax=1, aspect="auto")
    for row, column in zip(*np.nonzero(below), strict=True):
        number = values[row, column]
        axes.text(column, row, "–" if np.isnan(number) else f"{number:z.2f}", ha="center", va="center", fontsize=6.5)
    axes.set_xticks(range(count - 1), letters[:-1], fontsize=7)
    axes.set_yticks(range(1, count), letters[1:], fontsize=7)
    axes.set_xlim(-0.5, max(count - 1, _LEAST_CELLS) - 0.5)
    axes.set_ylim(count - 0.5, 0.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(heading, fontsize=8, parse_math=False)


def _bar(figure: Figure, axes: list[Axes], scale: Scale, signed: bool, signs: tuple[str, str]) -> None:
    """The scale of a row of panels, beside it, and what must be known of it."""
    bar = figure.colorbar(ScalarMappable(scale, SIGNED if signed else UNSIGNED), ax=axes, fraction=0.025, pad=0.01)
    bar.ax.tick_params(labelsize=7)
    bar.ax.locator_params(nbins=5)
    meaning = "{1} →\n← {0}".format(*signs) if signed else "attention →"
    bar.set_label("\n".join(filter(None, [meaning, scale.said])), fontsize=7)


def pictures_with_maps(
    explanation: Explanation, photos: Sequence[Photo] | None, mode: Interpolation = "bilinear"
) -> tuple[list[np.ndarray], list[Tensor]]:
    """Pictures to draw over, and the maps at their sizes."""
    if photos is None:
        maps = as_drawn(explanation).to_pixels(mode=mode).detach().cpu()
        return list(explanation.pictures.numpy()), list(maps)
    if len(photos) != len(explanation):
        raise PhotoError(
            "the photos are not those of the explanation", came=f"{len(photos)} for {len(explanation)} images"
        )
    placed = [maps.detach().cpu() for maps in as_drawn(explanation).on_photo(mode, longest=LONGEST)]
    pictures = []
    for photo, geometry, maps in zip(photos, explanation.geometries, placed, strict=True):
        image = open_photo(photo)
        if (image.height, image.width) != geometry.photo:
            raise PhotoError(
                "the photo is not the one that was explained",
                came=f"{image.height}×{image.width}",
                expected=f"{geometry.photo[0]}×{geometry.photo[1]}",
            )
        size = (maps.shape[2], maps.shape[1])
        pictures.append(np.asarray(image.resize(size, Image.Resampling.BICUBIC)))
    return pictures, placed


def show(axes: Axes, picture: np.ndarray, title: str) -> None:
    """A picture and what stands above it, without axes."""
    axes.imshow(picture, interpolation="nearest")
    axes.set_title(title, fontsize=8, parse_math=False)
    axes.set_axis_off()


def shortened(name: str) -> str:
    """A name on one line of a title, cut where it is longer than `LONGEST_TITLE`."""
    name = " ".join(name.split())
    return name if len(name) <= LONGEST_TITLE else f"{name[: LONGEST_TITLE - 1].rstrip()}…"


def title_of(answer: TargetAnswer) -> str:
    """What stands above a map: the target, its probability and its score."""
    name = shortened(answer.name)
    if answer.probability is not None:
        return f"{name}\n{answer.probability:.1%} · score {answer.score:.2f}"
    return f"{name}\nscore {answer.score:.3g}" if answer.score is not None else name


def photo_title(explanation: Explanation, row: int) -> str:
    """What stands above a photo: its size."""
    shape = explanation.geometries[row].photo
    return f"photo {shape[1]}×{shape[0]}"
