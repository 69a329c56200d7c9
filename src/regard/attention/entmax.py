"""Sparse weights: sparsemax (arXiv 1602.02068) and α-entmax (arXiv 1905.05702), α learnable (arXiv 1909.00015).

What holds for all weights (masks, refusals, half precision) is said in `regard.attention.scores`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from regard.attention.scores import as_came, expands, look, rows_of
from regard.errors import UnsupportedError

LARGEST_ALPHA = 10.0
"""Derivatives grow as (1 / a)^(α − 2): up to here those of uniform weights of 4,096 segments fit float32."""

SMALL = 0.1
"""Up to it `_remainder` is a series, exact to 5e-15; beyond it, what cancels costs a factor of 20 of precision."""

LARGEST_EXPONENT = 80.0
"""e^80 is far from overflow, and takes every score that differs from the largest beyond the threshold."""


def sparsemax(scores: Tensor, dim: int = -1, *, mask: Tensor | None = None) -> Tensor:
    """The point of the simplex nearest to the scores: argmin ‖a − s‖², the same as `entmax` with α = 2.

        a = max( 0, s − τ ),   τ = ( Σ_S s − 1 ) / |S|,   S the segments above τ

    The same for s + c; a point of the simplex is left as it is; one-hot where the largest score is ahead by 1 or more.
    Segments outside S have a weight of exactly 0 and no gradient. Inside it the Jacobian is 1 − 1/|S| on the diagonal
    and −1/|S| beside it.

    One sort, a cumulative sum and about ten passes over the scores; backward three. Only the weights are kept.

    Args:
        scores: s, any shape.
        dim: of the segments.
        mask: bool, broadcasts to the scores; False where there is no segment.

    Returns:
        As the scores.

    Raises:
        UnsupportedError, NotFiniteError: as `regard.attention.scores.rows_of`.
    """
    return entmax(scores, 2.0, dim, mask=mask)


def entmax(scores: Tensor, alpha: float | Tensor = 1.5, dim: int = -1, *, mask: Tensor | None = None) -> Tensor:
    """Weights between softmax (α = 1) and sparsemax (α = 2), and beyond: the larger α, the fewer are above 0.

        a = max( 0, (α − 1) s − τ )^( 1 / (α − 1) ),   τ such that Σ a = 1

    which maximises Σ a s + ( 1 − Σ a^α ) / ( α (α − 1) ), Tsallis' entropy. The same for s + c.

    Numbers 1, 1.5 and 2 are exact: a softmax, or one sort, two cumulative sums and about fifteen passes. For all
    others, and for tensors, what is bisected is not τ but ℓ with a = e^−ℓ · ( 1 + β s e^{β ℓ} )^( 1 / β ), β = α − 1,
    s ≤ 0 from the largest: ℓ lies between 0 and log m, and is the log-sum-exp of softmax at α = 1, so nothing is lost
    near there. 25 rounds of seven passes in float32, 54 in float64; then weights are divided by their sum. Backward is
    in closed form and keeps the weights alone.

    Args:
        scores: s, any shape.
        alpha: α, 1 to `LARGEST_ALPHA`. A tensor gets a gradient: a scalar, or one value a row, of a shape that
            broadcasts to the scores' with 1 in place of the segments. Learnt, it is best kept as 1 + sigmoid: a step
            below 1 is refused.
        dim: of the segments.
        mask: bool, broadcasts to the scores; False where there is no segment.

    Returns:
        As the scores.

    Raises:
        UnsupportedError, NotFiniteError: as `regard.attention.scores.rows_of`; or no such α.
    """
    values, largest = rows_of(scores, dim, mask)
    shifted = values - largest
    if isinstance(alpha, Tensor):
        alpha = _alphas(alpha, scores, dim).to(values)
    elif isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 1 <= alpha <= LARGEST_ALPHA:
        raise UnsupportedError("no such α", came=repr(alpha), expected=f"1 to {LARGEST_ALPHA:g}, or a tensor of such")
    elif alpha == 1:
        return as_came(shifted.softmax(dim=-1), scores, dim)
    apply: Callable[[Tensor, float | Tensor], Tensor] = _Entmax.apply
    return as_came(apply(shifted, alpha if isinstance(alpha, Tensor) else float(alpha)), scores, dim)


class _Entmax(torch.autograd.Function):
    """Weights of scores whose largest is 0 in each row; segments last; α a number, or (…, 1).

    Both derivatives are made of the weights by differentiable steps, so the second ones, within a support, are right.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(scores: Tensor, alpha: float | Tensor) -> Tensor:
        if isinstance(alpha, float) and alpha in (1.5, 2):
            return _sorted(scores, round(1 / (alpha - 1)))
        return _bisected(scores, alpha)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float | Tensor], output: Tensor) -> None:
        alpha = inputs[1]
        learnt = isinstance(alpha, Tensor)
        ctx.alpha = None if learnt else alpha
        ctx.save_for_backward(output, *([alpha] if learnt else []))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        weights, *learnt = ctx.saved_tensors
        if learnt:
            return _by_scores(weights, learnt[0], gradient), _by_alpha(weights, learnt[0], gradient)
        return _by_scores(weights, ctx.alpha, gradient), None


