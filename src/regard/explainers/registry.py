"""Which methods there are: regard's own, and those that other packages bring."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib import metadata

from regard.errors import UnsupportedError
from regard.explainers.explainer import Explainer
from regard.models.classifier import Classifier

GROUP = "regard.explainers"
"""Entry points of this group add methods: their name is the method's, their object an `Explainer` class."""

_OWN = {
    "cdam": "regard.explainers.cdam:CDAM",
    "grad-cam": "regard.explainers.gradcam:GradCAM",
    "attention": "regard.explainers.attention:AttentionMap",
    "random": "regard.explainers.controls:Random",
    "centre": "regard.explainers.controls:Centre",
}
_BEST_FIRST = ("cdam", "grad-cam")


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
            raise UnsupportedError(f"there is no method {name!r}", expected=", ".join(names()))
        found = points[0].load()
    if not (isinstance(found, type) and issubclass(found, Explainer)):
        raise UnsupportedError(f"what is registered as method {name!r} is no explainer", came=repr(found))
    return found


def methods() -> list[Method]:
    """All methods, with what each explains and answers."""
    classes = [(name, find(name)) for name in names()]
    return [
        Method(name, found.summary, found.networks, tuple(sorted(found.answers)), found.signed, found.per_target)
        for name, found in classes
    ]


def best(classifier: Classifier) -> str:
    """The method that a classifier is explained with where nobody names one.

    CDAM for a class-token transformer, Grad-CAM for a convolutional network.

    Raises:
        UnsupportedError: neither fits, with both reasons.
    """
    reasons = []
    for name in _BEST_FIRST:
        try:
            find(name)(classifier)
            return name
        except UnsupportedError as reason:
            reasons.append(f"{name}: {reason.problem}" + (f" ({reason.came})" if reason.came else ""))
    raise UnsupportedError(f"no method explains {classifier.name} yet", came="; ".join(reasons))


def _entry_points() -> metadata.EntryPoints:
    return metadata.entry_points(group=GROUP)
