"""Whether two maps order the places of a picture alike."""

from __future__ import annotations

import torch
from torch import Tensor

from regard.errors import PixelsError
from regard.metrics.maps import check_maps


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's rank correlation between maps of the same places.

    With r and s the ranks of the n values of either map, from 1, ties sharing their average:

        ρ = Σ (r − r̄)(s − s̄) / √(Σ (r − r̄)² · Σ (s − s̄)²),  r̄ = s̄ = (n + 1) / 2

    Ranks, since raw maps have no common unit; of the signed values, so that evidence against ranks below none.
    Between methods it says how much they overlap; between two targets of one method, how little the method tells
    them apart (CDAM, class sensitivity: lower is more sensitive; a class-agnostic map has 1 by construction).

    Args:
        first: (..., h, w).
        second: of the same shape; maps of different grids go through `on_common_grid` first.

    Returns:
        (...), float64, from −1 to 1; NaN where either map is constant and so orders nothing.

    Raises:
        PixelsError: different shapes, or no maps.
        NotFiniteError: NaN or infinity in a map.
    """
    if first.shape != second.shape:
        raise PixelsError(
            "two maps are correlated place by place",
            came=f"{tuple(first.shape)} and {tuple(second.shape)}",
            expected="the same (..., h, w)",
            remedy="regard.metrics.common_grid.on_common_grid brings maps of different grids together",
        )
    one, other = (_centred_ranks(maps) for maps in (first, second))
    spread = (one.square().sum(-1) * other.square().sum(-1)).sqrt()
    return ((one * other).sum(-1) / spread).clamp(-1, 1)


def _centred_ranks(maps: Tensor) -> Tensor:
    """Average ranks minus their mean, (..., h·w): half of (values below − values above)."""
    check_maps(maps)
    values = maps.detach().flatten(-2).double().contiguous()
    ordered = values.sort(dim=-1).values
    below = torch.searchsorted(ordered, values)
    not_above = torch.searchsorted(ordered, values, right=True)
    return (below + not_above - values.shape[-1]).double() / 2
