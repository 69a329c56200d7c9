"""The trainings of benchmarks/study_brnpa.py: BR-NPA on ten classes, with one thing changed at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from measuring import shortened
from study_tame import kept, listed

import regard
from regard.models.brnpa import BRNPAClassifier
from regard.training import BRNPARecipe, fit_brnpa
from regard.training.brnpa.recipe import PAPER_HEADS
from regard.training.brnpa.trained import CLASSIFIER

LITE, VIT = "regard:efficientnet-lite0", "regard:vit-small"
CLOTHING, BIRDS, CARS = SETS = ("clothing10-sample", "birds10-sample", "cars196-crops-sample")
LEARNT_OF_CLASS, HELD_OF_CLASS = 3, 2
"""Photos of a class in the quick form: two to learn from, one to choose the epoch by, two to examine."""


@dataclass(frozen=True)
class Case:
    """One training: the default recipe with something changed.

    Attributes:
        name: what it is.
        changed: of the recipe.
        start: the classifier whose backbone it begins with, or the case whose network.
        teacher: the case whose answers it learns, too; none for none.
        sets: the photos.
        seeds: of these the first, no more.
        pooled: settings of representatives that no recipe has.
    """

    name: str
    changed: Mapping[str, Any] = field(default_factory=dict)
    start: str = LITE
    teacher: str = ""
    sets: tuple[str, ...] = SETS
    seeds: int = 3
    pooled: Mapping[str, Any] = field(default_factory=dict)

    def recipe(self, quick: bool) -> BRNPARecipe:
        recipe = BRNPARecipe(**self.changed)
        return replace(
            recipe,
            auxiliary=PAPER_HEADS if recipe.maps == 3 else (),
            epochs=1 if quick else recipe.epochs,
        )


TEACHER, STUDENT, PLAIN, BILINEAR, BRANCH = "teacher", "student", "plain mean", "B-CNN", "ABN"
ALONE, LONGER = "student, teacher not asked", "teacher, as many epochs more"
FINE, FINE_ALONE = "14×14 from ImageNet, distilled", "14×14 from ImageNet"
FINEST = "student at 28×28"
TORN, TORN_ALONE = "28×28, not dilated", "28×28, not dilated, teacher not asked"
RANDOM, NO_REFINING = "random", "no refining"
ON_VIT = {TEACHER: "teacher on ViT-S", STUDENT: "student on ViT-S", ALONE: "student on ViT-S, teacher not asked"}
SLOWER = "teacher on ViT-S, the backbone at a tenth of the rate"
"""Whether it is the rate that ViT-S fails at: its cross-entropy leaps where that is largest."""
FINER = {"strides": (1,), "epochs": 10}
GOES_ON = {"epochs": 5, "rate": 3e-5}
"""Of a network that is trained already: at the default rate the cross-entropy of the photos to choose by rose."""
FINER_ON = {**GOES_ON, "strides": (1,)}
CLAIMED = (
    Case(TEACHER),
    Case(STUDENT, FINER_ON, start=TEACHER, teacher=TEACHER),
    Case(ALONE, FINER_ON, start=TEACHER),
    Case(LONGER, GOES_ON, start=TEACHER),
    Case(FINE, FINER, teacher=TEACHER, sets=(CLOTHING,)),
    Case(FINE_ALONE, FINER, sets=(CLOTHING,)),
    Case(FINEST, {**FINER_ON, "strides": (1, 1)}, start=TEACHER, teacher=TEACHER, sets=(CLOTHING,), seeds=1),
)
TORN_ON = {**GOES_ON, "strides": (1, 1), "dilation": False}
"""What a finer grid does to a network where nothing is made up for."""
DAMAGED = (
    Case(TORN, TORN_ON, start=TEACHER, teacher=TEACHER, sets=(CLOTHING,), seeds=1),
    Case(TORN_ALONE, TORN_ON, start=TEACHER, sets=(CLOTHING,), seeds=1),
)
ABLATED = {
    NO_REFINING: {"refine": False},
    RANDOM: {"select": "random"},
    "random, no refining": {"select": "random", "refine": False},
}
COMPARED = (
    Case(PLAIN, {"pooling": "mean"}),
    *(Case(name, changed) for name, changed in ABLATED.items()),
    Case(BILINEAR, {"pooling": "bilinear", "head_rate": 1.0}),
    Case(BRANCH, {"pooling": "branch"}, sets=(CLOTHING,)),
    Case("K = 1", {"count": 1}, sets=(CLOTHING,)),
    Case("softmax weights", sets=(CLOTHING,), pooled={"weights": "softmax", "temperature": 0.1}),
    Case("14×14, a stage earlier", {"layer": "blocks.4"}, sets=(CLOTHING,)),
    Case("plain mean, student", {**FINER_ON, "pooling": "mean"}, start=PLAIN, teacher=PLAIN, sets=(CLOTHING,)),
    *(
        Case(f"{name}, {FINE}", {**FINER, **changed}, teacher=TEACHER, sets=(CLOTHING,))
        for name, changed in ABLATED.items()
    ),
)
TRANSFORMER = (
    Case(ON_VIT[TEACHER], start=VIT, sets=(CLOTHING,)),
    *(
        Case(ON_VIT[name], {**GOES_ON, "strides": (8,)}, ON_VIT[TEACHER], teacher, (CLOTHING,), seeds)
        for name, teacher, seeds in ((STUDENT, ON_VIT[TEACHER], Case.seeds), (ALONE, "", 1))
    ),
    Case(SLOWER, {"rate": 1e-5, "head_rate": 100.0}, start=VIT, sets=(CLOTHING,), seeds=1),
)
CASES = (*CLAIMED, *DAMAGED, *COMPARED, *TRANSFORMER)


@dataclass(frozen=True)
class Photos:
    """A set of photos.

    Attributes:
        files: the photos.
        names: of their classes.
        held: which are examined: the test split of their source.
    """

    files: list[Path]
    names: list[str]
    held: list[bool]


@dataclass(frozen=True)
class Study:
    """Where photos are, and what has been done.

    Attributes:
        data: the folder of photos.
        rows: a folder a set, with a file for each training and measurement: all that tables are made of.
        networks: the same with the trained networks; one that is gone is trained again, to the same answers.
        seeds: trainings of a case differ in the seed alone.
        sets: the photos.
        quick: few photos and one epoch.
    """

    data: Path
    rows: Path
    networks: Path
    seeds: Sequence[int] = range(3)
    sets: tuple[str, ...] = SETS
    quick: bool = False

    def file(self, of: str, what: str, seed: int) -> Path:
        """Of a training or measurement."""
        return self.rows / of / f"{_slug(what)}-{seed}.json"

    def done(self, of: str, what: str, seed: int) -> dict[str, Any] | None:
        """What is kept of a training or measurement; None where it has not been done."""
        file = self.file(of, what, seed)
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None

    def measure(self, of: str, what: str, seed: int, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A training's or measurement's row, made where there is none yet; numbers to five digits."""
        return kept(self.file(of, what, seed), lambda: shortened(make()))

    def photos(self, of: str) -> Photos:
        rows = listed(self.data / of)
        if self.quick:
            rows = _few(rows)
        files = [self.data / of / row["file"] for row in rows]
        return Photos(files, [row["name"] for row in rows], [row["split"] == "test" for row in rows])

    def train(self, case: Case, of: str, seed: int) -> dict[str, Any]:
        """A training's row, done where there is none yet."""
        return self.measure(of, case.name, seed, partial(self._row, case, of, seed))

    def network(self, name: str, of: str, seed: int) -> BRNPAClassifier:
        """A trained network, by its case's name."""
        file = self._run(name, of, seed) / CLASSIFIER
        if not file.is_file():
            again = self._row(next(case for case in CASES if case.name == name), of, seed)
            self._check_same(again, of, name, seed)
        found = regard.load(file)
        assert isinstance(found, BRNPAClassifier)
        return found

    def _check_same(self, again: dict[str, Any], of: str, name: str, seed: int) -> None:
        """Refuse to measure another network than the row's: another processor or torch may train to other bits."""
        row = self.done(of, name, seed)
        if row is not None and shortened(again["logits"]) != row["logits"]:
            file = self.file(of, name, seed)
            raise SystemExit(
                f"{file} is of another network than is trained here: remove it, with all of its set and seed"
            )

    def _run(self, name: str, of: str, seed: int) -> Path:
        return self.networks / of / f"{_slug(name)}-{seed}"

    def _row(self, case: Case, of: str, seed: int) -> dict[str, Any]:
        """The true classes, and all answers, of the photos that are examined."""
        photos = self.photos(of)
        start = _published(case.start) if ":" in case.start else self.network(case.start, of, seed)
        if case.pooled:
            start = BRNPAClassifier(start, sorted({*photos.names}), seed=seed, **case.pooled)
        taught_by_start = case.teacher == case.start
        teacher = start if taught_by_start else self.network(case.teacher, of, seed) if case.teacher else None
        trained = fit_brnpa(
            start,
            photos.files,
            photos.names,
            teacher=teacher,
            recipe=case.recipe(self.quick),
            held_out=photos.held,
            seed=seed,
            run=self._run(case.name, of, seed),
        )
        found = trained.examined
        return {
            "photos": [str(Path(photo).relative_to(self.data)) for photo in found.photos],
            "truth": found.truth.tolist(),
            "logits": found.answers.student.tolist(),
            "heads": {ranks: logits.tolist() for ranks, logits in found.answers.watched.items()},
            "taught": None if found.answers.teacher is None else found.answers.teacher.tolist(),
            "epochs": trained.epochs,
            "epoch": trained.training["epoch_chosen"],
        }


def _slug(what: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", what.lower()).strip("-")


@cache
def _published(name: str) -> regard.Classifier:
    return regard.load(name)


def _few(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The first photos of every class and split."""
    seen: dict[tuple[str, str], int] = {}
    few = []
    for row in rows:
        key = row["name"], row["split"]
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= (HELD_OF_CLASS if row["split"] == "test" else LEARNT_OF_CLASS):
            few.append(row)
    return few
