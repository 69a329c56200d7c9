"""Weights of a selective model by name, those that draw or learn among them (papers/sdc.md, 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from regard.attention.entmax import entmax
from regard.attention.gumbel import gumbel
from regard.attention.weights import WEIGHTS, softmax
from regard.errors import UnsupportedError


class DrawnWeights(nn.Module):
    """Gumbel straight-through: in training mode one segment of each row is drawn, in eval mode it is a softmax.

    Args:
        seed: of the draws, which follow each other: models that draw are trained one by one.
        temperature: of the gradient; see `gumbel`.
    """

    def __init__(self, seed: int, temperature: float = 1.0) -> None:
        super().__init__()
        self.generator, self.temperature = torch.Generator().manual_seed(seed), temperature

    def forward(self, scores: Tensor) -> Tensor:
        if self.training:
            return gumbel(scores, temperature=self.temperature, generator=self.generator)
        return softmax(scores)


class LearntEntmax(nn.Module):
    """α-entmax whose α is learnt: α = 1 + sigmoid(a), between softmax and sparsemax, 1.5 in the beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.zeros(()))

    def forward(self, scores: Tensor) -> Tensor:
        return entmax(scores, 1 + self.raw.sigmoid())


def weights_called(name: str, seed: int = 0, **settings: Any) -> Callable[[Tensor], Tensor]:
    """Weights as a `SelectiveModel` takes them.

    Args:
        name: one of `regard.attention.weights.WEIGHTS`, or "learnt-entmax".
        seed: of the draws of "gumbel".
        settings: of the function: temperature, alpha, k.

    Raises:
        UnsupportedError: no such weights, or settings that they do not have.
    """
    made: dict[str, Callable[..., Any]] = {"learnt-entmax": LearntEntmax, "gumbel": partial(DrawnWeights, seed)}
    if name not in {*WEIGHTS, *made}:
        raise UnsupportedError("no such weights", came=repr(name), expected=", ".join({**WEIGHTS, **made}))
    try:
        weights: Callable[[Tensor], Tensor] = made[name](**settings) if name in made else _set(WEIGHTS[name], settings)
        weights(torch.zeros(1, 1))
    except TypeError as reason:
        raise UnsupportedError(f"weights {name!r} cannot be made so", came=f"{settings}: {reason}") from reason
    return weights


def _set(weigh: Callable[..., Tensor], settings: Mapping[str, Any]) -> Callable[[Tensor], Tensor]:
    return partial(weigh, **settings) if settings else weigh
