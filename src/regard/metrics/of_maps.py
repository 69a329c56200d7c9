"""Metrics that read maps alone, or beside a region or other maps: how sparse, well-placed and alike they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from regard.errors import MetricError
from regard.explanation import Explanation
from regard.metrics import placement, sparsity
from regard.metrics.common_grid import on_common_grid
from regard.metrics.metric import MapMetric, Needs
from regard.metrics.rank_correlation import rank_correlation

Other = Literal["second", "least"]


class _Sparsity(MapMetric):
    needs: ClassVar[Needs] = "maps"
    rule: ClassVar[str] = "magnitudes of the raw map on its own grid"

    def stated(self, explanation: Explanation) -> Mapping[str, Any]:
        return {"grid": "×".join(map(str, explanation.maps.shape[2:]))}


class Compactness(_Sparsity):
    """Share of places with |m| ≤ threshold · max |m| (CDAM). See `sparsity.compactness`; grids differ in what it means.

    Args:
        threshold: 0.05, the paper's.
    """

    name: ClassVar[str] = "compactness"
    summary: ClassVar[str] = "share of places below a twentieth of the largest magnitude"
    higher_is_better: bool | None = True

    def __init__(self, threshold: float = 0.05) -> None:
        super().__init__(threshold=float(threshold))
        self.threshold = float(threshold)

    def measure(self, explanation: Explanation) -> Tensor:
        return sparsity.compactness(explanation.maps, self.threshold)


class SparsityRatio(_Sparsity):
    """The ratio as published with CDAM: the signed maximum sets its threshold. See `sparsity.sparsity_ratio`."""

    name: ClassVar[str] = "sparsity-ratio"
    summary: ClassVar[str] = "share of places below a twentieth of the signed maximum, as published with CDAM"
    rule: ClassVar[str] = "magnitudes against the signed maximum, on the map's own grid"
    higher_is_better: bool | None = True

    def measure(self, explanation: Explanation) -> Tensor:
        return sparsity.sparsity_ratio(explanation.maps)


class Gini(_Sparsity):
    """Gini index of |m|. See `sparsity.gini`."""

    name: ClassVar[str] = "gini"
    summary: ClassVar[str] = "how unequally a map spreads its evidence"
    higher_is_better: bool | None = True

    def measure(self, explanation: Explanation) -> Tensor:
        return sparsity.gini(explanation.maps)


class Rho(_Sparsity):
    """Mean of |m| / max |m| (BR-NPA). See `sparsity.rho`."""

    name: ClassVar[str] = "rho"
    summary: ClassVar[str] = "mean magnitude as a share of the largest"
    higher_is_better: bool | None = False

    def measure(self, explanation: Explanation) -> Tensor:
        return sparsity.rho(explanation.maps)


class InverseRho(_Sparsity):
    """1 / ρ of each map, then averaged (BR-NPA's tables). See `sparsity.inverse_rho`."""

    name: ClassVar[str] = "inverse-rho"
    summary: ClassVar[str] = "largest magnitude over the mean one"
    higher_is_better: bool | None = True

    def measure(self, explanation: Explanation) -> Tensor:
        return sparsity.inverse_rho(explanation.maps)


class Entropy(_Sparsity):
    """Entropy of |m| / Σ |m|. See `sparsity.entropy`."""

    name: ClassVar[str] = "entropy"
    summary: ClassVar[str] = "entropy of the evidence over places"
    higher_is_better: bool | None = False

    def measure(self, explanation: Explanation) -> Tensor:
        return sparsity.entropy(explanation.maps)


class EffectiveArea(_Sparsity):
    """Share of the picture over which the evidence is in effect spread. See `sparsity.effective_area`."""

    name: ClassVar[str] = "effective-area"
    summary: ClassVar[str] = "share of the picture over which the evidence is spread"
    higher_is_better: bool | None = False

    def measure(self, explanation: Explanation) -> Tensor:
        return sparsity.effective_area(explanation.maps)


class _Placement(MapMetric):
    """Reads maps (B, T, h, w) beside regions (B, H, W) in the frame of the maps' own geometry."""

    needs: ClassVar[Needs] = "region"
    rule: ClassVar[str] = "cells of the raw map, each by the share of it that is region"
    higher_is_better: bool | None = True


class PointingGame(_Placement):
    """Whether the highest place lies in the region. See `placement.pointing_game`."""

    name: ClassVar[str] = "pointing-game"
    summary: ClassVar[str] = "whether the highest place lies on the object"

    def measure(self, explanation: Explanation, regions: Tensor) -> Tensor:
        return placement.pointing_game(explanation.maps, regions[:, None])


class MassInside(_Placement):
    """Share of the positive evidence in the region. See `placement.mass_inside`."""

    name: ClassVar[str] = "mass-inside"
    summary: ClassVar[str] = "share of the positive evidence that lies on the object"

    def measure(self, explanation: Explanation, regions: Tensor) -> Tensor:
        return placement.mass_inside(explanation.maps, regions[:, None])


class IntersectionOverUnion(_Placement):
    """Overlap of the region with as much of the map's top. See `placement.intersection_over_union`."""

    name: ClassVar[str] = "iou"
    summary: ClassVar[str] = "overlap of the object with an equally large top of the map"
    rule: ClassVar[str] = "the top places by rank, as large as the region"

    def measure(self, explanation: Explanation, regions: Tensor) -> Tensor:
        return placement.intersection_over_union(explanation.maps, regions[:, None])


class AveragePrecision(_Placement):
    """Precision of the map's order against the region. See `placement.average_precision`."""

    name: ClassVar[str] = "average-precision"
    summary: ClassVar[str] = "precision of the map's order of places against the object"
    rule: ClassVar[str] = "places ranked by the raw signed map"

    def measure(self, explanation: Explanation, regions: Tensor) -> Tensor:
        return placement.average_precision(explanation.maps, regions[:, None])


class ClassSensitivity(MapMetric):
    """Rank correlation of the map of one class with that of another, on the same picture (CDAM, section 5.2).

    Given maps of the likeliest, the second likeliest and the least likely class. 1 tells no classes apart.

    Args:
        other: "second", the second target, or "least", the last.
    """

    name: ClassVar[str] = "class-sensitivity"
    summary: ClassVar[str] = "rank correlation between the maps of two classes"
    needs: ClassVar[Needs] = "several targets"
    rule: ClassVar[str] = "ranks of the raw signed map, ties averaged"
    higher_is_better: bool | None = False

    in_column: ClassVar[tuple[str, ...]] = ("other",)

    def __init__(self, other: Other = "second") -> None:
        if other not in get_args(Other):
            raise MetricError("there is no such other class", came=repr(other), expected=", ".join(get_args(Other)))
        super().__init__(other=other)
        self.other = other

    def measure(self, explanation: Explanation) -> Tensor:
        if explanation.maps.shape[1] < 2:
            raise MetricError("class sensitivity compares the maps of two targets", came="maps of one")
        likeliest, other = explanation.maps[:, 0], explanation.maps[:, 1 if self.other == "second" else -1]
        return rank_correlation(likeliest, other)[:, None]


class RankCorrelation(MapMetric):
    """Rank correlation of two methods' maps of the same pictures and targets, on the coarser grid of the two."""

    name: ClassVar[str] = "rank-correlation"
    summary: ClassVar[str] = "rank correlation of two methods' maps"
    needs: ClassVar[Needs] = "other maps"
    rule: ClassVar[str] = "ranks of the raw signed maps on their common grid, ties averaged"
    higher_is_better: bool | None = None

    def measure(self, explanation: Explanation, other: Explanation) -> Tensor:
        pairs = zip(explanation, other, strict=True)
        return torch.cat([_correlated(one, another) for one, another in pairs])


def _correlated(one: Explanation, other: Explanation) -> Tensor:
    first, second = on_common_grid([one.maps, other.maps], [*one.geometries, *other.geometries])
    return rank_correlation(first, second)
