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

COUNTED, WRONG, UNKNOWN, FAILED = "counts", "misclassified", "unknown label", "failed"
EXAMPLES = 3
"""Labels that are named where something is wrong with them."""


@dataclass(frozen=True)
class Answered:
    """A classifier's answer to a photo.

    Attributes:
        photo: the photo.
        label: its class, where it has one that the classifier knows.
        predicted: the likeliest class.
        second, least: the second likeliest and the least likely class.
        probability: of the likeliest class; None where the classifier gives none.
        status: "counts"; "misclassified", which is excluded; "unknown label", of no class of the classifier; "failed",
            with the reason.
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

    A photo without a label counts with the likeliest class: nobody can say that it is wrong. A photo that cannot be
    read, or whose answer is not finite, fails alone.
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
    status = UNKNOWN if label is None and photo.label is not None else status
    second = order[min(1, len(order) - 1)]
    return Answered(photo, label, order[0], second, order[-1], chance, status)


def counting(answers: Sequence[Answered]) -> list[Answered]:
    """The photos that methods are judged on.

    Photos with a label of no class of the classifier are left out, unless there are no others: the labels are then
    those of another data set, such as COCO's, and each photo is judged for its likeliest class.
    """
    foreign = all(answer.label is None for answer in answers)
    return [answer for answer in answers if answer.status == COUNTED or (foreign and answer.status == UNKNOWN)]


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
        unknown: labels that are no class of the classifier, one a photo.
        wrong: "label, not answer" of photos that it gets wrong, as class indices.
        confidence: mean probability of the likeliest class over the photos that count; None without probabilities.
    """

    photos: int
    labelled: int
    right: int
    counted: int
    failed: int
    unknown: tuple[str, ...]
    wrong: tuple[str, ...]
    confidence: float | None

    @classmethod
    def of(cls, answers: Sequence[Answered]) -> Gate:
        """The counts of some answers."""
        read = [answer for answer in answers if answer.status != FAILED]
        labelled = [answer for answer in read if answer.label is not None]
        counted = counting(answers)
        chances = [answer.probability for answer in counted if answer.probability is not None]
        return cls(
            photos=len(read),
            labelled=len(labelled),
            right=sum(answer.status == COUNTED for answer in labelled),
            counted=len(counted),
            failed=len(answers) - len(read),
            unknown=tuple(str(answer.photo.label) for answer in read if answer.status == UNKNOWN),
            wrong=tuple(f"{answer.label}, not {answer.predicted}" for answer in read if answer.status == WRONG),
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
        if self.unknown:
            some = ", ".join(dict.fromkeys(self.unknown[:EXAMPLES]))
            fate = "left out" if self.labelled else "judged for their likeliest class"
            parts.append(f"{len(self.unknown)} have a label that is no class of the classifier ({some}, …), {fate}")
        if self.right < self.labelled / 2:
            some = "; ".join(self.wrong[:EXAMPLES])
            parts.append(f"so few are right that the labels may be of other classes, see --labels ({some})")
        if self.failed:
            parts.append(f"{self.failed} could not be read")
        return "; ".join(parts)
