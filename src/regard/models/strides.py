"""Where a convolutional network shrinks its grid, and how it is kept from that with the weights it has.

A layer that reads places p apart of a grid with s times the cells must read them p·s apart to see what it was trained
to see: that is dilation. With it, a place that the coarse grid had holds the value it had, away from the borders;
without it, each layer sees a smaller part of the picture than it was trained on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from regard.errors import UnsupportedError
from regard.models.spaced import Spacing, spaced
from regard.models.taps import untouched

Grid = tuple[int, int]
_SPATIAL = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
_TO_A_SIZE = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


@dataclass(frozen=True)
class Ran:
    """A layer that works on a grid, as one pass shows it.

    Attributes:
        layer: dotted path.
        grids: (h, w) that it was given, and gave; another pair for each other grid that it ran on.
    """

    layer: str
    grids: tuple[tuple[Grid, Grid], ...]


@dataclass(frozen=True)
class Step:
    """One stride of a network: all layers that shrink the same grid, side by side.

    Attributes:
        grid: (h, w) before it.
        stride: by which each of them moves.
        layers: dotted paths.
    """

    grid: Grid
    stride: int
    layers: tuple[str, ...]

    def __str__(self) -> str:
        return f"{' and '.join(self.layers)} ({self.stride}, of {self.grid[0]}×{self.grid[1]})"


def has_depthwise(network: nn.Module) -> bool:
    """Whether a convolution of more than one place looks at each channel alone."""
    return any(
        module.groups == module.in_channels > 1 and math.prod(module.kernel_size) > 1
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    )


def ran(network: nn.Module, picture: Tensor) -> list[Ran]:
    """The layers that read several places of a grid or shrink it, in the order in which they are done in one pass."""
    found: dict[str, dict[tuple[Grid, Grid], None]] = {}

    def noting(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: tuple[object, ...], output: object) -> None:
            first = arguments[0] if arguments else None
            if isinstance(first, Tensor) and isinstance(output, Tensor) and first.dim() == output.dim() == 4:
                given, gave = (first.shape[2], first.shape[3]), (output.shape[2], output.shape[3])
                permuted = sorted(first.shape) == sorted(output.shape)  # channels go last, or come back
                if isinstance(module, _SPATIAL) or (gave[0] < given[0] and gave[1] < given[1] and not permuted):
                    found.setdefault(path, {})[given, gave] = None

        return hook

    with ExitStack() as stack, untouched(network), torch.inference_mode(False), torch.no_grad():
        for path, module in network.named_modules():
            alone = next(module.children(), None) is None
            if (alone or isinstance(module, _SPATIAL)) and not isinstance(module, _TO_A_SIZE):
                stack.callback(module.register_forward_hook(noting(path)).remove)
        network(picture)
    return [Ran(path, tuple(grids)) for path, grids in found.items()]


def steps_of(network: nn.Module, layers: Iterable[Ran], called: str) -> list[Step]:
    """The strides of a network, in the order in which it runs. A pool over the whole grid is none.

    Raises:
        UnsupportedError: layers side by side move by different strides.
    """
    found: dict[Grid, dict[str, int]] = {}
    for one in layers:
        for given, gave in one.grids:
            stride = _stride(network.get_submodule(one.layer), given, gave)
            if stride > 1:
                found.setdefault(given, {})[one.layer] = stride
    steps = []
    for grid, strides in sorted(found.items(), key=lambda each: -math.prod(each[0])):
        if len(set(strides.values())) > 1:
            raise UnsupportedError(
                f"layers of {called} shrink one grid by different strides",
                came=", ".join(f"{layer!r} by {stride}" for layer, stride in strides.items()),
                expected="one stride for all that is done side by side",
            )
        steps.append(Step(grid, next(iter(strides.values())), tuple(strides)))
    return steps


def set_strides(
    network: nn.Module, layers: Sequence[Ran], steps: Sequence[Step], strides: Sequence[int], *, dilated: bool
) -> None:
    """Give steps other strides, in place: no weight is touched, and every path of a weight stays.

    Args:
        network: that is changed.
        layers: of `ran`.
        steps: all of `steps_of`.
        strides: of each; a divisor of its own.
        dilated: whether what follows reads places as far apart in the picture as before.

    Raises:
        UnsupportedError: a layer that must change cannot, or runs on several grids.
    """
    changes = [(step, step.stride // stride) for step, stride in zip(steps, strides, strict=True)]
    shrinks = {layer: shrink for step, shrink in changes for layer in step.layers if shrink > 1}
    known = {one.layer: (network.get_submodule(one.layer), one) for one in layers}
    could = [step for step in steps if all(_is_changeable(*known[layer]) for layer in step.layers)]
    for step, shrink in changes:
        if shrink > 1 and step in could:
            _check_aligned(step, known)
    for module, one in known.values():
        given, gave = one.grids[-1]
        finer = math.prod(shrink for step, shrink in changes if math.prod(step.grid) > math.prod(given))
        if _is_whole(module, given, gave):
            _enlarge(module, finer)
        elif one.layer in shrinks or (finer > 1 and dilated and _reads_several(module)):
            _check_changeable(module, one, could)
            changed = _changed(module, one, shrinks.get(one.layer, 1), finer if dilated else 1)
            if changed is not module:
                network.set_submodule(one.layer, changed, strict=True)


def _stride(module: nn.Module, given: Grid, gave: Grid) -> int:
    """By how much a layer shrinks its grid; 1 where it does not, or to one cell whatever the grid."""
    if _is_whole(module, given, gave) or gave == given:
        return 1
    return max(_sides(module.stride)) if isinstance(module, _SPATIAL) else round(given[0] / gave[0])


def _is_whole(module: nn.Module, given: Grid, gave: Grid) -> bool:
    """Whether a layer is a pool over the whole grid, with a kernel of its size."""
    return isinstance(module, nn.AvgPool2d) and _sides(module.kernel_size) == given and gave == (1, 1)


def _enlarge(pool: nn.Module, finer: int) -> None:
    """Let a pool over the whole grid be one still."""
    assert isinstance(pool, nn.AvgPool2d)
    height, width = _sides(pool.kernel_size)
    pool.kernel_size = pool.stride = (height * finer, width * finer)


def _reads_several(module: nn.Module) -> bool:
    """Whether a layer reads several places, or it is not known."""
    return not isinstance(module, _SPATIAL) or max(_sides(module.kernel_size)) > 1


def _changed(module: nn.Module, one: Ran, shrink: int, spacing: int) -> nn.Module:
    """A layer whose stride is so many times smaller, and the places that it reads so many times as far apart.

    Padding before the grid grows with the spacing, so that the first window stays where it was. Behind the grid there
    is as much; where windows move by a stride, at least what a window for every place of the grid needs.
    """
    assert isinstance(module, _SPATIAL)
    kernel, stride = _sides(module.kernel_size), _sides(module.stride)
    apart = _times(spacing, getattr(module, "dilation", 1))
    moved = (stride[0] // shrink, stride[1] // shrink)
    if _pads_itself(module, one):
        module.stride, module.dilation = moved, apart
        return module
    assert not isinstance(module.padding, str)
    before = behind = _times(spacing, module.padding)
    if stride > (1, 1):
        height, width = (apart[side] * (kernel[side] - 1) + 1 - moved[side] - before[side] for side in (0, 1))
        behind = (max(before[0], height), max(before[1], width))
    return spaced(module, kernel, Spacing(moved, before, behind, apart))


def _check_changeable(module: nn.Module, one: Ran, could: Sequence[Step]) -> None:
    """Refuse a layer that cannot be changed, with the strides that could be."""
    if _is_changeable(module, one):
        return
    several = f" on {len(one.grids)} grids" if len(one.grids) > 1 else ""
    raise UnsupportedError(
        f"how {one.layer!r} moves over its grid cannot be changed",
        came=f"{module}{several}",
        expected="Conv2d, MaxPool2d or AvgPool2d, each on one grid, with one stride for both sides",
        remedy=f"strides that can be changed: {'; '.join(map(str, could))}" if could else None,
    )


def _check_aligned(step: Step, given: Mapping[str, tuple[nn.Module, Ran]]) -> None:
    """Refuse layers side by side that start at different places of their grid: without a stride they would not meet."""
    pads = {layer: _pads_itself(*given[layer]) for layer in step.layers}
    if len(set(pads.values())) > 1:
        raise UnsupportedError(
            "layers side by side pad their grid in different ways, so that they would not meet without a stride",
            came=", ".join(f"{layer!r} {'pads itself' if itself else 'does not'}" for layer, itself in pads.items()),
        )


def _is_changeable(module: nn.Module, one: Ran) -> bool:
    if not isinstance(module, nn.Conv2d) and type(module) not in (nn.MaxPool2d, nn.AvgPool2d):
        return False
    assert isinstance(module, _SPATIAL)
    return len(one.grids) == 1 and len(set(_sides(module.stride))) == 1


def _pads_itself(convolution: nn.Module, one: Ran) -> bool:
    """Whether a convolution gives more cells than its padding explains, as those that follow TensorFlow do."""
    if not isinstance(convolution, nn.Conv2d) or isinstance(convolution.padding, str):
        return isinstance(convolution, nn.Conv2d)
    if type(convolution) is nn.Conv2d:
        return False
    given, gave = one.grids[0]
    reach = [
        apart * (places - 1) + 1 for apart, places in zip(convolution.dilation, convolution.kernel_size, strict=True)
    ]
    return gave != tuple(
        (given[side] + 2 * convolution.padding[side] - reach[side]) // convolution.stride[side] + 1 for side in (0, 1)
    )


def _sides(value: int | tuple[int, ...]) -> tuple[int, int]:
    """(height, width) of what torch writes as one number or two."""
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _times(spacing: int, value: int | tuple[int, ...]) -> Grid:
    height, width = _sides(value)
    return spacing * height, spacing * width
