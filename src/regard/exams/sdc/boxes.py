"""Points of boxes in the plane: the distributions on which the modes of error were shown (papers: SDC, section 5)."""

from __future__ import annotations

import torch

from regard.errors import UnsupportedError
from regard.exams.sdc.items import Items, generator

Box = tuple[tuple[float, float], tuple[float, float]]
"""((least, most) across, (least, most) upward)."""

_BOXES: dict[int, tuple[tuple[Box, ...], Box]] = {
    1: ((((5, 6), (2, 4)), ((5, 6), (-5, -3)), ((8, 9), (-2, 0))), ((1, 2), (-1, 5))),
    2: ((((5, 6), (2, 4)), ((5, 6), (-5, -3)), ((-3, -2), (-2, 0))), ((1, 2), (-8, 5))),
    4: (tuple(((1, 2), (low, low + 1)) for low in (5, 3, 1, -1, -3, -5)), ((5, 6), (5, 6))),
}
_POINTS = 2000


def boxes(distribution: int, seed: int) -> tuple[Items, Items]:
    """Each class is a box, all points of it alike likely; the last is the background.

    1: the background lies beside three foregrounds; a linear focus can tell them. 2: it lies between them, so a linear
    focus cannot, and one class is told by the background (EM-A). 4: six foregrounds in a column beside the background.

    2,000 points a class for each part; how many the original had is not known.
    """
    if distribution not in _BOXES:
        raise UnsupportedError("there are no such boxes", came=repr(distribution), expected="1, 2 or 4")
    foreground, background = _BOXES[distribution]
    ends = torch.tensor([*foreground, background]).float()
    names = (*(f"foreground {number}" for number in range(1, len(foreground) + 1)), "background")
    one, other = (_uniform(ends, names, generator(seed, "points", part)) for part in ("train", "test"))
    return one, other


def _uniform(ends: torch.Tensor, names: tuple[str, ...], draw: torch.Generator) -> Items:
    """Points of boxes (K, 2, 2), `_POINTS` each."""
    low, high = ends.repeat_interleave(_POINTS, dim=0).unbind(dim=-1)
    values = low + torch.rand(low.shape, generator=draw) * (high - low)
    classes = torch.arange(len(ends), dtype=torch.int16).repeat_interleave(_POINTS)
    return Items(values, classes, names, tuple(range(len(ends) - 1)))
