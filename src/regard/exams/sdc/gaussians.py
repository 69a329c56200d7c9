"""Points of normal distributions: D1, whose foreground the background surrounds, and D2 of long thin clouds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from regard.exams.sdc.items import Items, generator

_D1 = (
    ((4, 6.5), (5.5, 6), (4.5, 4.5)),
    (
        *((3, 3.5), (2.5, 5.5), (3.5, 8), (5.5, 8)),
        *((7, 6.5), (6.5, 4.5), (5, 3)),
    ),
)
_D2 = (
    ((3, 3, 3, 3, 0), (4, 4, 4, 4, 0), (10, 5, 5, 10, 0)),
    (
        *((-10, -10, -10, -10, 0), (-21, 4, 4, -21, 0), (-10, 18, 18, -10, 0), (4, 20, 4, 20, 0)),
        *((4, -20, -20, 4, 0), (20, 20, 20, 20, 0), (20, -10, -10, 20, 0)),
    ),
)
_D2_LONG = (1, 0, 1, 1, 0, 1, 0, 0, 1, 1)
"""The coordinate along which each cloud of D2 is long, counted from 0."""


def d1(seed: int) -> tuple[Items, Items]:
    """D1, "type 4" (papers: SDC, section 2): ten classes in the plane, three of them foreground.

    Each is normal with covariance 0.01 · 1; the foreground's means lie inside the convex hull of the background's, so
    no linear focus finds it. 5,000 points for each part, of classes drawn all alike often.
    """
    means = torch.tensor([*_D1[0], *_D1[1]])
    factors = torch.eye(2).mul(0.1).expand(10, 2, 2)
    parts = [generator(seed, "points", part) for part in ("train", "test")]
    one, other = (_normal(means, factors, torch.randint(10, (5000,), generator=draw), draw) for draw in parts)
    return one, other


def d2(seed: int) -> tuple[Items, Items]:
    """D2, elliptical blobs (papers: SDC, section 2): ten classes in five dimensions, three of them foreground.

    The covariance is one in every entry, and 15 more on the diagonal at the class's long coordinate: rank 2, one shift
    common to all coordinates and one long axis. 500 points of each class for each part.
    """
    means = torch.tensor([*_D2[0], *_D2[1]]).float()
    factors = torch.stack([torch.stack([torch.ones(5), torch.eye(5)[axis] * 15**0.5], dim=1) for axis in _D2_LONG])
    classes = torch.arange(10).repeat_interleave(500)
    one, other = (_normal(means, factors, classes, generator(seed, "points", part)) for part in ("train", "test"))
    return one, other


def _normal(means: Tensor, factors: Tensor, classes: Tensor, draw: torch.Generator) -> Items:
    """x = μ_k + F_k ε of each class k: means (K, D), factors (K, D, R); the first three are foreground."""
    noise = torch.randn(len(classes), factors.shape[2], 1, generator=draw)
    values = means[classes] + (factors[classes] @ noise)[..., 0]
    return Items(values, classes.to(torch.int16), _names(3, len(means) - 3), (0, 1, 2))


def _names(foreground: int, background: int) -> tuple[str, ...]:
    return (*_numbered("foreground", foreground), *_numbered("background", background))


def _numbered(name: str, count: int) -> Sequence[str]:
    return [f"{name} {number}" for number in range(1, count + 1)]
