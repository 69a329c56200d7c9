"""All methods on all photos, into a run: what is done is kept, and not done again."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from regard.evaluate.gate import FAILED, TOGETHER, Answered, answered
from regard.evaluate.judge import Entrant, Protocol, judge
from regard.evaluate.judged import Judged
from regard.evaluate.plan import Planned
from regard.explanation import Explanation
from regard.metrics.metric import Needs
from regard.metrics.of_maps import RankCorrelation
from regard.models.classifier import Classifier
from regard.naming import image_of, photo_facts
from regard.runs import Run
from regard.targets import PerImage

Item = TypeVar("Item")
Advance = Callable[[int], None]
"""Called with the number of photos that have been done."""

GATE, JUDGED, OVERLAP, SKIPPED = "gate", "judged", "overlap", "skipped"
"""Kinds of rows: an answer to a photo, a method's numbers on a photo, two methods' likeness, a method left out."""

BATCH = 8
"""Photos that a method explains at once."""


def gated(results: Run, classifier: Classifier, photos: Sequence[Judged], advance: Advance) -> list[Answered]:
    """The classifier's answers to all photos; those that the run holds already are read from it.

    A photo whose file has changed since is asked anew, and all that was said of it is forgotten.
    """
    method = f"{GATE} on {classifier.name}"
    there = {row["image"]: row for row in results.rows() if row["method"] == method}
    facts = {photo.path: _facts(photo) for photo in photos}
    left = [photo for photo in photos if not _known(there.get(image_of(photo.path)), facts[photo.path])]
    results.forget({image_of(photo.path) for photo in left} & there.keys())
    for batch in _batches(left, TOGETHER):
        answers = answered(classifier, batch)
        common = {"kind": GATE, "method": method, "target": "", "classifier": classifier.name}
        rows = [{**facts[answer.photo.path], **common, **answer.row()} for answer in answers]
        results.write_rows(rows)
        there |= {row["image"]: row for row in rows}
        advance(len(batch))
    return [Answered.of_row(photo, there[image_of(photo.path)]) for photo in photos]


def contested(results: Run, planned: Planned, protocol: Protocol, advance: Advance) -> dict[str, Explanation]:
    """Judge one method on its photos, writing rows as they come.

    Returns:
        The maps of the photos on which it was asked again, by what rows call the photo; none of those that the run
        held already.
    """
    entrant, kept = planned.entrant, dict[str, Explanation]()
    done = {row["image"] for row in results.rows() if row["kind"] == JUDGED and row["method"] == entrant.name}
    parts = (planned.photos[: planned.again], planned.photos[planned.again :])
    for again, photos in zip((planned.needs, frozenset[Needs]()), parts, strict=True):
        left = [answer for answer in photos if image_of(answer.photo.path) not in done]
        advance(len(photos) - len(left))
        for batch in _batches(left, len(left) if photos is parts[0] else BATCH):
            found, explanation = judge(entrant, batch, protocol, again=again)
            results.write_rows([{**_about(answer, entrant), **row} for answer, row in zip(batch, found, strict=True)])
            if photos is parts[0]:
                kept |= {image_of(answer.photo.path): one for answer, one in zip(batch, explanation, strict=True)}
            advance(len(batch))
    return kept


def overlapped(
    results: Run, plans: Sequence[Planned], maps: dict[str, dict[str, Explanation]], metric: RankCorrelation
) -> None:
    """Rows of how alike the maps of any two methods are, on the photos that both were asked again on.

    Args:
        results: the run.
        plans: the methods.
        maps: of these photos, by method and photo; what a stopped run has computed before is computed again.
        metric: the rank correlation.
    """
    done = {(row["image"], row["method"]) for row in results.rows() if row["kind"] == OVERLAP}
    for answer in max((plan.photos[: plan.again] for plan in plans), key=len, default=()):
        image = image_of(answer.photo.path)
        having = [plan.entrant for plan in plans if answer in plan.photos[: plan.again]]
        pairs = [pair for pair in itertools.combinations(having, 2) if (image, _pair(*pair)) not in done]
        for entrant in {entrant.name: entrant for pair in pairs for entrant in pair}.values():
            if image not in maps.setdefault(entrant.name, {}):
                maps[entrant.name][image] = _explained(entrant, answer)
        rows = []
        for one, other in pairs:
            first, second = maps[one.name][image], maps[other.name][image]
            alike = math.nan if first.not_finite or second.not_finite else float(metric.measure(first, second)[0, 0])
            value = None if math.isnan(alike) else alike
            rows.append({**_about(answer, one), "kind": OVERLAP, "method": _pair(one, other), metric.column: value})
        results.write_rows([{**row, "status": "compared", "error": None} for row in rows])


def _explained(entrant: Entrant, answer: Answered) -> Explanation:
    pixels = entrant.explainer.classifier.prepare([answer.photo.path])
    return entrant.explainer(pixels, PerImage([answer.predicted]), on_nan="skip")


def _pair(one: Entrant, other: Entrant) -> str:
    return f"{one.name} | {other.name}"


def _about(answer: Answered, entrant: Entrant) -> dict[str, Any]:
    """What a row says of photo, class and method."""
    classifier = entrant.explainer.classifier
    label = None if classifier.labels is None or answer.predicted is None else classifier.labels[answer.predicted]
    return {
        "kind": JUDGED,
        **_facts(answer.photo),
        "method": entrant.name,
        "target": label or str(answer.predicted),
        "classifier": classifier.name,
        "class_index": answer.predicted,
        "probability": answer.probability,
        "labelled": answer.label is not None,
    }


def _facts(photo: Judged) -> dict[str, Any]:
    """Name and digest of a photo; no digest where its file cannot be read."""
    try:
        return dict(photo_facts(photo.path))
    except OSError:
        return {"image": image_of(photo.path), "photo_sha256": None}


def _known(row: dict[str, Any] | None, facts: dict[str, Any]) -> bool:
    return row is not None and row["status"] != FAILED and row["photo_sha256"] == facts["photo_sha256"]


def _batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size or 1))
