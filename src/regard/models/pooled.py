"""Networks that end in a pooling of their backbone's last features: what is found around places is what is read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from regard.attention.pooled import Pooled
from regard.attention.representative import RepresentativePooling
from regard.attention.settings import is_number
from regard.errors import LayerError, UnsupportedError
from regard.images import seed_of
from regard.models import passes
from regard.models.features import Features, features_of
from regard.models.taps import Place, find_layer, read
from regard.seeds import check_seed

if TYPE_CHECKING:
    from regard.models.classifier import Classifier


class PooledNetwork(nn.Module):
    """A backbone up to its last features, a pooling of them, and dropout: embeddings (B, K · C) for a head.

    forward(pixels) = dropout( pooling( features( pixels ) ).joined() )

    The backbone runs up to the place where its features stand and no further, and no hook stays in it. Whatever comes
    after that place (a last norm, a pool, a head) has weights that no gradient reaches. `torch.compile` takes
    a network that stops there; `torch.export`, ONNX and `torch.jit.trace` do not, though they take the pooling.

    Args:
        backbone: runs on pixels (B, channels, H, W); it is taken as it is, not copied.
        features: where its features stand: `last_features` of a classifier of that backbone.
        pooling: maps features (B, C, h, w) to `Pooled`: `RepresentativePooling`, or another module.
        dropout: share of the joined vectors that is set to zero in training.
        seed: of `RepresentativePooling(select="random")`, whose draws belong to the picture and this seed alone.

    Raises:
        UnsupportedError: a dropout that is no share, or no such seed.
    """

    def __init__(
        self, backbone: nn.Module, features: Features, pooling: nn.Module, dropout: float = 0.0, seed: int = 0
    ) -> None:
        super().__init__()
        if not (is_number(dropout) and 0 <= dropout < 1):
            raise UnsupportedError("dropout is a share", came=repr(dropout), expected="from 0, and below 1")
        check_seed(seed)
        self.backbone, self.features, self.pooling, self.seed = backbone, features, pooling, seed
        self.dropout = nn.Dropout(float(dropout))

    def forward(self, pixels: Tensor) -> Tensor:
        """Embeddings (B, K · C) of prepared pixels (B, channels, H, W)."""
        embeddings: Tensor = self.dropout(self.represent(pixels).joined())
        return embeddings

    def represent(self, pixels: Tensor) -> Pooled:
        """What the pooling finds in prepared pixels (B, channels, H, W), before dropout."""
        settings: dict[str, Any] = {}
        if isinstance(self.pooling, RepresentativePooling):
            settings["on_nan"] = "propagate"  # its answer is then NaN, as that of any other network
            if self.pooling.select == "random":
                settings["seeds"] = [seed_of(picture, self.seed) for picture in pixels]
        found: Pooled = self.pooling(self.read(pixels), **settings)
        return found

    def read(self, pixels: Tensor) -> Tensor:
        """The features that are pooled, (B, C, h, w); of a transformer from which patches were taken, (B, C, 1, n).

        Raises:
            LayerError: the layer does not run, or gives more patches than it did.
        """
        (tensor,), _ = read(self.backbone, [self.features.place], lambda: self.backbone(pixels), stop=True)
        tokens = self.features.tokens
        if tokens is None or tensor.shape[1] == tokens.prefix + tokens.patches(pixels):
            return self.features.maps(tensor, pixels)
        if tensor.shape[1] > tokens.prefix + tokens.patches(pixels):
            raise LayerError(
                f"{self.features.layer!r} gives more patches than the pooled network was made for",
                came=f"{tensor.shape[1] - tokens.prefix}",
                expected="{}×{}".format(*tokens.grid(pixels)),
                remedy="a finer grid is asked for where it is made: BRNPAClassifier(backbone, labels, strides=…)",
            )
        return tensor[:, tokens.prefix :].mT[:, :, None]

    def extra_repr(self) -> str:
        tokens = self.features.tokens
        patches = "" if tokens is None else f", patch={tokens.patch}, prefix={tokens.prefix}"
        return f"features={self.features.layer!r}, channels={self.features.channels!r}{patches}, seed={self.seed}"


def last_features(classifier: Classifier, layer: str | None = None) -> Features:
    """The features that representatives are looked for in.

    Of a transformer with one grid of tokens the patches as the last block gives them, of any other network the last
    grid that carries its decision; both before a norm over channels, if one follows, which makes places equally active.

    Args:
        classifier: the classifier.
        layer: dotted path of a layer whose output is a grid (B, C, h, w) or (B, h, w, C), or tokens of all patches.

    Raises:
        UnsupportedError: no layer is named and the network has neither.
        LayerError: the named layer does not exist, or its output is neither a grid nor tokens.
    """
    if layer is not None and not isinstance(layer, str):
        raise LayerError("a layer is named by its dotted path", came=repr(layer))
    if layer is not None:
        return _named(classifier, layer)
    if classifier.tokens is not None:
        return Features(Place(classifier.tokens.blocks[-1]), "last", classifier.tokens)
    found = features_of(classifier)
    normed = isinstance(find_layer(classifier.module, found.place.layer), nn.LayerNorm | nn.RMSNorm)
    return replace(found, place=Place(found.place.layer, "input")) if normed else found


def _named(classifier: Classifier, layer: str) -> Features:
    """A layer's features, with the tokens that stand before the patches in its own output."""
    found = features_of(classifier, layer)
    if found.tokens is None:
        return found
    picture = classifier.picture()
    with classifier.untouched(), torch.no_grad(), passes.uncounted():
        (given,), _ = read(classifier.module, [found.place], lambda: classifier.forward(picture), stop=True)
    prefix = given.shape[1] - found.tokens.patches(picture)
    return replace(found, tokens=replace(found.tokens, prefix=prefix))
