"""How a training that keeps a run begins: what its photos are, and what stands in its folder already."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from regard.errors import ClassifierError, RunError, UnsupportedError
from regard.images import Photo
from regard.runs import Run, check_run_folder, is_run
from regard.training.labelled import Label
from regard.training.split import check_share


def check_listed(photos: Sequence[Photo]) -> None:
    """Refuse one photo, or a folder, where a list of photos is meant.

    Raises:
        UnsupportedError: not a list of photos.
    """
    if isinstance(photos, (str, os.PathLike, Image.Image, np.ndarray)):
        raise UnsupportedError(
            "a training takes a list of photos",
            came=f"{photos!r:.200}",
            remedy='of a folder: sorted(Path("photos").rglob("*.jpg"))',
        )


def standing(folder: Path, command: str, configuration: Mapping[str, Any], force: bool) -> Run | None:
    """The run of this very training that was stopped, open again, also by force; None where one is still to be opened.

    Raises:
        RunError: another run stands there, which force alone replaces; or what no run can be opened in.
    """
    check_run_folder(folder)
    try:
        return Run.open(folder, command, configuration) if is_run(folder) else None
    except RunError:
        if not force:
            raise
        return None


def finite(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Figures as JSON knows them."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def digest_of_values(marks: Sequence[str], values: Sequence[object]) -> str:
    """SHA-256 of a value for each photo, whatever their order and names."""
    listed = sorted(f"{mark} {value!r}" for mark, value in zip(marks, values, strict=True))
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()


def check_labelled(
    photos: Sequence[Photo], labels: Sequence[Label], held_out: float | Sequence[bool], choosing: float, parted: str
) -> None:
    """Refuse before slow work what would fail after it; `parted` says in words what the shares are of.

    Raises:
        UnsupportedError: not a list of photos.
        ClassifierError: labels, marks or shares that do not fit.
    """
    check_listed(photos)
    if len(photos) != len(labels):
        raise ClassifierError("every photo has its label", came=f"{len(photos)} photos, {len(labels)} labels")
    if isinstance(held_out, (int, float)):
        check_share(held_out)
    elif len(held_out) != len(photos):
        raise ClassifierError("every photo is held out or not", came=f"{len(photos)} photos, {len(held_out)} marks")
    if isinstance(choosing, bool) or not isinstance(choosing, (int, float)) or not 0 <= choosing < 1:
        raise ClassifierError(
            f"the epoch is chosen by a share of the {parted}", came=repr(choosing), expected="from 0, and below 1"
        )


def warn_of_unreadable(unreadable: Sequence[tuple[str, str]]) -> None:
    """Name photos that cannot be read, each with its reason, where there are some; one may be listed twice."""
    if unreadable:
        listed = "; ".join(f"{photo}: {reason}" for photo, reason in unreadable[:10])
        warnings.warn(f"{len(unreadable)} photos cannot be read and are left out: {listed}", stacklevel=3)
