"""Bilinear attention pooling, B-CNN: maps by convolutions, and a vector from each (BR-NPA, 1.6; arXiv 1901.09891)."""

from __future__ import annotations

from torch import Tensor, nn

from regard.attention.pooled import Pooled
from regard.errors import UnsupportedError


class ResidualBlock(nn.Module):
    """ReLU( x + norm conv ReLU norm conv x ), 3×3 convolutions, C channels throughout (He et al. 2016).

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        added: Tensor = features + self.residual(features)
        return added.relu()


class BilinearPooling(nn.Module):
    """forward(features (B, C, h, w)) → `Pooled` of K maps.

        m = ReLU( conv1×1( block(f) ) ),   v_k = Σ_p m_k,p f_p / (h·w)

    As published but for the map too many that the published network computes and never uses: it has K, not K + 1.
    The block of C = 1280 channels has 29.5 million weights, and takes 1.4 thousand million products at 7×7 places.

    Args:
        channels: C.
        count: K, published 3.

    Raises:
        UnsupportedError: no channels, or no maps.
    """

    def __init__(self, channels: int, count: int = 3) -> None:
        super().__init__()
        if channels < 1 or count < 1:
            raise UnsupportedError("channels and maps are counted from 1", came=f"{channels} channels, {count} maps")
        self.channels, self.count = channels, count
        self.block = ResidualBlock(channels)
        self.to_maps = nn.Conv2d(channels, count, 1)

    def forward(self, features: Tensor) -> Pooled:
        maps = self.to_maps(self.block(features)).relu()
        return Pooled.by(maps, features, maps)
