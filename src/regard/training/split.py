"""Which photos are kept from training, so that a figure says something of new ones."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from regard.errors import ClassifierError


def check_share(share: float) -> None:
    """Refuse a share of the photos by which nothing, or everything, would be held out.

    Raises:
        ClassifierError: it is no number above 0 and below 1.
    """
    if not isinstance(share, (int, float)) or not 0 < share < 1:
        raise ClassifierError("held_out is a share of the photos", came=f"{share!r}", expected="above 0, below 1")


def check_choosing(share: float, parted: str) -> None:
    """Refuse a share, of what `parted` names, by which no epoch could be chosen, or nothing left to train on.

    Raises:
        ClassifierError: it is no number from 0 on and below 1.
    """
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < 1:
        raise ClassifierError(
            f"the epoch is chosen by a share of the {parted}", came=repr(share), expected="from 0, and below 1"
        )


def held_out_marks(fingerprints: Sequence[str], strata: Sequence[str], share: float, draw: str) -> list[bool]:
    """Which photos are held out: of every stratum its share, at least one where it has two different photos.

    Whether a photo is drawn depends on its content, on those of its stratum and on `draw`; not on names or order.
    Photos of the same content fall together; where their strata differ, they count for the first of them in order.

    Args:
        fingerprints: of the content of each photo.
        strata: the class of each photo, or whatever must be in both parts.
        share: above 0, below 1; rounded to whole photos.
        draw: another text, another draw.

    Raises:
        ClassifierError: no stratum has two different photos.
    """
    stratum_of: dict[str, str] = {}
    for mark, stratum in zip(fingerprints, strata, strict=True):
        stratum_of[mark] = min(stratum, stratum_of.get(mark, stratum))
    members: dict[str, set[str]] = defaultdict(set)
    for mark, stratum in stratum_of.items():
        members[stratum].add(mark)
    chosen = {mark for marks in members.values() for mark in _drawn(marks, share, draw)}
    if not chosen:
        raise ClassifierError(
            "there are too few photos to keep some from training",
            came=f"{len(fingerprints)}, and no class has two different ones",
            expected="three different photos of a class, one to learn from, one to choose by, one to examine",
        )
    return [mark in chosen for mark in fingerprints]


def _drawn(marks: set[str], share: float, draw: str) -> set[str]:
    if len(marks) < 2:
        return set()
    count = min(max(1, round(share * len(marks))), len(marks) - 1)
    return set(sorted(marks, key=lambda mark: hashlib.sha256(f"{draw} {mark}".encode()).digest())[:count])
