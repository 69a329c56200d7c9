"""How long a classifier takes."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regard.fills import Fill
    from regard.models.classifier import Classifier

TRIED_SECONDS = 1.0
"""For which passes are tried, at most; but always one that counts."""


def pass_seconds(subject: Classifier, fill: Fill | None = None) -> float:
    """How long one forward pass of one picture takes: the median of three, after one that wakes threads and memory.

    Of a slow network the median of fewer, so that trying does not last; see `TRIED_SECONDS`.

    Args:
        subject: the classifier.
        fill: what half of the picture is filled with before each pass; default nothing is.
    """
    picture = subject.picture(noise=True)
    kept = picture.new_ones(1, 1, *picture.shape[2:])
    kept[:, :, : picture.shape[2] // 2] = 0
    background = None if fill is None else fill.background(picture)
    spent: list[float] = []
    while len(spent) < 2 or (len(spent) < 4 and sum(spent) < TRIED_SECONDS):
        start = time.perf_counter()
        subject(picture if fill is None else fill(picture, kept, background))
        spent.append(time.perf_counter() - start)
    return statistics.median(spent[1:])
