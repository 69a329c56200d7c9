"""Scores of segments before they are weights: looked at, masked, in float32 at least; and weights as scores came.

What holds for the weights of every function of `regard.attention.weights`, `entmax` and `gumbel`:

- They are at least 0 and sum to 1 over `dim`. A segment whose mask is False, or whose score is −∞, has a weight of
  exactly 0 and no gradient; what score stands where the mask is False does not matter.
- NaN and +∞ are refused with their place, and so is a row without a segment. Under `torch.func.vmap`, too, where the
  mapped axis comes first in the place. What is compiled or exported knows no values and refuses none.
- They are computed in float32 at least and returned in the scores' type. In bfloat16 and float16 each is the float32
  weight rounded once: |Σ − 1| ≤ 2⁻⁸ or 2⁻¹¹, half a step at 1, and 2⁻²⁵ per segment more in float16, below which it has
  no numbers. Equal scores keep equal weights, so a sum cannot be nearer. No weight above 0 rounds to 0: supports are as
  large as in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from regard.errors import NotFiniteError, UnsupportedError

SMALLEST_TEMPERATURE = torch.finfo(torch.float32).tiny
"""Below it a temperature is 0 in float32."""


def rows_of(scores: Tensor, dim: int, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Scores with segments last, and the largest of each row.

    Args:
        scores: any shape; segments along `dim`.
        dim: of the segments.
        mask: bool, of a shape that broadcasts to the scores'; False where there is no segment. None: all are.

    Returns:
        (…, m), float32 at least, −∞ where there is no segment; and (…, 1), without a gradient.

    Raises:
        UnsupportedError: no scores, no such dim, a mask that does not fit, or a row without a segment.
        NotFiniteError: NaN or +∞ where there is a segment, with the place.
    """
    _check_form(scores, dim, mask)
    values = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if mask is not None:
        values = values.masked_fill(~mask, -math.inf)
    largest = values.detach().amax(dim, keepdim=True)
    # counted from the end: vmap puts an axis in front
    look(_refuse, values, largest, dim if dim < 0 else dim - scores.dim())
    return values.movedim(dim, -1), largest.movedim(dim, -1)


def as_came(weights: Tensor, scores: Tensor, dim: int) -> Tensor:
    """Weights with segments last, in the scores' layout and type; none above 0 becomes 0."""
    weights = weights.movedim(-1, dim)
    if weights.dtype == scores.dtype:
        return weights
    rounded = weights.to(scores.dtype)
    kind = torch.finfo(scores.dtype)
    # added, not put in its place, so that the gradient passes
    return rounded + ((weights > 0) & (rounded == 0)).to(rounded) * (kind.smallest_normal * kind.eps)


def look(check: Callable[..., None], *given: Tensor | int) -> None:
    """Let `check` see values, also under `torch.func.vmap`, where a tensor's values cannot be asked for."""
    if not torch.compiler.is_compiling():
        _looked(check, *(each.detach() if isinstance(each, Tensor) else each for each in given))


def _looked(check: Callable[..., None], *given: Tensor | int) -> None:
    apply: Callable[..., None] = _Look.apply
    apply(check, *given)


class _Look(torch.autograd.Function):
    """Computes nothing: a function of autograd has a rule for vmap, and there the tensors are whole."""

    @staticmethod
    def forward(check: Callable[..., None], *given: Tensor | int) -> None:
        check(*given)

    @staticmethod
    def setup_context(ctx: object, inputs: tuple[object, ...], output: None) -> None:
        pass

    @staticmethod
    def vmap(
        _: object, axes: tuple[int | None, ...], check: Callable[..., None], *given: Tensor | int
    ) -> tuple[None, None]:
        whole = (
            each.movedim(axis, 0) if isinstance(each, Tensor) and axis is not None else each
            for each, axis in zip(given, axes[1:], strict=True)
        )
        _looked(check, *whole)
        return None, None


def check_temperature(temperature: float) -> None:
    """Refuse what is no temperature.

    Raises:
        UnsupportedError: it is not a number above zero, or is zero in float32.
    """
    known = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    if not (known and SMALLEST_TEMPERATURE <= temperature < math.inf):
        raise UnsupportedError(
            "a temperature is a number above zero",
            came=repr(temperature),
            expected=f"from {SMALLEST_TEMPERATURE:.3g} on",
        )


def _check_form(scores: Tensor, dim: int, mask: Tensor | None) -> None:
    if not isinstance(scores, Tensor) or not scores.is_floating_point() or scores.dim() == 0:
        came = f"{scores.dtype} {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
        raise UnsupportedError("these are no scores of segments", came=came, expected="a floating-point tensor (…, m)")
    if not -scores.dim() <= dim < scores.dim():
        raise UnsupportedError("the scores have no such dim", came=f"dim {dim} of {tuple(scores.shape)}")
    if scores.shape[dim] == 0:
        raise UnsupportedError("there is no segment to weigh", came=f"scores {tuple(scores.shape)}, dim {dim}")
    if mask is not None and not _masks(mask, scores):
        came = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
        raise UnsupportedError(
            "the mask does not fit the scores",
            came=came,
            expected=f"torch.bool that broadcasts to {tuple(scores.shape)}, True where there is a segment",
        )


def _masks(mask: Tensor, scores: Tensor) -> bool:
    return isinstance(mask, Tensor) and mask.dtype is torch.bool and expands(mask, scores.shape)


def expands(given: Tensor, shape: Sequence[int]) -> bool:
    """Whether a tensor broadcasts to exactly this shape."""
    try:
        given.expand(shape)
    except RuntimeError:
        return False
    return True


def _refuse(values: Tensor, largest: Tensor, dim: int) -> None:
    """Refuse NaN, +∞ and rows of nothing but −∞; one look at the device where all is well."""
    if ((largest > -math.inf) & (largest < math.inf)).all():
        return
    wrong = values.isnan() | (values == math.inf)
    if wrong.any():
        place = wrong.nonzero()[0].tolist()
        raise NotFiniteError(
            "a score is no finite number",
            came=f"{float(values[tuple(place)])} at {place}",
            expected="finite scores; −inf, or a mask, where there is no segment",
        )
    row: list[int | str] = (largest == -math.inf).nonzero()[0].tolist()
    row[dim] = ":"
    raise UnsupportedError(
        "a row has no segment to weigh",
        came=f"masked or −inf throughout at [{', '.join(map(str, row))}]",
        remedy="leave the row out",
    )
