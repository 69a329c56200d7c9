"""The last block of a transformer cut open: its projections, and what follows its attention as a function.

What follows is the network's own code, run on the few tokens that the head reads instead of all: the blocks
before the last are skipped, the last one is given those tokens and their attention output. Norms, scales,
heads and wrappers need no names that way.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call

from regard.models import passes
from regard.models.projections import Projections, projections
from regard.models.taps import Place, replaced, skipped
from regard.models.transformer import Tokens
from regard.targets import Output

if TYPE_CHECKING:
    from regard.models.classifier import Classifier


@dataclass(frozen=True)
class LastBlock:
    """What the closed forms need. R tokens are read by the head: the class token, and a distillation token.

    Attributes:
        projections: of the last attention.
        tail: (heads' outputs of those tokens (B, R, H·d), what enters the block (B, R, D)) → the answer.
        dtype: in which all of this computes: float32, or float64 where the weights are.
    """

    projections: Projections
    tail: Callable[[Tensor, Tensor], Output]
    dtype: torch.dtype


def open_last_block(classifier: Classifier, tokens: Tokens) -> LastBlock:
    """Cut the last block open.

    Weights in half precision are widened to float32 from there on, so that the nearly cancelling terms of the
    closed forms keep their digits; nothing of the network changes.

    Raises:
        UnsupportedError: its attention is not of the plain kind, with the reason.
    """
    network = classifier.module
    weights = list(network.get_submodule(tokens.attentions[-1]).parameters())
    dtype = torch.float64 if weights and weights[0].dtype is torch.float64 else torch.float32
    opened = projections(network.get_submodule(tokens.attentions[-1]), dtype)
    whole = _exact(classifier, tokens, dtype)
    picture = classifier.picture()

    def tail(attended: Tensor, residual: Tensor) -> Output:
        with (
            passes.uncounted(),
            skipped(network, tokens.blocks[:-1], in_tuple=tokens.in_tuple),
            replaced(network, Place(tokens.blocks[-1], "input"), lambda _: residual),
            replaced(network, Place(tokens.attentions[-1]), lambda _: opened.out(attended)),
        ):
            return whole(picture)

    return LastBlock(opened, tail, dtype)


def _exact(classifier: Classifier, tokens: Tokens, dtype: torch.dtype) -> Callable[[Tensor], Output]:
    """The classifier's answer in `dtype` from its last block on, whatever its own precision."""
    exact = copy.copy(classifier)
    exact.precision = "float32"
    widened = _widened(classifier.module, tokens, dtype)
    if not widened:
        return exact.respond
    whole = _Whole(exact)
    return lambda picture: functional_call(whole, widened, (picture,))


class _Whole(nn.Module):
    """A classifier as a module, so that its weights can be exchanged for one call."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.network, self.classifier = classifier.module, [classifier]

    def forward(self, picture: Tensor) -> Output:
        return self.classifier[0].respond(picture)


def _widened(network: nn.Module, tokens: Tokens, dtype: torch.dtype) -> dict[str, Tensor]:
    """Copies in `dtype` of all other weights than those of the blocks before the last."""
    before = tuple(f"{block}." for block in tokens.blocks[:-1])
    weights = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {
        f"network.{name}": weight.detach().to(dtype)
        for name, weight in weights.items()
        if weight.is_floating_point() and weight.dtype is not dtype and not name.startswith(before)
    }
