"""The reader of a transformer cut open: the attention through which its head sees the patches, and what follows.

The reader is the attention of the last block, or a pool after the blocks. What follows it is the network's own
code, run on the few tokens that the head reads instead of all: the blocks before are skipped, the reader's output is
given. Norms, scales, heads and wrappers need no names that way.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call

from regard.models import passes
from regard.models.projections import Projections, pool_layers, projections
from regard.models.taps import Place, read, replaced, skipped
from regard.models.transformer import Tokens
from regard.targets import Output

if TYPE_CHECKING:
    from regard.models.classifier import Classifier


@dataclass(frozen=True)
class Reader:
    """What the closed forms need. R queries: of the class token and a distillation token, or of a pool.

    Attributes:
        projections: of the reader.
        queries: the query tokens of a pool, (R, D), the same for every picture; None where tokens of the picture query.
        tail: (heads' outputs of those queries (B, R, H·d), their tokens as they enter the block (B, R, D), which a
            pool does not read) → the answer.
        output: where the network's own output of the reader stands.
        dtype: in which all of this computes: float32, or float64 where the weights are.
    """

    projections: Projections
    queries: Tensor | None
    tail: Callable[[Tensor, Tensor], Output]
    output: Place
    dtype: torch.dtype


def open_reader(classifier: Classifier, tokens: Tokens, least: torch.dtype = torch.float32) -> Reader:
    """Cut the reader open.

    Weights of less precision than `least` are widened to it from there on, so that the nearly cancelling terms of the
    closed forms keep their digits; nothing of the network changes.

    Raises:
        UnsupportedError: its attention is not of the plain kind, with the reason.
    """
    network = classifier.module
    attention = network.get_submodule(tokens.reader)
    dtype, whole = exact(classifier, tokens, least)
    opened = projections(attention, dtype)
    picture = classifier.picture()
    output = Place(_inside(tokens.reader, pool_layers(attention)[1] if tokens.pool else ""))

    def tail(attended: Tensor, residual: Tensor) -> Output:
        given = replaced(network, output, lambda _: opened.out(attended))
        with resumed(classifier, tokens, None if tokens.pool else residual), given:
            return whole(picture)

    queries = pool_queries(classifier, tokens).to(dtype) if tokens.pool else None
    return Reader(opened, queries, tail, output, dtype)


@contextmanager
def resumed(classifier: Classifier, tokens: Tokens, entering: Tensor | None) -> Iterator[None]:
    """While the block runs, a pass of the network begins at the reader's part: its blocks before are skipped.

    Args:
        classifier: of a transformer.
        tokens: its anatomy.
        entering: what stands at `tokens.entry`, (B, N, D), whatever picture is passed; None for that picture's own.
    """
    network = classifier.module
    with passes.uncounted(), skipped(network, tokens.before, in_tuple=tokens.in_tuple):
        if entering is None:
            yield
            return
        with replaced(network, tokens.entry, lambda own: entering.to(own.dtype)):
            yield


def _inside(path: str, layer: str) -> str:
    return f"{path}.{layer}" if layer else path


def pool_queries(classifier: Classifier, tokens: Tokens) -> Tensor:
    """A pool's query tokens, (R, D)."""
    asking, _ = pool_layers(classifier.module.get_submodule(tokens.reader))
    place = Place(_inside(tokens.reader, asking), "input")
    with classifier.untouched(), passes.uncounted(), torch.inference_mode(False), torch.no_grad():
        (queries,), _ = read(classifier.module, [place], lambda: classifier.forward(classifier.picture()), stop=True)
    return queries[0]


def exact(
    classifier: Classifier, tokens: Tokens, least: torch.dtype = torch.float32
) -> tuple[torch.dtype, Callable[[Tensor], Output]]:
    """The classifier's answer in `least`, or in float64 where its weights are, from its reader on: for resumed passes.

    Other weights are widened for the pass; the network itself stays as it is. Apple's GPUs have no float64.
    """
    weights = next(classifier.module.get_submodule(tokens.reader).parameters(), None)
    dtype = torch.float32 if weights is None else torch.promote_types(weights.dtype, least)
    if classifier.device.type == "mps":
        dtype = torch.float32
    plain = copy.copy(classifier)
    plain.precision = "float32"
    widened = _widened(classifier.module, tokens, dtype)
    if not widened:
        return dtype, plain.respond
    whole = _Whole(plain)
    return dtype, lambda picture: functional_call(whole, widened, (picture,))


class _Whole(nn.Module):
    """A classifier as a module, so that its weights can be exchanged for one call."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.network, self.classifier = classifier.module, [classifier]

    def forward(self, picture: Tensor) -> Output:
        return self.classifier[0].respond(picture)


def _widened(network: nn.Module, tokens: Tokens, dtype: torch.dtype) -> dict[str, Tensor]:
    """Copies in `dtype` of all other weights than those of the blocks before the reader."""
    before = tuple(f"{block}." for block in tokens.before)
    weights = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {
        f"network.{name}": weight.detach().to(dtype)
        for name, weight in weights.items()
        if weight.is_floating_point() and weight.dtype is not dtype and not name.startswith(before)
    }
