"""The photos that a training was examined on: a card each, with what is true of it and what is answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regard.answered_run import EXAMINED, SEPARATOR
from regard.evaluate.plan import spread
from regard.report.blocks import Block, Card, Gallery, Section, Words
from regard.report.thumbnails import MOST_PHOTOS, left_out, photo_shown
from regard.runs import SeenRun

CLASS, ANSWER, CHANCE, HIGHEST = "class", "answer", "probability of the class", "probability of the answer"


def gallery(run: SeenRun) -> Section:
    """Photos that were kept from training, where the run has rows of them."""
    rows = {row["image"]: row for row in run.rows if row["target"] == EXAMINED}
    chosen = sorted(spread(sorted(rows))[:MOST_PHOTOS])
    blocks: list[Block] = [Gallery([_card(rows[image], run) for image in chosen])] if chosen else []
    if len(chosen) < len(rows):
        blocks.insert(0, Words(left_out(len(chosen), len(rows)), "note"))
    return Section("gallery", "Photos that no training saw", blocks)


def _card(row: Mapping[str, Any], run: SeenRun) -> Card:
    photo = photo_shown(row["image"], row.get("photo_sha256"), run.folder)
    notes = tuple(filter(None, (_said(row), photo.why)))
    true = row.get(CLASS)
    if true is None:
        return Card(row["image"], photo.source, photo.size, notes=notes)
    verdict = "right" if row[ANSWER] == true else "wrong"
    scores = {} if row.get(CHANCE) is None else {CHANCE: row[CHANCE]}
    classes = tuple(true.split(SEPARATOR))
    return Card(row["image"], photo.source, photo.size, classes, verdict, (), scores, notes)


def _said(row: Mapping[str, Any]) -> str:
    """The answer in words, with what is true where it is another one; of measurements both."""
    if row.get(CLASS) is None:
        names = [name.removeprefix("measured ") for name in row if name.startswith("measured ")]
        return "; ".join(
            f"{name} {row[f'answered {name}']:.4g}, measured {row[f'measured {name}']:.4g}" for name in names
        )
    said = row[ANSWER] if row.get(HIGHEST) is None else f"{row[ANSWER]} {row[HIGHEST]:.1%}"
    return said if row[ANSWER] == row[CLASS] else f"{said}; it is {row[CLASS]}"
