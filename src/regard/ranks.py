"""Maps that have an order: what each of a picture's representatives shows, and what it adds to the answer (BR-NPA)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Ranks:
    """What K representatives of B images show, in the order in which they were found.

    Attributes:
        maps: float32 (B, K, h, w), a_k · ‖f‖: how like the representative a place is, times how active it is.
        valid: (B, K) bool; where not, all that is active resembled earlier representatives already.
        variation: float32 (B,), standard deviation of ‖f‖ over its mean; NaN where it is zero everywhere. Where it is
            small, the order is an accident: see `regard.attention.representative.norm_variation`.
        shares: (B, T, K), what each adds to the score of each target; with the head's bias they sum to it. NaN of a
            target that is no such sum, as a probability; None where the classifier does not decide by representatives.
            Float32; of a float64 network float64.
    """

    maps: Tensor
    valid: Tensor
    variation: Tensor
    shares: Tensor | None = None

    def __getitem__(self, images: slice) -> Ranks:
        """Those of some images."""
        return Ranks(**{name: tensor[images] for name, tensor in self.tensors().items()})

    @classmethod
    def joined(cls, parts: Sequence[Ranks]) -> Ranks:
        """Those of consecutive images, of one explainer, as one."""
        names = parts[0].tensors()
        return cls(**{name: torch.cat([part.tensors()[name] for part in parts]) for name in names})

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that there are, by name."""
        return {name: tensor for name, tensor in vars(self).items() if tensor is not None}
