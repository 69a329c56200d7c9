"""Persons found by other cameras, for study_brnpa_tasks.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from study_tame import LITE, listed
from tasks_kept import REPRESENTATIVE, Case, Extent, Keep, Row

import regard
from regard.metrics.retrieval import Shown, average_precision, matched_within, ranking
from regard.training import ReidRecipe, Sighting, TrainedReid, fit_reid
from regard.training.reid.figures import embedded

FRAME = (128, 64)
"""The photos' own size; published 256×128."""
PERSONS = 10
"""Of a step."""
FINE = (1, 1)
TEACHER, STUDENT, ALONE = "K = 3, own grid, the teacher", "K = 3, distilled", "K = 3"
ATTENTION_BRANCH = "ABN"
CASES = (
    Case(TEACHER),
    Case("mean", {"pooling": "mean"}),
    Case(STUDENT, {"strides": FINE}, teacher=TEACHER),
    Case(ALONE, {"strides": FINE}),
    Case("B-CNN", {"pooling": "bilinear"}),
    Case(ATTENTION_BRANCH, {"pooling": "branch"}),
)
"""The last two have thirty million weights more, and take as long as all others together."""


def sightings(data: Path, every: int = 1) -> list[Sighting]:
    """Every second person to learn; every photo of the others is looked for among those by other cameras."""
    folder = data / "reid-conreid-sample"
    rows = [row for row in listed(folder) if int(row["label"]) % every == 0]
    learnt = set(sorted({row["person_id"] for row in rows})[::2])
    return [
        Sighting(folder / row["file"], row["person_id"], row["camera"], use)
        for row in rows
        for use in (("train",) if row["person_id"] in learnt else ("query", "gallery"))
    ]


def trained(name: str, seed: int, seen: Sequence[Sighting], extent: Extent, keep: Keep) -> TrainedReid:
    """A network as it was trained, or trained now: all begin with EfficientNet-Lite0's weights, the student too."""
    case = next(each for each in CASES if each.name == name)
    return fit_reid(
        regard.load(LITE),
        seen,
        teacher=trained(case.teacher, seed, seen, extent, keep).classifier if case.teacher else None,
        recipe=ReidRecipe(frame=FRAME, batch=PERSONS, epochs=extent.rounds, **case.changed),
        seed=seed,
        run=keep.run("re-id", case.name, seed),
    )


def row_of(case: Case, seed: int, seen: Sequence[Sighting], extent: Extent, keep: Keep) -> Row:
    """The average precision of each query, and whether the nearest photo is right; also by some ranks alone."""
    found = trained(case.name, seed, seen, extent, keep)
    queries = [each for each in seen if each.split == "query"]
    shown = embedded(found.classifier, queries)
    row = {"task": "re-id", "case": case.name, "seed": seed, "grid": found.classifier.grid, **answered(shown)}
    row |= {"persons": shown.persons, "before": found.before.value("mAP")}
    if not case.has_ranks:
        return row
    vectors = shown.embeddings.unflatten(1, (found.classifier.network.pooling.count, -1))
    by_ranks = {
        name: Shown(vectors[:, [rank - 1 for rank in ranks]].flatten(1), shown.persons, shown.cameras)
        for name, ranks in REPRESENTATIVE.items()
    }
    return row | {"ranks": {name: answered(some) for name, some in by_ranks.items()}}


def answered(shown: Shown) -> dict[str, list[float]]:
    """Of each photo, looked for among all."""
    ranked = ranking(shown, shown)
    return {"mAP": average_precision(ranked).tolist(), "rank-1": matched_within(ranked, [1])[:, 0].tolist()}


def nearest_right(shown: Shown) -> torch.Tensor:
    """Of each photo the place of the most like photo of its person by another camera, (n,)."""
    ranked = ranking(shown, shown)
    return ranked.order.gather(1, ranked.right.int().argmax(dim=1, keepdim=True))[:, 0]
