"""A batch norm between pooled vectors and the head: what re-identification compares (Luo et al. 2019, "BNNeck").

The triplet loss pulls embeddings apart by distance, the cross-entropy of identities by angle; read from one vector they
hinder each other. So distances are taken in front of a batch norm, and the head, without a bias, stands behind it; the
norm has no bias either, so that identities are parted by planes through the origin. Pictures are compared by the cosine
behind it.

A pooling with a neck is that pooling, of which only the vectors are other: maps, places and ranks stay. What each rank
adds to a logit or a cosine stays exact, since the norm works on each number of the joined vectors by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from regard.attention.bilinear import BilinearPooling
from regard.attention.branch import BranchPooling
from regard.attention.pooled import MeanPooling, Pooled
from regard.attention.representative import SETTINGS, RepresentativePooling


class Neck(nn.BatchNorm1d):
    """y = γ (x − μ) / √(σ² + ε): batch norm of vectors (B, width), without a bias.

    In training mode μ and σ are those of the batch, so a picture's vector depends on its batch mates, and a step in
    several processes, or cut into parts, on how it is cut.

    Args:
        width: of the vectors.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.register_parameter("bias", None)


class Necked(nn.Module):
    """What poolings with a neck share; the kinds are `RepresentativeNeck` and its like.

    Args:
        width: C, channels of each vector: those of the features.
        settings: of the pooling.

    Attributes:
        neck: of the K · C numbers of the joined vectors, in the order of the ranks.
    """

    count: int

    def __init__(self, *, width: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.width = width
        self.neck = Neck(self.count * width)

    def forward(self, *features: Any, **settings: Any) -> Any:
        found: Pooled = super().forward(*features, **settings)
        joined = found.vectors.flatten(1).to(self.neck.weight.dtype)
        with torch.autocast(joined.device.type, enabled=False):
            behind: Tensor = self.neck(joined)
        return replace(found, vectors=behind.unflatten(1, (self.count, self.width)))


class RepresentativeNeck(Necked, RepresentativePooling):
    """`RepresentativePooling` with a neck."""


class BilinearNeck(Necked, BilinearPooling):
    """`BilinearPooling` with a neck."""


class BranchNeck(Necked, BranchPooling):
    """`BranchPooling` with a neck."""


class MeanNeck(Necked, MeanPooling):
    """`MeanPooling` with a neck."""


NECKED: Mapping[str, tuple[type[nn.Module], tuple[str, ...]]] = MappingProxyType(
    {
        "representative-neck": (RepresentativeNeck, ("width", *SETTINGS)),
        "bilinear-neck": (BilinearNeck, ("width", "channels", "count")),
        "branch-neck": (BranchNeck, ("width", "channels", "classes")),
        "mean-neck": (MeanNeck, ("width",)),
    }
)
"""By name, each with its settings, which are its attributes, too: as `poolings.POOLINGS`. The weights of a pooling are
drawn as those of the same without a neck."""
