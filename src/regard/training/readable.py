"""Which photos can be read at all, tried some at a time before a training asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from regard.errors import PhotoError
from regard.images import Photo
from regard.models.preparation import Preparation
from regard.naming import printable

BATCH = 32
"""Photos that are looked at together."""

Watched = Callable[[str, Sequence[int]], Iterable[int]]
"""Goes through the parts of a work that has a name; a place for progress."""


def reasons_against(
    photos: Sequence[Photo], order: Sequence[int], preparation: Preparation, tracked: Watched
) -> dict[int, str]:
    """Place of each photo that cannot be prepared → why.

    Args:
        photos: paths, PIL images or uint8 arrays.
        order: in which they are tried, as places.
        preparation: each photo is prepared once.
        tracked: goes through batches of photos.

    Raises:
        PhotoError: none can be read.
    """
    reasons: dict[int, str] = {}
    for start in tracked("looking at the photos", range(0, len(order), BATCH)):
        places = order[start : start + BATCH]
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # decoding lets go of the interpreter
            tried = pool.map(lambda place: _reason_against(photos[place], preparation), places)
        reasons |= {place: reason for place, reason in zip(places, tried, strict=True) if reason}
    check_any_readable(len(photos) - len(reasons), reasons.values())
    return reasons


def check_any_readable(readable: int, reasons: Iterable[str]) -> None:
    """Refuse a training without a photo.

    Raises:
        PhotoError: no photo is readable.
    """
    if not readable:
        raise PhotoError("no photo can be read", came="; ".join(dict.fromkeys(reasons))[:200] or "no photos")


def listed_by_name(photos: Sequence[Photo], reasons: Mapping[int, str]) -> dict[str, str]:
    """Photo → why it cannot be read, from places."""
    return {name_of(photos[place]): reason for place, reason in sorted(reasons.items())}


def name_of(photo: Photo) -> str:
    """What a photo is called where it is told of."""
    return printable(f"{photo!s:.200}")


def _reason_against(photo: Photo, preparation: Preparation) -> str:
    try:
        preparation([photo])
    except PhotoError as reason:
        return reason.problem
    return ""
