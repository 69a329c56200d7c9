"""The feature maps of a convolutional network, found by running it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from regard.errors import UnsupportedError

if TYPE_CHECKING:
    from regard.models.classifier import Classifier


@dataclass(frozen=True)
class FeatureMap:
    """A layer's output with a spatial grid: dotted path, and (C, h, w) for a frame of the preparation's size."""

    layer: str
    shape: tuple[int, int, int]


def last_feature_map(classifier: Classifier) -> FeatureMap:
    """The last layer whose output (B, C, h, w) still has a grid: where class evidence is most specific.

    Found in one pass of one picture, in the order in which layers run, so that it needs no layer
    names. Of layers that give the very same tensor the outermost is taken.

    Raises:
        UnsupportedError: no layer keeps a grid, as in transformers and in networks of linear layers.
    """
    found: list[FeatureMap] = []
    height, width = classifier.preparation.frame
    picture = torch.zeros(1, classifier.preparation.channels, height, width, device=classifier.device)

    def note(layer: str) -> Any:
        def hook(_: nn.Module, __: tuple[Any, ...], output: object) -> None:
            if isinstance(output, Tensor) and output.dim() == 4 and min(output.shape[2:]) > 1:
                found.append(FeatureMap(layer, (output.shape[1], output.shape[2], output.shape[3])))

        return hook

    handles = [module.register_forward_hook(note(path)) for path, module in classifier.module.named_modules() if path]
    try:
        with classifier.untouched(), torch.no_grad():
            classifier.forward(picture)
    finally:
        for handle in handles:
            handle.remove()
    if not found or classifier.tokens is not None:
        raise UnsupportedError(
            f"{classifier.name} has no convolutional feature map to weigh",
            remedy="for a vision transformer use CDAM or the attention map",
        )
    return found[-1]
