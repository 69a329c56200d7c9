"""The photos of an evaluation: a card each, with what the classifier said, and the best methods' maps side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

from regard.evaluate.gate import FAILED, WRONG
from regard.evaluate.plan import spread
from regard.report.blocks import Card, Layer, Maps
from regard.report.evaluated_run import Evaluated, Row, class_of, share
from regard.report.thumbnails import MOST_PHOTOS, Placed, ground, photo_shown, placed

CASES = 5
"""Best cases that are shown, and worst ones."""
MAPS = 1500
"""In the gallery: with more of them a page of 500 photos takes longer than two seconds to open."""
VERDICTS = {WRONG: "wrong", FAILED: "unreadable"}


def cards_of(found: Evaluated, legend: dict[str, str]) -> list[Card]:
    """A card a photo, with the answers of the classifiers and the maps of the best methods.

    Photos that have maps come first where not all can be shown.

    Args:
        found: the run.
        legend: to which is added how the maps of a method are read.
    """
    answers: dict[str, list[Row]] = {}
    for row in found.gate_rows():
        answers.setdefault(row["image"], []).append(row)
    maps: dict[str, list[Row]] = {}
    for method in _mapped(found, min(len(answers), MOST_PHOTOS)):
        for image, row in found.rows_of(method).items():
            if row.get("maps"):
                maps.setdefault(image, []).append(row)
    best = found.values(found.few[0]) if found.few else {}
    order = sorted(best, key=lambda image: (best[image], image))
    cases = [*order[:CASES], *order[-CASES:]]
    rest = sorted(spread(sorted(answers)), key=lambda image: image not in maps)
    chosen = {*cases, *rest[: MOST_PHOTOS - len(cases)]}
    return [_card(found, answers[image], maps.get(image, []), legend) for image in sorted(chosen)]


def _mapped(found: Evaluated, photos: int) -> list[str]:
    """The methods whose maps are shown: the best ones and chance, of many photos fewer of them."""
    several = max(2, MAPS // max(1, photos))
    return found.few if len(found.few) <= several else [*found.few[: several - 1], found.few[-1]]


def _card(found: Evaluated, answers: Sequence[Row], mapped: Sequence[Row], legend: dict[str, str]) -> Card:
    """A photo: of several classifiers it is right where all are."""
    first = answers[0]
    image = first["image"]
    photo = photo_shown(image, first.get("photo_sha256"), found.run.folder)
    files = [placed(row["maps"], found.run.folder, photo.source is not None) for row in mapped]
    said = [*(_answer(row, found, len(answers) > 1) for row in answers), photo.why]
    if photo.source is None and (there := [file for file in files if isinstance(file, Placed)]):
        photo = ground(there[0].explanation)
        said.append("its maps lie over the part of it that the classifier saw")
    statuses = [VERDICTS.get(row["status"], "right" if row["label"] is not None else "no label") for row in answers]
    verdict = next((status for status in (*VERDICTS.values(), "no label") if status in statuses), "right")
    name = found.called(class_of(first))
    scores = {"probability": math.nan if first["probability"] is None else first["probability"]}
    if found.ranked is not None:
        scores |= {
            f"{found.ranked.name} of {method}": found.values(method).get(image, math.nan) for method in found.few
        }
    maps = [_maps(found, row, file, legend) for row, file in zip(mapped, files, strict=True)]
    notes = tuple(filter(None, said))
    return Card(image, photo.source, photo.size, (name,) if name else (), verdict, tuple(maps), scores, notes)


def _maps(found: Evaluated, row: Row, file: Placed | str, legend: dict[str, str]) -> Maps:
    """A method's map of a photo; a string says why its file shows none."""
    method, ranked = row["method"], found.ranked
    value = None if ranked is None else row.get(ranked.metric.column)
    said = "" if ranked is None or value is None else f"{ranked.name} {value:.3f}"
    if isinstance(file, str):
        return Maps(method, (Layer(row["target"], " · ".join(filter(None, (said, file))), None),), None)
    legend.setdefault(method, file.legend(method))
    return Maps(method, (Layer(row["target"], said, file.sources[0]),), file.ends, file.explanation.signed)


def _answer(row: Row, found: Evaluated, several: bool) -> str:
    """What a classifier, named where there are several, says of a photo, or why it says nothing."""
    if row["predicted"] is None:
        return str(row.get("error") or "").partition("\n")[0]
    answer = f"{found.called(row['predicted'])} {share(row['probability'])}".strip()
    answer = f"{row['classifier']}: {answer}" if several else answer
    return f"{answer}; labelled {found.called(row['label'])}" if row["status"] == WRONG else answer
