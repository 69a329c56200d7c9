"""Classifiers of transformers: "transformers:NAME_OR_FOLDER"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from regard.compat import import_optional
from regard.errors import ClassifierError
from regard.labels import Outputs
from regard.models.files import Source
from regard.models.image_processor import image_processor, preparation_of
from regard.models.offers import Listed, Offer, check_published
from regard.models.preparation import Preparation
from regard.models.pretrained import built, configuration, model, model_class, takes_texts, values_of
from regard.models.text import picture_tower, text_head, two_towers

_OUTPUTS: dict[str, Outputs] = {"multi_label_classification": "sigmoid", "regression": "scalar"}


def offer(name: str, fetch: bool, labels: Sequence[str] | None, arguments: Mapping[str, Any]) -> Offer:
    """A model for image classification, a vision backbone, or the half of CLIP and its like that embeds pictures.

    Args:
        name: a folder made by save_pretrained, or a name of the hub.
        fetch: read the weights; else they are random, and the configuration alone is read.
        labels: of one's own. Of a model that reads texts each becomes a text, "a photo of a …"; else their number
            sets the number of classes of random weights.
        arguments: values of the configuration to change.
    """
    config = configuration(name, arguments)
    kind = model_class(config)
    preparation = _preparation(name, config, fetch)
    if takes_texts(kind):
        return _of_two_towers(name, config, fetch, labels, preparation)
    classifies = "ForImageClassification" in kind.__name__
    if labels is not None and classifies:
        if fetch:
            check_published(f"transformers:{name}", len(labels), config.num_labels)
        config.num_labels = len(labels)
    network = model(name, config, fetch)
    return Offer(
        network,
        preparation,
        _source(network),
        labels or (_labels(config) if classifies else None),
        _OUTPUTS.get(config.problem_type) if classifies else None,
    )


def build(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The model of that class with random weights, from the values of its configuration."""
    return built(name, arguments)


def listed() -> list[Listed]:
    """Nothing: which names there are, only the hub knows."""
    import_optional("transformers", "transformers")
    return []


def _of_two_towers(
    name: str, config: Any, fetch: bool, labels: Sequence[str] | None, preparation: Preparation
) -> Offer:
    """Pictures compared with texts; SigLIP, which adds a bias, answers every text for itself."""
    whole = two_towers(name, config, fetch)
    network = picture_tower(whole)
    if not labels:
        return Offer(network, preparation, _source(network), outputs="embedding")
    outputs: Outputs = "sigmoid" if hasattr(whole, "logit_bias") else "softmax"
    head = text_head(whole, name, labels)
    return Offer(network, preparation, _source(network), labels, outputs, head)


def _source(network: Any) -> Source:
    return Source(f"transformers:{type(network).__name__}", values_of(network.config))


def _preparation(name: str, config: Any, fetch: bool) -> Preparation:
    """What the image processor does; for random weights without one, the size that the model takes."""
    try:
        return preparation_of(image_processor(name))
    except ClassifierError:
        size = getattr(getattr(config, "vision_config", config), "image_size", None)
        if fetch or size is None:
            raise
        return Preparation(size=size if isinstance(size, int) else tuple(size))


def _labels(config: Any) -> list[str] | None:
    """The names of the classes, unless they are the numbers that transformers gives to nameless ones."""
    names = [str(config.id2label[index]) for index in range(config.num_labels)]
    return None if names == [f"LABEL_{index}" for index in range(len(names))] else names
