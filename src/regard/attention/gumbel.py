"""One segment at random, with the gradient of a softmax: Gumbel straight-through (arXiv 1611.01144, 1611.00712)."""

from __future__ import annotations

import torch
from torch import Tensor

from regard.attention.scores import as_came, check_temperature, rows_of
from regard.errors import UnsupportedError


def gumbel(
    scores: Tensor,
    dim: int = -1,
    *,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    noise: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """One-hot weights, segment i with probability softmax( s )_i; backward they are those of a softmax.

        n = s + g,   a = onehot( argmax n ),   ∂a/∂s := ∂ softmax( n / T ) / ∂s,   g standard Gumbel

    Of equal n the first is taken. For weights without chance, ask `regard.attention.weights.softmax` or `top_k`.

    Args:
        scores: s, any shape.
        dim: of the segments.
        temperature: T of the gradient; what is drawn does not depend on it. Small ones give large and rare gradients.
        generator: draws g. The draw is of the scores' whole shape: it depends on how a batch is put together.
        noise: g itself, of the scores' shape, in place of a generator: under `torch.func.vmap` there can be none.
        mask: bool, broadcasts to the scores; False where there is no segment.

    Returns:
        As the scores, 0 and 1 alone.

    Raises:
        UnsupportedError, NotFiniteError: as `regard.attention.scores.rows_of`; no temperature; or not one of
            generator and noise.
    """
    check_temperature(temperature)
    if (generator is None) == (noise is None):
        raise UnsupportedError(
            "a draw needs a generator, or its noise",
            came="neither" if noise is None else "both",
            expected="one of both",
        )
    values, largest = rows_of(scores, dim, mask)
    drawn = gumbel_noise(scores, generator) if generator is not None else noise
    assert drawn is not None
    if drawn.shape != scores.shape:
        raise UnsupportedError(
            "every score needs noise of its own", came=f"{tuple(drawn.shape)}", expected=f"{tuple(scores.shape)}"
        )
    # subtracted first: beside scores of 1e8 noise would be lost, and ties would not be drawn among
    noisy = values - largest + drawn.movedim(dim, -1)
    highest, index = noisy.detach().max(dim=-1, keepdim=True)
    soft = ((noisy - highest) / temperature).softmax(dim=-1)
    hard = torch.zeros_like(soft).scatter(-1, index, 1)
    return as_came(hard + (soft - soft.detach()), scores, dim)


def gumbel_noise(like: Tensor, generator: torch.Generator) -> Tensor:
    """g = −log( −log u ), u from U(0, 1): as many as `like` has elements, float32 at least, on its device.

    Drawn where the generator is, so that a seed gives the same numbers on every device. Between −87 and 87: without
    that limit, one in 2²⁴ would be infinite.
    """
    kind = torch.promote_types(like.dtype, torch.float32)
    waited = torch.empty(like.shape, dtype=kind, device=generator.device).exponential_(generator=generator)
    tiny = torch.finfo(torch.float32).tiny
    return waited.clamp(tiny, 1 / tiny).log().neg().to(like.device)
