"""Masks of photos: read from pictures, or drawn from outlines, when they are needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from regard.errors import PhotoError


@dataclass(frozen=True)
class Outline:
    """What polygons or runs enclose together.

    Attributes:
        size: (height, width) of the upright photo.
        polygons: each x, y, x, y, … of its corners, in pixels of the photo. A pixel whose centre lies in any of them is
            inside; within one polygon that crosses itself, by the even-odd rule.
        runs: each the lengths of runs of pixels outside, inside, outside, …, down the columns from left to right:
            COCO's uncompressed run-length code.
    """

    size: tuple[int, int]
    polygons: tuple[tuple[float, ...], ...] = ()
    runs: tuple[tuple[int, ...], ...] = ()

    def drawn(self, size: tuple[int, int]) -> Tensor:
        """The mask, bool (height, width).

        Raises:
            PhotoError: the photo has another size.
        """
        _check_size(self.size, size, "outlines")
        inside = np.zeros(size, bool)
        for polygon in self.polygons:
            inside |= _within(np.asarray(polygon).reshape(-1, 2), size)
        for lengths in self.runs:
            inside |= np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(size[::-1]).T
        return torch.from_numpy(inside)


def _within(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels (height, width) whose centre lies in a polygon (n, 2): those with an odd number of edges to their left."""
    height, width = size
    (x, y), (to_x, to_y) = corners.T, np.roll(corners, -1, axis=0).T
    down = np.arange(height) + 0.5
    edges, rows = np.nonzero((y[:, None] <= down) != (to_y[:, None] <= down))
    share = (down[rows] - y[edges]) / (to_y - y)[edges]
    crossing = x[edges] + share * (to_x - x)[edges]
    first_right = np.ceil(crossing - 0.5).clip(0, width).astype(int)
    crossed = np.zeros((height, width + 1), int)
    np.add.at(crossed, (rows, first_right), 1)
    odd: np.ndarray = crossed.cumsum(axis=1)[:, :width] % 2 == 1
    return odd


def read_mask(path: Path, size: tuple[int, int]) -> Tensor:
    """A mask's picture as bool (height, width): True where it is not black, or not the first colour of a palette.

    Args:
        path: a PNG, grey, RGB or with a palette; not turned, whatever its metadata say.
        size: (height, width) of the upright photo.

    Raises:
        PhotoError: no such picture, or another size.
    """
    check_mask(path, size)
    try:
        with Image.open(path) as image:
            values = np.asarray(image) != 0
    except (OSError, SyntaxError, ValueError) as reason:
        raise PhotoError(f"the mask {str(path)!r} is damaged", came=str(reason)) from reason
    return torch.from_numpy(values.any(axis=2) if values.ndim == 3 else values)


def check_mask(path: Path, size: tuple[int, int]) -> None:
    """Refuse by its first bytes what `read_mask` would refuse.

    Raises:
        PhotoError: no such picture, or another size.
    """
    try:
        with Image.open(path, formats=["PNG"]) as image:
            mode, has = image.mode, image.size[::-1]
    except UnidentifiedImageError:
        raise PhotoError(f"the mask {str(path)!r} is no PNG") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as reason:
        raise PhotoError(f"the mask {str(path)!r} cannot be read", came=str(reason)) from reason
    _check_size(has, size, repr(str(path)))
    if mode not in ("1", "L", "P", "I", "I;16", "RGB"):
        raise PhotoError(
            f"the mask {str(path)!r} is not clear: is it the colour that counts, or what is transparent?",
            came=mode,
            expected="grey, palette or RGB",
        )


def _check_size(has: tuple[int, int], photo: tuple[int, int], name: str) -> None:
    if has != photo:
        raise PhotoError(
            f"the mask has not the size of its upright photo: {name}",
            came=f"{has[1]}×{has[0]} pixels",
            expected=f"{photo[1]}×{photo[0]}",
        )
