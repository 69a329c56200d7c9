"""How little of a picture a map points at."""

from __future__ import annotations

import torch
from torch import Tensor

from regard.errors import PixelsError
from regard.metrics.maps import check_maps


def compactness(maps: Tensor, threshold: float = 0.05) -> Tensor:
    """Share of places that a map all but leaves out (CDAM, "compactness"): higher is more compact.

        share of places with |m| ≤ threshold · max |m|

    The largest magnitude sets the threshold, so that the sign of a map does not matter; 5 % is the paper's.

    Args:
        maps: (..., h, w), each on its own grid: interpolation would move values across the threshold.
        threshold: between 0 and 1.

    Returns:
        (...), float64, in [0, 1): 1 − 1/n for a single one among n places, 0 for a constant. NaN where all is zero:
        a map that says nothing is not the most compact of all.

    Raises:
        PixelsError: no maps, or maps without places.
        NotFiniteError: NaN or infinity in a map.
    """
    sizes = _sizes(maps)
    largest = sizes.amax(-1, keepdim=True)
    share = (sizes <= threshold * largest).double().mean(-1)
    return share.masked_fill(largest[..., 0] == 0, torch.nan)


def sparsity_ratio(maps: Tensor, threshold: float = 0.05) -> Tensor:
    """The ratio as published with CDAM: share of places with |m| < threshold · max m, the signed maximum.

    Where evidence against is the strongest the smaller positive side sets the threshold, so the ratio changes with the
    sign of the map, and is 0 where nothing is positive (CDAM, section 5.2). For comparison with published figures;
    `compactness` has the same idea without that.

    Args:
        maps: (..., h, w).
        threshold: between 0 and 1.

    Returns:
        (...), float64, in [0, 1).

    Raises:
        PixelsError: no maps, or maps without places.
        NotFiniteError: NaN or infinity in a map.
    """
    sizes = _sizes(maps)
    largest = maps.detach().flatten(-2).double().amax(-1, keepdim=True)
    return (sizes < threshold * largest).double().mean(-1)


def gini(maps: Tensor) -> Tensor:
    """Gini index of |m|: how unequally a map spreads its evidence, without any threshold; higher is sparser.

    With the magnitudes x₁ ≤ … ≤ xₙ:  Σ (2i − n − 1) xᵢ / (n Σ xᵢ)

    Args:
        maps: (..., h, w).

    Returns:
        (...), float64, in [0, 1): 0 for a constant, 1 − 1/n for a single one; NaN where all is zero.

    Raises:
        PixelsError: no maps, or maps without places.
        NotFiniteError: NaN or infinity in a map.
    """
    ordered = _sizes(maps).sort(-1).values
    count = ordered.shape[-1]
    weights = 2 * torch.arange(1, count + 1, dtype=ordered.dtype, device=ordered.device) - count - 1
    return (ordered @ weights / (count * ordered.sum(-1))).clamp(min=0)


def _sizes(maps: Tensor) -> Tensor:
    """Magnitudes, (..., h·w)."""
    check_maps(maps)
    if 0 in maps.shape[-2:]:
        raise PixelsError("a map without places has no sparsity", came=f"{tuple(maps.shape)}")
    return maps.detach().flatten(-2).double().abs()
