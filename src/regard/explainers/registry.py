"""Which methods there are: regard's own, and those that other packages bring."""

from __future__ import annotations

import importlib
import inspect
import logging
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import metadata
from typing import Any

from regard.errors import UnsupportedError
from regard.explainers.explainer import Explainer
from regard.models.classifier import Classifier
from regard.question import kinds

logger = logging.getLogger("regard")

GROUP = "regard.explainers"
"""Entry points of this group add methods: their name is the method's, their object an `Explainer` class."""

_OWN = {
    "cdam": "regard.explainers.cdam:CDAM",
    "smooth-cdam": "regard.explainers.averaged_cdam:SmoothCDAM",
    "integrated-cdam": "regard.explainers.averaged_cdam:IntegratedCDAM",
    "paper-integrated-cdam": "regard.explainers.averaged_cdam:PaperIntegratedCDAM",
    "grad-cam": "regard.explainers.gradcam:GradCAM",
    "attention": "regard.explainers.attention:AttentionMap",
    "rollout": "regard.explainers.propagation:Rollout",
    "relevance": "regard.explainers.propagation:RelevancePropagation",
    "attention-grad-cam": "regard.explainers.propagation:AttentionGradCAM",
    "grad-cam++": "regard.explainers.class_activation:GradCAMPlusPlus",
    "layer-cam": "regard.explainers.class_activation:LayerCAM",
    "hires-cam": "regard.explainers.class_activation:HiResCAM",
    "x-grad-cam": "regard.explainers.class_activation:XGradCAM",
    "eigen-cam": "regard.explainers.eigen_cam:EigenCAM",
    "eigen-grad-cam": "regard.explainers.eigen_cam:EigenGradCAM",
    "token-ablation": "regard.explainers.ablation:TokenAblation",
    "last-block-ablation": "regard.explainers.ablation:LastBlockAblation",
    "input-gradient": "regard.explainers.inputs:InputGradient",
    "token-gradient": "regard.explainers.inputs:TokenGradient",
    "integrated-gradients": "regard.explainers.averaged_gradients:IntegratedGradients",
    "smooth-grad": "regard.explainers.averaged_gradients:SmoothGrad",
    "partial-relevance": "regard.explainers.partial_relevance:PartialRelevance",
    "rise": "regard.explainers.rise:RISE",
    "occlusion": "regard.explainers.occlusion:Occlusion",
    "score-cam": "regard.explainers.score_cam:ScoreCAM",
    "ablation-cam": "regard.explainers.ablation_cam:AblationCAM",
    "tame": "regard.explainers.tame:TAME",
    "br-npa": "regard.explainers.brnpa:BRNPA",
    "random": "regard.explainers.controls:Random",
    "centre": "regard.explainers.controls:Centre",
    "edges": "regard.explainers.controls:Edges",
    "ones": "regard.explainers.controls:Ones",
}
_BEST_FIRST = ("cdam", "tame", "grad-cam")


@dataclass(frozen=True)
class Method:
    """What a method is and what it can be asked."""

    name: str
    summary: str
    networks: str
    answers: tuple[str, ...]
    signed: bool
    per_target: bool


def names() -> list[str]:
    """Names of all methods, regard's own first."""
    return [*_OWN, *sorted(point.name for point in _entry_points() if point.name not in _OWN)]


def find(name: str) -> type[Explainer]:
    """The explainer class of a method.

    Raises:
        UnsupportedError: no such method, or another package's entry is no explainer.
    """
    if name in _OWN:
        module, _, attribute = _OWN[name].partition(":")
        found = getattr(importlib.import_module(module), attribute)
    else:
        points = [point for point in _entry_points() if point.name == name]
        if not points:
            near = get_close_matches(name.lower(), names(), 3, 0.6)
            raise UnsupportedError(
                f"there is no method {name!r}",
                expected=", ".join(names()),
                remedy=f"perhaps {' or '.join(near)}" if near else None,
            )
        found = _loaded(points[0])
    if not (isinstance(found, type) and issubclass(found, Explainer)):
        raise UnsupportedError(f"what is registered as method {name!r} is no explainer", came=repr(found))
    return found


def methods() -> list[Method]:
    """All methods, with what each explains and answers; one of another package that cannot be loaded is left out."""
    classes = []
    for name in names():
        try:
            classes.append((name, find(name)))
        except UnsupportedError as reason:
            logger.warning("%s", reason)
    return [
        Method(name, found.summary, found.networks, tuple(sorted(found.answers)), found.signed, found.per_target)
        for name, found in classes
    ]


def choose(classifier: Classifier, method: str | None = None, targets: Any = None, **settings: Any) -> Explainer:
    """An explainer of the method named, or of the best one that the classifier allows and that answers the targets.

    CDAM for a transformer. For a convolutional network TAME where an attention is shipped for it and classes alone are
    asked for, and Grad-CAM elsewhere.

    Raises:
        UnsupportedError: no such method, or none fits, with the reasons.
        TargetError: what is no target.
    """
    if method is not None:
        return _made(find(method), classifier, settings)
    asked, reasons = kinds(targets), []
    for name in _BEST_FIRST:
        kind = find(name)
        try:
            if asked <= kind.answers:
                return _made(kind, classifier, settings)
            reasons.append(f"{name}: does not answer {', '.join(sorted(asked - kind.answers))}")
        except UnsupportedError as reason:
            reasons.append(f"{name}: {reason.problem}" + (f" ({reason.came})" if reason.came else ""))
    raise UnsupportedError(f"no method explains {classifier.name} yet", came="; ".join(reasons))


def _made(kind: type[Explainer], classifier: Classifier, settings: dict[str, Any]) -> Explainer:
    known = [name for name in inspect.signature(kind).parameters if name != "classifier"]
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise UnsupportedError(
            f"{kind.name} has no setting {unknown[0]!r}", expected=", ".join(known) or "none: it has no settings"
        )
    return kind(classifier, **settings)


def _loaded(point: metadata.EntryPoint) -> object:
    try:
        return point.load()
    except Exception as reason:  # another package's import may fail in any way
        raise UnsupportedError(
            f"the method {point.name!r} of another package cannot be loaded",
            came=f"{point.value}: {type(reason).__name__}: {reason}",
            remedy="repair or remove that package",
        ) from reason


def _entry_points() -> metadata.EntryPoints:
    return metadata.entry_points(group=GROUP)
