"""Photos as a classifier answers them: which can be read, what it takes them for, which are kept from training."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from regard.errors import ClassifierError, NotFiniteError, PhotoError
from regard.images import Photo
from regard.models.classifier import Classifier
from regard.training.readable import BATCH, Watched, check_any_readable, name_of
from regard.training.split import check_share, held_out_marks


@dataclass(frozen=True)
class Surveyed:
    """Photos that can be read, in the order of their content, so that the order in which they came changes nothing.

    Attributes:
        photos: the photos.
        marks: SHA-256 of each one's content.
        classes: the class that the classifier takes each for.
    """

    photos: tuple[Photo, ...]
    marks: tuple[str, ...]
    classes: tuple[int, ...]

    def of_class(self, classes: int) -> tuple[int, ...]:
        """Photos of each of so many classes."""
        count = Counter(self.classes)
        return tuple(count[index] for index in range(classes))

    def apart(self, share: float, seed: int) -> tuple[Surveyed, Surveyed]:
        """Photos to learn from, and about a share of all to examine by.

        Of every class that has so many photos that its share is one or more, that share; of all others together the
        share of them: of 1000 classes with a photo each, every tenth is held out and not none. Photos of the same
        content stay together.

        Args:
            share: above 0, below 1.
            seed: another one, another draw.

        Raises:
            ClassifierError: there are no two different photos, or `share` is none.
        """
        check_share(share)
        different = dict(zip(self.marks, self.classes, strict=True))
        if len(different) < 2:
            raise ClassifierError(
                "there are too few photos to keep some from training",
                came=f"{len(different)} different photos that can be read",
                expected="two at least; thousands, for maps that are worth something",
            )
        count = Counter(different.values())
        strata = [str(index) if share * count[index] >= 1 else "" for index in self.classes]
        held = held_out_marks(self.marks, strata, share, f"held out {seed}")
        return self._where([not mark for mark in held]), self._where(held)

    def _where(self, chosen: Sequence[bool]) -> Surveyed:
        places = [place for place, here in enumerate(chosen) if here]
        return Surveyed(
            tuple(self.photos[place] for place in places),
            tuple(self.marks[place] for place in places),
            tuple(self.classes[place] for place in places),
        )


def digest_of(marks: Iterable[str]) -> str:
    """SHA-256 of a list of photos, whatever their order and names."""
    return hashlib.sha256("\n".join(sorted(marks)).encode()).hexdigest()


def surveyed(
    classifier: Classifier, photos: Sequence[Photo], marks: Sequence[str], tracked: Watched
) -> tuple[Surveyed, Mapping[str, str]]:
    """Every photo as the classifier answers it, and of those that cannot be read why not. One forward a photo.

    Args:
        classifier: with classes.
        photos: paths, PIL images or uint8 arrays.
        marks: of the content of each; empty where there is no file.
        tracked: goes through the batches.

    Raises:
        PhotoError: no photo can be read.
        NotFiniteError: the classifier answers NaN or infinity, with the photo.
    """
    order = sorted(range(len(photos)), key=marks.__getitem__)
    found: list[tuple[int, int]] = []
    unreadable: dict[str, str] = {}
    for start in tracked("looking at the photos", range(0, len(order), BATCH)):
        places = order[start : start + BATCH]
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # decoding lets go of the interpreter
            tried = pool.map(lambda place: _prepared(classifier, photos[place]), places)
        came = dict(zip(places, tried, strict=True))
        prepared = {place: pixels for place, pixels in came.items() if isinstance(pixels, Tensor)}
        unreadable |= {name_of(photos[place]): reason for place, reason in came.items() if isinstance(reason, str)}
        if prepared:
            found += zip(prepared, _answers(classifier, prepared, photos), strict=True)
    check_any_readable(len(found), unreadable.values())
    known = Surveyed(
        tuple(photos[place] for place, _ in found),
        tuple(marks[place] for place, _ in found),
        tuple(index for _, index in found),
    )
    return known, unreadable


def _prepared(classifier: Classifier, photo: Photo) -> Tensor | str:
    """Pixels (1, 3, H, W), or why there are none."""
    try:
        return classifier.preparation([photo]).as_subclass(Tensor)
    except PhotoError as reason:
        return reason.problem


def _answers(classifier: Classifier, prepared: Mapping[int, Tensor], photos: Sequence[Photo]) -> list[int]:
    with classifier.untouched(), torch.no_grad():
        logits = classifier.forward(torch.cat([*prepared.values()]).to(classifier.device))
    for place, row in zip(prepared, logits, strict=True):
        if not bool(row.isfinite().all()):
            raise NotFiniteError(
                f"{classifier.name} answers a photo with NaN or infinity",
                came=f"{name_of(photos[place])}: {classifier.blame_for_nan()}",
            )
    indices: list[int] = logits.argmax(dim=1).tolist()
    return indices
