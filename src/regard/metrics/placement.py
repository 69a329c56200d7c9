"""Where a map lies, beside where the object is.

All measures read a map as it is: a value for each cell of its own grid, the same throughout the cell, nothing between.
A region (..., H, W), boolean or shares of pixels (`regions.region_of_boxes`), lies over the same frame and counts in
each cell by its exact area: a coarse map is judged as if every cell were cut into pixels of one value. Where places are
ranked, equal ones take part in equal shares: a map that orders nothing, all zero or not, scores what chance gives, and
neither the order of places nor a monotone transform of the map changes anything. High values stand for the object:
evidence against (negative) ranks last and has no mass.

Leading axes broadcast: maps (B, T, h, w) go with regions (B, 1, H, W). Without a region there is nothing to find:
NaN, as where the crop did not reach the box.
"""

from __future__ import annotations

import torch
from torch import Tensor

from regard.errors import MetricError, PixelsError
from regard.metrics.maps import check_maps
from regard.metrics.regions import on_cells, shares_of


def pointing_game(maps: Tensor, regions: Tensor) -> Tensor:
    """Whether a map's highest place lies in the region (Zhang et al. 2018); of several equal ones, the share that does.

        Σ share of region over the places with m = max m ÷ their number

    Where the region's edge crosses the highest cell, the share of that cell. Chance is `area_inside`. Zhang et al. also
    forgive 15 pixels beside the object: widen the boxes or the mask for that.

    Args:
        maps: (..., h, w).
        regions: (..., H, W) over the same frame.

    Returns:
        (...), float64, in [0, 1]; higher is better; NaN without a region.

    Raises:
        MetricError: regions that are none, or do not go with the maps.
        PixelsError: no maps, or maps without places.
        NotFiniteError: NaN or infinity in a map.
    """
    values, region = _places(maps, regions)
    highest = (values == values.amax(-1, keepdim=True)).double()
    return _where_any((highest * region).sum(-1) / highest.sum(-1), region)


def mass_inside(maps: Tensor, regions: Tensor) -> Tensor:
    """Share of a map's positive evidence that lies in the region (Wang et al. 2020, "energy-based pointing game").

        Σ max(m, 0) · share of region ÷ Σ max(m, 0)

    Chance is `area_inside`.

    Args:
        maps: (..., h, w).
        regions: (..., H, W) over the same frame.

    Returns:
        (...), float64, in [0, 1]; higher is better; NaN without a region, and where a map has no positive value.

    Raises:
        MetricError: regions that are none, or do not go with the maps.
        PixelsError: no maps, or maps without places.
        NotFiniteError: NaN or infinity in a map.
    """
    values, region = _places(maps, regions)
    mass = values.clamp(min=0)
    mass = mass / mass.amax(-1, keepdim=True)
    return _where_any((mass * region).sum(-1) / mass.sum(-1), region)


def area_inside(regions: Tensor) -> Tensor:
    """Share of the frame that is region, a: what a map that knows nothing gets by chance.

    So of `pointing_game`, `mass_inside` and `average_precision`; of `intersection_over_union` it is a / (2 − a).

    Args:
        regions: (..., H, W).

    Returns:
        (...), float64, in [0, 1]; 0 without a region.

    Raises:
        MetricError: regions that are none.
    """
    return shares_of(regions).mean(dim=(-2, -1))


def intersection_over_union(maps: Tensor, regions: Tensor) -> Tensor:
    """Overlap of the region with as much of the map's top as the region is large.

        I / (2 A − I),   A the region's area, I the part of it in the A highest places

    The size of the region is the one threshold that needs no tuning on the photos that are judged, suits every map
    alike, and lets a perfect order score 1. Places equal to the last that fits take part in equal shares.

    Args:
        maps: (..., h, w).
        regions: (..., H, W) over the same frame.

    Returns:
        (...), float64, in [0, 1]; higher is better; NaN without a region.

    Raises:
        MetricError: regions that are none, or do not go with the maps.
        PixelsError: no maps, or maps without places.
        NotFiniteError: NaN or infinity in a map.
    """
    region, above, not_below = _ranked(maps, regions)
    area = region.sum(-1, keepdim=True)
    taken = ((area - above) / (not_below - above)).clamp(0, 1)
    shared = (taken * region).sum(-1)
    return shared / (2 * area[..., 0] - shared)


def average_precision(maps: Tensor, regions: Tensor) -> Tensor:
    """How early the region comes, going down the ranks of a map: the area under precision over recall.

        Σ over levels t of the map: (recall(m ≥ t) − recall(m > t)) · precision(m ≥ t)

    A step function, not interpolated, equal places at once, as scikit-learn's average_precision_score has it. Chance is
    `area_inside`.

    Args:
        maps: (..., h, w).
        regions: (..., H, W) over the same frame.

    Returns:
        (...), float64, in [0, 1]; higher is better; NaN without a region.

    Raises:
        MetricError: regions that are none, or do not go with the maps.
        PixelsError: no maps, or maps without places.
        NotFiniteError: NaN or infinity in a map.
    """
    region, _, not_below = _ranked(maps, regions)
    found = region.cumsum(-1).gather(-1, not_below - 1)
    return ((region * found / not_below).sum(-1) / region.sum(-1)).clamp(max=1)


def _places(maps: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
    """Values and shares of region of the same places, (..., h·w) each, float64."""
    check_maps(maps)
    if 0 in maps.shape[-2:]:
        raise PixelsError("a map without places lies nowhere", came=f"{tuple(maps.shape)}")
    region = on_cells(regions, (maps.shape[-2], maps.shape[-1])).to(maps.device)
    try:
        values, region = torch.broadcast_tensors(maps.detach().double(), region)
    except RuntimeError:
        raise MetricError(
            "every map needs its region",
            came=f"maps {tuple(maps.shape)} and regions {tuple(regions.shape)}",
            expected="leading axes that broadcast: maps (B, T, h, w) and regions (B, 1, H, W)",
        ) from None
    return values.flatten(-2).contiguous(), region.flatten(-2)


def _ranked(maps: Tensor, regions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each place, from the highest to the lowest: its share of region, how many are higher, how many not lower."""
    values, region = _places(maps, regions)
    ordered, order = (-values).sort(dim=-1)
    above = torch.searchsorted(ordered, ordered)
    not_below = torch.searchsorted(ordered, ordered, right=True)
    return region.gather(-1, order), above, not_below


def _where_any(figures: Tensor, region: Tensor) -> Tensor:
    return figures.masked_fill(region.sum(-1) == 0, torch.nan)
