"""Which photos count: those that the classifier gets right. A wrong answer has no right reason to be examined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from regard.errors import PhotoError
from regard.evaluate.known_photo import KnownPhoto, class_of
from regard.models.classifier import Classifier
from regard.targets import log_probabilities

TOGETHER = 16
"""Photos that are prepared and answered in one call."""

COUNTED, WRONG, FAILED = "counts", "misclassified", "failed"


@dataclass(frozen=True)
class Answered:
    """A classifier's answer to a photo.

    Attributes:
        photo: the photo.
        label: its class, where it has one that the classifier knows.
        predicted: the likeliest class.
        second, least: the second likeliest and the least likely class.
        probability: of the likeliest class; None where the classifier gives none.
        status: "counts"; "misclassified", which is excluded; "failed", with the reason.
    """

    photo: KnownPhoto
    label: int | None
    predicted: int | None
    second: int | None
    least: int | None
    probability: float | None
    status: str
    error: str | None = None

    def row(self) -> dict[str, Any]:
        """What a run's row says of it."""
        names = ("label", "predicted", "second", "least", "probability", "status", "error")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def of_row(cls, photo: KnownPhoto, row: Mapping[str, Any]) -> Answered:
        """What `row` wrote."""
        names = ("label", "predicted", "second", "least", "probability", "status", "error")
        return cls(photo, **{name: row[name] for name in names})


def answered(classifier: Classifier, photos: Sequence[KnownPhoto]) -> list[Answered]:
    """The answers to some photos, in one call of the classifier.

    A photo whose label the classifier does not know, or that has none, counts with the likeliest class: nobody can say
    that it is wrong. A photo that cannot be read, or whose answer is not finite, fails alone.
    """
    try:
        with torch.no_grad():
            logits = classifier(classifier.prepare([photo.path for photo in photos]))
    except PhotoError as reason:
        if len(photos) == 1:
            return [_failed(photos[0], str(reason))]
        return [answer for photo in photos for answer in answered(classifier, [photo])]
    return [_answer(classifier, photo, answer) for photo, answer in zip(photos, logits.cpu(), strict=True)]


def _answer(classifier: Classifier, photo: KnownPhoto, logits: Tensor) -> Answered:
    """What the classifier says of a photo, from its logits (C,)."""
    if not bool(logits.isfinite().all()):
        return _failed(photo, "the classifier's answer holds NaN or infinity")
    label = class_of(photo.label, classifier)
    order = torch.sort(logits, descending=True, stable=True).indices.tolist()
    chance = None
    if classifier.outputs in ("softmax", "sigmoid"):
        chance = float(log_probabilities(logits[None], classifier.outputs)[0, order[0]].exp())
    status = COUNTED if label in (None, order[0]) else WRONG
    second = order[min(1, len(order) - 1)]
    return Answered(photo, label, order[0], second, order[-1], chance, status)


def _failed(photo: KnownPhoto, reason: str) -> Answered:
    return Answered(photo, None, None, None, None, None, FAILED, reason)


@dataclass(frozen=True)
class Gate:
    """What a table first says of its classifier and photos.

    Attributes:
        photos: that could be read.
        labelled: of these, with a class that the classifier knows.
        right: of the labelled, answered rightly.
        counted: photos that methods are judged on.
        failed: photos that could not be read.
        confidence: mean probability of the likeliest class over the photos that count; None without probabilities.
    """

    photos: int
    labelled: int
    right: int
    counted: int
    failed: int
    confidence: float | None

    @classmethod
    def of(cls, answers: Sequence[Answered]) -> Gate:
        """The counts of some answers."""
        read = [answer for answer in answers if answer.status != FAILED]
        labelled = [answer for answer in read if answer.label is not None]
        counted = [answer for answer in read if answer.status == COUNTED]
        chances = [answer.probability for answer in counted if answer.probability is not None]
        return cls(
            photos=len(read),
            labelled=len(labelled),
            right=sum(answer.status == COUNTED for answer in labelled),
            counted=len(counted),
            failed=len(answers) - len(read),
            confidence=sum(chances) / len(chances) if chances else None,
        )

    def words(self) -> str:
        """One sentence."""
        accuracy = f"{self.right} of {self.labelled} labelled photos are classified rightly"
        accuracy += f" ({self.right / self.labelled:.1%})" if self.labelled else ""
        parts = [accuracy if self.labelled else "no photo has a label that the classifier knows"]
        parts.append(f"{self.counted} of {self.photos} count")
        if self.confidence is not None:
            parts.append(f"mean probability of the likeliest class there {self.confidence:.1%}")
        if self.failed:
            parts.append(f"{self.failed} could not be read")
        return "; ".join(parts)
