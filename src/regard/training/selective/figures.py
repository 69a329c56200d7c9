"""Figures of selective models on all examples of a set, every seed's its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from regard.attention.selective import Prediction, SelectiveModel
from regard.training.selective.examples import HELD, Bank, repeated

Judged = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor | None], Mapping[str, Tensor]]
"""(weights (n, m), logits (n, C), label (n,), position (n,), mask) → name → a number for each example (n,): their means
are figures. Such are the four outcomes, `regard.exams.sdc.outcomes`."""

SEGMENTS = 16384
"""Of a forward, at most: what is made of them then stays near the processor."""
BYTES = 2**24
"""Of a forward's segments, at most: layers hold many times that. The widest of "cnn-6" makes 64 maps of 28 × 28 of 3 of
32 × 32, 16 times its input: 268 MB of 16, where `SEGMENTS` would make 3.3 GB."""
SUPPORT = 0.01
"""A weight above it is part of the support, as in the experiments."""

SHARP = 1.1
"""Support up to which one segment has all: collapsed runs of the experiments have 1.003 (papers/sdc.md, 6.5)."""
LEARNT = 0.25
"""Of the way from chance to 1 that an accuracy must be: 0.5 for three labels, where failed runs have 0.34 to 0.46."""


@torch.no_grad()
def figures(
    model: SelectiveModel, seeds: int, bank: Bank, prediction: Prediction, judged: Judged
) -> list[dict[str, float]]:
    """Means over all examples, for each seed of a model, which is left in eval mode.

    loss, the cross-entropy of what is predicted, in nats; accuracy, a share; support, the number of weights above
    `SUPPORT`; and what `judged` says.

    Cost: where there are fewer items than segments, the focus reads every item once, not every segment; no forward
    reads more than `SEGMENTS` of them, or `BYTES`.

    Args:
        model: of one seed, or of several, see `stacked`.
        seeds: how many.
        bank: the examples, the same for all seeds.
        prediction: what is predicted.
        judged: further figures.
    """
    model.eval()
    read = _reader(model, seeds, bank)
    sums: dict[str, Tensor] = {}
    step = max(1, _segments(bank) // (bank.index.shape[1] * seeds))
    for rows in torch.arange(len(bank), device=bank.index.device).split(step):
        label, position = repeated(bank.label[rows], seeds), repeated(bank.position[rows], seeds)
        mask = None if bank.mask is None else repeated(bank.mask[rows], seeds)
        found = model.answer(*read(bank.index[rows], mask), mask, prediction)
        values = {
            "loss": functional.cross_entropy(found.logits, label, reduction="none"),
            "accuracy": found.logits.argmax(dim=1) == label,
            "support": (found.weights > SUPPORT).sum(dim=1),
            **judged(found.weights, found.logits, label, position, mask),
        }
        for name, value in values.items():
            sums[name] = sums.get(name, 0) + value.double().unflatten(0, (seeds, -1)).sum(dim=1)
    means = (torch.stack([*sums.values()], dim=1) / len(bank)).tolist()
    return [dict(zip(sums, row, strict=True)) for row in means]


def _segments(bank: Bank) -> int:
    """Of a forward, at most."""
    return min(SEGMENTS, BYTES // (bank.items.values[0].numel() * bank.like.element_size()))


Read = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]
"""(items (n, m), mask of all seeds (seeds · n, m)) → scores (seeds · n, m), and what is averaged (seeds · n, m, …)."""


def _reader(model: SelectiveModel, seeds: int, bank: Bank) -> Read:
    """A focus of segments; by way of their items, where these are fewer and what it makes of them can be held."""

    def of_segments(index: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        return model.read(repeated(bank.taken(index), seeds), mask)

    if bank.count >= bank.index.numel():
        return of_segments
    parts = []
    for items in torch.arange(bank.count, device=bank.index.device).split(max(1, _segments(bank) // seeds)):
        scores, features = model.read(repeated(bank.taken(items[None]), seeds))
        if model.layer and features[0, 0].nbytes * bank.count * seeds > HELD:
            return of_segments
        parts.append((scores, features if model.layer else None))
    of_items = torch.cat([scores for scores, _ in parts], dim=1)
    held = torch.cat([features for _, features in parts if features is not None], dim=1) if model.layer else None

    def by_items(index: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        scores = of_items[:, index].flatten(0, 1)
        features = repeated(bank.taken(index), seeds) if held is None else held[:, index].flatten(0, 1)
        return (scores if mask is None else scores.masked_fill(~mask, -math.inf)), features

    return by_items


def chance(labels: Tensor) -> float:
    """The accuracy of always the same answer: the share of the most frequent label."""
    return float(labels.bincount().max()) / len(labels)


def learnt(accuracy: float, by_chance: float) -> bool:
    """Whether an accuracy, a share, says that anything was learnt."""
    return accuracy >= by_chance + LEARNT * (1 - by_chance)


def collapsed(found: Mapping[str, float], by_chance: float) -> bool:
    """Whether attention has become one segment before it knew which: then nothing is learnt any more.

    Args:
        found: figures of the training examples.
        by_chance: see `chance`.
    """
    return found["support"] <= SHARP and not learnt(found["accuracy"], by_chance)
