"""Base items: the points or pictures of which the segments of mosaics are taken, each of a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from regard.errors import NotFiniteError, UnsupportedError
from regard.seeds import seed_for


@dataclass(frozen=True, eq=False)
class Items:
    """Labelled items, some classes of which are the foreground: those decide a label, all others are background.

    Attributes:
        values: (count, …), float32 as they are; or uint8, of which a segment is v / 127.5 − 1, from −1 to 1. Pictures
            stay a quarter of their size for it.
        classes: (count,) int16, the class of each.
        names: of all classes.
        foreground: the classes that decide, in the order of the labels 0 … C − 1.

    Raises:
        UnsupportedError: other types or forms, or a foreground class twice, unknown or without items.
        NotFiniteError: NaN or infinity in an item.
    """

    values: Tensor
    classes: Tensor
    names: tuple[str, ...]
    foreground: tuple[int, ...]

    def __post_init__(self) -> None:
        _check(self)

    @property
    def background(self) -> tuple[int, ...]:
        """The classes that have items and do not decide."""
        return tuple(number for number in self.classes.unique().tolist() if number not in self.foreground)

    @property
    def labels(self) -> Tensor:
        """(count,) int64, the label of each item: the place of its class in the foreground; −1 of background."""
        of_class = torch.full((len(self.names),), -1, device=self.classes.device)
        of_class[list(self.foreground)] = torch.arange(len(self.foreground), device=of_class.device)
        return of_class[self.classes.long()]

    def drawn(self, classes: Tensor, uniform: Tensor) -> Tensor:
        """An item of each class, all of it alike often.

        Args:
            classes: int64, each with items.
            uniform: of the same shape, from [0, 1), float64.

        Returns:
            Their indices, int64, on the CPU.
        """
        own = self.classes.cpu().long()
        counts = own.bincount(minlength=len(self.names))
        firsts = counts.cumsum(0) - counts
        return own.argsort(stable=True)[firsts[classes] + whole(uniform, counts[classes])]

    def taken(self, index: Tensor) -> Tensor:
        """Some items by index, float32, of the shape of `index` and then that of an item: a copy."""
        found = self.values.index_select(0, index.flatten())
        if found.dtype == torch.uint8:
            found = found.float().div_(127.5).sub_(1)
        return found.view(*index.shape, *self.values.shape[1:])

    def to(self, device: torch.device | str) -> Items:
        """The same on another device."""
        return replace(self, values=self.values.to(device), classes=self.classes.to(device))


def generator(seed: int, *what: str) -> torch.Generator:
    """A generator of a seed for one kind of draw: more or fewer of another kind do not shift it."""
    return torch.Generator().manual_seed(seed_for(seed, *what))


def whole(uniform: Tensor, ends: Tensor | int) -> Tensor:
    """Numbers from [0, 1), float64 → whole ones from 0 to below `ends`, all alike often, int64."""
    return (uniform * ends).floor().long()


def classes_called(chosen: Sequence[str | int], names: Sequence[str]) -> tuple[int, ...]:
    """Classes by name or index → their indices, in the given order.

    Raises:
        UnsupportedError: there is none such.
    """
    found = []
    for which in chosen:
        known = which in names if isinstance(which, str) else type(which) is int and 0 <= which < len(names)
        if not known:
            raise UnsupportedError(
                "there is no such class to be foreground",
                came=repr(which),
                expected=", ".join(f"{number} {name}" for number, name in enumerate(names))[:300],
            )
        found.append(names.index(which) if isinstance(which, str) else which)
    return tuple(found)


def _check(items: Items) -> None:
    values, classes = items.values, items.classes
    if values.dtype not in (torch.uint8, torch.float32) or classes.dtype != torch.int16:
        raise UnsupportedError(
            "items are float32 or uint8 numbers, each of an int16 class", came=f"{values.dtype} and {classes.dtype}"
        )
    if values.dim() < 2 or 0 in values.shape or classes.shape != values.shape[:1]:
        raise UnsupportedError(
            "every item has numbers and a class",
            came=f"{tuple(values.shape)} and {tuple(classes.shape)}",
            expected="(count, …) and (count,), none of them 0",
        )
    if not 0 <= int(classes.min()) <= int(classes.max()) < len(items.names):
        raise UnsupportedError(
            "an item is of a class without a name",
            came=f"classes {int(classes.min())} to {int(classes.max())}",
            expected=f"0 to {len(items.names) - 1}",
        )
    there = set(classes.unique().tolist())
    if (
        not items.foreground
        or len({*items.foreground}) < len(items.foreground)
        or not there.issuperset(items.foreground)
    ):
        raise UnsupportedError(
            "the foreground is made of different classes, each with items",
            came=f"{items.foreground}",
            expected=f"some of {sorted(there)}",
        )
    if values.is_floating_point():
        wrong = (~values.isfinite().flatten(1).all(dim=1)).nonzero()
        if len(wrong):
            raise NotFiniteError("an item holds NaN or infinity", came=f"item {int(wrong[0])}")
