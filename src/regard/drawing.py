"""Overlays, grids, colour scales. Nothing else in regard draws, and nothing here changes a number.

A signed map is drawn on a scale symmetric about zero (blue against, red for); an unsigned one from
zero up. Where the map says little the photo shows through, so that colour always means evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
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

from regard.errors import PhotoError
from regard.images import Photo, open_photo
from regard.question import TargetAnswer

if TYPE_CHECKING:
    from regard.explanation import Explanation

SIGNED: Colormap = LinearSegmentedColormap.from_list(
    "regard_signed", ["#08306b", "#1f78c8", "#86c5f4", "#f7f7f7", "#ffab5e", "#e0401b", "#67000d"]
)
"""Diverging: blue against, red for, lightness symmetric about zero; told apart by colour-blind eyes."""
UNSIGNED: Colormap = colormaps["inferno"]
"""Sequential and perceptually uniform."""

LONGEST = 640
"""Longer side of a drawn photo in pixels: enough to see a patch, small enough for hundreds of pictures."""
LONGEST_TITLE = 40
"""Characters of a target's name above its map."""
MOST_PANELS = 24
"""Targets that a figure shows of each image; the explanation holds all."""
_STRONGEST_COVER = 0.85
_PANEL_INCHES, _BAR_INCHES, _TITLE_INCHES = 3.0, 0.7, 0.55


def scale_of(maps: Tensor, signed: bool) -> Normalize:
    """The colour scale of maps that are to be compared: ±max|value|, or 0 to max, over all finite values."""
    finite = maps[maps.isfinite()]
    strongest = float(finite.abs().max()) if finite.numel() else 0.0
    strongest = strongest or 1.0
    return Normalize(-strongest if signed else 0.0, strongest)


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
    grey = picture.astype(np.float32).mean(axis=2, keepdims=True) * 0.75 + picture.astype(np.float32) * 0.25
    strength = np.abs(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)) / scale.vmax
    cover = _STRONGEST_COVER * np.clip(strength, 0, 1)[..., None] ** 0.75
    colour = (SIGNED if signed else UNSIGNED)(scale(np.nan_to_num(values)))[..., :3] * 255
    laid = grey * (1 - cover) + colour * cover
    unseen = np.isnan(values)[..., None]
    return np.where(unseen, picture * 0.25 + 191, laid).round().clip(0, 255).astype(np.uint8)


def draw_explanation(explanation: Explanation, photos: Sequence[Photo] | None = None) -> Figure:
    """A grid: one row an image, first the picture, then one panel a target; see `Explanation.figure`."""
    rows, columns = len(explanation), min(MOST_PANELS, explanation.maps.shape[1])
    pictures, placed = _placed(explanation, photos)
    heights = [_PANEL_INCHES * min(2.5, picture.shape[0] / picture.shape[1]) for picture in pictures]
    size = ((columns + 1) * _PANEL_INCHES + _BAR_INCHES, sum(heights) + _TITLE_INCHES * (rows + 0.5))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns + 1, squeeze=False, height_ratios=heights)
    for row in range(rows):
        scale = scale_of(explanation.maps[row], explanation.signed)
        _show(grid[row, 0], pictures[row], _photo_title(explanation, row))
        for column in range(columns):
            drawn = overlay(pictures[row], placed[row][column].numpy(), scale, explanation.signed)
            _show(grid[row, column + 1], drawn, _title(explanation.targets[row][column]))
        colours = ScalarMappable(scale, SIGNED if explanation.signed else UNSIGNED)
        bar = figure.colorbar(colours, ax=list(grid[row]), fraction=0.025, pad=0.01)
        bar.ax.tick_params(labelsize=7)
        bar.ax.locator_params(nbins=5)
        bar.set_label("against ← → for" if explanation.signed else "attention →", fontsize=7)
    shown = "" if columns == explanation.maps.shape[1] else f" · {columns} of {explanation.maps.shape[1]} targets"
    figure.suptitle(
        f"{explanation.method} · {explanation.classifier}{shown}", fontsize=9, x=0.01, ha="left", parse_math=False
    )
    return figure


def _placed(explanation: Explanation, photos: Sequence[Photo] | None) -> tuple[list[np.ndarray], list[Tensor]]:
    """Pictures to draw over, and the maps at their sizes."""
    if photos is None:
        maps = explanation.to_pixels().detach().cpu()
        return list(explanation.pictures.numpy()), list(maps)
    if len(photos) != len(explanation):
        raise PhotoError(
            "the photos are not those of the explanation", came=f"{len(photos)} for {len(explanation)} images"
        )
    placed = [maps.detach().cpu() for maps in explanation.on_photo(longest=LONGEST)]
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


def _show(axes: Axes, picture: np.ndarray, title: str) -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.set_title(title, fontsize=8, parse_math=False)
    axes.set_axis_off()


def _title(answer: TargetAnswer) -> str:
    name = " ".join(answer.name.split())
    name = name if len(name) <= LONGEST_TITLE else f"{name[: LONGEST_TITLE - 1].rstrip()}…"
    if answer.probability is not None:
        return f"{name}\n{answer.probability:.1%} · score {answer.score:.2f}"
    return f"{name}\nscore {answer.score:.3g}" if answer.score is not None else name


def _photo_title(explanation: Explanation, row: int) -> str:
    shape = explanation.geometries[row].photo
    return f"photo {shape[1]}×{shape[0]}"
