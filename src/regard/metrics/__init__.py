"""Numbers about maps: how faithful, sparse, well-placed and class-sensitive they are.

Pure functions stand in files by what they say; the metrics that keep rows, such as `Deletion`, in three by what they
read, and are loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from regard.compat import declare_torchvision_operators
from regard.metrics.curves import Curves as Curves
from regard.metrics.curves import curves as curves
from regard.metrics.curves import token_curves as token_curves
from regard.metrics.retention import softly_retained as softly_retained

if TYPE_CHECKING:
    from regard.metrics.metric import MapMetric as MapMetric
    from regard.metrics.of_curves import AverageDrop as AverageDrop
    from regard.metrics.of_curves import AverageGain as AverageGain
    from regard.metrics.of_curves import Deletion as Deletion
    from regard.metrics.of_curves import Fidelity as Fidelity
    from regard.metrics.of_curves import IncreaseInConfidence as IncreaseInConfidence
    from regard.metrics.of_curves import Insertion as Insertion
    from regard.metrics.of_curves import TokenFidelity as TokenFidelity
    from regard.metrics.of_maps import AveragePrecision as AveragePrecision
    from regard.metrics.of_maps import ClassSensitivity as ClassSensitivity
    from regard.metrics.of_maps import Compactness as Compactness
    from regard.metrics.of_maps import EffectiveArea as EffectiveArea
    from regard.metrics.of_maps import Entropy as Entropy
    from regard.metrics.of_maps import Gini as Gini
    from regard.metrics.of_maps import IntersectionOverUnion as IntersectionOverUnion
    from regard.metrics.of_maps import InverseRho as InverseRho
    from regard.metrics.of_maps import MassInside as MassInside
    from regard.metrics.of_maps import PointingGame as PointingGame
    from regard.metrics.of_maps import RankCorrelation as RankCorrelation
    from regard.metrics.of_maps import Rho as Rho
    from regard.metrics.of_maps import SparsityRatio as SparsityRatio
    from regard.metrics.of_methods import MaxSensitivity as MaxSensitivity
    from regard.metrics.of_methods import Randomisation as Randomisation
    from regard.metrics.registry import find as find
    from regard.metrics.registry import metrics as metrics
    from regard.metrics.registry import names as names

declare_torchvision_operators()  # before the metrics' own base: torchmetrics imports torchvision

_PUBLIC = {
    **dict.fromkeys(("names", "find", "metrics"), "registry"),
    "MapMetric": "metric",
    **dict.fromkeys(
        (
            "AverageDrop",
            "AverageGain",
            "Deletion",
            "Fidelity",
            "IncreaseInConfidence",
            "Insertion",
            "TokenFidelity",
        ),
        "of_curves",
    ),
    **dict.fromkeys(
        (
            "AveragePrecision",
            "ClassSensitivity",
            "Compactness",
            "EffectiveArea",
            "Entropy",
            "Gini",
            "IntersectionOverUnion",
            "InverseRho",
            "MassInside",
            "PointingGame",
            "RankCorrelation",
            "Rho",
            "SparsityRatio",
        ),
        "of_maps",
    ),
    **dict.fromkeys(("MaxSensitivity", "Randomisation"), "of_methods"),
}

__all__ = ["Curves", "curves", "softly_retained", "token_curves", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"regard.metrics.{_PUBLIC[name]}"), name)
    raise AttributeError(f"regard.metrics has no {name!r}; it has {', '.join(__all__)}")
