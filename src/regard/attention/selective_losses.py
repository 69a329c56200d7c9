"""What a selective model learns by: losses of each example, as functions of numbers alone (papers/sdc.md, 4).

With ℓ_i = CE( g(x_i), y ) of each segment by itself, p_i = e^−ℓ_i, and weights α:

    soft            CE( g( Σ α_i h(x_i) ), y )                    torch's cross-entropy of the aggregate
    hard            Σ α_i ℓ_i                                     the exact expectation over one chosen segment
    sampled         the same, its gradient estimated              REINFORCE
    marginal        −log Σ α_i p_i                                latent-variable marginal likelihood, LVML
    posterior       −Σ q_i ( log α_i − ℓ_i ),  q_i ∝ α_i p_i      expectation–maximisation
    supervised      −log softmax(s)_j*                            the focus is told: the upper bound

Marginal is at most hard (Jensen), with equality for one-hot weights; there all of soft, hard and marginal are the same
number. All losses are in nats. Segments that are not there have log α = −∞, and whatever finite loss.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from regard.errors import UnsupportedError

Baseline = Literal["leave-one-out", "self-critical", "none"]


def segment_losses(segment_logits: Tensor, labels: Tensor) -> Tensor:
    """ℓ_i = CE( g(x_i), y ): logits (n, m, C), labels (n,) → (n, m)."""
    each = labels[:, None].expand(segment_logits.shape[:2])
    return functional.cross_entropy(segment_logits.transpose(1, 2), each, reduction="none")


def hard_loss(weights: Tensor, losses: Tensor) -> Tensor:
    """Σ α_i ℓ_i, the expected loss of one segment drawn by its weight, without a draw.

    Through a softmax, ∂/∂s_i = α_i ( ℓ_i − Σ α ℓ ).

    Args:
        weights: α (n, m).
        losses: ℓ (n, m).

    Returns:
        (n,).
    """
    return (weights * losses).sum(dim=1)


def marginal_loss(log_weights: Tensor, losses: Tensor) -> Tensor:
    """−log Σ α_i e^−ℓ_i, the label's surprise when the chosen segment is not known.

    Through a softmax, ∂/∂s_i = α_i − q_i, with `posterior` q.

    Args:
        log_weights: log α (n, m), −∞ where a weight is 0.
        losses: ℓ (n, m).

    Returns:
        (n,).
    """
    return -(log_weights - losses).logsumexp(dim=1)


def posterior(log_weights: Tensor, losses: Tensor) -> Tensor:
    """q_i = α_i e^−ℓ_i / Σ: which segment it was, once the label is known. (n, m), without a gradient."""
    return (log_weights - losses).detach().softmax(dim=1)


def posterior_loss(log_weights: Tensor, losses: Tensor) -> Tensor:
    """−Σ q_i ( log α_i − ℓ_i ), the maximisation step with `posterior` q held; its gradient is `marginal_loss`'s.

    Args:
        log_weights: log α (n, m), −∞ where a weight is 0.
        losses: ℓ (n, m).

    Returns:
        (n,); it is the marginal loss and the entropy of q.
    """
    return (posterior(log_weights, losses) * (losses - _finite(log_weights))).sum(dim=1)


def sampled_loss(log_weights: Tensor, losses: Tensor, draws: Tensor, baseline: Baseline = "leave-one-out") -> Tensor:
    """A number whose gradient is an unbiased estimate of `hard_loss`'s, from K segments drawn by their weights.

        (1/K) Σ_k [ ℓ_k + ( ℓ_k − b_k )° log α_k ],   ° held

    The baseline lowers the variance and depends on no draw of its own: "leave-one-out", the mean loss of the other
    K − 1; "self-critical", the loss of the segment with the largest weight.

    Args:
        log_weights: log α (n, m), −∞ where a weight is 0.
        losses: ℓ (n, m).
        draws: (n, K) from U[0, 1): the same draws choose the same segments, whatever the batch.
        baseline: b.

    Returns:
        (n,); its value is no loss.

    Raises:
        UnsupportedError: another baseline, or "leave-one-out" of one draw.
    """
    check_baseline(baseline, draws.shape[1])
    reached = log_weights.detach().exp().cumsum(dim=1)
    # of a cumulative sum, so a segment without weight is never where it first exceeds
    index = torch.searchsorted(reached, draws.to(reached) * reached[:, -1:], right=True).clamp(max=losses.shape[1] - 1)
    drawn, log_drawn = losses.gather(1, index), log_weights.gather(1, index)
    held = drawn.detach()
    if baseline == "leave-one-out":
        base = (held.sum(dim=1, keepdim=True) - held) / (draws.shape[1] - 1)
    elif baseline == "self-critical":
        base = losses.detach().gather(1, log_weights.argmax(dim=1, keepdim=True))
    else:
        base = torch.zeros_like(held)
    return (drawn + (held - base) * log_drawn).mean(dim=1)


def focus_loss(scores: Tensor, positions: Tensor) -> Tensor:
    """−log softmax(s)_j*: where to look is told, which no learner of the task ever is.

    Of the scores' softmax whatever the weights are, since weights of 0 would learn nothing.

    Args:
        scores: s (n, m), −∞ where there is no segment.
        positions: j* (n,).

    Returns:
        (n,).
    """
    return functional.cross_entropy(scores, positions, reduction="none")


def weights_entropy(log_weights: Tensor) -> Tensor:
    """H = −Σ α_i log α_i in nats, from 0 to log m; (n, m) → (n,). Its gradient is 0 at uniform and at one-hot."""
    return -(log_weights.exp() * _finite(log_weights)).sum(dim=1)


def regularised(losses: Tensor, log_weights: Tensor, share: float) -> Tensor:
    """( 1 − k ) ℓ + k H: sharp weights are rewarded. With k = 0 it is ℓ itself, with k = 1 no label counts.

    Args:
        losses: ℓ (n,) of any kind.
        log_weights: log α (n, m), −∞ where a weight is 0.
        share: k, from 0 to 1; published from 0.0005 to 0.05. Large ones collapse: one segment gets all before it is
            known to be the right one, and then nothing is learnt any more.

    Returns:
        (n,).
    """
    return losses if share == 0 else (1 - share) * losses + share * weights_entropy(log_weights)


def check_baseline(baseline: str, draws: int) -> None:
    """Refuse what cannot be a baseline of so many draws.

    Raises:
        UnsupportedError: no such baseline, no draw, or only one where the others are the baseline.
    """
    if baseline not in get_args(Baseline):
        raise UnsupportedError("no such baseline", came=repr(baseline), expected=", ".join(get_args(Baseline)))
    least = 2 if baseline == "leave-one-out" else 1
    if draws < least:
        raise UnsupportedError("too few draws", came=str(draws), expected=f"from {least} on with {baseline!r}")


def _finite(log_weights: Tensor) -> Tensor:
    """0 where a weight is 0: it is always multiplied by that weight."""
    return log_weights.masked_fill(log_weights.isneginf(), 0)
