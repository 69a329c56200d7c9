"""What the last attention does for the tokens that the head reads: the ground of the closed forms (CDAM, section 2.1).

Only their rows of the last attention reach the head, so neither the N×N attention nor keys and values of
all tokens are formed: the projections are folded into the few queries instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from regard.errors import NotFiniteError, UnsupportedError
from regard.models.classifier import Classifier
from regard.models.last_block import LastBlock, open_last_block
from regard.models.projections import Projections
from regard.models.taps import Place, read
from regard.models.transformer import Tokens
from regard.targets import Output

ROUNDING, HALF_ROUNDING = 1e-3, 0.05
"""Largest relative difference that a self-test takes for rounding: float32 gives about 1e-6, bfloat16 1e-2."""


@dataclass(frozen=True)
class ReadRows:
    """The rows of the last attention that the head reads: R of them, H heads of d channels.

    Attributes:
        residual: their tokens as they enter the block, (B, R, D).
        tokens: u, what the attention reads, (B, N, D).
        routing: λ, each query times each bias-free key, (B, R, H, N).
        weights: a = softmax(λ), (B, R, H, N); the key's bias only shifts λ, which softmax does not see.
        attended: o, the heads' outputs joined, (B, R, H·d).
    """

    residual: Tensor
    tokens: Tensor
    routing: Tensor
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
            remedy="for a convolutional network use regard.GradCAM, on the command line --method grad-cam; "
            "for a transformer that is not recognised, Classifier(…, tokens=regard.models.transformer.Tokens(…))",
        )
    return classifier.tokens


def reads_prefix(classifier: Classifier, tokens: Tokens, method: str) -> tuple[int, ...]:
    """The prefix tokens that the head reads.

    Raises:
        UnsupportedError: it reads the patches.
    """
    if tokens.rows is None:
        raise UnsupportedError(
            f"{method} follows the class token, and the head of {classifier.name} reads the patches",
            expected="a head on the class token",
            remedy='timm: regard.load(name, global_pool="token") where the weights were trained so',
        )
    return tokens.rows


def opened_block(classifier: Classifier, tokens: Tokens) -> tuple[LastBlock, ReadRows, Output, float]:
    """The last block cut open, after a test that its attention is the network's own.

    Guards against what no attribute tells: relative positions, other masks, another order of q, k, v.

    Returns:
        The block; the rows read and the network's answer on the test picture; the tolerance of such tests.

    Raises:
        UnsupportedError: a part is not of the plain kind, or the attention comes out otherwise.
    """
    block, picture = open_last_block(classifier, tokens), classifier.picture(noise=True)
    places = [Place(tokens.blocks[-1], "input"), tokens.attention_input, Place(tokens.attentions[-1])]
    with classifier.untouched(), torch.inference_mode(False), torch.no_grad():
        (entering, u, own), answer = read(classifier.module, places, lambda: classifier.respond(picture))
        assert answer is not None
        rows = attend(block.projections, entering.to(block.dtype), u.to(block.dtype), tokens)
        projected = block.projections.out(rows.attended)
    tolerance = ROUNDING if own.dtype.itemsize >= 4 else HALF_ROUNDING
    check_same(projected, own[:, list(tokens.rows or ())], tolerance, "its last attention", classifier)
    return block, rows, answer, tolerance


def check_same(again: Tensor, own: Tensor, tolerance: float, what: str, classifier: Classifier) -> None:
    """Refuse the closed form where it computes a tensor otherwise than the network does."""
    if not bool(own.isfinite().all()):
        raise NotFiniteError(f"{what} gives NaN or infinity", came=classifier.blame_for_nan())
    if again.shape != own.shape:
        came = f"{what} gives shape {tuple(own.shape)}, the closed form {tuple(again.shape)}"
    elif (difference := float((again - own).abs().max() / own.abs().max().clamp(min=1e-12))) > tolerance:
        came = f"{what} differs from the network's own by {difference:.1e}"
    else:
        return
    raise UnsupportedError("the closed form does not hold here", came=came)


def read_rows(classifier: Classifier, tokens: Tokens, block: LastBlock, pixels: Tensor) -> ReadRows:
    """The rows for prepared pixels (B, 3, H, W): the network up to its last attention, and no further."""
    places = [Place(tokens.blocks[-1], "input"), tokens.attention_input]
    (entering, u), _ = read(classifier.module, places, lambda: classifier.forward(pixels), stop=True)
    return attend(block.projections, entering.to(block.dtype), u.to(block.dtype), tokens)


def attend(projections: Projections, entering: Tensor, u: Tensor, tokens: Tokens) -> ReadRows:
    """Rows r of the last attention, from the block's input x and what the attention reads, u, both (B, N, D).

        q_h = s (Wq_h u_r + bq_h)      λ_h = (Wk_hᵀ q_h) · u_i
        a_h = softmax_i λ_h      o_h = Wv_h (Σ_i a_h,i u_i) + bv_h

    Cost per image and row: 6 D² (q, its fold, o) + 4 H D N (λ, pooled tokens), instead of 4 N D² + 4 N² D.
    """
    rows = list(tokens.rows or ())
    query = torch.einsum("brD,hdD->brhd", u[:, rows], projections.query) + projections.query_bias
    folded = torch.einsum("brhd,hdD->brhD", query * projections.scale, projections.key)
    routing = (folded.flatten(1, 2) @ u.transpose(1, 2)).unflatten(1, folded.shape[1:3])
    weights = routing.softmax(dim=-1)
    pooled = (weights.flatten(1, 2) @ u).unflatten(1, folded.shape[1:3])
    attended = torch.einsum("brhD,hdD->brhd", pooled, projections.value) + projections.value_bias
    return ReadRows(entering[:, rows], u, routing, weights, attended.flatten(2))


def on_grid(tokens: Tokens, pixels: Tensor, per_token: Tensor) -> Tensor:
    """Values of all tokens (…, N) → of the patches on their grid (…, h, w): prefix tokens are dropped."""
    patches: Tensor = per_token[..., -tokens.patches(pixels) :].unflatten(-1, tokens.grid(pixels))
    return patches
