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

PACE = 1e-2, 60
"""Rate of Adam and epochs of modules of points. They are not the cell's: a beginning is to be as good as the module
can have it. With a rate of 1e-3 and 30 epochs the focus of D1 finds the foreground of 60 to 76 % of mosaics, with this
of 95 to 96; that of D2 of all, and a linear one on boxes-2, which can hold no better, of 63."""
PACE_OF_CONVOLUTIONS = 1e-3, 30
BATCH = 100
STOP = 0.01
"""Mean loss of an epoch, in nats, with which enough is known."""


def tell_focus(focus: nn.Module, items: Items, seed: int) -> None:
    """Train f to tell foreground items from background: binary cross-entropy of f(x) + b, in place.

    The offset b is learnt with it and left behind: weights over segments do not see it, and a focus without biases
    could not put its threshold anywhere else.

    Args:
        focus: items → a score.
        items: of the training mosaics.
        seed: of their order.

    Raises:
        NotFiniteError: the loss grows beyond all numbers.
    """
    offset = nn.Parameter(torch.zeros(()))
    target = (items.labels >= 0).float()

    def loss(rows: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(focus(items.taken(rows)).flatten() + offset, target[rows])

    _learn(focus, [offset], loss, torch.arange(len(target)), seed_for(seed, "told focus"))


def tell_classifier(classifier: nn.Module, items: Items, seed: int) -> None:
    """Train g to name the class of foreground items, in place; arguments and errors as of `tell_focus`."""
    labels = items.labels

    def loss(rows: Tensor) -> Tensor:
        return functional.cross_entropy(classifier(items.taken(rows)), labels[rows])

    _learn(classifier, [], loss, (labels >= 0).nonzero()[:, 0], seed_for(seed, "told classifier"))


def _learn(
    module: nn.Module,
    besides: Iterable[nn.Parameter],
    loss: Callable[[Tensor], Tensor],
    rows: Tensor,
    seed: int,
) -> None:
    """The rate falls to 0 in a straight line: with a steady one, what is known hangs on the last few steps."""
    convolutions = any(isinstance(part, nn.Conv2d) for part in module.modules())
    rate, epochs = PACE_OF_CONVOLUTIONS if convolutions else PACE
    optimizer = torch.optim.Adam([*module.parameters(), *besides], lr=rate)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, epochs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # dropout draws from it, too
        module.train()
        for _ in range(epochs):
            total = 0.0
            for part in rows[torch.randperm(len(rows))].split(BATCH):
                optimizer.zero_grad()
                mean = loss(part)
                mean.backward()
                optimizer.step()
                total += float(mean.detach()) * len(part)
            if not math.isfinite(total):
                raise NotFiniteError(
                    "a module cannot be told of these items", came=f"a loss of {total}", remedy="items of less size"
                )
            if total / len(rows) <= STOP:
                break
            falling.step()
    module.eval()
    module.zero_grad()