def _sorted(scores: Tensor, power: int) -> Tensor:
    """a = max( 0, s / q − τ )^q for q = 1 or 2: τ is that of the k largest, for the largest k whose k-th is above it.

    Scores more than q below the largest are never above τ. Two steps of Newton take away what cumulative sums lost to
    rounding: of the threshold, then, finer, of what is above it.
    """
    inner = (scores / power).clamp(min=-1)
    ordered = inner.sort(dim=-1, descending=True).values
    counts = torch.arange(1, scores.shape[-1] + 1, dtype=scores.dtype, device=scores.device)
    means = ordered.cumsum(dim=-1) / counts
    if power == 1:
        thresholds = means - 1 / counts
    else:
        variances = ordered.square().cumsum(dim=-1) / counts - means.square()
        thresholds = means - (1 / counts - variances).clamp(min=0).sqrt()
    size = (thresholds <= ordered).sum(dim=-1, keepdim=True)
    threshold = thresholds.gather(-1, size - 1)
    threshold = threshold + _step((inner - threshold).clamp(min=0), power)
    above = (inner - threshold).clamp(min=0)
    return (above - _step(above, power)).clamp(min=0).where(above > 0, 0) ** power


def _step(above: Tensor, power: int) -> Tensor:
    """Newton's, of τ for Σ max( 0, z − τ )^q = 1: ( Σ r^q − 1 ) / ( q Σ r^(q − 1) ) over r > 0."""
    slope = (above > 0).sum(dim=-1, keepdim=True) if power == 1 else 2 * above.sum(dim=-1, keepdim=True)
    return ((above**power).sum(dim=-1, keepdim=True) - 1) / slope


def _bisected(scores: Tensor, alpha: float | Tensor) -> Tensor:
    """a = e^−ℓ · ( 1 + β s e^{β ℓ} )^( 1 / β ), β = α − 1, for ℓ in [0, log m], where its sum falls through 1."""
    steep = _steepness(alpha, scores)
    below = -scores * steep

    def at(level: Tensor) -> Tensor:
        fallen = (below * (steep * level).clamp(max=LARGEST_EXPONENT).exp()).clamp(max=1)
        return ((-fallen).log1p() / steep - level).exp()

    low = torch.zeros_like(scores[..., :1])
    high = low + math.log(scores.shape[-1])
    for _ in range(2 - round(math.log2(torch.finfo(scores.dtype).eps))):
        middle = (low + high) / 2
        above = at(middle).sum(dim=-1, keepdim=True) > 1
        low, high = middle.where(above, low), high.where(above, middle)
    weights = at(low)
    return weights / weights.sum(dim=-1, keepdim=True)


def _steepness(alpha: float | Tensor, weights: Tensor) -> float | Tensor:
    """β = α − 1; where learnt α is 1, the least above 0 that differs by no more than rounding."""
    return (alpha - 1).clamp(min=torch.finfo(weights.dtype).eps) if isinstance(alpha, Tensor) else alpha - 1


def _by_scores(weights: Tensor, alpha: float | Tensor, gradient: Tensor) -> Tensor:
    """∂a_i/∂s_j = v_i δ_ij − v_i v_j / V with v = a^(2 − α) where a > 0, else 0, and V = Σ v."""
    inside = weights > 0
    slopes = (weights.where(inside, 1) ** (2 - alpha)).where(inside, 0)
    mean = (slopes * gradient).sum(dim=-1, keepdim=True) / slopes.sum(dim=-1, keepdim=True)
    return slopes * (gradient - mean)


def _by_alpha(weights: Tensor, alpha: Tensor, gradient: Tensor) -> Tensor:
    """∂a/∂α, in a form in which nothing cancels towards α = 1, where it is ½ a ( Σ a L² − L² ), L = log a.

        ∂a/∂α = a / V · ( Σ a u − u − L Σ a y − y H )
        y = ( e^{−β L} − 1 ) / β,   u = ( y + L ) / β,   H = −Σ a L,   V = 1 + β Σ a y,   β = α − 1

    which is the published ( a − v / V ) / β² − ( a L + H v / V ) / β, v = a^(1 − β), with v = a ( 1 + β y ) put in.
    """
    steep = _steepness(alpha, weights)
    logs = weights.where(weights > 0, 1).log()
    first = torch.expm1(-steep * logs) / steep
    second = logs.square() * _remainder(-steep * logs)
    mean_first, mean_second, mean_logs = ((weights * x).sum(dim=-1, keepdim=True) for x in (first, second, logs))
    change = mean_second - second - logs * mean_first + first * mean_logs
    return (gradient * weights * change).sum(dim=-1, keepdim=True) / (1 + steep * mean_first)


def _remainder(exponent: Tensor) -> Tensor:
    """( e^x − 1 − x ) / x², x ≥ 0; ½ at 0."""
    small = exponent <= SMALL
    series = torch.ones_like(exponent)
    for divisor in range(9, 2, -1):
        series = 1 + exponent.where(small, 0) / divisor * series
    large = exponent.where(~small, 1)
    return (series / 2).where(small, (large.expm1() - large) / large.square())


def _alphas(alpha: Tensor, scores: Tensor, dim: int) -> Tensor:
    """α with segments last: (…, 1)."""
    shape = list(scores.shape)
    shape[dim] = 1
    if not expands(alpha, shape):
        raise UnsupportedError(
            "α does not fit the scores", came=f"{tuple(alpha.shape)}", expected=f"() or {tuple(shape)}"
        )
    look(_check_alphas, alpha)
    return alpha.expand(shape).movedim(dim, -1)


def _check_alphas(alpha: Tensor) -> None:
    wrong = ~((alpha >= 1) & (alpha <= LARGEST_ALPHA))
    if wrong.any():
        place = wrong.nonzero()[0].tolist()
        raise UnsupportedError(
            "no such α", came=f"{float(alpha[tuple(place)])} at {place}", expected=f"1 to {LARGEST_ALPHA:g}"
        )
