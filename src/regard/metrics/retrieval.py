"""How well a gallery's pictures of the same person are found, across cameras: average precision and matches by rank.

Each query ranks the gallery by cosine. Pictures of the query's person by the query's own camera are left out of its
ranking (Zheng et al. 2015, Market-1501): they are near duplicates, which would be found by their background. They count
neither as right nor as wrong. What is left is right where the person is the query's.

Equal cosines, to 6 decimals, which is what embeddings in single precision can tell, stand in disfavour: wrong pictures
before right ones. So embeddings that are all alike score as badly as can be, and the gallery's order helps nobody.

A query of whose person no picture by another camera is left cannot be answered: its figures are NaN, and
`Ranking.answerable` says which have some.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor
from torch.nn import functional

from regard.errors import MetricError, NotFiniteError

_DECIMALS = 6


@dataclass(frozen=True)
class Shown:
    """Pictures with what is known of them.

    Attributes:
        embeddings: (n, D).
        persons: who is seen on each, names or whole numbers.
        cameras: which took each, the same.

    Raises:
        MetricError: they are not equally many, or there are none; or persons or cameras that cannot be compared.
        NotFiniteError: NaN or infinity in an embedding.
    """

    embeddings: Tensor
    persons: Sequence[str | int]
    cameras: Sequence[str | int]

    def __post_init__(self) -> None:
        counts = (len(self.embeddings), len(self.persons), len(self.cameras))
        if self.embeddings.dim() != 2 or len({*counts}) > 1 or not counts[0]:
            raise MetricError(
                "every picture has an embedding, a person and a camera",
                came=f"embeddings {tuple(self.embeddings.shape)}, {counts[1]} persons, {counts[2]} cameras",
                expected="(n, D) and n each, at least one",
            )
        unnamed = [who for who in (*self.persons, *self.cameras) if not isinstance(who, str | Integral)]
        if unnamed:
            raise MetricError(
                "persons and cameras are names or whole numbers",
                came=f"{unnamed[0]!r:.60}",
                remedy="of tensors and arrays: .tolist()",
            )
        wrong = (~self.embeddings.isfinite().all(dim=1)).nonzero()[:, 0].tolist()
        if wrong:
            raise NotFiniteError("an embedding holds NaN or infinity", came=f"picture {wrong[0]}")


@dataclass(frozen=True)
class Ranking:
    """The gallery as each of Q queries ranks its G pictures.

    Attributes:
        order: (Q, G) int64, indices into the gallery, the nearest first; those left out stand last.
        counted: (Q, G) bool, in that order: not left out.
        right: (Q, G) bool, in that order: counted, and of the query's person.
    """

    order: Tensor
    counted: Tensor
    right: Tensor

    @property
    def answerable(self) -> Tensor:
        """(Q,) bool: there is something right to be found."""
        return self.right.any(dim=1)


def ranking(queries: Shown, gallery: Shown) -> Ranking:
    """Rank a gallery for each query.

    Raises:
        MetricError: embeddings of other widths.
    """
    if queries.embeddings.shape[1] != gallery.embeddings.shape[1]:
        raise MetricError(
            "queries and gallery are embedded differently",
            came=f"{queries.embeddings.shape[1]} and {gallery.embeddings.shape[1]} numbers",
        )
    cosines = _units(queries) @ _units(gallery).T
    of_person, of_camera = (_equal(queries, gallery, name) for name in ("persons", "cameras"))
    counted, right = ~(of_person & of_camera), of_person & ~of_camera
    near = cosines.mul(10**_DECIMALS).round().masked_fill(~counted, -math.inf)
    order = right.int().argsort(dim=1, stable=True)
    order = order.gather(1, near.gather(1, order).argsort(dim=1, descending=True, stable=True))
    return Ranking(order, counted.gather(1, order), right.gather(1, order))


def average_precision(ranked: Ranking) -> Tensor:
    """Mean, over the R right pictures, of the precision where each is found.

        AP = (1/R) Σ_{i right} (right ones among the first i) / i

    This is the sum under the steps of precision over recall, as most later papers have it. The first code published
    with Market-1501 joins the steps by trapezoids, beginning at precision 1, which gives other figures.

    Returns:
        (Q,), float64, in (0, 1]; NaN where nothing right can be found. Their mean is the mAP.
    """
    right = ranked.right.double()
    places = torch.arange(1, right.shape[1] + 1, dtype=torch.float64)
    precision = right.cumsum(dim=1) / places
    return (precision * right).sum(dim=1) / right.sum(dim=1)


def matched_within(ranked: Ranking, ranks: Sequence[int]) -> Tensor:
    """Whether something right stands among the first r: the cumulative match characteristic (CMC), a query each.

    Args:
        ranked: from `ranking`.
        ranks: r, from 1 on.

    Returns:
        (Q, len(ranks)), float64, 0 or 1; NaN where nothing right can be found.

    Raises:
        MetricError: no such rank.
    """
    _check_ranks(ranks)
    first = ranked.right.int().argmax(dim=1)
    found = (first[:, None] < torch.tensor(ranks)).double()
    return found.masked_fill(~ranked.answerable[:, None], math.nan)


def average_precision_by_chance(ranked: Ranking) -> Tensor:
    """The expected average precision of a random order of the N counted pictures, R of them right.

        E[AP] = (1/N) · ( H + (N − H) (R − 1) / (N − 1) ),     H = 1 + 1/2 + … + 1/N

    since with something right at i, of the i − 1 before it each is right with probability (R − 1) / (N − 1).

    Returns:
        (Q,), float64; NaN where nothing right can be found.
    """
    count, right = ranked.counted.sum(dim=1).double(), ranked.right.sum(dim=1).double()
    parts = 1 / torch.arange(1, ranked.right.shape[1] + 1, dtype=torch.float64)
    harmonic = functional.pad(parts.cumsum(dim=0), (1, 0))[count.long()]
    others = (right - 1) / (count - 1).clamp(min=1)
    return ((harmonic + (count - harmonic) * others) / count).masked_fill(~ranked.answerable, math.nan)


def matched_by_chance(ranked: Ranking, ranks: Sequence[int]) -> Tensor:
    """The expected `matched_within` of a random order: 1 − C(N − R, r) / C(N, r), (Q, len(ranks))."""
    _check_ranks(ranks)
    counts = zip(ranked.counted.sum(dim=1).tolist(), ranked.right.sum(dim=1).tolist(), strict=True)
    rows = [
        [1 - math.comb(count - right, min(rank, count)) / math.comb(count, min(rank, count)) for rank in ranks]
        for count, right in counts
    ]
    return torch.tensor(rows, dtype=torch.float64).masked_fill(~ranked.answerable[:, None], math.nan)


def _units(shown: Shown) -> Tensor:
    return functional.normalize(shown.embeddings.detach().double().cpu(), dim=1)


def _equal(queries: Shown, gallery: Shown, name: str) -> Tensor:
    """(Q, G) bool: which pairs have the same person, or camera."""
    known: dict[str | int, int] = {}
    one, other = (
        torch.tensor([known.setdefault(value, len(known)) for value in getattr(shown, name)])
        for shown in (queries, gallery)
    )
    return one[:, None] == other


def _check_ranks(ranks: Sequence[int]) -> None:
    if not ranks or not all(type(rank) is int and rank > 0 for rank in ranks):
        raise MetricError("ranks are counted from 1", came=repr(ranks)[:60])
