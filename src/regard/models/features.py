"""The deepest features that still have a grid, in convolutional networks and transformers alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from regard.models import passes
from regard.models.convolutional import feature_map, last_feature_map
from regard.models.taps import Place, find_layer, read

if TYPE_CHECKING:
    from regard.models.classifier import Classifier
    from regard.models.transformer import Tokens


@dataclass(frozen=True)
class Features:
    """Where features with a grid stand in a network, and how its tensor there is read as maps.

    Attributes:
        place: the tensor.
        channels: which of its axes they are: "first" (B, K, h, w); "last" (B, h, w, K), or (B, N, K) of tokens.
        tokens: the anatomy, where the tensor is tokens: the patches, after prefix tokens or alone.
    """

    place: Place
    channels: Literal["first", "last"] = "first"
    tokens: Tokens | None = None

    @property
    def layer(self) -> str:
        """For settings: the layer's dotted path if its output is read, else "input of 'path'"."""
        return self.place.layer if self.place.at == "output" else str(self.place)

    def maps(self, tensor: Tensor, pixels: Tensor) -> Tensor:
        """The tensor at `place`, or its gradients, as feature maps (…, K, h, w): patches on their grid, no prefix.

        Args:
            tensor: (B, …) as it came, or with more axes before it, as gradients of several targets (T, B, …) have.
            pixels: (B, 3, H, W) that were passed; their frame sets the grid of tokens.
        """
        if self.tokens is not None:
            tensor = tensor[..., -self.tokens.patches(pixels) :, :].unflatten(-2, self.tokens.grid(pixels))
        return tensor.movedim(-1, -3) if self.channels == "last" else tensor

    def back(self, maps: Tensor, tensor: Tensor) -> Tensor:
        """The inverse: a tensor like `tensor` (B, …) with these maps (B, K, h, w) for its own; prefix untouched."""
        laid = maps.movedim(-3, -1) if self.channels == "last" else maps
        if self.tokens is None:
            return laid
        patches = laid.flatten(-3, -2)
        return torch.cat([tensor[..., : tensor.shape[-2] - patches.shape[-2], :], patches], dim=-2)


def features_of(classifier: Classifier, layer: str | None = None) -> Features:
    """The features that class activation maps weigh, of a convolutional network or a transformer.

    Args:
        classifier: the classifier.
        layer: dotted path of a layer whose output is a grid (B, K, h, w) or (B, h, w, K), or tokens of all patches.
            Default: of a transformer what the last attention reads, or the pool after its blocks, since the gradient
            at the last block's patches is zero where the head reads a class token; of any other network the
            last grid that carries the whole decision.

    Raises:
        UnsupportedError: no layer is named and the network has neither.
        LayerError: the named layer does not exist, or its output is neither a grid nor tokens.
    """
    if layer is None:
        if classifier.tokens is not None:
            return Features(classifier.tokens.attention_input, "last", classifier.tokens)
        found = last_feature_map(classifier)
    elif (tokens := _tokens_at(classifier, layer)) is not None:
        return Features(Place(layer), "last", tokens)
    else:
        found = feature_map(classifier, layer)
    return Features(Place(found.layer), "last" if found.channels_last else "first")


def _tokens_at(classifier: Classifier, layer: str) -> Tokens | None:
    """The anatomy, where a layer's output is the tokens of all patches (B, N, D), prefix tokens before them or not."""
    find_layer(classifier.module, layer)
    tokens, picture = classifier.tokens, classifier.picture()
    if tokens is None:
        return None
    with classifier.untouched(), torch.no_grad(), passes.uncounted():
        (given,), _ = read(classifier.module, [Place(layer)], lambda: classifier.forward(picture), stop=True)
    patches = tokens.patches(picture)
    fits = given.dim() == 3 and len(given) == 1 and given.shape[1] in (patches, tokens.prefix + patches)
    return tokens if fits else None
