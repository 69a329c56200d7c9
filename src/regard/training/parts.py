"""Photos with their classes in three parts: to learn from, to choose the epoch by, and to be examined on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from regard.errors import ClassifierError
from regard.images import Photo
from regard.models.preparation import Preparation
from regard.training.readable import Watched, listed_by_name, reasons_against
from regard.training.split import held_out_marks
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

    def counted(self) -> dict[str, int]:
        """How many there are of each, as the facts of a training."""
        return {
            "photos_trained_on": len(self.learnt),
            "photos_chosen_by": len(self.chosen_by),
            "photos_held_out": len(self.examined),
            "photos_unreadable": len(self.unreadable),
        }


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
    reasons = reasons_against(photos, order, preparation, tracked)
    known = [place for place in order if place not in reasons]

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
        listed_by_name(photos, reasons),
    )


def _given(chosen: list[bool]) -> list[bool]:
    if all(chosen) or not any(chosen):
        raise ClassifierError(
            "some photos must be trained on and some held out",
            came=f"{sum(chosen)} of {len(chosen)} held out",
            remedy="mark some of each kind (train, val), or give no marks to have a share held out",
        )
    return chosen
