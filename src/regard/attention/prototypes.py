"""Classes known by a few photos each: prototypes of their vectors, and how near a photo is to them, rank by rank."""

from __future__ import annotations

import torch
from torch import Tensor

from regard.attention.places import fine
from regard.errors import UnsupportedError


def unit(vectors: Tensor) -> Tensor:
    """v / ‖v‖ over the last axis, float32 at least; zero, and without a gradient, where v is zero."""
    values = fine(vectors)
    squares = values.square().sum(dim=-1, keepdim=True)
    zero = squares == 0
    return torch.where(zero, 0, values * squares.where(~zero, 1).rsqrt())


def prototypes(support: Tensor) -> Tensor:
    """What stands for each class, by rank: the mean of its photos' vectors, each made one long before.

        p_n,k = (1/S) Σ_s v_n,s,k / ‖v_n,s,k‖

    So every photo counts the same, however active it is (Snell et al. 2017, arXiv 1703.05175, of unit vectors).

    Args:
        support: (…, N, S, K, C), S photos of each of N classes.

    Returns:
        (…, N, K, C), float32 at least.

    Raises:
        UnsupportedError: another form, or no photo of a class.
    """
    if support.dim() < 4 or 0 in support.shape[-4:]:
        raise UnsupportedError(
            "prototypes are made of the vectors of some photos",
            came=f"{tuple(support.shape)}",
            expected="(…, classes, photos of each, K, C), none of them 0",
        )
    with torch.autocast(support.device.type, enabled=False):
        return unit(support).mean(dim=-3)


def prototype_logits(queries: Tensor, classes: Tensor, scale: float) -> Tensor:
    """The cosine classifier on K vectors: each rank is compared with the same rank of the prototypes.

        z_q,n = scale · (1/K) Σ_k cosine( v_q,k , p_n,k )

    The published base learner takes the cosine of the K vectors joined. That is Σ_k w_k · cosine( v_k, p_k ) with
    w_k = ‖v_k‖ ‖p_k‖ / (‖v‖ ‖p‖): ranks count by how active they are, the first most, and a photo's own activity
    decides how much. Here all ranks count the same, which is the cosine of the joined vectors after each of them was
    made one long. A vector of zero, or a prototype, has the cosine 0.

    Args:
        queries: (…, Q, K, C).
        classes: prototypes (…, N, K, C), of any length; with the same leading axes.
        scale: how far apart logits are; cosines alone are within 2 of each other, too near for a cross-entropy.

    Returns:
        (…, Q, N), float32 at least.

    Raises:
        UnsupportedError: other ranks or channels.
    """
    if queries.shape[-2:] != classes.shape[-2:] or queries.shape[:-3] != classes.shape[:-3]:
        raise UnsupportedError(
            "queries and prototypes have other ranks or channels",
            came=f"{tuple(queries.shape)} and {tuple(classes.shape)}",
            expected="(…, Q, K, C) and (…, N, K, C)",
        )
    with torch.autocast(queries.device.type, enabled=False):
        cosines = unit(queries).flatten(-2) @ unit(classes).flatten(-2).mT
        return scale / queries.shape[-2] * cosines
