"""Maps of different grids and crops, brought to the same places of their photo."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from regard.errors import PixelsError
from regard.images import Geometry

RESOLUTION = 2**0.5 * 1e-12
"""Step to which means are rounded, as a share of max|m|: far above the error of a mean in float64, far below what maps
in float32 tell apart. Irrational, so that the round values of half-precision maps never lie between two steps."""


def on_common_grid(maps: Sequence[Tensor], geometries: Sequence[Geometry]) -> list[Tensor]:
    """Mean values of maps over the same cells of the photo.

    The grid spans the part of the photo that all frames reach, and its cells are as large as the coarsest map's:
    finer maps are averaged (a cell's evidence is the sum of its parts'), and no map is read between its cells, where
    it says nothing. Sampling a coarse map finely would instead count each of its values many times against values
    that it cannot follow. Means are rounded to about 12 digits of the map's max|m|, so that equal ones are equal and a
    constant map orders nothing. Maps of one grid and one frame within the photo stay exactly as they are.

    Args:
        maps: each (..., h, w) over its own frame.
        geometries: where each frame lies on the photo, the same photo for all.

    Returns:
        Each (..., rows, columns), float64, of one grid; without rows or columns where no part is common.

    Raises:
        PixelsError: the maps belong to photos of different sizes.
    """
    photos = {geometry.photo for geometry in geometries}
    if len(photos) != 1:
        raise PixelsError("the maps are of different photos", came=", ".join(f"{high}×{wide}" for high, wide in photos))
    ((height, width),) = photos
    lefts, tops, rights, bottoms = zip(*(geometry.box for geometry in geometries), strict=True)
    down = _shared(height, tops, bottoms, [part.shape[-2] for part in maps])
    across = _shared(width, lefts, rights, [part.shape[-1] for part in maps])
    return [
        _means(vertical, part.detach().double().cpu(), horizontal)
        for vertical, part, horizontal in zip(down, maps, across, strict=True)
    ]


def on_grid(maps: Tensor, size: tuple[int, int], part: tuple[float, float] = (1.0, 1.0)) -> Tensor:
    """Mean values of maps (..., h, w) over the cells of another grid, by area: (..., *size), float64.

    Cells need be no multiples of each other. Maps of that grid stay exactly as they are.

    Args:
        maps: of a whole frame.
        size: rows and columns of the grid.
        part: the share of the frame's height and width, from the upper left corner, over which the grid lies.
    """
    if tuple(maps.shape[-2:]) == tuple(size) and part == (1.0, 1.0):
        return maps.detach().double()
    down, across = (
        _shares(_edges(0.0, reach, count), _edges(0.0, 1.0, own)).to(maps.device)
        for reach, count, own in zip(part, size, maps.shape[-2:], strict=True)
    )
    return _means(down, maps.detach().double(), across)


def enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (..., h, w) between the centres of their cells, bilinearly, edge values repeated outwards: (..., *size).

    As torch's `interpolate` without aligned corners, to rounding, but equal neighbours stay equal to the last bit:
    between a and b stands a + t (b − a). The usual (1 − t) a + t b rounds, so that a map's flat parts, such as the
    zeros of its positive part, would be ordered by noise.
    """
    for axis, length in zip((-2, -1), size, strict=True):
        own = maps.shape[axis]
        place = ((torch.arange(length, dtype=torch.float64) + 0.5) * own / length - 0.5).clamp(0, own - 1)
        before = place.floor().long()
        share = (place - before).to(maps).unsqueeze(-1) if axis == -2 else (place - before).to(maps)
        first, second = (
            maps.index_select(axis, at.to(maps.device)) for at in (before, (before + 1).clamp(max=own - 1))
        )
        maps = torch.lerp(first, second, share)
    return maps


def _means(down: Tensor, values: Tensor, across: Tensor) -> Tensor:
    """Means of values (..., h, w) over the common cells; values that are not averaged stay as they are."""
    means = down @ values @ across.T
    if all(bool(((shares == 0) | (shares == 1)).all()) for shares in (down, across)):
        return means
    step = (RESOLUTION * values.abs().amax(dim=(-2, -1), keepdim=True)).clamp(min=torch.finfo(values.dtype).tiny)
    return (means / step).round() * step


def _shared(length: int, starts: Sequence[float], ends: Sequence[float], cells: Sequence[int]) -> list[Tensor]:
    """Along one axis of the photo: for each map, the share of each of its cells in each common cell, (common, own)."""
    start, end = max(0.0, *starts), min(float(length), *ends)
    coarsest = max((high - low) / count for low, high, count in zip(starts, ends, cells, strict=True))
    count = max(1, round((end - start) / coarsest)) if end > start else 0
    common = _edges(start, end, count)
    return [_shares(common, _edges(low, high, own)) for low, high, own in zip(starts, ends, cells, strict=True)]


def _edges(start: float, end: float, count: int) -> Tensor:
    return torch.linspace(start, end, count + 1, dtype=torch.float64)


def _shares(common: Tensor, own: Tensor) -> Tensor:
    """How much of each common interval lies in each of one's own; rows sum to 1."""
    overlap = (torch.minimum(common[1:, None], own[1:]) - torch.maximum(common[:-1, None], own[:-1])).clamp(min=0)
    return overlap / overlap.sum(dim=1, keepdim=True)
