"""The triplet loss of the hardest pairs of a batch (Hermans et al. 2017, arXiv 1703.07737)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from regard.attention.places import fine
from regard.attention.settings import is_number
from regard.errors import UnsupportedError


def hardest_triplets(embeddings: Tensor, persons: Tensor, margin: float = 0.3) -> Tensor:
    """The loss of each picture of a batch as an anchor: its farthest own kind must be nearer than its nearest other.

        ℓ_a = max( 0, margin + max_p ‖e_a − e_p‖ − min_n ‖e_a − e_n‖ )

    over all other pictures p of the anchor's person and all pictures n of other persons; Euclidean distances, not
    squared. 0 where the batch has no such p or no such n. At distance 0 the gradient is 0.

    Args:
        embeddings: e (b, D), not normalised, as published.
        persons: (b,), whole numbers.
        margin: published from 0.1 to 1; 0.3 in re-identification (Luo et al. 2019).

    Returns:
        (b,), float32 at least.

    Raises:
        UnsupportedError: embeddings and persons of other numbers, or a margin that is none.
    """
    check_margin(margin)
    if embeddings.dim() != 2 or persons.shape != embeddings.shape[:1]:
        raise UnsupportedError(
            "every embedding is of a person",
            came=f"embeddings {tuple(embeddings.shape)}, persons {tuple(persons.shape)}",
            expected="(b, D) and (b,)",
        )
    with torch.autocast(embeddings.device.type, enabled=False):
        points = fine(embeddings)
        # the faster way by a product loses near pairs to rounding
        distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
        same = persons[:, None] == persons
        own = same & ~torch.eye(len(persons), dtype=torch.bool, device=persons.device)
        farthest = distances.masked_fill(~own, -math.inf).amax(dim=1)
        nearest = distances.masked_fill(same, math.inf).amin(dim=1)
        has_both = own.any(dim=1) & ~same.all(dim=1)
        gap = farthest.where(has_both, 0) - nearest.where(has_both, margin)
        return (margin + gap).clamp(min=0)


def check_margin(margin: float) -> None:
    """Refuse what is no margin.

    Raises:
        UnsupportedError: it is not a number from 0 on.
    """
    if not (is_number(margin) and margin >= 0):
        raise UnsupportedError("a margin is a distance", came=repr(margin), expected="a number from 0 on")
