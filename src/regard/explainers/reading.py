"""What the reader does for the head: the ground of the closed forms (CDAM, section 2.1).

Only the rows of a few queries reach the head, those of the class token or of a pool, so neither the N×N attention
nor keys and values of all tokens are formed: the projections are folded into the few queries instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from regard.errors import NotFiniteError, UnsupportedError
from regard.models import passes
from regard.models.classifier import Classifier
from regard.models.networks import scale_of
from regard.models.reader import Reader, open_reader, pool_queries
from regard.models.taps import read
from regard.models.transformer import Tokens
from regard.targets import Output

ROUNDING, HALF_ROUNDING = 1e-3, 0.05
"""Largest relative difference that a self-test takes for rounding: float32 gives about 1e-6, bfloat16 1e-2."""


@dataclass(frozen=True)
class ReadRows:
    """The rows of the reader that the head reads: R of them, H heads of d channels.

    Attributes:
        residual: their tokens as they enter the block, (B, R, D); nothing, (B, 0, D), for a pool.
        tokens: u, what the reader reads, (B, N, D).
        routing: λ, each query times each bias-free key, (B, R, H, N).
        turning: μ, the same for the query without its bias: the part that its own token brings; 0 for a pool.
        weights: a = softmax(λ), (B, R, H, N); the key's bias only shifts λ, which softmax does not see.
        attended: o, the heads' outputs joined, (B, R, H·d).
    """

    residual: Tensor
    tokens: Tensor
    routing: Tensor
    turning: Tensor
    weights: Tensor
    attended: Tensor


def anatomy(classifier: Classifier, method: str) -> Tokens:
    """The anatomy of a classifier's transformer.

    Raises:
        UnsupportedError: it has none that keeps a grid of tokens.
    """
    if classifier.tokens is None:
        raise UnsupportedError(
            f"{method} explains vision transformers; {classifier.name} has no blocks of tokens that regard knows",
            expected="blocks that all keep one grid of tokens; windows (Swin) and several stages are none",
            remedy="for a convolutional network use regard.GradCAM, on the command line --method grad-cam; for a "
            'transformer that is not recognised, Classifier(…, tokens={"block": "block.attention", …})',
        )
    return classifier.tokens


def reads_prefix(classifier: Classifier, tokens: Tokens, method: str) -> tuple[int, ...]:
    """The prefix tokens that the head reads.

    Raises:
        UnsupportedError: it reads the patches.
    """
    if tokens.rows is None:
        pooled = tokens.pool is not None
        raise UnsupportedError(
            f"{method} follows the class token, and the head of {classifier.name} reads the patches",
            came=f"the pool {tokens.pool!r}" if pooled else None,
            expected="a head on the class token",
            remedy="methods that read such a head: cdam, relevance, rollout, token-ablation"
            + (", attention, last-block-ablation" if pooled else ""),
        )
    return tokens.rows


def queries_of(classifier: Classifier, tokens: Tokens, method: str) -> list[int]:
    """Which rows of the reader's attention the head reads: those of the prefix tokens, or all of a pool's queries.

    Raises:
        UnsupportedError: it reads the patches otherwise.
    """
    if tokens.pool is None:
        return list(reads_prefix(classifier, tokens, method))
    return list(range(len(pool_queries(classifier, tokens))))


def opened_reader(
    classifier: Classifier, tokens: Tokens, least: torch.dtype = torch.float32
) -> tuple[Reader, ReadRows, Output, float]:
    """The reader cut open, after tests that its attention, and the answer from what follows it, are the network's own.

    Guards against what no attribute tells: relative positions, other masks, another order of q, k, v; extra norms,
    several heads, post-norm and parallel blocks, and wrappers.

    Returns:
        The reader; the rows read and the network's answer on the test picture; the tolerance of such tests.

    Raises:
        UnsupportedError: a part is not of the plain kind, or attention or answer come out otherwise.
    """
    reader, picture = open_reader(classifier, tokens, least), classifier.picture(noise=True)
    places = [tokens.entry, tokens.attention_input, reader.output]
    with classifier.untouched(), torch.inference_mode(False), torch.no_grad():
        (entering, u, own), answer = read(classifier.module, places, lambda: classifier.respond(picture))
        assert answer is not None
        rows = attend(reader, tokens, entering.to(reader.dtype), u.to(reader.dtype))
        projected = reader.projections.out(rows.attended)
        tolerance = ROUNDING if own.dtype.itemsize >= 4 else HALF_ROUNDING
        own = own if tokens.pool else own[:, list(tokens.rows or ())]
        check_same(projected, own, float(own.abs().max()), tolerance, "its last attention", classifier)
        again = reader.tail(rows.attended.repeat(2, 1, 1), rows.residual.repeat(2, 1, 1))
    check_answer(again, answer, tolerance, classifier)
    return reader, rows, answer, tolerance


def check_answer(again: Output, own: Output, tolerance: float, classifier: Classifier) -> None:
    """Refuse where the network, resumed at its reader for several pictures of noise, does not give its own answer."""
    with classifier.untouched(), passes.uncounted(), torch.inference_mode(False), torch.no_grad():
        grey = classifier.respond(classifier.picture())
    for part in ("logits", "embedding"):
        found, expected, other = (getattr(output, part) for output in (again, own, grey))
        if found is not None and expected is not None:
            scale = scale_of(expected, other)
            repeated = expected.expand(len(found), -1) if found.shape[1:] == expected.shape[1:] else expected
            check_same(found, repeated, scale, tolerance, "what follows its last attention", classifier)


def check_same(again: Tensor, own: Tensor, scale: float, tolerance: float, what: str, classifier: Classifier) -> None:
    """Refuse the closed form where it computes a tensor otherwise than the network does, by a share of a scale."""
    if not bool(own.isfinite().all()):
        raise NotFiniteError(f"{what} gives NaN or infinity", came=classifier.blame_for_nan())
    if again.shape != own.shape:
        came = f"{what} gives shape {tuple(own.shape)}, the closed form {tuple(again.shape)}"
    elif (difference := float((again - own).abs().max()) / max(scale, 1e-12)) > tolerance:
        came = f"{what} differs from the network's own by {difference:.1e}"
    else:
        return
    raise UnsupportedError("the closed form does not hold here", came=came)


def entering_and_read(classifier: Classifier, tokens: Tokens, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """x at `tokens.entry` and u, what the reader reads, both (B, N, D): the network that far, and no further."""
    places = [tokens.entry, tokens.attention_input]
    (entering, u), _ = read(classifier.module, places, lambda: classifier.forward(pixels), stop=True)
    return entering, u


def attend(reader: Reader, tokens: Tokens, entering: Tensor, u: Tensor) -> ReadRows:
    """Rows r of the reader, from x, what enters its part, and u, what it reads, both (B, N, D).

        q_h = s (Wq_h u_r + bq_h)      λ_h = (Wk_hᵀ q_h) · u_i      μ_h = (Wk_hᵀ s Wq_h u_r) · u_i
        a_h = softmax_i λ_h      o_h = Wv_h (Σ_i a_h,i u_i) + bv_h

    Cost per image and row: 8 D² (q, its folds, o) + 6 H D N (λ, μ, pooled tokens), instead of 4 N D² + 4 N² D.
    """
    parts = reader.projections
    entering, u = entering.to(reader.dtype), u.to(reader.dtype)
    if reader.queries is None:
        rows = list(tokens.rows or ())
        asking, residual = u[:, rows], entering[:, rows]
    else:
        asking, residual = reader.queries.expand(len(u), -1, -1), entering[:, :0]
    own = torch.einsum("brD,hdD->brhd", asking, parts.query)
    folded = torch.einsum("brhd,hdD->brhD", (own + parts.query_bias) * parts.scale, parts.key)
    routing = (folded.flatten(1, 2) @ u.transpose(1, 2)).unflatten(1, folded.shape[1:3])
    if reader.queries is None:
        turned = torch.einsum("brhd,hdD->brhD", own * parts.scale, parts.key)
        turning = (turned.flatten(1, 2) @ u.transpose(1, 2)).unflatten(1, folded.shape[1:3])
    else:
        turning = torch.zeros_like(routing)
    weights = routing.softmax(dim=-1)
    pooled = (weights.flatten(1, 2) @ u).unflatten(1, folded.shape[1:3])
    attended = torch.einsum("brhD,hdD->brhd", pooled, parts.value) + parts.value_bias
    return ReadRows(residual, u, routing, turning, weights, attended.flatten(2))


def prefix_of(tokens: Tokens, pixels: Tensor, per_token: Tensor) -> Tensor:
    """Values of all tokens (…, N) → of the prefix tokens (…, P)."""
    return per_token[..., : per_token.shape[-1] - tokens.patches(pixels)]


def on_grid(tokens: Tokens, pixels: Tensor, per_token: Tensor) -> Tensor:
    """Values of all tokens (…, N) → of the patches on their grid (…, h, w): prefix tokens are dropped."""
    patches: Tensor = per_token[..., -tokens.patches(pixels) :].unflatten(-1, tokens.grid(pixels))
    return patches
