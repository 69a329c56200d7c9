"""Classifiers of torchvision: "torchvision:NAME"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from torch import nn

from regard.compat import import_optional
from regard.errors import ClassifierError
from regard.models.files import Source
from regard.models.offers import Listed, Offer, check_published, kept_share, unbuilt
from regard.models.preparation import Preparation

# What the published weights of these two were trained with, so that a file of them fits a network built without any.
_TRAINED_WITH = {"aux_logits": True, "transform_input": True, "init_weights": False}
_TWO_HEADED = ("googlenet", "inception_v3")


def offer(name: str, fetch: bool, labels: Sequence[str] | None, arguments: Mapping[str, Any]) -> Offer:
    """A classification network of torchvision, prepared and labelled as its best published weights are.

    Args:
        name: as torchvision writes it.
        fetch: the published weights; else random ones.
        labels: of one's own; their number sets the number of classes of a network without published weights.
        arguments: for the network's builder.
    """
    published = _published(name)
    transform, categories = published.transforms(), published.meta["categories"]
    if labels is not None and fetch:
        check_published(f"torchvision:{name}", len(labels), len(categories))
    arguments = _arguments(name, transform.crop_size[0], labels, arguments)
    network = _network(name, published if fetch else None, arguments)
    size = arguments.get("image_size", transform.crop_size[0])
    preparation = Preparation(
        size=size,
        mean=tuple(transform.mean),
        std=tuple(transform.std),
        crop=kept_share(transform.crop_size[0], transform.resize_size[0]),
        interpolation=transform.interpolation.value,
    )
    known = categories if arguments.get("num_classes", len(categories)) == len(categories) else None
    return Offer(network, preparation, Source(f"torchvision:{name}", arguments), labels or known)


def build(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The network with random weights."""
    _published(name)
    return _network(name, None, arguments)


def listed() -> list[Listed]:
    """All of torchvision's classification networks."""
    return [Listed(f"torchvision:{name}", "weights to fetch") for name in _names()]


def _names() -> list[str]:
    models = import_optional("torchvision.models", "torchvision")
    return list(models.list_models(module=models))


def _published(name: str) -> Any:
    """The best published weights of a network: where they lie, how photos are prepared for them, which classes."""
    known = _names()
    if name not in known:
        near = get_close_matches(name, known, 4, 0.5)
        raise ClassifierError(
            f"torchvision has no classification network {name!r}",
            expected=f"for example {', '.join(near)}" if near else None,
            remedy="regard models torchvision: lists what there is",
        )
    return import_optional("torchvision.models", "torchvision").get_model_weights(name).DEFAULT


def _arguments(name: str, side: int, labels: Sequence[str] | None, given: Mapping[str, Any]) -> dict[str, Any]:
    arguments: dict[str, Any] = dict(_TRAINED_WITH) if name in _TWO_HEADED else {}
    if name.startswith("vit_"):
        arguments["image_size"] = side
    if labels is not None:
        arguments["num_classes"] = len(labels)
    return arguments | dict(given)


def _network(name: str, weights: Any, arguments: Mapping[str, Any]) -> nn.Module:
    try:
        network: nn.Module = import_optional("torchvision.models", "torchvision").get_model(
            name, weights=weights, progress=False, **arguments
        )
    except Exception as reason:  # hubs and builders raise whatever they stumble over
        raise unbuilt(f"torchvision:{name}", weights is not None, reason) from reason
    return network
