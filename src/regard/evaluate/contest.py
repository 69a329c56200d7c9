"""All methods on all photos, into a run: what is done is kept, and not done again."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from regard.errors import RegardError, RunError
from regard.evaluate.gate import FAILED, TOGETHER, Answered, answered
from regard.evaluate.judge import Entrant, Judgement, Protocol, judge
from regard.evaluate.kept_map import PHOTOS, keep_map, map_alone
from regard.evaluate.known_photo import KnownPhoto
from regard.evaluate.plan import Planned, forwards_of_map
from regard.explanation import Explanation
from regard.metrics.metric import MapMetric, Needs
from regard.models.classifier import Classifier
from regard.naming import image_of, photo_facts, printable
from regard.runs import Run
from regard.targets import PerImage

Item = TypeVar("Item")
Row = Mapping[str, Any]
Advance = Callable[[int], None]
"""Called with the number of photos that have been done."""

GATE, JUDGED, OVERLAP, SKIPPED = "gate", "judged", "overlap", "skipped"
"""Kinds of rows: an answer to a photo, a method's numbers on a photo, two methods' likeness, a method left out."""

BATCH = 8
"""Photos that a method explains at once."""


def gated(results: Run, classifier: Classifier, photos: Sequence[KnownPhoto], advance: Advance) -> list[Answered]:
    """The classifier's answers to all photos; those that the run holds already are read from it.

    A photo whose file has changed since is asked anew, and all that was said of it is forgotten.
    """
    method, there = _gate_on(classifier), _answers_on(classifier, results.rows())
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


def answers_in(rows: Sequence[Row], classifier: Classifier, photos: Sequence[KnownPhoto]) -> list[Answered]:
    """The classifier's answers to all photos, as a finished run holds them.

    Raises:
        RunError: the run is of other contents of a photo.
    """
    there = _answers_on(classifier, rows)
    changed = [
        photo for photo in photos if there[image_of(photo.path)]["photo_sha256"] != _facts(photo)["photo_sha256"]
    ]
    if changed:
        raise RunError(
            f"photos have changed since the run was finished: {len(changed)} of {len(photos)}",
            came=printable(", ".join(photo.path.name for photo in changed[:3])),
            remedy="choose another folder, or --force to replace the run",
        )
    return [Answered.of_row(photo, there[image_of(photo.path)]) for photo in photos]


def left_out(rows: Sequence[Row]) -> dict[str, str]:
    """Methods that could not be made, and why."""
    judged = {row["method"] for row in rows if row["kind"] == JUDGED}
    return {row["method"]: row["error"] for row in rows if row["kind"] == SKIPPED and row["method"] not in judged}


def still_to_do(rows: Sequence[Row], plans: Sequence[Planned], protocol: Protocol) -> tuple[list[Planned], int]:
    """What a run's rows leave to do: the methods with photos, and forward passes for maps that are compared.

    Maps are kept until all methods are judged, and then compared; those that a stopped run had are computed again.
    """
    done = {plan.entrant.name: _done(rows, plan.entrant) for plan in plans}
    left = [plan.without(done[plan.entrant.name]) for plan in plans]
    lost = (
        forwards_of_map(entrant.explainer)
        for answer, pairs in (_pairs_left(rows, plans) if protocol.reads("other maps") else ())
        for entrant in _each(pairs)
        if image_of(answer.photo.path) in done[entrant.name]
    )
    return [plan for plan in left if plan.photos], sum(lost)


def contested(results: Run, planned: Planned, protocol: Protocol, advance: Advance) -> dict[str, Explanation]:
    """Judge one method on its photos, writing rows as they come; photos on which it failed before are tried again.

    The first photo is judged alone, and its peak of memory measured: that slows a call, and one is enough.

    Returns:
        The maps of the photos on which it was asked again, by what rows call the photo, without pictures; none of those
        that the run held already. Memory: a map is at most the frame in float32, 0.2 MB at 224 pixels a side.
    """
    entrant, kept = planned.entrant, dict[str, Explanation]()
    left = planned.without(_done(results.rows(), entrant))
    advance(len(planned.photos) - len(left.photos))
    parts = (left.photos[: left.again], left.photos[left.again :])
    looked_at = {image_of(answer.photo.path) for answer in planned.photos[:PHOTOS]}
    for again, photos in zip((planned.needs, frozenset[Needs]()), parts, strict=True):
        for batch in _batches(photos, BATCH, alone=left.photos[:1]):
            found = judge(entrant, batch, protocol, again=again, memory=batch == left.photos[:1])
            judged = [*zip(batch, found, strict=True)]
            results.write_rows(
                [
                    {**_about(answer, entrant), **one.row, "maps": _kept(results, entrant, answer, one, looked_at)}
                    for answer, one in judged
                ]
            )
            for answer, one in judged:
                if photos is parts[0] and one.explanation is not None:
                    kept[image_of(answer.photo.path)] = map_alone(one.explanation)
            advance(len(batch))
    return kept


def _kept(results: Run, entrant: Entrant, answer: Answered, found: Judgement, looked_at: Collection[str]) -> str | None:
    """The file in which the run keeps a map; None of a map without numbers, and of photos that nobody will look at."""
    image, explanation = image_of(answer.photo.path), found.explanation
    if explanation is None or explanation.not_finite or image not in looked_at:
        return None
    return keep_map(results.folder, entrant.name, image, explanation)


def overlapped(
    results: Run, plans: Sequence[Planned], maps: dict[str, dict[str, Explanation]], metrics: Sequence[MapMetric]
) -> None:
    """Rows of how alike the maps of any two methods are, on the photos that both were asked again on.

    Args:
        results: the run.
        plans: the methods.
        maps: of these photos, by method and photo; what a stopped run has computed before is computed again.
        metrics: those that read two methods' maps.
    """
    for answer, pairs in _pairs_left(results.rows(), plans):
        image = image_of(answer.photo.path)
        explained = {
            entrant.name: maps.get(entrant.name, {}).get(image) or _explained(entrant, answer)
            for entrant in _each(pairs)
        }
        rows = []
        for one, other in pairs:
            alike = _alike(explained[one.name], explained[other.name], metrics)
            rows.append({**_about(answer, one), "kind": OVERLAP, "method": _pair(one, other), **alike})
        results.write_rows([{**row, "status": "compared", "error": None} for row in rows])


def _pairs_left(
    rows: Sequence[Row], plans: Sequence[Planned]
) -> Iterator[tuple[Answered, list[tuple[Entrant, Entrant]]]]:
    """Each photo on which methods are asked again, with the pairs of them whose maps have not been compared on it."""
    done = {(row["image"], row["method"]) for row in rows if row["kind"] == OVERLAP}
    for answer in max((plan.photos[: plan.again] for plan in plans), key=len, default=()):
        image = image_of(answer.photo.path)
        having = [plan.entrant for plan in plans if answer in plan.photos[: plan.again]]
        yield answer, [pair for pair in itertools.combinations(having, 2) if (image, _pair(*pair)) not in done]


def _alike(one: Explanation | None, other: Explanation | None, metrics: Sequence[MapMetric]) -> dict[str, float | None]:
    """Every metric's number of two maps; None where a map is missing or not finite, or the number is NaN."""
    if one is None or other is None or one.not_finite or other.not_finite:
        return dict.fromkeys((metric.column for metric in metrics), None)
    values = {metric.column: float(metric.measure(one, other)[0, 0]) for metric in metrics}
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _explained(entrant: Entrant, answer: Answered) -> Explanation | None:
    """The map of a photo; None where the method fails, as the row of that photo says."""
    try:
        pixels = entrant.explainer.classifier.prepare([answer.photo.path])
        return entrant.explainer(pixels, PerImage([answer.predicted]), on_nan="skip")
    except RegardError:
        return None


