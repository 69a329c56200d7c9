"""The studies of selective dependence classification by name (papers/sdc.md, 5 and 6): grids, one factor at a time.

Epochs are ours, and fewer than published (at most 2,500 for points, 60 for pictures). D1 learns at 0.005 for 250
epochs, which its seeds need no less: at 0.001 they are as far after 500, at 0.01 most of them get stuck (78 % right,
against 96). D2 stops at 200 epochs and CIFAR-10 at 8, when its networks are right in 78 % of what they learn from and
in no more of the test than three epochs before. A cell with fewer mosaics has as many steps as the others. `stop` is as
published, 0.01 for points and 0.05 for pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from regard.errors import UnsupportedError
from regard.exams.sdc.cell import Cell
from regard.exams.sdc.grid import Grid, around

Changes = list[dict[str, Any]]

_BEGINNINGS: Changes = [
    {"learns": "focus"},
    {"learns": "classifier"},
    {"focus_begins": "told"},
    {"focus_begins": "told", "learns": "classifier"},
    {"classifier_begins": "told"},
    {"classifier_begins": "told", "learns": "focus"},
    {"classifier_begins": "told", "learns": "classifier"},
    {"focus_begins": "told", "classifier_begins": "told"},
]
"""Initialisation × trained module, but for the default."""
_PARADIGMS = ("hard", "sampled", "marginal", "supervised", "hybrid", "stage-wise", "alternating")
_SPARSE: Changes = [
    {"weights": "sparsemax"},
    {"weights": "entmax"},
    {"weights": "spherical", "focus_begins": "random"},
]


_BOXES_4: dict[str, Any] = {"optimizer": "adam", "rate": 0.1, "epochs": 200}


def study(name: str) -> Grid:
    """A grid by its name.

    Raises:
        UnsupportedError: there is none such.
    """
    if name not in STUDIES:
        raise UnsupportedError("there is no such grid", came=repr(name), expected=", ".join(STUDIES))
    default, seeds, changes = STUDIES[name]
    return around(name, default, seeds, changes)


def usual(task: str) -> Cell:
    """The cell of a task where nothing else is said: the default of its study, or of one like it."""
    default: Cell
    if task in ("d1", "d2"):
        default, *_ = STUDIES[task]
        return default
    if task == "boxes-4":
        return replace(STUDIES["boxes"][0], task=task, **_BOXES_4)
    default, *_ = STUDIES["boxes" if task.startswith(("boxes", "singletons")) else "cifar-10"]
    return replace(default, task=task)


def _each(field: str, values: Iterable[Any]) -> Changes:
    return [{field: value} for value in values]


_PICTURES = Cell(
    "cifar-10",
    train=6000,
    test=2000,
    focus="cnn-3",
    classifier="cnn-3",
    epochs=8,
    rate=1e-3,
    batch=100,
    stop=0.05,
)

_D1 = Cell("d1", focus_begins="zero", epochs=250, rate=0.005)

STUDIES: Mapping[str, tuple[Cell, int, Changes]] = {
    "quick": (
        Cell("boxes-2", train=600, test=600, focus="linear", classifier="linear", epochs=20, rate=0.1, batch=100),
        3,
        [{"focus": "mlp-16"}, {"weights": "sparsemax"}, {"paradigm": "marginal"}, {"focus_begins": "told"}],
    ),
    "d1": (
        _D1,
        10,
        [
            {"focus_begins": "random"},
            *_BEGINNINGS,
            *_each("layer", (1, 2)),
            *_each("focus", ("mlp-10", "mlp-100")),
            *({"focus": "mlp-100", "classifier": classifier} for classifier in ("mlp-10", "mlp-200")),
            *_SPARSE,
            *_each("entropy", (0.001, 0.005, 0.02)),
            *_each("paradigm", _PARADIGMS),
        ],
    ),
    "d1-background": (
        _D1,
        10,
        [*_each("spread", (0.0, 0.5, 2.0)), *_each("overlap", (0.1, 0.3))],
    ),
    "d1-learning": (
        _D1,
        10,
        [
            {"paradigm": "sampled"},
            {"paradigm": "sampled", "baseline": "self-critical"},
            {"paradigm": "posterior"},
            {"weights": "top-k:2"},
        ],
    ),
    "d2": (
        Cell("d2", focus="mlp-6-12", classifier="mlp-6-12", focus_begins="zero", epochs=200),
        10,
        [
            {"focus_begins": "random"},
            *_BEGINNINGS,
            *_each("layer", (1, 2)),
            *({"focus": f"mlp-{one}", "classifier": f"mlp-{other}"} for one in (50, 200) for other in (50, 200)),
            *_SPARSE,
            *_each("entropy", (0.005, 0.04)),
            *_each("paradigm", _PARADIGMS),
        ],
    ),
    "boxes": (
        Cell("boxes-2", focus="linear", classifier="linear", epochs=100, optimizer="sgd", rate=1e-2, stop=None),
        10,
        [
            {"task": "boxes-1"},
            {"task": "boxes-4", **_BOXES_4},
            *_BEGINNINGS,
            {"focus": "mlp-50", "layer": 1},
            {"focus": "mlp-50"},
            {"focus": "mlp-50", "focus_begins": "zero"},
            {"classifier": "mlp-50"},
            {"focus": "mlp-50", "classifier": "mlp-50"},
            {"focus": "mlp-50", "focus_begins": "told"},
            {"focus": "mlp-50", "classifier_begins": "told"},
            {"focus": "mlp-50", "paradigm": "supervised"},
            *_SPARSE[:2],
            {"weights": "spherical"},
            *_each("entropy", (0.01, 0.05)),
            *_each("paradigm", _PARADIGMS),
        ],
    ),
    "cifar-10": (
        _PICTURES,
        3,
        [
            *_each("segments", (5, 20, 50)),
            {"train": 2000, "epochs": 24},
            {"leaky": True},
            *_BEGINNINGS,
            *_each("layer", (1, 3)),
            *_SPARSE[:1],
            {"weights": "spherical"},
            *_each("entropy", (0.003,)),
            *_each("paradigm", ("hard", "marginal", "supervised", "hybrid")),
            {"focus": "cnn-6", "classifier": "cnn-6", "train": 1000, "epochs": 5},
        ],
    ),
}
"""Name → default cell, seeds, and how the other cells differ from it."""
