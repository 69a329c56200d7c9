"""Recipes that have a name; and what the published one reads and fills in, of the networks that it was made for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from regard.errors import UnsupportedError
from regard.fills import Fill, black, training_mean
from regard.models.classifier import Classifier
from regard.training.tame_recipe import Recipe

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

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {"default": Recipe(), "paper": _PAPER, "paper-v1": replace(_PAPER, bias_rate=2.0)}
)
"""`paper` is T-TAME's (arXiv 2403.04523), `paper-v1` TAME's (arXiv 2301.07407), which differs in the rate of biases.

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
    """A recipe by name, and the fill that goes with it.

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
        return recipe, dark
    layers = None if classifier.source is None else PUBLISHED_LAYERS.get(classifier.source.architecture)
    fill = dark if classifier.tokens is None else training_mean(preparation.channels)
    return replace(recipe, layers=layers), fill
