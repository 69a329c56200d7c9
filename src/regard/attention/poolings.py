"""The poolings that a network may end in, by name, and how a file says which one it is."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from torch import nn

from regard.attention.bilinear import BilinearPooling
from regard.attention.branch import BranchPooling
from regard.attention.neck import NECKED
from regard.attention.pooled import MeanPooling
from regard.attention.representative import SETTINGS, RepresentativePooling
from regard.errors import UnsupportedError

PoolingName = Literal["representative", "bilinear", "branch", "mean"]
"""BR-NPA; and what it is compared with: B-CNN, an attention branch (ABN) and the plain mean."""

POOLINGS: Mapping[str, tuple[type[nn.Module], tuple[str, ...]]] = MappingProxyType(
    {
        "representative": (RepresentativePooling, SETTINGS),
        "bilinear": (BilinearPooling, ("channels", "count")),
        "branch": (BranchPooling, ("channels", "classes")),
        "mean": (MeanPooling, ()),
        **NECKED,
    }
)
"""Each with its settings, which are its attributes, too; also with a neck, as re-identification builds them."""


def pooling_called(name: str, **settings: Any) -> nn.Module:
    """A pooling. The weights of "bilinear" and "branch" are drawn from torch's random state; the others have none.

    Args:
        name: which.
        settings: its own; see `POOLINGS`.

    Raises:
        UnsupportedError: no such pooling, or settings that it does not have.
    """
    if name not in POOLINGS:
        raise UnsupportedError("no such pooling", came=repr(name), expected=", ".join(POOLINGS))
    kind, known = POOLINGS[name]
    if unknown := settings.keys() - {*known}:
        raise UnsupportedError(
            f"a {name} pooling has no such settings", came=", ".join(sorted(unknown)), expected=", ".join(known) or None
        )
    return kind(**settings)


def described(pooling: nn.Module) -> dict[str, Any]:
    """The inverse, but for weights: `pooling_called(**described(pooling))` is built alike.

    Raises:
        UnsupportedError: a pooling of another kind.
    """
    for name, (kind, known) in POOLINGS.items():
        if type(pooling) is kind:
            return {"name": name, **{setting: getattr(pooling, setting) for setting in known}}
    raise UnsupportedError("this pooling has no name", came=type(pooling).__name__, expected=", ".join(POOLINGS))
