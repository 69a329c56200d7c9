"""Trained attentions for tiny classifiers, whose weights are drawn instead of trained."""

import torch

from regard.errors import UnsupportedError
from regard.explainers.trained_attention import Card, TrainedAttention
from regard.models.linear_head import head_of
from regard.models.stages import read_stages, stages_of

from ..attention.fusions import attention


def drawn(classifier, variant="tame", photos=100, count=3, gated=False, layers=None, at="norm", **settings):
    """An attention that reads the last stages, as many as there are up to `count`; every weight counts."""
    if classifier.class_count is None:
        raise UnsupportedError("there are no classes")
    stages = _stages(classifier, count, layers, at)
    with torch.no_grad(), classifier.untouched():
        features, _ = read_stages(classifier, stages, classifier.picture())
    channels = tuple(feature.shape[1] for feature in features)
    if variant == "tied":
        settings["head"] = head_of(classifier, variant)
    card = Card(
        classifier=classifier.name,
        classifier_hash=classifier.hash,
        layers=tuple((stage.place.layer, stage.place.at) for stage in stages),
        gated=gated,
        variant=variant,
        channels=channels,
        classes=classifier.class_count,
        photos_of_class=(photos,) * classifier.class_count,
        training={"recipe": {"variant": variant}, "fill": "black", "seed": 0},
        figures={"average drop at 50 %": 40.0},
        versions={"regard": "0.1.0"},
        smoothing=settings.get("smoothing", 0),
    )
    made = attention(variant, channels, classifier.class_count, **settings)
    return TrainedAttention(made.to(classifier.device), stages, card)


def _stages(classifier, count, layers, at):
    if layers is not None:
        return stages_of(classifier, layers=layers)
    try:
        return stages_of(classifier, count, at=at)
    except UnsupportedError:
        if count == 1:
            raise
        return _stages(classifier, count - 1, None, at)
