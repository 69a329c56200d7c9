"""What a network that tells persons apart is worth, on persons that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from regard.errors import MetricError
from regard.metrics.retrieval import (
    Shown,
    average_precision,
    average_precision_by_chance,
    matched_by_chance,
    matched_within,
    ranking,
)
from regard.models.classifier import Classifier
from regard.statistics import bootstrap_interval
from regard.training.figures import Figure, figure_of_words
from regard.training.readable import BATCH
from regard.training.reid.sightings import Sighting

RANKS = (1, 5, 10)
RANKED_TOGETHER = 256
"""Queries whose rankings are held at once."""


@dataclass(frozen=True)
class Found:
    """How well queries are answered; see `regard.metrics.retrieval`.

    Attributes:
        figures: mean average precision, "mAP", and the share of queries with a right match among the first 1, 5 and 10,
            "rank-1" and so on. `photos` are the queries that can be answered, `interval` is 95 % of the bootstrap over
            them, `chance` what a random order gets.
        queries: how many there are.
        unanswerable: those of whose person the gallery has no photo by another camera; they count in no figure.
        gallery: photos that are looked in.
    """

    figures: tuple[Figure, ...]
    queries: int
    unanswerable: int
    gallery: int

    @classmethod
    def of_words(cls, words: Mapping[str, Any]) -> Found:
        """The inverse of `dataclasses.asdict`, after JSON."""
        return cls(**{**words, "figures": tuple(figure_of_words(Figure, each) for each in words["figures"])})

    def value(self, name: str) -> float:
        """Of the figure with that name."""
        return next(figure.value for figure in self.figures if figure.name == name)


def embedded(classifier: Classifier, sightings: Sequence[Sighting]) -> Shown:
    """Photos as the classifier embeds them: of a network with a neck behind it. A forward a photo."""
    parts = [
        classifier.embed(classifier.prepare([each.photo for each in sightings[start : start + BATCH]])).cpu()
        for start in range(0, len(sightings), BATCH)
    ]
    return Shown(torch.cat(parts), [each.identity for each in sightings], [each.camera for each in sightings])


def found_in(queries: Shown, gallery: Shown, seed: int) -> tuple[Found, Tensor]:
    """Figures of queries; and the average precision of each, (Q,), NaN where it cannot be answered.

    Raises:
        MetricError: no query can be answered.
    """
    precisions, matched, chances = [], [], []
    for start in range(0, len(queries.persons), RANKED_TOGETHER):
        some = slice(start, start + RANKED_TOGETHER)
        ranked = ranking(Shown(queries.embeddings[some], queries.persons[some], queries.cameras[some]), gallery)
        precisions.append(average_precision(ranked))
        matched.append(matched_within(ranked, RANKS))
        chances.append(torch.cat([average_precision_by_chance(ranked)[:, None], matched_by_chance(ranked, RANKS)], 1))
    each = torch.cat(precisions)
    values, chance = torch.cat([each[:, None], torch.cat(matched)], dim=1), torch.cat(chances)
    known = ~each.isnan()
    if not bool(known.any()):
        raise MetricError(
            "no query can be answered",
            came="no person of a query is seen in the gallery by another camera",
            remedy="give gallery photos by other cameras of the persons looked for",
        )
    names = ["mAP", *(f"rank-{rank}" for rank in RANKS)]
    figures = tuple(
        Figure(name, int(known.sum()), float(column.mean()), bootstrap_interval(column, seed), float(by_chance.mean()))
        for name, column, by_chance in zip(names, values[known].T, chance[known].T, strict=True)
    )
    return Found(figures, len(each), int((~known).sum()), len(gallery.persons)), each
