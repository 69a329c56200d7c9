"""How a map becomes the mask that a picture is seen through in training, and what of it the loss weighs."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional
from torch import Tensor


def soft_mask(maps: Tensor, frame: tuple[int, int]) -> Tensor:
    """σ(c) on the map's grid, enlarged to the frame (TAME, section 2.1): (b, 1, h, w) → (b, 1, H, W), float32."""
    return functional.interpolate(maps.float().sigmoid(), size=frame, mode="bilinear")


def ranked_mask(maps: Tensor, frame: tuple[int, int], share: float, width: float) -> Tensor:
    """The top share of places shown, the others hidden, with an edge that gradients pass: σ((c − t) / (width · s)).

    t is the (1 − share) quantile of the enlarged map, s its standard deviation, both held fast. Whatever the map, the
    mask's size is about the share, so it can neither open nor close: only the order of places is learnt, which is what
    binary retention judges.

    Args:
        maps: c (b, 1, h, w).
        frame: (H, W).
        share: of places shown, above 0 and below 1.
        width: of the edge, in standard deviations of the map.

    Returns:
        (b, 1, H, W), float32.
    """
    large = functional.interpolate(maps.float(), size=frame, mode="bilinear")
    values = large.detach().flatten(1)
    hidden = min(values.shape[1] - 1, round((1 - share) * values.shape[1]))
    threshold = values.kthvalue(max(1, hidden), dim=1).values
    scale = width * values.std(dim=1, correction=0) + torch.finfo(torch.float32).eps
    return ((large - threshold.view(-1, 1, 1, 1)) / scale.view(-1, 1, 1, 1)).sigmoid()


def raise_to_mean(maps: Tensor, mean: float) -> float:
    """The number s with which the mean of σ(c + s) is as asked, by halving an interval.

    Args:
        maps: c, of any shape.
        mean: above 0 and below 1.
    """
    values = maps.detach().double()
    ends = math.log(mean) - math.log1p(-mean)  # where all of c is zero
    low, high = ends - float(values.max()), ends - float(values.min())
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if float((values + middle).sigmoid().mean()) < mean else (low, middle)
    return (low + high) / 2
