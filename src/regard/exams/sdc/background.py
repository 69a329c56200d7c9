"""How hard the background is: how far it spreads, and how much of it lies where the foreground does."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from regard.exams.sdc.items import Items, generator, whole


def with_background(train: Items, test: Items, spread: float, overlap: float, seed: int) -> tuple[Items, Items]:
    """The same items with another background; the foreground stays as it is.

        x′ = μ + s (x − μ)               of a share 1 − o of the background items
        x′ = μ_c + s (x − μ_k)           of a share o, k an item's own class and c a foreground class, by lot

    with the spread s about the background's mean μ, the mean of its classes' means μ_k. Spread 0 makes the background
    one point: then uniform attention loses nothing (error mode EM-C). The overlap o is the share of the background
    that lies about the mean of a foreground class, as noise of its own class's form: a classifier sees it as
    foreground where that form is alike. Its lot knows no label, so what it shows says nothing. All means are those
    of `train`, so that the test's items change nothing about the others.

    What has changed is float32, four times the size of uint8.
    """
    if spread == 1 and overlap == 0:
        return train, test
    means = _class_means(train)
    one, other = (
        _changed(items, means, spread, overlap, generator(seed, "overlap", part))
        for items, part in ((train, "train"), (test, "test"))
    )
    return one, other


def _changed(items: Items, means: Tensor, spread: float, overlap: float, draw: torch.Generator) -> Items:
    values, classes = items.taken(torch.arange(len(items.classes))), items.classes.long()
    background, foreground = torch.tensor(items.background), torch.tensor(items.foreground)
    chance, lot = torch.rand(2, len(classes), dtype=torch.float64, generator=draw)
    behind = torch.isin(classes, background)
    moved, kept = behind & (chance < overlap), behind & (chance >= overlap)
    onto = foreground[whole(lot, len(foreground))]
    middle = means[background].mean(dim=0)
    values[kept] = middle + spread * (values[kept] - middle)
    values[moved] = means[onto[moved]] + spread * (values[moved] - means[classes[moved]])
    return replace(items, values=values)


def _class_means(items: Items) -> Tensor:
    """(K, …), NaN for a class without items."""
    values, classes = items.taken(torch.arange(len(items.classes))), items.classes.long()
    sums = values.new_zeros(len(items.names), *values.shape[1:]).index_add_(0, classes, values)
    counts = classes.bincount(minlength=len(items.names)).to(values)
    return sums / counts.view(-1, *[1] * (values.dim() - 1))
