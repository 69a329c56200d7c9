"""What the last attention does for the class token: the ground of the closed forms (papers: CDAM, section 2.1).

Only row 0 of the last attention reaches a class-token head, so neither the N×N attention nor keys and
values of all tokens are formed: the projections are folded into the one query instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from regard.models.classifier import Classifier
from regard.models.taps import Place, read
from regard.models.transformer import LastBlock, Tokens


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
