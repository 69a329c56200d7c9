"""Cross attention, CAN (Hou et al. 2019, arXiv 1910.07677): a class and a query show each other what they share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from regard.attention.places import fine
from regard.attention.prototypes import unit
from regard.errors import UnsupportedError


@dataclass(frozen=True)
class Crossed:
    """A class and a query as each looks beside the other, of every pair.

    Attributes:
        classes: (B, Q, N, C), vectors of the classes.
        queries: (B, Q, N, C), vectors of the queries.
    """

    classes: Tensor
    queries: Tensor

    def logits(self, scale: float) -> Tensor:
        """scale · cosine of both vectors: (B, Q, N)."""
        return scale * (unit(self.classes) * unit(self.queries)).sum(dim=-1)


class CrossAttention(nn.Module):
    """forward(classes (B, N, C, h, w), queries (B, Q, C, h, w)) → `Crossed`.

    For a class P and a query Q, each of m = h·w places:

        correlation    R_ij = cosine( P_i , Q_j ),     r_i = ( R_i1 … R_im )
        meta-fusion    w = W_2 ReLU( W_1 (1/m) Σ_i r_i )
        attention      a = softmax_i( (1/m) w · r_i / τ )
        vector         v = (1/m) Σ_i ( 1 + a_i ) P_i

    and for the query the same with the correlations transposed and the same W. The class's features are the mean of its
    photos', the vectors are compared by their cosine times a scale: as published for an answer. The mean over the m
    products in w · r_i is the authors' program's; their formula has the sum. Otherwise than there, of which the
    formulas say nothing:

    - behind W_1 it has a batch norm, and biases behind W_1 and W_2, so that an answer in training depends on the
      other pairs; weights are drawn otherwise;
    - it learns by the cosines of single places of the query and a classifier of all classes at every place. Here the
      vectors' cosine is learnt by, as with prototypes, so that methods differ in attention alone.

    Args:
        places: m, which W_1 and W_2 are made for.
        reduction: m / rows of W_1; published 6.
        temperature: τ; published 0.025.

    Raises:
        UnsupportedError: no places, or numbers that cannot be.

    Cost of a pair: m² C products, and m² values kept for gradients.
    """

    def __init__(self, places: int, reduction: int = 6, temperature: float = 0.025) -> None:
        super().__init__()
        if places < 1 or reduction < 1 or not temperature > 0:
            raise UnsupportedError(
                "no such cross attention",
                came=f"places={places!r}, reduction={reduction!r}, temperature={temperature!r}",
                expected="whole numbers from 1 on, a temperature above 0",
            )
        self.places, self.reduction, self.temperature = places, reduction, temperature
        narrow = max(1, places // reduction)
        self.fusion = nn.Sequential(
            nn.Linear(places, narrow, bias=False), nn.ReLU(), nn.Linear(narrow, places, bias=False)
        )

    def forward(self, classes: Tensor, queries: Tensor) -> Crossed:
        grid = classes.shape[-2:]
        if grid != queries.shape[-2:] or grid.numel() != self.places:
            raise UnsupportedError(
                "this cross attention is made for another grid",
                came=f"{tuple(grid)} and {tuple(queries.shape[-2:])}",
                expected=f"{self.places} places each",
            )
        with torch.autocast(classes.device.type, enabled=False):
            known, asked = (fine(features).flatten(3).mT for features in (classes, queries))  # (B, n, m, C)
            correlations = torch.einsum("bnic,bqjc->bqnij", unit(known), unit(asked))
            of_classes, of_queries = self._attention(correlations), self._attention(correlations.mT)
            return Crossed(
                known.mean(dim=2)[:, None] + torch.einsum("bqni,bnic->bqnc", of_classes, known) / self.places,
                asked.mean(dim=2)[:, :, None] + torch.einsum("bqnj,bqjc->bqnc", of_queries, asked) / self.places,
            )

    def _attention(self, correlations: Tensor) -> Tensor:
        """(…, m, m), a row for each place of what is looked at → (…, m)."""
        kernel = self.fusion(correlations.mean(dim=-2))
        fused: Tensor = (correlations @ kernel[..., None])[..., 0] / self.places
        return (fused / self.temperature).softmax(dim=-1)

    def extra_repr(self) -> str:
        return f"places={self.places}, reduction={self.reduction}, temperature={self.temperature}"
