"""Which places represent a feature map: the best one, then the best of what it leaves unexplained, and so on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from regard.attention.places import Places
from regard.errors import NotFiniteError, UnsupportedError

Select = Literal["norm", "random"] | Callable[[Tensor, Tensor, int], Tensor]

TIED = 1e-6
"""Scores that differ by no more than this share are equal, so that no rounding decides which place is taken."""


def chosen(places: Places, count: int, select: Select, seeds: Sequence[int] | None) -> tuple[Tensor, Tensor, Tensor]:
    """Indices, scores, and whether anything was left to explain at that place, each (B, K). Records no gradient.

    What is left of a place begins as its norm and is multiplied by 1 − σ, held between 0 and 1, after each round;
    nothing is left of a place that was taken, nor where it is as small as rounding.
    """
    places = places.detached()
    features, score = places.columns.transpose(1, 2), _scoring(select, places, count, seeds)
    left = places.norms.where(places.inverse > 0, 0)
    found = []
    for rank in range(count):
        index, highest = _first_highest(score(features, left, rank), places.inside)
        found.append((index, highest, left.gather(1, index) > 0))
        if rank + 1 < count:
            similarity = places.similarities(places.units(index))[:, 0]
            left = left * (1 - similarity).clamp(0, 1)
            left = left.where(left > places.floor, 0).scatter(1, index, 0)
    indices, scores, anything = (torch.cat(each, dim=1) for each in zip(*found, strict=True))
    return indices, scores, anything


def _first_highest(scores: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """The first place that counts of those with the highest score, and that score: (B, 1) each."""
    highest = scores.masked_fill(~inside, -math.inf).amax(dim=1, keepdim=True)
    tied = inside & (scores >= highest - TIED * highest.abs())
    return tied.to(torch.int32).argmax(dim=1, keepdim=True), highest


def _scoring(
    select: Select, places: Places, count: int, seeds: Sequence[int] | None
) -> Callable[[Tensor, Tensor, int], Tensor]:
    """The selection as a function of features, what is left, and the rank."""
    if select == "norm":
        return lambda _, left, __: left
    if select == "random":
        draws = _draws(seeds, places.inside, count)
        return lambda _, left, rank: draws[:, rank].to(left)
    assert callable(select)
    return lambda features, left, rank: _checked(
        select(features.clone(), left.clone(), rank), left, rank, places.finite
    )


def _draws(seeds: Sequence[int] | None, inside: Tensor, count: int) -> Tensor:
    """(B, K, N) from U(0, 1), of each picture over the places that count: those which do not change no draw."""
    if seeds is None or len(seeds) != len(inside) or not all(_is_seed(seed) for seed in seeds):
        raise UnsupportedError(
            "a random selection needs a seed for each picture",
            came="none" if seeds is None else f"{seeds!r:.80} for {len(inside)} pictures",
            expected="as many whole numbers as there are pictures, 0 to 2**63 − 1",
        )
    draws = torch.zeros(len(inside), count, inside.shape[1])
    for drawn, counts, seed in zip(draws, inside.cpu(), seeds, strict=True):
        generator = torch.Generator().manual_seed(seed)
        drawn[:, counts] = torch.rand(count, int(counts.sum()), generator=generator)
    return draws


def _is_seed(seed: object) -> bool:
    return type(seed) is int and 0 <= seed < 2**63


def _checked(scores: Tensor, left: Tensor, rank: int, finite: Tensor) -> Tensor:
    """A function's scores, where they can be compared; zeros of pictures whose features are not finite."""
    if not isinstance(scores, Tensor) or scores.shape != left.shape:
        came = f"{tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
        raise UnsupportedError(
            "the selection gives no score for each place", came=came, expected=f"a tensor {tuple(left.shape)}"
        )
    scores = scores.where(finite[:, None], 0)
    if not torch.compiler.is_compiling() and not scores.isfinite().all():
        picture, place = (~scores.isfinite()).nonzero()[0].tolist()
        raise NotFiniteError(
            f"the selection's score is {float(scores[picture, place])}",
            came=f"rank {rank}, picture {picture}, place {place}",
            remedy="a low number keeps a place from being taken",
        )
    return scores.detach().to(left)
