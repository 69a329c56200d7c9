"""How a training that keeps a run begins: what its photos are, and what stands in its folder already."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from regard.errors import RunError, UnsupportedError
from regard.images import Photo
from regard.runs import Run, check_run_folder, is_run


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
