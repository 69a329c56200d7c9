"""What a classifier can be explained with, and where: as JSON values, and in words."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regard.models.classifier import Classifier


def parameters_of(name: str) -> int | None:
    """How many parameters a network of timm or torchvision has, without memory for them; None where that fails."""
    import torch

    from regard.models.catalog import build
    from regard.models.files import Source

    if not name.startswith(("timm:", "torchvision:")):
        return None
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong with it is said when it is built
            return sum(parameter.numel() for parameter in build(Source(name, {})).parameters())
    except Exception:  # some networks read values while they are built, which this device does not hold
        return None


def description(classifier: Classifier) -> dict[str, Any]:
    """Output, frame, the methods that explain it, and its layers: the anatomy, the last feature map, all."""
    from regard.models.layers import tappable

    return {
        "outputs": classifier.outputs,
        "classes": classifier.class_count,
        "width": classifier.width,
        "frame": classifier.preparation.frame,
        "methods": _methods(classifier),
        "tokens": _tokens(classifier),
        "feature_map": _feature_map(classifier),
        "representatives": _representatives(classifier),
        "layers": [asdict(layer) for layer in tappable(classifier)],
    }


def in_words(described: dict[str, Any]) -> str:
    """Where the maps of a described classifier come from, in one line."""
    tokens, features, pooled = described["tokens"], described["feature_map"], described.get("representatives")
    if pooled is not None:
        return _pooled_in_words(pooled)
    if tokens is not None:
        blocks, (high, wide), (down, across) = tokens["blocks"], tokens["patch"], tokens["grid"]
        return (
            f"{len(blocks)} blocks, {blocks[0]} to {blocks[-1]}; patches of {high}×{wide} pixels in a grid of"
            f" {down}×{across}, prefix tokens: {tokens['prefix']}; the head reads {_read(tokens)}"
        )
    if features is not None:
        return f"last feature map {features['layer']} {'×'.join(map(str, features['shape']))}"
    return "neither tokens nor a feature map that carries the decision"


def _pooled_in_words(pooled: dict[str, Any]) -> str:
    finer = "".join(
        f"; strides {', '.join(map(str, each['strides']))}{', dilated' if each['dilation'] else ''}"
        for each in pooled["finer"]
    )
    return (
        f"{pooled['count']} vectors by {pooled['pooling']} pooling of {pooled['layer']}, a grid of"
        f" {'×'.join(map(str, pooled['grid']))}{finer}"
    )


def _read(tokens: dict[str, Any]) -> str:
    if tokens["pool"] is not None:
        return f"the patches, through {tokens['pool']}"
    if tokens["rows"] is None:
        return "the patches"
    return f"token{'s' * (len(tokens['rows']) > 1)} {', '.join(map(str, tokens['rows']))}"


def _methods(classifier: Classifier) -> list[str]:
    """The methods that can be made for the classifier."""
    from regard.errors import RegardError
    from regard.explainers.registry import find, names

    found = []
    for name in names():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a slower way to the same map is still a way
                find(name)(classifier)
        except RegardError:
            continue
        found.append(name)
    return found


def _tokens(classifier: Classifier) -> dict[str, Any] | None:
    tokens = classifier.tokens
    if tokens is None:
        return None
    return {
        "blocks": tokens.blocks,
        "patch": tokens.patch,
        "grid": tokens.grid(classifier.picture()),
        "prefix": tokens.prefix,
        "rows": tokens.rows,
        "pool": tokens.pool,
    }


def _representatives(classifier: Classifier) -> dict[str, Any] | None:
    """How a classifier that ends in a pooling pools; None of any other."""
    from regard.attention.poolings import described
    from regard.models.brnpa import BRNPAClassifier

    if not isinstance(classifier, BRNPAClassifier):
        return None
    network, settings = classifier.network, described(classifier.network.pooling)
    return {
        "pooling": settings.pop("name"),
        "count": network.pooling.count,
        "grid": classifier.grid,
        "layer": network.features.layer,
        "finer": [asdict(change) for change in classifier.backbone_source.finer],
        "settings": settings,
    }


def _feature_map(classifier: Classifier) -> dict[str, Any] | None:
    from regard.errors import UnsupportedError
    from regard.models.convolutional import last_feature_map

    try:
        return vars(last_feature_map(classifier))
    except UnsupportedError:
        return None
