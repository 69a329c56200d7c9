"""Which metrics there are: regard's own, and those that other packages bring."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import metadata
from typing import Any, get_args

from regard.errors import MetricError
from regard.metrics.metric import MapMetric, Needs

GROUP = "regard.metrics"
"""Entry points of this group add metrics: their name is the metric's, their object a `MapMetric` class."""

_OWN = {
    "average-drop": "of_curves:AverageDrop",
    "increase-in-confidence": "of_curves:IncreaseInConfidence",
    "average-gain": "of_curves:AverageGain",
    "deletion": "of_curves:Deletion",
    "insertion": "of_curves:Insertion",
    "fidelity": "of_curves:Fidelity",
    "token-fidelity": "of_curves:TokenFidelity",
    "pointing-game": "of_maps:PointingGame",
    "mass-inside": "of_maps:MassInside",
    "iou": "of_maps:IntersectionOverUnion",
    "average-precision": "of_maps:AveragePrecision",
    "compactness": "of_maps:Compactness",
    "sparsity-ratio": "of_maps:SparsityRatio",
    "gini": "of_maps:Gini",
    "rho": "of_maps:Rho",
    "inverse-rho": "of_maps:InverseRho",
    "entropy": "of_maps:Entropy",
    "effective-area": "of_maps:EffectiveArea",
    "class-sensitivity": "of_maps:ClassSensitivity",
    "rank-correlation": "of_maps:RankCorrelation",
    "max-sensitivity": "of_methods:MaxSensitivity",
    "randomisation": "of_methods:Randomisation",
}


@dataclass(frozen=True)
class MetricDescription:
    """What a metric is: `higher_is_better` is None where neither is; `settings` with their defaults."""

    name: str
    summary: str
    higher_is_better: bool | None
    needs: str
    rule: str
    settings: dict[str, Any]


def names() -> list[str]:
    """Names of all metrics, regard's own first."""
    return [*_OWN, *sorted(point.name for point in _entry_points() if point.name not in _OWN)]


def find(name: str) -> type[MapMetric]:
    """The class of a metric.

    Raises:
        MetricError: no such metric, or another package's entry cannot be loaded, is none, or needs what there is not.
    """
    if name in _OWN:
        module, _, attribute = _OWN[name].partition(":")
        found: object = getattr(importlib.import_module(f"regard.metrics.{module}"), attribute)
    else:
        points = [point for point in _entry_points() if point.name == name]
        if not points:
            near = get_close_matches(name.lower(), names(), 3, 0.6)
            raise MetricError(
                f"there is no metric {name!r}",
                expected=", ".join(names()),
                remedy=f"perhaps {' or '.join(near)}" if near else None,
            )
        try:
            found = points[0].load()
        except Exception as reason:  # another package's import may fail in any way
            raise MetricError(
                f"the metric {name!r} of another package cannot be loaded", came=f"{type(reason).__name__}: {reason}"
            ) from reason
    if not (isinstance(found, type) and issubclass(found, MapMetric)):
        raise MetricError(f"what is registered as metric {name!r} is none", came=repr(found))
    if getattr(found, "needs", None) not in get_args(Needs):
        raise MetricError(
            f"the metric {name!r} of another package needs what nothing gives",
            came=f"needs = {getattr(found, 'needs', None)!r}",
            expected=", ".join(get_args(Needs)),
        )
    return found


def metrics() -> list[MetricDescription]:
    """All metrics, with what each needs."""
    return [_described(find(name)) for name in names()]


def _described(kind: type[MapMetric]) -> MetricDescription:
    settings = {name: parameter.default for name, parameter in inspect.signature(kind).parameters.items()}
    plain = {name: default for name, default in settings.items() if name != "settings"}
    return MetricDescription(kind.name, kind.summary, kind.higher_is_better, kind.needs, kind.rule, plain)


def _entry_points() -> metadata.EntryPoints:
    return metadata.entry_points(group=GROUP)
