"""The feature maps of a convolutional network, found by running it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from regard.errors import LayerError, UnsupportedError
from regard.models import passes
from regard.models.networks import scale_of, trial_pictures
from regard.models.taps import Place, find_layer, read, replaced

if TYPE_CHECKING:
    from regard.models.classifier import Classifier

_POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
"""Layers that pool to a fixed size, which need not be a grid over the frame (VGG's 7×7 in one that is not square)."""


@dataclass(frozen=True)
class FeatureMap:
    """A layer's output with a spatial grid: dotted path, and (C, h, w) for a frame of the preparation's size.

    `channels_last` says that the tensor itself is (B, h, w, C), as in Swin.
    """

    layer: str
    shape: tuple[int, int, int]
    channels_last: bool = False

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w)."""
        return self.shape[1], self.shape[2]


@dataclass(frozen=True)
class _Seen:
    """What one pass of a picture shows.

    Attributes:
        maps: all feature maps, in the order in which they are done.
        after: the first layer after them that pools nothing.
        entered: layer → the grid of the tensor it is given.
    """

    maps: list[FeatureMap]
    after: str | None
    entered: dict[str, tuple[int, int]]


def last_feature_map(classifier: Classifier) -> FeatureMap:
    """The last layer whose output carries the whole decision on a grid: where class evidence is most specific.

    Its output is (B, C, h, w), or (B, h, w, C) as in Swin. Found by passes of three pictures: the first shows
    which layers give a grid, and in which order; in the others a layer's output is exchanged for the first picture's,
    and the answers must become the first one's. So a branch, a residual part or an auxiliary output is not taken for
    the network. Of layers that give the very same tensor the outermost is taken.

    Raises:
        UnsupportedError: no layer keeps a grid or carries the decision, or tokens come after the last that does.
    """
    return _last(classifier, _seen(classifier))


def last_strides(classifier: Classifier, count: int) -> list[FeatureMap]:
    """For each of the last `count` strides the last layer of that grid that carries the whole decision.

    In the order in which they are done; the last is `last_feature_map`. What a block computes before it shrinks the
    grid is its own affair: such a layer (the wide one in a block of EfficientNet) is taken only where no layer before
    the block carries the decision. A grid of which no layer does is passed over.

    Raises:
        UnsupportedError: there are fewer such grids, or no last feature map.
    """
    seen = _seen(classifier)
    found = [_last(classifier, seen)]
    while len(found) < count and (earlier := _before(classifier, seen, found[0])) is not None:
        found.insert(0, earlier)
    if len(found) < count:
        raise UnsupportedError(
            f"{classifier.name} has fewer grids that carry its decision",
            came=", ".join(f"{one.grid[0]}×{one.grid[1]} of {one.layer!r}" for one in found),
            expected=f"{count}",
            remedy=f"count={len(found)}, or layers by name",
        )
    return found


def _before(classifier: Classifier, seen: _Seen, later: FeatureMap) -> FeatureMap | None:
    """The last layer of the nearest finer grid before `later` of which a layer carries the decision.

    Finer is what has twice the cells: a grid that a convolution without padding trimmed, or a pool to a fixed size
    rounded (8×8 to 7×7 in VGG), is no other stride.
    """
    least = 2 * math.prod(later.grid)
    finer = [one for one in reversed(seen.maps[: seen.maps.index(later)]) if math.prod(one.grid) >= least]
    for grid in dict.fromkeys(one.grid for one in finer):
        layers = sorted((one for one in finer if one.grid == grid), key=lambda one: _shrinks(seen, one, later.grid))
        found = next((one for one in layers if _carries(classifier, one.layer)), None)
        if found is not None:
            return found
    return None


def _shrinks(seen: _Seen, feature: FeatureMap, to: tuple[int, int]) -> bool:
    """Whether a layer is part of what is given its grid and gives the smaller one."""
    given = {one.layer: one.grid for one in seen.maps}
    around = [feature.layer[:place] for place, letter in enumerate(feature.layer) if letter == "."]
    return any(seen.entered.get(layer) == feature.grid and given.get(layer) == to for layer in around)


def _last(classifier: Classifier, seen: _Seen) -> FeatureMap:
    found, after = seen.maps, seen.after
    if not found or classifier.tokens is not None:
        raise UnsupportedError(
            f"{classifier.name} has no convolutional feature map to weigh",
            remedy='for a transformer that is not recognised, Classifier(…, tokens={"block": "block.attention", …})',
        )
    if after is not None:
        raise UnsupportedError(
            f"{classifier.name} goes on after its last feature map with what is no grid",
            came=f"{after!r} after {found[-1].layer!r}",
            remedy=f"to weigh a layer on the way all the same, name it, for example layer={found[-1].layer!r}",
        )
    carrying = next((feature for feature in reversed(found) if _carries(classifier, feature.layer)), None)
    if carrying is None:
        raise UnsupportedError(
            f"no single feature map of {classifier.name} carries its decision",
            came=f"{len(found)} layers with a grid, the last {found[-1].layer!r}",
            remedy=f"to weigh one of several branches all the same, name it, for example layer={found[-1].layer!r}",
        )
    return carrying


def _carries(classifier: Classifier, layer: str) -> bool:
    """Whether a layer's output, exchanged for another picture's, gives the other picture's answer."""
    place, (grey, others) = Place(layer), trial_pictures(classifier).split([1, 2])
    with classifier.untouched(), torch.no_grad(), passes.uncounted():
        (features,), answer = read(classifier.module, [place], lambda: classifier.forward(grey))
        with replaced(classifier.module, place, lambda _: torch.cat([features, features])):
            again = classifier.forward(others)
        own = classifier.forward(others)
    assert answer is not None
    tolerance = 1e-3 * scale_of(answer.nan_to_num(), own.nan_to_num())
    return torch.allclose(again, answer.expand_as(again), rtol=0, atol=tolerance, equal_nan=True)


