"""Means over photos and trainings, and how far both could have moved them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from measuring import head
from study_brnpa_cases import Study

DRAWS = 10_000

Row = dict[str, Any]
Get = Callable[[Row], Sequence[float]]


@dataclass(frozen=True)
class Crossed:
    """A mean over seeds and photos.

    Attributes:
        mean: over all pairs that have a value; NaN where none has.
        low, high: 95 % of the bootstrap that draws seeds and photos, both with replacement; NaN where all values are
            alike. Of three seeds it draws the spread between trainings a factor 2/3 too small, in variance.
        seeds, photos: that have a value.
    """

    mean: float
    low: float
    high: float
    seeds: int
    photos: int


def crossed(values: np.ndarray) -> Crossed:
    """Of values (seeds, photos), NaN where there is none; a difference of two is paired where both are subtracted."""
    known = ~np.isnan(values)
    values, known = (part[known.any(axis=1)][:, known.any(axis=0)] for part in (values, known))
    seeds, photos = values.shape
    if not known.any():
        return Crossed(np.nan, np.nan, np.nan, 0, 0)
    filled = np.where(known, values, 0)
    mean = float(filled.sum() / known.sum())
    if np.ptp(values[known]) == 0:
        return Crossed(mean, np.nan, np.nan, seeds, photos)
    generator = np.random.default_rng(0)
    drawn = [generator.multinomial(count, np.full(count, 1 / count), DRAWS).astype(float) for count in values.shape]
    sums, counts = (np.einsum("ds,sp,dp->d", drawn[0], part, drawn[1], optimize=True) for part in (filled, known * 1.0))
    low, high = np.percentile(sums[counts > 0] / counts[counts > 0], [2.5, 97.5])
    return Crossed(mean, float(low), float(high), seeds, photos)


def values_of(study: Study, what: str, get: Get, sets: Iterable[str] = ()) -> np.ndarray:
    """A number a photo of a training or measurement, (seeds, photos); NaN where it has not been done yet.

    Args:
        study: what is kept.
        what: the training or measurement.
        get: of its row, a number a photo, the photos in the same order whatever the seed.
        sets: one after the other; default all.
    """
    parts = []
    for of in sets or study.sets:
        photos = sum(study.photos(of).held)
        rows = [study.done(of, what, seed) for seed in study.seeds]
        parts.append(np.array([[np.nan] * photos if row is None else get(row) for row in rows], dtype=float))
    return np.concatenate(parts, axis=1)


def difference(study: Study, get: Get, first: str, second: str, sets: Iterable[str] = ()) -> np.ndarray:
    """First less second, photo by photo, (seeds, photos); see `values_of`."""
    return values_of(study, first, get, sets) - values_of(study, second, get, sets)


def in_points(found: Crossed) -> str:
    """A difference of shares in points, signed."""
    return _said(found, lambda value: f"{100 * value:+.1f}")


def in_percent(found: Crossed) -> str:
    return _said(found, lambda value: f"{100 * value:.1f}")


def in_numbers(found: Crossed) -> str:
    return _said(found, lambda value: f"{value:.3f}")


def as_difference(found: Crossed) -> str:
    return _said(found, lambda value: f"{value:+.3f}")


def _said(found: Crossed, form: Callable[[float], str]) -> str:
    if np.isnan(found.mean):
        return ""
    return form(found.mean) + ("" if np.isnan(found.low) else f" [{form(found.low)}, {form(found.high)}]")


def right(row: Row) -> list[float]:
    """Of a training: 1 where the likeliest class is the true one, 0 elsewhere."""
    return right_by(row["logits"], row)


def right_by(logits: Sequence[Sequence[float]], row: Row) -> list[float]:
    """The same of other logits of its photos, (photos, classes)."""
    return [float(said == true) for said, true in zip(np.argmax(logits, axis=1), row["truth"], strict=True)]


def relative(figure: str) -> Get:
    """Of a map that was judged: an area, divided by the probability of the whole photo."""
    return lambda row: (np.array(row[figure]) / np.array(row["clean"])).tolist()


def true_probability(logits: np.ndarray, truth: Sequence[int]) -> np.ndarray:
    """The true class's softmax probability, (photos,), of logits (photos, classes)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True))[np.arange(len(truth)), truth]


def line(*cells: object) -> str:
    """A line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def table(title: str, columns: Sequence[str], lines: Sequence[str]) -> list[str]:
    """A table with its title; nothing where it has no lines."""
    return [f"### {title}", "", *head(columns), *lines, ""] if lines else []
