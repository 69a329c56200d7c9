"""Targets of masked pictures: what the methods share that only watch how answers change."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from regard.errors import UnsupportedError
from regard.fills import Fill, training_mean
from regard.models import passes
from regard.models.classifier import Classifier
from regard.question import Question
from regard.targets import Output


def fill_of(classifier: Classifier, fill: Fill | None) -> Fill:
    """What masked pixels become: the training set's mean colour, zero in prepared pixels, if nothing is said.

    Raises:
        UnsupportedError: it is no fill.
    """
    if fill is None:
        return training_mean(classifier.preparation.channels)
    if not isinstance(fill, Fill):
        raise UnsupportedError("masked pixels become a fill", came=repr(fill), expected="one of regard.fills")
    return fill


def masked_scores(
    classifier: Classifier,
    pixels: Tensor,
    images: Tensor,
    masks: Callable[[Tensor], Tensor],
    fill: Fill,
    question: Question,
) -> Tensor:
    """Values of all targets through J masks, (J, T), float32; all targets from the same passes.

    Args:
        classifier: the classifier.
        pixels: (B, 3, H, W).
        images: the image of each job, (J,).
        masks: job numbers (n,) → what stays, (n, 1, H, W), made only when their chunk comes.
        fill: what the rest becomes.
        question: about the B images, with what it picks by the answer held fast.

    Cost: J forwards; memory of one chunk.
    """

    def values(output: Output, numbers: Tensor) -> Tensor:
        return question.take(images[numbers].tolist()).scores(output)

    return passes.masked(classifier, pixels, images, masks, fill, values)