def feature_map(classifier: Classifier, layer: str) -> FeatureMap:
    """The feature map that a layer gives.

    Raises:
        LayerError: no such layer, with the nearest names; or its output is no grid, with layers whose output is.
    """
    find_layer(classifier.module, layer)
    named = {feature.layer: feature for feature in _seen(classifier).maps}
    if layer not in named:
        raise LayerError(
            f"the layer {layer!r} does not give one feature map, (B, C, h, w) or (B, h, w, C), a pass",
            expected=f"one of {', '.join(list(named)[-8:])}" if named else "a convolutional network",
        )
    return named[layer]


def _seen(classifier: Classifier) -> _Seen:
    network, frame, picture = classifier.module, classifier.preparation.frame, classifier.picture()
    outputs: list[tuple[str, tuple[int, ...]]] = []
    entered: dict[str, tuple[int, int]] = {}

    def note(layer: str) -> Any:
        def hook(_: nn.Module, arguments: tuple[Any, ...], output: object) -> None:
            if arguments and isinstance(arguments[0], Tensor):
                given = _as_grid(layer, tuple(arguments[0].shape[1:]), frame)
                entered.update({} if given is None else {layer: given.grid})
            if isinstance(output, Tensor) and len(output) == 1:  # more rows than pictures: windows, not the picture
                outputs.append((layer, tuple(output.shape[1:])))

        return hook

    handles = [module.register_forward_hook(note(path)) for path, module in network.named_modules() if path]
    try:
        with classifier.untouched(), torch.no_grad(), passes.uncounted():
            classifier.forward(picture)
    finally:
        for handle in handles:
            handle.remove()
    times = Counter(layer for layer, _ in outputs)
    once = [(layer, shape) for layer, shape in outputs if times[layer] == 1]
    grids = [_as_grid(layer, shape, frame) for layer, shape in once]
    last = max((place for place, grid in enumerate(grids) if grid), default=len(once))
    rest = [(layer, shape) for layer, shape in once[last + 1 :] if not isinstance(find_layer(network, layer), _POOLS)]
    after = next((layer for layer, shape in rest if sorted((1, 1, *shape))[-2] > 1), None)
    return _Seen([grid for grid in grids if grid], after, entered)


def _as_grid(layer: str, shape: tuple[int, ...], frame: tuple[int, int]) -> FeatureMap | None:
    """An output (C, h, w), or else (h, w, C), as a feature map; None where neither is a grid over the frame."""
    if len(shape) != 3:
        return None
    if _covers(shape[1], shape[2], frame):
        return FeatureMap(layer, (shape[0], shape[1], shape[2]))
    if _covers(shape[0], shape[1], frame):
        return FeatureMap(layer, (shape[2], shape[0], shape[1]), channels_last=True)
    return None


def _covers(height: int, width: int, frame: tuple[int, int]) -> bool:
    """Whether (h, w) is a grid over the frame: cells as wide as high, to a rounded side."""
    if min(height, width) < 2 or height > frame[0] or width > frame[1]:
        return False
    down, across = frame[0] / height, frame[1] / width
    return abs(width - frame[1] / down) <= 1 or abs(height - frame[0] / across) <= 1
