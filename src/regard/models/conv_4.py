"""Conv-4, the small network that few-shot learning is usually tried with on drawings (Vinyals et al. 2016)."""

from __future__ import annotations

import torch
from torch import nn

from regard.errors import UnsupportedError
from regard.seeds import check_seed


def conv_4(channels: int = 1, width: int = 64, seed: int = 0) -> nn.Sequential:
    """Four blocks of a 3×3 convolution, batch norm, ReLU and 2×2 max pooling, then the mean: embeddings (B, width).

    A grid of 28×28 pixels ends in 1×1, 84×84 in 5×5. `strides=(1, 1)` keeps the last two blocks on the grid of the
    second, as published for the ResNet-12 (BR-NPA, 2.3). It has 112 thousand weights for one channel of width 64.

    Args:
        channels: of the pixels.
        width: of every block.
        seed: of the first weights.

    Raises:
        UnsupportedError: no channels, no width or no such seed.
    """
    if channels < 1 or width < 1:
        raise UnsupportedError("channels are counted from 1", came=f"channels={channels!r}, width={width!r}")
    check_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        blocks = [_block(given, width) for given in (channels, width, width, width)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _block(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)
    )
