"""Scores of segments to weights on the simplex: softmax, spherical, the k largest; and all there are, by name.

What holds for all of them (masks, refusals, half precision) is said in `regard.attention.scores`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import Tensor

from regard.attention.entmax import entmax, sparsemax
from regard.attention.gumbel import gumbel
from regard.attention.scores import as_came, check_temperature, rows_of
from regard.errors import UnsupportedError

NEGLIGIBLE = 1e-8
"""ε of `spherical_softmax`: scores of 1e-4 and below are small."""


def softmax(scores: Tensor, dim: int = -1, *, temperature: float = 1.0, mask: Tensor | None = None) -> Tensor:
    """Weights by exponentials: a = exp( s / T ) / Σ exp( s / T ).

    The same for s + c. The largest score is subtracted before the division, so no temperature overflows: towards 0 the
    weights become one-hot (shared by equal scores), towards infinity uniform. Four passes over the scores: for the
    few segments of a mosaic several times as fast as torch's softmax, which is made for long rows.

    Args:
        scores: s, any shape.
        dim: of the segments.
        temperature: T, above 0, in units of scores.
        mask: bool, broadcasts to the scores; False where there is no segment.

    Returns:
        As the scores.

    Raises:
        UnsupportedError, NotFiniteError: as `regard.attention.scores.rows_of`; or no temperature.
    """
    check_temperature(temperature)
    values, largest = rows_of(scores, dim, mask)
    powers = ((values - largest) / temperature).exp()
    return as_came(powers / powers.sum(dim=-1, keepdim=True), scores, dim)


def spherical_softmax(scores: Tensor, dim: int = -1, *, mask: Tensor | None = None) -> Tensor:
    """Weights by squares (papers/sdc.md, 4): a = ( s² + ε ) / Σ ( s² + ε ), ε = `NEGLIGIBLE`.

    Even in s: a strongly negative score has a large weight. The same for c·s, as long as scores are large against
    √ε = 1e-4. The published form has no ε and is NaN at s = 0; here the weights are then uniform, and the gradient,
    2 s / Σ ( s² + ε ) to first order, is 0: a focus that is zero throughout is not moved.

    Squares are of s / max( 1, max |s| ), so none overflows.

    Args:
        scores: s, any shape.
        dim: of the segments.
        mask: bool, broadcasts to the scores; False where there is no segment.

    Returns:
        As the scores.

    Raises:
        UnsupportedError, NotFiniteError: as `regard.attention.scores.rows_of`.
    """
    values, _ = rows_of(scores, dim, mask)
    present = values > -math.inf
    values = values.where(present, 0)
    # weights are the same whatever the unit, so it needs no gradient
    unit = values.detach().abs().amax(dim=-1, keepdim=True).clamp(min=1)
    squares = ((values / unit).square() + NEGLIGIBLE / unit / unit).where(present, 0)
    return as_came(squares / squares.sum(dim=-1, keepdim=True), scores, dim)


def top_k(scores: Tensor, k: int, dim: int = -1, *, mask: Tensor | None = None) -> Tensor:
    """Softmax over the k largest scores; all others have a weight of 0 and no gradient.

    Of equal scores the first are taken. With k = 1 the weights are one-hot, and nothing is learnt through them.

    A partial sort for the k-th largest score, and eight passes: the k-th alone does not depend on how ties are sorted.

    Args:
        scores: s, any shape.
        k: from 1 on; where a row has fewer segments, all are taken.
        dim: of the segments.
        mask: bool, broadcasts to the scores; False where there is no segment.

    Returns:
        As the scores.

    Raises:
        UnsupportedError, NotFiniteError: as `regard.attention.scores.rows_of`; or no such k.
    """
    if type(k) is not int or k < 1:
        raise UnsupportedError("k is how many segments are kept", came=repr(k), expected="1, 2, …")
    values, _ = rows_of(scores, dim, mask)
    least = values.detach().topk(min(k, values.shape[-1]), dim=-1).values[..., -1:]
    above, tied = values > least, values == least
    places = k - above.sum(dim=-1, keepdim=True)
    kept = above | (tied & (tied.cumsum(dim=-1) <= places))
    return as_came(values.masked_fill(~kept, -math.inf).softmax(dim=-1), scores, dim)


WEIGHTS: Mapping[str, Callable[..., Tensor]] = MappingProxyType(
    {
        "softmax": softmax,
        "sparsemax": sparsemax,
        "entmax": entmax,
        "spherical": spherical_softmax,
        "top-k": top_k,
        "gumbel": gumbel,
    }
)
"""Names that a grid of experiments can write down: each takes scores, `dim`, `mask` and settings of its own."""
