"""Gradients of many targets at once, from one graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from regard.models import passes
from regard.targets import Output

GRADIENT_BYTES = 128 * 2**20
"""Bytes of one chunk of gradients: targets × the leaf's size × a factor for what lies between."""

INCOMPLETE = 0.05
"""Share of what is added that maps of integrated gradients may miss without a note."""


def of_targets(output: Output, leaf: Tensor, cotangents: Output) -> Iterator[Tensor]:
    """Gradients of every target with respect to `leaf`, chunk by chunk: (t, *leaf.shape), t targets each.

    One forward's graph serves all T targets; each chunk is one batched backward (vmap), or, where an
    operation of the network has no batched form, one backward per target.

    Args:
        output: logits and embedding that hang on the leaf.
        leaf: where to differentiate.
        cotangents: (T, B, C) and (T, B, D); None where no target reads that part.
    """
    parts, grads = _pairs(output, cotangents)
    targets = len(grads[0])
    size = max(1, GRADIENT_BYTES // (8 * leaf.numel() * leaf.element_size()))
    for start in range(0, targets, size):
        chunk = [cotangent[start : start + size] for cotangent in grads]
        passes.count(backwards=len(chunk[0]) * leaf.shape[0])
        yield _batched(parts, leaf, chunk)


def of_many(output: Output, leaves: Sequence[Tensor], cotangents: Output) -> Iterator[list[Tensor]]:
    """Gradients with respect to several tensors, one target after the other: one backward each.

    Batched, their memory would be that of all the tensors once more for every target.
    """
    parts, grads = _pairs(output, cotangents)
    for target in range(len(grads[0])):
        passes.count(backwards=len(leaves[0]))
        found = torch.autograd.grad(
            parts, list(leaves), [grad[target] for grad in grads], retain_graph=True, materialize_grads=True
        )
        yield list(found)


def incomplete(maps: Tensor, added: Tensor, points: str) -> tuple[str, ...]:
    """A note on integrated gradients whose maps (B, T, h, w) do not sum to what the integral adds, (B, T).

    The largest difference, as a share of what is added; none below 5 %.
    """
    missed = (maps.sum(dim=(2, 3)) - added).abs() / added.abs().clamp(min=1e-12)
    worst = float(missed.nan_to_num().max())
    if worst <= INCOMPLETE:
        return ()
    return (f"maps sum to up to {worst:.0%} more or less than they should: {points} are too few for this picture",)


def detached(output: Output) -> Output:
    """The answer without its graph."""
    return Output(*(None if part is None else part.detach() for part in (output.logits, output.embedding)))


def _pairs(output: Output, cotangents: Output) -> tuple[list[Tensor], list[Tensor]]:
    """The parts of the output that a target reads, and their cotangents (T, …)."""
    pairs = [
        (part, cotangent)
        for part, cotangent in ((output.logits, cotangents.logits), (output.embedding, cotangents.embedding))
        if part is not None and cotangent is not None
    ]
    return [part for part, _ in pairs], [cotangent.to(part.dtype) for part, cotangent in pairs]


def _batched(parts: list[Tensor], leaf: Tensor, cotangents: list[Tensor]) -> Tensor:
    try:
        (gradient,) = torch.autograd.grad(
            parts, leaf, cotangents, retain_graph=True, is_grads_batched=True, allow_unused=True
        )
    except RuntimeError as reason:
        if passes.is_out_of_memory(reason):
            raise
        each = [
            _one(parts, leaf, [cotangent[place] for cotangent in cotangents]) for place in range(len(cotangents[0]))
        ]
        return torch.stack(each)
    return leaf.new_zeros(len(cotangents[0]), *leaf.shape) if gradient is None else gradient


def _one(parts: list[Tensor], leaf: Tensor, cotangents: list[Tensor]) -> Tensor:
    (gradient,) = torch.autograd.grad(parts, leaf, cotangents, retain_graph=True, allow_unused=True)
    return torch.zeros_like(leaf) if gradient is None else gradient
