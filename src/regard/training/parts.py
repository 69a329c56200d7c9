"""Photos with their classes in three parts: to learn from, to choose the epoch by, and to be examined on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from regard.errors import ClassifierError, PhotoError
from regard.images import Photo
from regard.models.preparation import Preparation
from regard.training.split import held_out_marks
from regard.training.surveyed import BATCH, Watched
from regard.training.targets import Answers, check_learnable


@dataclass(frozen=True)
class Part:
    """Some photos that can be read, in the order of their content: the order in which they came changes nothing.

    Attributes:
        photos: the photos.
        marks: SHA-256 of each one's content.
        classes: the true class of each, as an index.
    """

    photos: tuple[Photo, ...]
    marks: tuple[str, ...]
    classes: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.photos)


@dataclass(frozen=True)
class Parts:
    """What becomes of the photos.

    Attributes:
        learnt: trained on.
        chosen_by: not trained on; they say which epoch is kept. Empty where the last one is.
        examined: kept from training and from every choice; the figures are theirs.
        unreadable: photo → why it could not be read; such photos are left out.
    """

    learnt: Part
    chosen_by: Part
    examined: Part
    unreadable: Mapping[str, str]


def parted(
    photos: Sequence[Photo],
    marks: Sequence[str],
    answers: Answers,
    preparation: Preparation,
    held_out: float | Sequence[bool],
    choosing: float,
    seed: int,
    tracked: Watched,
) -> Parts:
    """Part photos by their content, of each class alike; those of the same content stay together.

    Args:
        photos: paths, PIL images or uint8 arrays.
        marks: of the content of each; empty where there is no file.
        answers: "softmax" ones, the class of each photo.
        preparation: each photo is prepared once, to see whether it can be.
        held_out: share of the photos that is examined, of each class; or which ones, one mark a photo.
        choosing: share of the others by which the epoch is chosen; 0 for none.
        seed: another one, another draw of those examined. Photos to choose by are drawn as `fit_head` draws them.
        tracked: goes through batches of photos that are read.

    Raises:
        PhotoError: no photo can be read.
        ClassifierError: a part would be empty, or a class has no photo to learn from.
    """
    order = sorted(range(len(photos)), key=marks.__getitem__)
    reasons: dict[int, str] = {}
    for start in tracked("looking at the photos", range(0, len(order), BATCH)):
        places = order[start : start + BATCH]
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # decoding lets go of the interpreter
            tried = pool.map(lambda place: why_unreadable(photos[place], preparation), places)
        reasons |= {place: reason for place, reason in zip(places, tried, strict=True) if reason}
    known = [place for place in order if place not in reasons]
    if not known:
        raise PhotoError("no photo can be read", came="; ".join(dict.fromkeys(reasons.values()))[:200] or "no photos")

    def where(places: Sequence[int], chosen: Sequence[bool], wanted: bool) -> list[int]:
        return [place for place, here in zip(places, chosen, strict=True) if here == wanted]

    def drawn(places: Sequence[int], share: float, draw: str) -> list[bool]:
        return held_out_marks([marks[place] for place in places], answers.of(places).strata, share, draw)

    def part(places: Sequence[int]) -> Part:
        classes: list[int] = answers.of(places).values.tolist()
        return Part(tuple(photos[place] for place in places), tuple(marks[place] for place in places), tuple(classes))

    apart = (
        drawn(known, held_out, f"held out {seed}")
        if isinstance(held_out, (int, float))
        else _given([bool(held_out[place]) for place in known])
    )
    taught = where(known, apart, False)
    inner = drawn(taught, choosing, "inner") if choosing else [False] * len(taught)
    learnt = where(taught, inner, False)
    check_learnable(answers.of(learnt), "softmax")
    return Parts(
        part(learnt),
        part(where(taught, inner, True)),
        part(where(known, apart, True)),
        {f"{photos[place]!s:.200}": reason for place, reason in sorted(reasons.items())},
    )


def _given(chosen: list[bool]) -> list[bool]:
    if all(chosen) or not any(chosen):
        raise ClassifierError(
            "some photos must be trained on and some held out",
            came=f"{sum(chosen)} of {len(chosen)} held out",
            remedy="mark some of each kind (train, val), or give no marks to have a share held out",
        )
    return chosen


def why_unreadable(photo: Photo, preparation: Preparation) -> str:
    """Why a photo cannot be read; empty where it can be."""
    try:
        preparation([photo])
    except PhotoError as reason:
        return reason.problem
    return ""
