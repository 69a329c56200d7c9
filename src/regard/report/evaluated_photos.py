"""The photos of an evaluation: a card each, with what the classifier said, and the best methods' maps side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from regard.evaluate.gate import FAILED, WRONG
from regard.evaluate.plan import spread
from regard.report.blocks import Card, Layer, Maps
from regard.report.evaluated_run import Evaluated, Row, class_of, share
from regard.report.thumbnails import MOST_PHOTOS, photo_shown, placed

CASES = 5
"""Best cases that are shown, and worst ones."""
VERDICTS = {WRONG: "wrong", FAILED: "unreadable"}


def cards_of(found: Evaluated, legend: dict[str, str]) -> list[Card]:
    """A card a photo, of the first classifier, with the maps of the best methods.

    Args:
        found: the run.
        legend: to which is added how the maps of a method are read.
    """
    rows = {row["image"]: row for row in reversed(found.gate_rows())}
    ranked = "" if found.ranked is None else found.ranked.name
    values = {method: found.values(method) for method in found.few}
    best = values[found.few[0]] if found.few else {}
    order = sorted(best, key=lambda image: (best[image], image))
    cases = [*order[:CASES], *order[-CASES:]]
    chosen = {*cases, *spread(sorted(rows))[: MOST_PHOTOS - len(cases)]}
    cards = []
    for image in sorted(chosen):
        row = rows[image]
        photo = photo_shown(image, row.get("photo_sha256"), found.run.folder)
        scores = {f"{ranked} of {method}": each.get(image, math.nan) for method, each in values.items()}
        said = [_answer(row, found), photo.why, str(row.get("error") or "").partition("\n")[0]]
        verdict = VERDICTS.get(row["status"], "right" if row["label"] is not None else "no label")
        name = found.called(class_of(row))
        scores = {"probability": row["probability"] if row["probability"] is not None else math.nan, **scores}
        maps = [] if photo.source is None else [*_maps(found, image, values, legend)]
        notes = tuple(filter(None, said))
        cards.append(
            Card(image, photo.source, photo.size, (name,) if name else (), verdict, tuple(maps), scores, notes)
        )
    return cards


def _maps(
    found: Evaluated, image: str, values: Mapping[str, Mapping[str, float]], legend: dict[str, str]
) -> Iterator[Maps]:
    """The maps of a photo by the best methods, side by side; none of a run by an older regard, which kept none."""
    ranked = found.ranked
    for row in found.mapped.get(image, ()):
        file = placed(row["maps"], found.run.folder, True)
        value = values[row["method"]].get(image)
        said = "" if ranked is None or value is None else f"{ranked.name} {value:.3f}"
        if isinstance(file, str):
            yield Maps(row["method"], (Layer(row["target"], file, None),), None)
            continue
        legend.setdefault(row["method"], file.legend(row["method"]))
        yield Maps(row["method"], (Layer(row["target"], said, file.sources[0]),), file.ends, file.explanation.signed)


def _answer(row: Row, found: Evaluated) -> str:
    if row["predicted"] is None:
        return ""
    answer = f"{found.called(row['predicted'])} {share(row['probability'])}".strip()
    return f"{answer}; labelled {found.called(row['label'])}" if row["status"] == WRONG else answer
