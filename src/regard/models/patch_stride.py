"""Vision transformers whose patches overlap: a smaller stride between them, and positions in between.

Patches keep their size and weights. The frame is padded with zeros, the mean colour once prepared, so that the grid
tiles it: H/s × W/s patches, the middle of each in the middle of its cell, or half a pixel from there where the patch is
larger than the stride by an odd number. Positions are interpolated (bicubic) from the middles of the old cells to those
of the new ones. Source: S. Amir et al., "Deep ViT Features as Dense Visual Descriptors" (2021), which pads nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from regard.errors import UnsupportedError
from regard.models.projections import attention_modules
from regard.models.spaced import Spacing, move
from regard.models.strides import Grid, Step

_MOST_PREFIX = 32
"""Tokens before the patches that a table of positions may have rows for."""


def cuts_patches(network: nn.Module) -> bool:
    """Whether a network has attention, so that its grid is made of patches."""
    return bool(attention_modules(network))


def patch_of(network: nn.Module, steps: Sequence[Step], called: str) -> int:
    """The side of a patch in pixels, which is also its stride.

    Raises:
        UnsupportedError: the grid is not that of one convolution that cuts square patches.
    """
    layers = [layer for step in steps for layer in step.layers]
    convolution = network.get_submodule(layers[0]) if len(layers) == 1 else None
    if (
        not isinstance(convolution, nn.Conv2d)
        or convolution.padding not in ((0, 0), "valid")
        or convolution.dilation != (1, 1)
        or {*convolution.kernel_size, *convolution.stride} != {steps[0].stride}
    ):
        raise UnsupportedError(
            f"the grid of {called}, which has attention, is not that of one convolution that cuts square patches",
            came="; ".join(map(str, steps)) or "no layer that shrinks a grid",
            expected="one convolution, its stride as large as its kernel",
        )
    return steps[0].stride


def set_patch_stride(network: nn.Module, step: Step, stride: int, called: str) -> str:
    """Give the patches of a transformer another stride, in place; only the table of positions is another.

    Args:
        network: that is changed.
        step: its only one, the patches.
        stride: in pixels, smaller than a patch.
        called: the network's name.

    Returns:
        The name of the table of positions.

    Raises:
        UnsupportedError: patches do not tile the frame, or positions are no single table (1, N, D).
    """
    (path,), (height, width), patch = step.layers, step.grid, step.stride
    grid, finer = (height // patch, width // patch), (height // stride, width // stride)
    if stride < 2 or height % stride or width % stride:
        raise UnsupportedError(
            "patches of this stride do not tile the frame",
            came=f"{stride} pixels, of {height}×{width}",
            expected="a divisor of both sides, at least 2",
        )
    convolution = network.get_submodule(path)
    assert isinstance(convolution, nn.Conv2d)
    name, table = _positions(network, math.prod(grid), convolution.out_channels, called)
    margin = (patch - stride + 1) // 2
    move(convolution, Spacing((stride, stride), (margin, margin), (margin, margin), (1, 1)))
    owner, _, last = name.rpartition(".")
    longer = nn.Parameter(_interpolated(table.detach(), grid, finer), requires_grad=table.requires_grad)
    setattr(network.get_submodule(owner), last, longer)
    _tell_owners(network, path, patch, stride, grid, finer, table.shape[1])
    return name


def _positions(network: nn.Module, patches: int, width: int, called: str) -> tuple[str, nn.Parameter]:
    """The table of positions (1, N, D), prefix tokens first or left out.

    Raises:
        UnsupportedError: there is none, or more than one parameter looks like it.
    """
    found = [
        (name, parameter)
        for name, parameter in network.named_parameters()
        if parameter.dim() == 3
        and len(parameter) == 1
        and parameter.shape[2] == width
        and 0 <= parameter.shape[1] - patches <= _MOST_PREFIX
        and parameter.shape[1] > 1
    ]
    rotary = any("rope" in path.lower() or "rotary" in path.lower() for path, _ in network.named_modules())
    if len(found) != 1 or rotary:
        raise UnsupportedError(
            f"the positions of {called} cannot be interpolated",
            came="rotary positions" if rotary else ", ".join(name for name, _ in found) or "no table of positions",
            expected=f"one parameter (1, N, {width}), N the {patches} patches and tokens before them",
        )
    return found[0]


def _interpolated(table: Tensor, grid: Grid, finer: Grid) -> Tensor:
    """A table (1, N, D) for a finer grid; rows of prefix tokens stay. In float32, and back."""
    prefix = table.shape[1] - math.prod(grid)
    coarse = table[:, prefix:].float().unflatten(1, grid).permute(0, 3, 1, 2)
    fine = functional.interpolate(coarse, size=finer, mode="bicubic", align_corners=False, antialias=True)
    return torch.cat([table[:, :prefix], fine.flatten(2).mT.to(table.dtype)], dim=1)


def _tell_owners(network: nn.Module, path: str, patch: int, stride: int, grid: Grid, finer: Grid, rows: int) -> None:
    """Set what the modules around the convolution note of its patches: side, grid, number."""
    tokens, more = math.prod(grid), math.prod(finer)
    changes: dict[str, dict[object, object]] = {
        "patch_size": {patch: stride, (patch, patch): (stride, stride)},
        "grid_size": {grid: finer},
        "num_patches": {tokens: more},
        "seq_length": {rows: rows - tokens + more},
    }
    parts = path.split(".")
    for length in range(len(parts)):
        owner = network.get_submodule(".".join(parts[:length]))
        for name, values in changes.items():
            known = getattr(owner, name, None)
            noted = tuple(known) if isinstance(known, list) else known
            if isinstance(noted, (int, tuple)) and noted in values:
                setattr(owner, name, values[noted])
