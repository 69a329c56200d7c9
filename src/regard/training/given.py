"""What a training is given: photos, labels and shares, looked at before any slow work."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence, Sized

import numpy as np
from PIL import Image

from regard.errors import ClassifierError, UnsupportedError
from regard.images import Photo
from regard.training.labelled import Label
from regard.training.split import check_choosing, check_share


def check_listed(photos: Sequence[Photo]) -> None:
    """Refuse one photo, or a folder, where a list of photos is meant.

    Raises:
        UnsupportedError: not a list of photos.
    """
    if isinstance(photos, (str, os.PathLike, Image.Image, np.ndarray)) or not isinstance(photos, Sized):
        raise UnsupportedError(
            "a training takes a list of photos",
            came=f"{photos!r:.200}",
            remedy='of a folder: sorted(Path("photos").rglob("*.jpg"))',
        )


def words_of_labelled(
    marks: Sequence[str], labels: Sequence[Label], held_out: float | Sequence[bool], choosing: float
) -> dict[str, object]:
    """What labelled photos are, and how they are parted, as JSON values."""
    return {
        "photos_digest": digest_of_values(marks, labels),
        "held_out": held_out if isinstance(held_out, (int, float)) else digest_of_values(marks, held_out),
        "choosing": choosing,
    }


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
    if not isinstance(labels, Sized):
        raise ClassifierError("labels are a list", came=f"{labels!r:.60}", expected="one label a photo")
    if len(photos) != len(labels):
        raise ClassifierError("every photo has its label", came=f"{len(photos)} photos, {len(labels)} labels")
    if isinstance(held_out, (int, float)):
        check_share(held_out)
    elif len(held_out) != len(photos):
        raise ClassifierError("every photo is held out or not", came=f"{len(photos)} photos, {len(held_out)} marks")
    check_choosing(choosing, parted)


def warn_of_unreadable(unreadable: Sequence[tuple[str, str]]) -> None:
    """Name photos that cannot be read, each with its reason, where there are some; one may be listed twice."""
    if unreadable:
        listed = "; ".join(f"{photo}: {reason}" for photo, reason in unreadable[:10])
        warnings.warn(f"{len(unreadable)} photos cannot be read and are left out: {listed}", stacklevel=3)
