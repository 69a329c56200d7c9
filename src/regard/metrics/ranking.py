"""The order in which a map gives up its places."""

from __future__ import annotations

import torch
from torch import Tensor

from regard.errors import PixelsError
from regard.images import seed_of
from regard.metrics.maps import check_maps

TIES = "ties by a random order of places, drawn from the picture"
"""The tie rule in words, as rows of results state it."""


def ranks(maps: Tensor, pixels: Tensor, seed: int = 0) -> Tensor:
    """Rank of every place, 0 for the most relevant: (B, T, h·w), int32, row-major.

    By the raw signed value: evidence against comes last. Places of equal value, such as the zeros that a map's
    positive part leaves, follow a random order drawn from the picture and `seed`, the same for every map of that
    picture: a constant map removes places at random, and no method gains by where on the photo its ties lie.
    A mask of the n most relevant places is `ranks < n`, exact for every n.

    Args:
        maps: (B, T, h, w).
        pixels: the pictures, (B, 3, H, W).
        seed: of the order among equals.

    Raises:
        PixelsError: maps and pictures are not equally many.
        NotFiniteError: NaN or infinity in a map.
    """
    check_maps(maps)
    if maps.dim() != 4 or len(maps) != len(pixels):
        raise PixelsError(
            "maps and pictures belong together one by one",
            came=f"maps {tuple(maps.shape)}, pictures {tuple(pixels.shape)}",
            expected="(B, T, h, w) and (B, 3, H, W)",
        )
    values = maps.detach().flatten(2)
    places = values.shape[2]
    drawn = torch.stack(
        [torch.randperm(places, generator=torch.Generator().manual_seed(seed_of(picture, seed))) for picture in pixels]
    ).to(values.device)
    shuffled = values.gather(2, drawn[:, None].expand_as(values))
    order = drawn[:, None].expand_as(values).gather(2, shuffled.argsort(dim=2, descending=True, stable=True))
    numbers = torch.arange(places, dtype=torch.int32, device=values.device).expand(values.shape)
    return torch.empty_like(order, dtype=torch.int32).scatter_(2, order, numbers)
