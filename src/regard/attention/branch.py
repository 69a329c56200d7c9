"""The attention branch network's pooling (Fukui et al. 2019, arXiv 1812.10025)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from regard.attention.bilinear import ResidualBlock
from regard.attention.pooled import Pooled
from regard.errors import UnsupportedError


@dataclass(frozen=True)
class Branched(Pooled):
    """A pooling's one map and vector, and what its branch answers by itself.

    Attributes:
        logits: (B, classes), for a loss of the branch's own.
    """

    logits: Tensor


class BranchPooling(nn.Module):
    """forward(features (B, C, h, w)) → `Branched`: a branch that answers shows where it looks, and the mean follows it.

        b = ReLU( norm conv1×1( block(f) ) ), one channel a class
        logits = Σ_p conv1×1(b) / (h·w),   a = σ( norm conv1×1(b) )
        v = Σ_p (1 + a_p) f_p / (h·w)

    The branch learns by the cross-entropy of its own logits, too, with the same weight as the main answer, as
    published. What is shown is a, between 0 and 1, not 1 + a.

    Args:
        channels: C.
        classes: of the branch's answer.

    Raises:
        UnsupportedError: no channels, or no classes.
    """

    count = 1

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        if channels < 1 or classes < 1:
            raise UnsupportedError(
                "channels and classes are counted from 1", came=f"{channels} channels, {classes} classes"
            )
        self.channels, self.classes = channels, classes
        self.block = ResidualBlock(channels)
        self.by_class = nn.Sequential(
            nn.Conv2d(channels, classes, 1, bias=False), nn.BatchNorm2d(classes), nn.ReLU(inplace=True)
        )
        self.to_logits = nn.Conv2d(classes, classes, 1)
        self.to_map = nn.Sequential(nn.Conv2d(classes, 1, 1, bias=False), nn.BatchNorm2d(1), nn.Sigmoid())

    def forward(self, features: Tensor) -> Branched:
        by_class = self.by_class(self.block(features))
        attention = self.to_map(by_class)
        pooled = Pooled.by(1 + attention, features, attention)
        return Branched(**vars(pooled), logits=self.to_logits(by_class).mean(dim=(2, 3)))
