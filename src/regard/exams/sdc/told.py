"""Beginnings that know the answer: a focus that was told what is foreground, a classifier that was told classes.

They are the pre-trained modules of papers/sdc.md, section 6.1, and learn from the base items of the training mosaics
alone. Where a focus begins so and attention is then right, the beginning was what was missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from regard.errors import NotFiniteError
from regard.exams.sdc.items import Items
from regard.seeds import seed_for

EPOCHS = 30
BATCH = 100
STOP = 0.01
"""Mean loss of an epoch, in nats, with which enough is known."""


def tell_focus(focus: nn.Module, items: Items, seed: int, rate: float) -> None:
    """Train f to tell foreground items from background: binary cross-entropy of f(x) + b, in place.

    The offset b is learnt with it and left behind: weights over segments do not see it, and a focus without biases
    could not put its threshold anywhere else.

    Args:
        focus: items → a score.
        items: of the training mosaics.
        seed: of their order.
        rate: of Adam.

    Raises:
        NotFiniteError: the loss grows beyond all numbers.
    """
    offset = nn.Parameter(torch.zeros(()))
    target = (items.labels >= 0).float()

    def loss(rows: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(focus(items.taken(rows)).flatten() + offset, target[rows])

    _learn(focus, [offset], loss, torch.arange(len(target)), seed_for(seed, "told focus"), rate)


def tell_classifier(classifier: nn.Module, items: Items, seed: int, rate: float) -> None:
    """Train g to name the class of foreground items, in place; arguments and errors as of `tell_focus`."""
    labels = items.labels

    def loss(rows: Tensor) -> Tensor:
        return functional.cross_entropy(classifier(items.taken(rows)), labels[rows])

    _learn(classifier, [], loss, (labels >= 0).nonzero()[:, 0], seed_for(seed, "told classifier"), rate)


def _learn(
    module: nn.Module,
    besides: Iterable[nn.Parameter],
    loss: Callable[[Tensor], Tensor],
    rows: Tensor,
    seed: int,
    rate: float,
) -> None:
    optimizer = torch.optim.Adam([*module.parameters(), *besides], lr=rate)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # dropout draws from it, too
        module.train()
        for _ in range(EPOCHS):
            total = 0.0
            for part in rows[torch.randperm(len(rows))].split(BATCH):
                optimizer.zero_grad()
                mean = loss(part)
                mean.backward()
                optimizer.step()
                total += float(mean.detach()) * len(part)
            if not math.isfinite(total):
                raise NotFiniteError(
                    "a module cannot be told at this rate", came=f"a loss of {total}", remedy="a smaller rate"
                )
            if total / len(rows) <= STOP:
                break
    module.eval()
    module.zero_grad()
