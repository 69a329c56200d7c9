"""Convolutions and pools that read places further apart, of a grid that need not be padded alike before and behind."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from regard.errors import UnsupportedError

Sides = tuple[int, int]


@dataclass(frozen=True)
class Spacing:
    """How a window moves over a grid. Down and across each.

    Attributes:
        stride: from one window to the next.
        before: cells that are added above and to the left of the grid.
        behind: cells that are added below and to the right of it.
        apart: from one place that is read to the next; torch's dilation.
    """

    stride: Sides
    before: Sides
    behind: Sides
    apart: Sides

    @property
    def margins(self) -> tuple[int, int, int, int]:
        """Cells added on the left, on the right, above, below, as torch's pad takes them."""
        return self.before[1], self.behind[1], self.before[0], self.behind[0]


class PaddedConv2d(nn.Conv2d):
    """A convolution whose grid gets more zeros behind than before it: even kernels have no middle.

    It holds the weight and bias of the convolution that it stands for, under their names.
    """

    def __init__(self, plain: nn.Conv2d, spacing: Spacing) -> None:
        super().__init__(
            plain.in_channels,
            plain.out_channels,
            (plain.kernel_size[0], plain.kernel_size[1]),
            spacing.stride,
            dilation=spacing.apart,
            groups=plain.groups,
            bias=plain.bias is not None,
            device="meta",
        )
        self.margins = spacing.margins
        self.weight, self.bias = plain.weight, plain.bias
        self.training = plain.training

    def forward(self, grid: Tensor) -> Tensor:
        """(B, C, h, w) → (B, K, h', w')."""
        return super().forward(functional.pad(grid, self.margins))

    def extra_repr(self) -> str:
        """As torch's, with the cells added on the left, on the right, above, below."""
        moved = f"stride={self.stride}, dilation={self.dilation}, groups={self.groups}"
        return f"{self.in_channels}, {self.out_channels}, {self.kernel_size}, {moved}, margins={self.margins}"


class SpacedMaxPool2d(nn.Module):
    """The largest value of places that may lie apart."""

    def __init__(self, plain: nn.MaxPool2d, spacing: Spacing) -> None:
        super().__init__()
        self.kernel, self.spacing = plain.kernel_size, spacing

    def forward(self, grid: Tensor) -> Tensor:
        """(B, C, h, w) → (B, C, h', w'). What is beyond the grid is never the largest."""
        padded = functional.pad(grid, self.spacing.margins, value=-math.inf)
        return functional.max_pool2d(padded, self.kernel, self.spacing.stride, dilation=self.spacing.apart)

    def extra_repr(self) -> str:
        """The kernel's size, and how it moves."""
        return f"{self.kernel}, {self.spacing}"


class SpacedAvgPool2d(nn.Module):
    """The mean of places that may lie apart; what is beyond the grid counts, as zero, only where it did before."""

    def __init__(self, plain: nn.AvgPool2d, kernel: Sides, spacing: Spacing) -> None:
        super().__init__()
        self.kernel, self.spacing, self.divisor = kernel, spacing, plain.divisor_override
        self.counted = float(plain.count_include_pad and max(spacing.before) > 0)

    def forward(self, grid: Tensor) -> Tensor:
        """(B, C, h, w) → (B, C, h', w')."""
        sums = self._sums(functional.pad(grid, self.spacing.margins))
        if self.divisor is not None:
            return sums / self.divisor
        inside = functional.pad(torch.ones_like(grid[:1, :1]), self.spacing.margins, value=self.counted)
        return sums / self._sums(inside)

    def _sums(self, padded: Tensor) -> Tensor:
        channels = padded.shape[1]
        ones = padded.new_ones(channels, 1, *self.kernel)
        return functional.conv2d(padded, ones, stride=self.spacing.stride, dilation=self.spacing.apart, groups=channels)

    def extra_repr(self) -> str:
        """The kernel's size, and how it moves."""
        return f"{self.kernel}, {self.spacing}"


def spaced(module: nn.Module, kernel: Sides, spacing: Spacing) -> nn.Module:
    """What does a layer's work with other spacing, with the layer's own weights, or the layer itself, changed.

    Raises:
        UnsupportedError: a convolution with a forward of its own would need other padding behind than before.
    """
    if isinstance(module, nn.MaxPool2d):
        return SpacedMaxPool2d(module, spacing)
    if isinstance(module, nn.AvgPool2d):
        return SpacedAvgPool2d(module, kernel, spacing)
    assert isinstance(module, nn.Conv2d)
    if spacing.before == spacing.behind:
        return move(module, spacing)
    if type(module) is not nn.Conv2d or any(spacing.before):
        raise UnsupportedError(
            "a convolution with a forward or a padding of its own cannot be padded behind its grid alone",
            came=f"{module}",
        )
    return PaddedConv2d(module, spacing)


def move(convolution: nn.Conv2d, spacing: Spacing) -> nn.Conv2d:
    """Give a convolution other spacing, padded alike before and behind, in place."""
    convolution.stride, convolution.padding, convolution.dilation = spacing.stride, spacing.before, spacing.apart
    left, right, above, below = spacing.margins
    convolution._reversed_padding_repeated_twice = [left, right, above, below]  # what other than zeros is padded by
    return convolution
