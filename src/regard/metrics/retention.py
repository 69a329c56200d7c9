"""What a class loses or gains where only part of a picture is shown: Average Drop, Increase in Confidence, Gain.

With Y the probability of a class on the whole picture and O on the part that its map retains (TAME, section 3.1;
Chattopadhay et al. 2018, Grad-CAM++, section 5; Zhang et al. 2023, Opti-CAM, section 4.3). Shares, not per cent.

Which part is retained decides what these numbers are worth. Ranked scores retain the top half, or the top 15 %, as it
is (`curves`): a soft mask, as published, weighs every pixel with the map, so that a map near its maximum almost
everywhere loses nothing, random maps beat real ones where all is shown, and a map scores otherwise once its evidence
against is clamped at zero, or one place sinks, though the shown places stay in the same order (`softly_retained`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor

from regard.errors import MetricError
from regard.explanation import Explanation
from regard.fills import black
from regard.metrics.common_grid import enlarged
from regard.metrics.judged_pictures import judged_pictures
from regard.metrics.ranking import TIES, ranks
from regard.models import passes
from regard.models.classifier import Classifier

PAPER = (1.0, 0.5, 0.15)
"""Shares that the paper retains."""


def average_drop(whole: Tensor, part: Tensor) -> Tensor:
    """max(0, Y − O) / Y: the share of the probability that is lost, in [0, 1]; lower is better. NaN where Y is 0.

    Raises:
        MetricError: Y or O is no probability; nor in the other two.
    """
    whole, part = _probabilities(whole, part)
    return (whole - part).clamp(min=0) / whole


def increase_in_confidence(whole: Tensor, part: Tensor) -> Tensor:
    """1 where O > Y, strictly, else 0; higher is better. NaN where either is."""
    whole, part = _probabilities(whole, part)
    return (part > whole).double().masked_fill(whole.isnan() | part.isnan(), torch.nan)


def average_gain(whole: Tensor, part: Tensor) -> Tensor:
    """max(0, O − Y) / (1 − Y): the share of what was missing that is gained, in [0, 1]; higher is better.

    NaN where Y is 1, since there is nothing to gain.
    """
    whole, part = _probabilities(whole, part)
    return (part - whole).clamp(min=0) / (1 - whole)


def _probabilities(*values: Tensor) -> list[Tensor]:
    """In float64; refused where they cannot be probabilities."""
    for each in values:
        if bool(((each < 0) | (each > 1)).any()):
            raise MetricError(
                "a share of what is lost or gained is one of a probability",
                came=f"values from {float(each.min()):.3g} to {float(each.max()):.3g}",
                remedy="ask for a class, of a classifier that gives probabilities",
            )
    return [each.double() for each in values]


@dataclass(frozen=True, eq=False)
class SoftlyRetained:
    """Answers to pictures weighed by their maps, as published with TAME; for comparison with its tables alone.

    Attributes:
        clean: (B, T); values as in `Curves`.
        retained: share → (B, T).
        fill, level, ties, precision: as in `Curves`.
    """

    clean: Tensor
    retained: dict[float, Tensor]
    fill: str
    precision: str
    level: str = "pixel, soft min-max mask"
    ties: str = TIES


def softly_retained(
    classifier: Classifier, pixels: Tensor, explanation: Explanation, *, targets: Any = None
) -> SoftlyRetained:
    """The paper's masks: x · m on black, with m the map enlarged, min-max to [0, 1], and zero below its top share.

        m = (M − min M) / (max M − min M);  m_i = 0 where the rank of i is not among the top share · N

    Exactly ⌈share · N⌉ places with the stated tie rule; a constant map shows nothing. (TAME, sections 3.1 and 3.2.)

    Args:
        classifier: the one that the maps explain.
        pixels: what was explained.
        explanation: its maps.
        targets: as in `curves`.

    Cost: a forward an image, and 3 an image and target; 4 an image where the method tells no targets apart.
    """
    judged = judged_pictures(classifier, pixels, explanation, targets)
    covered = explanation.geometries[0].frame
    maps = enlarged(judged.maps, covered)
    order = ranks(maps, judged.pixels.cpu()).to(maps.device)
    values = maps.flatten(2)
    low, high = values.amin(2, keepdim=True), values.amax(2, keepdim=True)
    soft = ((values - low) / (high - low)).nan_to_num(0.0)
    images, rows, places = order.shape
    jobs = torch.arange(images * rows * len(PAPER), device=order.device)
    image, row = jobs // (rows * len(PAPER)), jobs // len(PAPER) % rows
    shown = torch.tensor([math.ceil(share * places) for share in PAPER], device=order.device)
    below, beside = (whole - part for whole, part in zip(judged.pixels.shape[2:], covered, strict=True))

    def masks(numbers: Tensor) -> Tensor:
        at = image[numbers], row[numbers]
        kept = torch.where(order[at] < shown[numbers % len(PAPER), None], soft[at], 0.0)
        return functional.pad(kept.view(-1, 1, *covered), (0, beside, 0, below))

    fill = black(classifier.preparation.mean, classifier.preparation.std)
    answers = passes.masked(
        classifier, judged.pixels, image, masks, fill, lambda output, n: judged.values(output, image[n], row[n])
    )
    found = judged.by_target(answers.view(images, rows, len(PAPER), -1))
    return SoftlyRetained(
        clean=judged.clean.cpu(),
        retained={share: found[:, :, place] for place, share in enumerate(PAPER)},
        fill=repr(fill),
        precision=classifier.precision,
    )
