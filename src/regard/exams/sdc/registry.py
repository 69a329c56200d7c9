"""Tasks by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from regard.errors import UnsupportedError
from regard.exams.sdc.arrangement import Arrangement, arranged
from regard.exams.sdc.boxes import boxes
from regard.exams.sdc.gaussians import d1, d2
from regard.exams.sdc.images import FIRST_THREE, of_arrays, of_photos
from regard.exams.sdc.implanted import implanted
from regard.exams.sdc.items import Items
from regard.exams.sdc.singletons import singletons
from regard.exams.sdc.task import SelectiveTask


def task_called(name: str, path: str | Path | None = None, **settings: Any) -> SelectiveTask:
    """A task by its name.

    "d1", "d2", "boxes-1", "boxes-2", "boxes-4" and "singletons" are points; "cifar-10", "fashion-mnist", "mnist",
    "implanted" (npz files) and "folder" are pictures, and need a path.

        task_called("d1", segments=5, seed=3)
        task_called("cifar-10", "cifar10_subset.npz", foreground=("horse", "ship", "truck"), train=6000)

    Args:
        name: of the task.
        path: of the pictures.
        settings: those of `Arrangement`; and `foreground` of pictures, `size` and `held_out` of "folder", `gamma` of
            "implanted", `background` of "singletons". What is not said is as the paper's experiments had it.

    Raises:
        UnsupportedError: another name or setting, or pictures without a path.
    """
    if name not in _KNOWN:
        raise UnsupportedError("there is no such task", came=repr(name), expected=", ".join(_KNOWN))
    known = _KNOWN[name]
    general = {each.name for each in fields(Arrangement)}
    if unknown := {*settings} - general - {*known.own}:
        raise UnsupportedError(
            f"{name!r} has no such setting",
            came=", ".join(sorted(unknown)),
            expected=", ".join(sorted({*known.own, *general})),
        )
    if known.pictures == (path is None):
        raise UnsupportedError(f"{name!r} {'needs' if known.pictures else 'has no'} pictures", came=f"path={path!r}")
    asked = {**known.usual, **settings}
    arrangement = Arrangement(**{key: value for key, value in asked.items() if key in general})
    own = {key: value for key, value in asked.items() if key in known.own}
    if known.drawn:
        own["seed"] = arrangement.seed
    train, test = known.items(path, **own) if known.pictures else known.items(**own)
    return arranged(name, train, test, arrangement)


def task_names() -> tuple[str, ...]:
    """All names that `task_called` knows."""
    return tuple(_KNOWN)


@dataclass(frozen=True)
class _Known:
    """How the items of a task are made.

    Attributes:
        items: (train, test) of them.
        usual: settings that are not the defaults of `Arrangement`.
        own: names of further settings.
        pictures: whether they are read from a path.
        drawn: whether they depend on the seed.
    """

    items: Callable[..., tuple[Items, Items]]
    usual: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    own: tuple[str, ...] = ()
    pictures: bool = False
    drawn: bool = False


def _implanted(
    path: str | Path, gamma: float = 0.03, foreground: tuple[str | int, ...] = FIRST_THREE
) -> tuple[Items, Items]:
    return implanted(*of_arrays(path, foreground), gamma)


_DIGITS = {"train": 1000, "test": 10_000}
_PICTURES = {"train": 30_000, "test": 10_000}

_KNOWN = {
    "d1": _Known(d1, drawn=True),
    "d2": _Known(d2, drawn=True),
    "boxes-1": _Known(partial(boxes, 1), {"segments": 2, "test": 1000}, drawn=True),
    "boxes-2": _Known(partial(boxes, 2), {"segments": 2, "test": 1000}, drawn=True),
    "boxes-4": _Known(partial(boxes, 4), {"test": 1000}, drawn=True),
    "singletons": _Known(singletons, {"segments": 2, "test": 1000}, ("background",)),
    "implanted": _Known(_implanted, _DIGITS, ("foreground", "gamma"), pictures=True),
    "cifar-10": _Known(of_arrays, _PICTURES, ("foreground",), pictures=True),
    "fashion-mnist": _Known(of_arrays, _PICTURES, ("foreground",), pictures=True),
    "mnist": _Known(of_arrays, _DIGITS, ("foreground",), pictures=True),
    "folder": _Known(of_photos, _PICTURES, ("foreground", "size", "held_out"), pictures=True, drawn=True),
}
