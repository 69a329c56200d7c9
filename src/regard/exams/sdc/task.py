"""What a task is: mosaics of segments one of which decides the label, and which one it is.

Only indices are kept. A mosaic is put together when it is asked for, and is the same to the bit in any batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from regard.exams.sdc.items import Items


@dataclass(frozen=True, eq=False)
class Truth:
    """What is true of some mosaics.

    Attributes:
        label: (n,) int64, the place of the foreground's class among the classes that decide; in a training with label
            noise perhaps another.
        position: (n,) int64, j*, which segment is the foreground.
        mask: (n, m) bool, False where there is no segment; None where all mosaics have equally many.
        classes: (n, m) int64, the class of every segment among all classes; −1 where there is none.
    """

    label: Tensor
    position: Tensor
    mask: Tensor | None
    classes: Tensor


@dataclass(frozen=True, eq=False)
class Examples(Truth):
    """Some mosaics. A learner is given segments, labels and mask; position and classes are the examiner's.

    Attributes:
        segments: (n, m, …) float32; zeros where there is none.
    """

    segments: Tensor


@dataclass(frozen=True, eq=False)
class Mosaics:
    """Mosaics by index: `mosaics[indices]` are `Examples`, for whatever indexes the first axis of a tensor.

    n mosaics of at most m segments cost 4 n m + 4 n bytes besides their items.

    Attributes:
        items: what segments are taken from.
        index: (n, m) int32, the item of every segment; −1 where there is none.
        position: (n,) int16, j*.
        label: (n,) int16.
        ragged: whether mosaics may have different numbers of segments, the present ones first.
    """

    items: Items
    index: Tensor
    position: Tensor
    label: Tensor
    ragged: bool

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, indices: Any) -> Examples:
        index = self.index[indices]
        segments = self.items.taken(index.clamp(min=0))
        truth = self.truth(indices)
        if truth.mask is not None:
            segments[~truth.mask] = 0
        return Examples(**vars(truth), segments=segments)

    def truth(self, indices: Any) -> Truth:
        """What is true of some, without putting them together."""
        index = self.index[indices]
        there = index >= 0
        return Truth(
            self.label[indices].long(),
            self.position[indices].long(),
            there if self.ragged else None,
            self.items.classes[index.clamp(min=0).long()].long().masked_fill(~there, -1),
        )

    def to(self, device: torch.device | str) -> Mosaics:
        """The same on another device, where the gathering is then done."""
        moved = {name: getattr(self, name).to(device) for name in ("items", "index", "position", "label")}
        return replace(self, **moved)


@dataclass(frozen=True, eq=False)
class SelectiveTask:
    """A selective dependence classification: one segment decides, and the examiner knows which.

    Attributes:
        name: as it is called in tables.
        train: to be learnt from.
        test: to be examined with; its items are others than those of `train`, unless the task leaks.
        labels: names of the C labels.
        leaky: whether both have items in common: all, as in the original experiments and in "singletons", whose classes
            have one item each, or some. Figures on `test` are then too good, where they could be learnt by heart.
    """

    name: str
    train: Mosaics
    test: Mosaics
    labels: tuple[str, ...]
    leaky: bool

    @property
    def segments(self) -> int:
        """m, the most segments of a mosaic."""
        return self.train.index.shape[1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one segment."""
        return tuple(self.train.items.values.shape[1:])