def _each(pairs: Sequence[tuple[Entrant, Entrant]]) -> list[Entrant]:
    """The methods of some pairs, each once."""
    return list({entrant.name: entrant for pair in pairs for entrant in pair}.values())


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
        "control": entrant.is_control,
        "target": label or str(answer.predicted),
        "classifier": classifier.name,
        "class_index": answer.predicted,
        "probability": answer.probability,
        "labelled": answer.label is not None,
    }


def _facts(photo: KnownPhoto) -> dict[str, Any]:
    """Name and digest of a photo; no digest where its file cannot be read."""
    try:
        return dict(photo_facts(photo.path))
    except OSError:
        return {"image": image_of(photo.path), "photo_sha256": None}


def _gate_on(classifier: Classifier) -> str:
    """In the place of a method: whose answer a row is."""
    return f"{GATE} on {classifier.name}"


def _answers_on(classifier: Classifier, rows: Sequence[Row]) -> dict[str, Row]:
    """Photo → the row of the classifier's answer to it."""
    return {row["image"]: row for row in rows if row["method"] == _gate_on(classifier)}


def _done(rows: Sequence[Row], entrant: Entrant) -> set[str]:
    """Photos on which a method has been judged; those on which it failed are tried again."""
    of_method = (row for row in rows if row["kind"] == JUDGED and row["method"] == entrant.name)
    return {row["image"] for row in of_method if row["status"] != FAILED}


def _known(row: Row | None, facts: Row) -> bool:
    return row is not None and row["status"] != FAILED and row["photo_sha256"] == facts["photo_sha256"]


def _batches(items: Sequence[Item], size: int, alone: Sequence[Item] = ()) -> Iterator[Sequence[Item]]:
    """Parts of a size, in order; where the items begin with what is to be alone, that is the first part."""
    start = len(alone) if alone and items[: len(alone)] == alone else 0
    if start:
        yield items[:start]
    yield from (items[place : place + size] for place in range(start, len(items), size))
