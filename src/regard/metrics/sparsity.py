"""How little of a picture a map points at."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from regard.errors import MetricError, PixelsError
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
        MetricError: another threshold.
        PixelsError: no maps, or maps without places.
        NotFiniteError: NaN or infinity in a map.
    """
    return compactness_curve(maps, [threshold])[..., 0]


def compactness_curve(maps: Tensor, thresholds: Sequence[float]) -> Tensor:
    """`compactness` at several thresholds: the distribution function of |m| / max |m|.

    Which of two maps is the more compact can depend on the threshold, most of all where one method is signed and the
    other is not (CDAM, section 5.4); a curve shows it.

    Args:
        maps: (..., h, w).
        thresholds: t of them, each between 0 and 1, in any order.

    Returns:
        (..., t), float64; NaN where all is zero.

    Raises:
        MetricError: no thresholds, or others.
        PixelsError: no maps, or maps without places.
        NotFiniteError: NaN or infinity in a map.
    """
    limits = torch.as_tensor(thresholds, dtype=torch.float64, device=maps.device)
    if limits.dim() != 1 or len(limits) == 0 or not bool(((limits >= 0) & (limits <= 1)).all()):
        raise MetricError("thresholds are shares of the largest magnitude", came=repr(thresholds), expected="0 to 1")
    ordered = _sizes(maps).sort(-1).values
    largest = ordered[..., -1:]
    left_out = torch.searchsorted(ordered, limits * largest, right=True)
    return (left_out.double() / ordered.shape[-1]).masked_fill(largest == 0, torch.nan)


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


def rho(maps: Tensor) -> Tensor:
    """ρ, how full a map is beside its own peak (BR-NPA, section 4.1): lower is sparser.

        mean |m| / max |m|

    By magnitude, so that the sign of a map does not matter; BR-NPA's own maps have no negative values. The official
    code adds 1e-5 to the maximum; without that the number does not depend on a map's scale.

    Args:
        maps: (..., h, w).

    Returns:
        (...), float64, in (0, 1]: 1 for a constant, k/n for k equal places among n; NaN where all is zero.

    Raises:
        PixelsError: no maps, or maps without places.
        NotFiniteError: NaN or infinity in a map.
    """
    return _relative(maps).mean(-1)


def inverse_rho(maps: Tensor) -> Tensor:
    """1/ρ: higher is sparser. What BR-NPA's tables seem to average over images (section 4.1).

    The mean of 1/ρ is not 1 over the mean of ρ; hence a measure of its own.

    Args:
        maps: (..., h, w).

    Returns:
        (...), float64, in [1, n] for n places; NaN where all is zero.

    Raises:
        PixelsError: no maps, or maps without places.
        NotFiniteError: NaN or infinity in a map.
    """
    return 1 / rho(maps)


def entropy(maps: Tensor) -> Tensor:
    """Entropy of a map's evidence, as a share of the largest that its grid allows: lower is sparser.

        −Σ p ln p / ln n,   p = |m| / Σ |m|

    Without the division it is the "complexity" of Bhatt et al. 2020 (in nats); with it maps of different grids can
    stand in one table.

    Args:
        maps: (..., h, w).

    Returns:
        (...), float64, in [0, 1]: 1 for a constant, 0 for a single place; NaN where all is zero, and for maps of one
        place, which can be spread no other way.

    Raises:
        PixelsError: no maps, or maps without places.
        NotFiniteError: NaN or infinity in a map.
    """
    sizes = _relative(maps)
    shares = sizes / sizes.sum(-1, keepdim=True)
    nats: Tensor = torch.special.entr(shares).sum(-1)
    return (nats / math.log(sizes.shape[-1])).clamp(0, 1)


def effective_area(maps: Tensor) -> Tensor:
    """Share of the frame that a map's evidence fills: its participation ratio. Lower is sparser.

        (Σ |m|)² / (n Σ m²)

    That of k equal places among n is k/n. Not exp(entropy)/n, which has that property too but is the entropy once
    more: the square listens to the strong places and little to a faint haze over all others.

    Args:
        maps: (..., h, w).

    Returns:
        (...), float64, in (0, 1]: 1 for a constant, 1/n for a single place; NaN where all is zero.

    Raises:
        PixelsError: no maps, or maps without places.
        NotFiniteError: NaN or infinity in a map.
    """
    sizes = _relative(maps)
    return sizes.mean(-1).square() / sizes.square().mean(-1)


def _relative(maps: Tensor) -> Tensor:
    """Magnitudes as shares of the largest, (..., h·w); NaN where all is zero."""
    sizes = _sizes(maps)
    return sizes / sizes.amax(-1, keepdim=True)


def _sizes(maps: Tensor) -> Tensor:
    """Magnitudes, (..., h·w)."""
    check_maps(maps)
    if 0 in maps.shape[-2:]:
        raise PixelsError("a map without places has no sparsity", came=f"{tuple(maps.shape)}")
    return maps.detach().flatten(-2).double().abs()
