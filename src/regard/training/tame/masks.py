"""How a map becomes the mask that a picture is seen through in training, and what of it the loss weighs."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional
from torch import Tensor

FLAT = 0.01
"""The least standard deviation of a map that its mask's edge is measured in: below, a map is flat."""


def soft_mask(maps: Tensor, frame: tuple[int, int]) -> Tensor:
    """σ(c) on the map's grid, enlarged to the frame (TAME, section 2.1): (b, 1, h, w) → (b, 1, H, W), float32."""
    return functional.interpolate(maps.float().sigmoid(), size=frame, mode="bilinear")


def ranked_mask(maps: Tensor, frame: tuple[int, int], share: float, width: float) -> Tensor:
    """The top share of places shown, the others hidden, with an edge that gradients pass: σ((c − t) / (width · s)).

    s is the enlarged map's standard deviation, with a floor, and t the threshold at which the mask's mean is the share.
    Both follow the map: nothing that shifts or scales it changes the mask, nor has it a gradient. So only the order of
    places is learnt, which is what binary retention judges.

    Args:
        maps: c (b, 1, h, w).
        frame: (H, W).
        share: of places shown, above 0 and below 1.
        width: of the edge, in standard deviations of the map.

    Returns:
        (b, 1, H, W), float32.

    Cost: 30 sigmoids a place, for t; a hundredth of a pass of EfficientNet-Lite0.
    """
    large = functional.interpolate(maps.float(), size=frame, mode="bilinear")
    centred = large.flatten(1) - large.mean(dim=(1, 2, 3))[:, None]
    scaled = centred / (width * (centred.square().mean(dim=1, keepdim=True) + FLAT**2).sqrt())
    near = scaled + raised_to_mean(scaled, share)[:, None]
    shown = near.sigmoid()
    steepness = (shown * (1 - shown)).detach().mean(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    step = (shown.mean(dim=1, keepdim=True) - share) / steepness  # zero; its gradient is that of t (implicit function)
    return (near - step).sigmoid().view_as(large)


def raised_to_mean(values: Tensor, mean: float) -> Tensor:
    """The number s of each row with which the mean of σ(c + s) is as asked, by halving an interval 30 times.

    Args:
        values: c (b, n).
        mean: above 0 and below 1.

    Returns:
        (b,), without gradients.
    """
    values = values.detach()
    middle = math.log(mean) - math.log1p(-mean)  # where all of c is zero
    low, high = middle - values.amax(dim=1), middle - values.amin(dim=1)
    for _ in range(30):
        half = (low + high) / 2
        below = (values + half[:, None]).sigmoid().mean(dim=1) < mean
        low, high = torch.where(below, half, low), torch.where(below, high, half)
    return (low + high) / 2
