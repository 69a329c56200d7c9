"""The places of a feature map or of tokens: how active each is, which count, and how alike two are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from regard.errors import LayerError, NotFiniteError

NEGLIGIBLE = 1e-5
"""What is rounding: an activity up to this share of the picture's largest, a sum up to this share of its terms."""

OnNaN = Literal["error", "propagate"]

CHANNELS = 64
"""Channels that are squared at a time."""


@dataclass(frozen=True)
class Places:
    """Features by place, N = h·w of a map in row-major order. Features are copied only where they must be cast.

    Attributes:
        columns: (B, C, N), float32 at least: in half precision squares of norms overflow. A view of tokens or of a map
            in either order of memory; all is computed in the order it has, so that it is read along its lines and
            gradients of one order are added, which is many times faster than across.
        inside: (B, N) bool, which places count.
        norms: (B, N), ‖f_p‖, with a gradient of zero at zero.
        inverse: (B, N), 1 / ‖f_p‖; 0, without a gradient, of places that are zero or do not count.
        floor: (B, 1), `NEGLIGIBLE` times the picture's largest norm: at or below it a place is as one of zero.
        finite: (B,) bool, whether all norms of the picture are; where not, all its places are as ones of zero.
    """

    columns: Tensor
    inside: Tensor
    norms: Tensor
    inverse: Tensor
    floor: Tensor
    finite: Tensor

    @classmethod
    def of(cls, features: Tensor, mask: Tensor | None, on_nan: OnNaN = "error") -> Places:
        """Places of (B, C, h, w) or (B, N, C); the mask (B, h, w) or (B, N), bool, says which count, None all.

        Raises:
            LayerError: another form, or a picture of which no place counts.
            NotFiniteError: for "error" NaN, infinity or a norm beyond float32, with the place, also where the mask
                hides it. What is traced or compiled knows no values and refuses none.
        """
        _check_form(features, mask)
        columns = fine(features.flatten(2) if features.dim() == 4 else features.transpose(1, 2))
        inside = torch.ones_like(columns[:, 0], dtype=torch.bool) if mask is None else mask.flatten(1)
        norms = _norms(columns)
        finite = norms.detach().isfinite().all(dim=1)
        if not torch.compiler.is_compiling():
            _check_values(features, norms, inside, torch.ones_like(finite) if on_nan == "propagate" else finite)
        floor = NEGLIGIBLE * norms.detach().where(inside, 0).amax(dim=1, keepdim=True)
        alive = inside & (norms > floor)
        return cls(columns, inside, norms, torch.where(alive, 1 / norms.where(alive, 1), 0), floor, finite)

    def detached(self) -> Places:
        """The same, for what records no gradient."""
        columns, norms, inverse = (each.detach() for each in (self.columns, self.norms, self.inverse))
        return Places(columns, self.inside, norms, inverse, self.floor, self.finite)

    def at(self, indices: Tensor) -> Tensor:
        """Features of some places: (B, K) → (B, K, C)."""
        if _by_place(self.columns):
            rows = self.columns.transpose(1, 2)
            return rows.gather(1, indices[..., None].expand(-1, -1, rows.shape[2]))
        return self.columns.gather(2, indices[:, None].expand(-1, self.columns.shape[1], -1)).transpose(1, 2)

    def units(self, indices: Tensor) -> Tensor:
        """f / ‖f‖ of some places, zero where they are: (B, K) → (B, K, C)."""
        return self.at(indices) * self.inverse.gather(1, indices)[..., None]

    def similarities(self, units: Tensor) -> Tensor:
        """Cosines of unit vectors (B, K, C) to all places: (B, K, N)."""
        if _by_place(self.columns):
            alike = (self.columns.transpose(1, 2) @ units.transpose(1, 2)).transpose(1, 2)
        else:
            alike = units @ self.columns
        return alike * self.inverse[:, None]

    def weighted(self, weights: Tensor) -> Tensor:
        """Sums of features by weights (B, K, N): (B, K, C)."""
        if _by_place(self.columns):
            return weights @ self.columns.transpose(1, 2)
        return (self.columns @ weights.transpose(1, 2)).transpose(1, 2)


def fine(values: Tensor) -> Tensor:
    """In float32 at least."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def first(wrong: Tensor) -> str:
    """Where the first True of a tensor of the features' shape stands."""
    words = ("picture", "channel", "row", "column") if wrong.dim() == 4 else ("picture", "token", "channel")
    return ", ".join(f"{word} {number}" for word, number in zip(words, wrong.nonzero()[0].tolist(), strict=True))


def _by_place(columns: Tensor) -> bool:
    """Whether all channels of a place lie side by side in memory, as in tokens and in channels-last maps."""
    return columns.stride(1) == 1


def _norms(columns: Tensor) -> Tensor:
    """(B, C, N) → (B, N), with a gradient of zero at zero; of columns squares are made by parts that stay in cache."""
    if _by_place(columns):
        norms: Tensor = torch.linalg.vector_norm(columns, dim=1)
        return norms
    squares = torch.stack([part.square().sum(dim=1) for part in columns.split(CHANNELS, dim=1)]).sum(dim=0)
    zero = squares == 0
    return torch.where(zero, 0, squares.where(~zero, 1).sqrt())


def _check_form(features: Tensor, mask: Tensor | None) -> None:
    shape = tuple(features.shape)
    if len(shape) not in (3, 4) or 0 in shape[1:] or not features.is_floating_point():
        raise LayerError(
            "these are no features",
            came=f"{features.dtype} {shape}",
            expected="floating-point (B, C, h, w), or tokens (B, N, C), with at least one place and channel",
        )
    grid = shape[:1] + (shape[2:] if len(shape) == 4 else shape[1:2])
    if mask is not None and (mask.dtype is not torch.bool or tuple(mask.shape) != grid):
        raise LayerError(
            "the mask does not fit the features",
            came=f"{mask.dtype} {tuple(mask.shape)}",
            expected=f"torch.bool {grid}, True where a place counts",
        )


def _check_values(features: Tensor, norms: Tensor, inside: Tensor, allowed: Tensor) -> None:
    """One look at the device where all is well; `allowed` says of which pictures norms are, or need not be, finite."""
    counted = inside.any(dim=1)
    if allowed.all() & counted.all():
        return
    if counted.all():
        wrong = ~features.isfinite()
        if wrong.any():
            raise NotFiniteError("the features hold NaN or infinity", came=first(wrong))
        raise NotFiniteError(
            f"the norm of a feature vector is beyond {str(norms.dtype)[6:]}",
            came=f"picture {int((~norms.isfinite()).nonzero()[0, 0])}",
        )
    raise LayerError("the mask lets no place of a picture count", came=f"picture {int((~counted).nonzero()[0, 0])}")
