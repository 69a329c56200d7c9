"""Boxes: checked when they are read, before anything slow."""

from __future__ import annotations

import math
from collections.abc import Sequence

from regard.errors import FileFormatError

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the upright photo."""

ROUNDING = 1.0
"""Pixels by which a box may reach beyond its photo, as those of scaled or 1-based coordinates do; it is cut there."""


def checked_box(corners: Sequence[float], size: tuple[int, int] | None, place: str) -> Box:
    """Four numbers as a box of a photo.

    Args:
        corners: x1, y1, x2, y2.
        size: (height, width) of the upright photo; None where it cannot be read, which is found out with the photo.
        place: where they stand, in words.

    Raises:
        FileFormatError: no finite numbers, no area, or outside the photo.
    """
    came = ", ".join(f"{corner:g}" for corner in corners)
    if not all(map(math.isfinite, corners)):
        raise wrong_place(place, f"the box {came}", "finite numbers")
    left, top, right, bottom = corners
    if left >= right or top >= bottom:
        raise wrong_place(place, f"the box {came}", "x1, y1, x2, y2 with x1 below x2 and y1 below y2")
    if size is None:
        return left, top, right, bottom
    height, width = size
    if min(left, top) < -ROUNDING or right > width + ROUNDING or bottom > height + ROUNDING:
        raise wrong_place(place, f"the box {came}", f"one inside the upright photo, {width}×{height} pixels")
    box = max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))
    if box[0] >= box[2] or box[1] >= box[3]:
        raise wrong_place(place, f"the box {came}", f"one inside the upright photo, {width}×{height} pixels")
    return box


def wrong_place(place: str, came: str, expected: str) -> FileFormatError:
    """The error that says what is wrong at a place of a file."""
    return FileFormatError(f"{place} is wrong", came=came, expected=expected)
