"""Recipes that have a name; and what the published one reads and fills in, of the networks that it was made for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import torch

from regard.errors import UnsupportedError
from regard.fills import Fill, black, training_mean
from regard.models.classifier import Classifier
from regard.models.linear_head import last_linear
from regard.models.stages import read_stages, stages_of
from regard.training.tame.recipe import Recipe

_PAPER = Recipe(
    variant="tame",
    smoothing=0,
    start="drawn",
    mask="soft",
    maps="cross-batch",
    area_target=None,
    optimizer="sgd",
    rate=1e-3,
    weight_decay=5e-4,
    epochs=8,
    batch=32,
    augmentation="crop",
)

_DRAWN = Recipe(variant="tame", start="drawn", rate=1e-3, edge=0.3)
"""Where there is no class activation map to start from: rows of their own, which learn faster than tied ones where
every class has its photos (benchmarks/study_tame.py), steps twenty times as long, and an edge that more can pass."""

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {"default": Recipe(), "paper": _PAPER, "paper-v1": replace(_PAPER, bias_rate=2.0)}
)
"""`default` is for networks that pool a feature map for a linear layer; `preset` says what others begin with.
`paper` is T-TAME's (arXiv 2403.04523), `paper-v1` TAME's (arXiv 2301.07407), which differs in the rate of biases.

Neither brings back what was a fault: the classifier is in eval mode throughout."""

PUBLISHED_LAYERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "torchvision:vgg16": ("features.16", "features.23", "features.30"),
        "torchvision:resnet50": ("layer2", "layer3", "layer4"),
        "torchvision:vit_b_16": tuple(f"encoder.layers.encoder_layer_{block}.ln_1" for block in (9, 10, 11)),
    }
)
"""What the published attentions read: of VGG-16 other layers than the rule gives, the outputs of its last pools."""


def preset(name: str, classifier: Classifier) -> tuple[Recipe, Fill]:
    """A recipe by name, as it fits a classifier, and the fill that goes with it.

    The default begins as the class activation map where a linear head reads the last stage's features, averaged;
    elsewhere, as on transformers, at random, with rows of its own, longer steps and a wider edge.

    The published ones read `PUBLISHED_LAYERS` of the three networks they were made for, of any other what the rule
    gives; and fill transformers with the training set's mean colour, all others with black, as the default does all.

    Args:
        name: one of `RECIPES`.
        classifier: that will be explained.

    Raises:
        UnsupportedError: no such recipe.
    """
    if name not in RECIPES:
        raise UnsupportedError("there is no such recipe", came=repr(name), expected=", ".join(RECIPES))
    preparation, recipe = classifier.preparation, RECIPES[name]
    dark = black(preparation.mean, preparation.std)
    if name == "default":
        return _fitting(recipe, classifier), dark
    layers = None if classifier.source is None else PUBLISHED_LAYERS.get(classifier.source.architecture)
    fill = dark if classifier.tokens is None else training_mean(preparation.channels)
    return replace(recipe, layers=layers), fill


def _fitting(recipe: Recipe, classifier: Classifier) -> Recipe:
    """The default as it is, where the mean of the last stage's features under a linear head is the logits."""
    head = last_linear(classifier)
    if head is None or classifier.tokens is not None:
        return _DRAWN
    try:
        last = stages_of(classifier, 1)
    except UnsupportedError:  # layers may be named all the same
        return _DRAWN
    with classifier.untouched(), torch.no_grad():
        (features,), output = read_stages(classifier, last, classifier.picture(noise=True))
        if output.logits is None or features.shape[1] != head.in_features:
            return _DRAWN
        pooled = head(features.mean(dim=(2, 3)).to(head.weight)).float()
    return recipe if pooled.allclose(output.logits, rtol=1e-2, atol=1e-2 * float(pooled.abs().max())) else _DRAWN
