"""What selective models are trained on: items by index, put together for several seeds at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

HELD = 2**27
"""Bytes: what is smaller is made once and held, what is larger as it is needed."""


class ItemsLike(Protocol):
    """What segments are taken from: `regard.exams.sdc.Items`, or anything like it."""

    @property
    def values(self) -> Tensor:
        """(count, …), of any type."""

    def taken(self, index: Tensor) -> Tensor:
        """Float32, of the shape of `index` and then that of an item."""


class MosaicsLike(Protocol):
    """What is learnt from: `regard.exams.sdc.Mosaics`, `mosaics_of` tensors, or anything like these."""

    @property
    def items(self) -> ItemsLike:
        """The base items."""

    @property
    def index(self) -> Tensor:
        """(n, m) integers, the item of each segment; −1 where there is none."""

    @property
    def label(self) -> Tensor:
        """(n,) integers."""

    @property
    def position(self) -> Tensor:
        """(n,) integers, j*: for figures, and for the supervised focus, alone."""


@dataclass(frozen=True, eq=False)
class Plain:
    """Items that are as they are."""

    values: Tensor

    def taken(self, index: Tensor) -> Tensor:
        return self.values[index]


@dataclass(frozen=True, eq=False)
class PlainMosaics:
    """Mosaics of tensors; see `mosaics_of`."""

    items: Plain
    index: Tensor
    label: Tensor
    position: Tensor


def mosaics_of(segments: Tensor, label: Tensor, position: Tensor, mask: Tensor | None = None) -> PlainMosaics:
    """Tensors as what a model can be trained on.

    Args:
        segments: (n, m, …).
        label: (n,) integers from 0 on.
        position: (n,) integers, j*; zeros where nobody knows, and then no figure of the focus means anything.
        mask: (n, m) bool, False where there is no segment.
    """
    index = torch.arange(label.numel() * segments.shape[1]).view(segments.shape[:2])
    return PlainMosaics(
        Plain(segments.flatten(0, 1)), index if mask is None else index.masked_fill(~mask, -1), label, position
    )


@dataclass(frozen=True, eq=False)
class Batch:
    """Some examples of every seed, those of the first seed first.

    Attributes:
        segments: (n, m, …).
        label: (n,).
        position: (n,).
        mask: (n, m), or None.
    """

    segments: Tensor
    label: Tensor
    position: Tensor
    mask: Tensor | None


class Bank:
    """Mosaics on a device, segments in a type.

    Args:
        mosaics: what they are.
        like: a parameter of the model that reads them.
    """

    def __init__(self, mosaics: MosaicsLike, like: Tensor) -> None:
        index = mosaics.index.to(like.device).long()
        missing = index < 0
        self.index, self.mask = index.clamp(min=0), ~missing if bool(missing.any()) else None
        self.label, self.position = (each.to(like.device).long() for each in (mosaics.label, mosaics.position))
        self.items, self.count, self.like = mosaics.items, len(mosaics.items.values), like.detach()
        small = self.items.values[0].numel() * self.count * like.element_size() <= HELD
        self._held = (
            self.items.taken(torch.arange(self.count, device=self.items.values.device)).to(like) if small else None
        )

    def __len__(self) -> int:
        return len(self.label)

    def taken(self, index: Tensor) -> Tensor:
        """Items by index: (…) → (…, and an item's shape)."""
        if self._held is not None:
            return self._held[index]
        return self.items.taken(index.to(self.items.values.device)).to(self.like)

    def examples(self, rows: Tensor) -> Batch:
        """Batch by number."""
        mask = None if self.mask is None else self.mask[rows]
        return Batch(self.taken(self.index[rows]), self.label[rows], self.position[rows], mask)


def repeated(values: Tensor, seeds: int) -> Tensor:
    """(n, …) → (seeds · n, …), the same for each seed, one after the other."""
    return values if seeds == 1 else values.expand(seeds, *values.shape).flatten(0, 1)
