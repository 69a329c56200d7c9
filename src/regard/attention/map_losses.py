"""What keeps trained maps small and smooth: the two regularisers of TAME (arXiv 2301.07407), one number a map.

Pure functions of maps in [0, 1], on their own grid. What is made of the numbers is one line of the caller's, for a set
of maps (B, n, h, w): one, several or, as published, all labels of the batch for every picture (B, B, h, w):

    area(maps).mean()                   A as published: the mean over all maps
    variation(maps).sum(1).mean()       V as published: summed over maps, divided by 2·B only
    variation(maps).mean()              V of a map on average, which the number of maps does not change
"""

from __future__ import annotations

import torch
from torch import Tensor

from regard.attention.places import fine


def area(maps: Tensor, exponent: float = 0.3, offset: float = 5e-4) -> Tensor:
    """How much each map lights up: mean of (m + offset)^exponent over its grid.

    Args:
        maps: (…, h, w) in [0, 1].
        exponent: below 1, so that a little light costs much and more light little; published.
        offset: keeps the gradient at m = 0 finite, at exponent · offset^(exponent − 1) = 61.353; published.

    Returns:
        (…), float32 also under autocast; from 0.1023 for a map of zeros to 1.0002 for one of ones.
    """
    return fine(maps).add(offset).pow(exponent).mean(dim=(-2, -1))


def variation(maps: Tensor, border: float = 0.3) -> Tensor:
    """How rough each map is: ½ [ Σ squared differences of neighbours + border · Σ squares on the four border lines ].

    Neighbours are those above and beside. A corner lies on two lines and counts twice, as published.

    Args:
        maps: (…, h, w).
        border: weight of the border lines, beyond which a map counts as if it went on dark; published.

    Returns:
        (…), float32 also under autocast.
    """
    maps = fine(maps)  # half precision overflows in sums of squares over a batch of maps
    differences = maps.diff(dim=-2).square().sum(dim=(-2, -1)) + maps.diff(dim=-1).square().sum(dim=(-2, -1))
    lines = (maps[..., 0, :], maps[..., -1, :], maps[..., 0], maps[..., -1])
    return (differences + border * torch.stack([line.square().sum(dim=-1) for line in lines]).sum(dim=0)) / 2
