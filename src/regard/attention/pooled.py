"""What a pooling of a feature map by weights of places found; and the plain mean, of which all weights are equal."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from regard.attention.places import fine


@dataclass(frozen=True)
class Pooled:
    """Vectors of K maps: of `Representatives` in ranks, of other poolings in no order of importance.

    Attributes:
        vectors: (B, K, C), of the features' type.
        maps: (B, K, h, w), float32 at least, 0 or more. They say what counts, not how active it is: to be looked at,
            they are multiplied by `norms`.
        valid: (B, K) bool, whether a map is above zero anywhere.
        norms: (B, h, w), ‖f_p‖, float32 at least, without gradients.
    """

    vectors: Tensor
    maps: Tensor
    valid: Tensor
    norms: Tensor

    @classmethod
    def by(cls, weights: Tensor, features: Tensor, maps: Tensor) -> Pooled:
        """Of features (B, C, h, w) and their weights (B, K, h, w): v_k = Σ_p w_k,p f_p / (h·w).

        Args:
            weights: of places, whatever their sum.
            features: what is pooled.
            maps: what is shown of the weights.
        """
        with torch.autocast(features.device.type, enabled=False):
            columns = fine(features).flatten(2)
            vectors = weights.to(columns).flatten(2) @ columns.transpose(1, 2) / columns.shape[2]
            norms = torch.linalg.vector_norm(columns.detach(), dim=1).unflatten(1, features.shape[2:])
        shown = maps.to(norms)
        return cls(vectors.to(features.dtype), shown, (shown > 0).flatten(2).any(dim=2), norms)

    def joined(self) -> Tensor:
        """The vectors one after the other, (B, K · C), what a linear head reads."""
        return self.vectors.flatten(1)


class MeanPooling(nn.Module):
    """The mean over all places, as plain networks pool: forward(features (B, C, h, w)) → `Pooled` of one map.

    Its map is 1 / (h·w) everywhere, so that what is shown is the activity ‖f_p‖ (BR-NPA, 1.6: "AM").
    """

    count = 1

    def forward(self, features: Tensor) -> Pooled:
        even = torch.ones_like(features[:, :1])
        return Pooled.by(even, features, even / (features.shape[2] * features.shape[3]))
