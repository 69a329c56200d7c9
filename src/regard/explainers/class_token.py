"""What the last attention does for the class token: the ground of the closed forms (papers: CDAM, section 2.1).

Only row 0 of the last attention reaches a class-token head, so neither the N×N attention nor keys and
values of all tokens are formed: the projections are folded into the one query instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from regard.errors import UnsupportedError
from regard.models.classifier import Classifier
from regard.models.taps import Place, read
from regard.models.transformer import LastBlock, Tokens, last_block

ROUNDING, HALF_ROUNDING = 1e-3, 0.05
"""Largest relative difference that a self-test takes for rounding: float32 gives about 1e-6, bfloat16 1e-2."""


@dataclass(frozen=True)
class ClassTokenAttention:
    """Row 0 of the last attention. H heads of d = D / H channels.

    Attributes:
        residual: the class token as it enters the block, (B, D).
        tokens: u, what the attention reads: norm1 of the block's input, (B, N, D).
        routing: λ, the query times each bias-free key, (B, H, N).
        weights: a = softmax(λ), (B, H, N); the key's bias only shifts λ, which softmax does not see.
        attended: o, the heads' outputs joined, (B, D).
    """

    residual: Tensor
    tokens: Tensor
    routing: Tensor
    weights: Tensor
    attended: Tensor


def anatomy(classifier: Classifier, method: str) -> Tokens:
    """The anatomy of a transformer whose head reads the class token, seen to hold on one picture.

    Raises:
        UnsupportedError: no transformer, no class token, or tokens that are no grid of patches.
    """
    tokens = classifier.tokens
    if tokens is None:
        raise UnsupportedError(
            f"{method} explains vision transformers; {classifier.name} has no blocks of tokens that regard knows",
            remedy="for a convolutional network use regard.GradCAM, on the command line --method grad-cam",
        )
    if not tokens.class_token or tokens.pooling not in ("token", ""):
        raise UnsupportedError(
            f"{method} follows the class token, and the head of {classifier.name} does not read one",
            came=f"pooling {tokens.pooling!r}, class token: {tokens.class_token}",
            expected="a head on the class token",
            remedy='timm: regard.load(name, global_pool="token") where the weights were trained so',
        )
    picture = probe_picture(classifier)
    with classifier.untouched(), torch.inference_mode(False), torch.no_grad():
        (read_there,), _ = read(
            classifier.module, [tokens.attention_input], lambda: classifier.forward(picture), stop=True
        )
    expected = tokens.prefix + tokens.patches(picture)
    if read_there.dim() != 3 or read_there.shape[1] != expected:
        raise UnsupportedError(
            f"{method} needs one token a patch in the last block, and {classifier.name} has others there",
            came=f"shape {tuple(read_there.shape)} for one picture",
            expected=f"(1, {expected}, D): {tokens.prefix} of the prefix and {expected - tokens.prefix} patches",
        )
    return tokens


def probe_picture(classifier: Classifier) -> Tensor:
    """A random picture (1, channels, H, W), always the same: what self-tests look at."""
    height, width = classifier.preparation.frame
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, classifier.preparation.channels, height, width, generator=generator).to(classifier.device)


def opened_block(classifier: Classifier, tokens: Tokens) -> tuple[LastBlock, ClassTokenAttention, Tensor, float]:
    """The last block cut open, after a test that its attention is the network's own.

    Guards against what no attribute tells: relative positions, other masks, another order of q, k, v.

    Returns:
        The block; attention and output of the network on the test picture; the tolerance of such tests.

    Raises:
        UnsupportedError: a part is not of the plain kind, or the attention comes out otherwise.
    """
    block = last_block(classifier.module, tokens)
    last = tokens.blocks[-1]
    places = [Place(last, "input"), Place(f"{last}.attn.proj", "input")]
    with classifier.untouched(), torch.inference_mode(False), torch.no_grad():
        (entering, own), output = read(classifier.module, places, lambda: classifier.forward(probe_picture(classifier)))
        assert output is not None
        attention = attend(block, entering)
    tolerance = ROUNDING if own.dtype.itemsize >= 4 else HALF_ROUNDING
    check_same(attention.attended, own[:, 0], tolerance, "its last attention", classifier)
    return block, attention, output, tolerance


def check_same(again: Tensor, own: Tensor, tolerance: float, what: str, classifier: Classifier) -> None:
    """Refuse the closed form where it computes a tensor otherwise than the network does."""
    if not bool(own.isfinite().all()):
        came = classifier.blame_for_nan()
    elif again.shape != own.shape:
        came = f"{what} gives shape {tuple(own.shape)}, the closed form {tuple(again.shape)}"
    elif (difference := float((again - own).abs().max() / own.abs().max().clamp(min=1e-12))) > tolerance:
        came = f"{what} differs from the network's own by {difference:.1e}"
    else:
        return
    raise UnsupportedError("the closed form does not hold here", came=came)


def block_input(classifier: Classifier, tokens: Tokens, pixels: Tensor) -> Tensor:
    """The residual stream (B, N, D) as it enters the last block; the pass ends there."""
    (entering,), _ = read(
        classifier.module, [Place(tokens.blocks[-1], "input")], lambda: classifier.forward(pixels), stop=True
    )
    return entering


def attend(block: LastBlock, entering: Tensor) -> ClassTokenAttention:
    """Row 0 of the last attention, from the block's input x (B, N, D).

        u = norm1(x)      q_h = s (Wq_h u_0 + bq_h)      λ_h = (Wk_hᵀ q_h) · u_i
        a_h = softmax_i λ_h      o_h = Wv_h (Σ_i a_h,i u_i) + bv_h

    Cost per image: 6 D² (q, its fold, o) + 4 H D N (λ, pooled tokens), instead of 4 N D² + 4 N² D.
    """
    entering = entering.to(block.dtype)
    tokens = block.norm1(entering)
    query = (torch.einsum("bD,hdD->bhd", tokens[:, 0], block.query) + block.query_bias) * block.scale
    folded = torch.einsum("bhd,hdD->bhD", query, block.key)
    routing = folded @ tokens.transpose(1, 2)
    weights = routing.softmax(dim=-1)
    attended = torch.einsum("bhD,hdD->bhd", weights @ tokens, block.value) + block.value_bias
    return ClassTokenAttention(entering[:, 0], tokens, routing, weights, attended.flatten(1))


def on_grid(tokens: Tokens, pixels: Tensor, per_token: Tensor) -> Tensor:
    """Values of all tokens (…, N) → of the patches on their grid (…, h, w): prefix tokens are dropped."""
    patches: Tensor = per_token[..., tokens.prefix :].unflatten(-1, tokens.grid(pixels))
    return patches
