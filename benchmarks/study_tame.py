"""What makes a trained attention good: TAME with one thing changed at a time.

    python benchmarks/study_tame.py ../shared/data --keep regard-runs/study-tame --write docs/tame-study.md

Every row is a training of its own, by `fit_tame`, on photos of which none is judged. Hours on a core; what is done is
kept in a file a row, and not done again.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measuring import put_behind
from study_tame_table import document
from two_photos import canvas, own_shares, ring

import regard
from regard.explainers.tame import TAME
from regard.fills import Blur, Mean, black
from regard.metrics.curves import curves
from regard.metrics.of_curves import AverageDrop, IncreaseInConfidence
from regard.training import Recipe, fit_tame, preset
from regard.training.embeddings import fingerprint
from regard.training.tame.plan import Plan

BATCH = 8
MARK = "<!-- tables: benchmarks/study_tame.py -->"
SEEDS = 3
LITE, VIT = "regard:efficientnet-lite0", "regard:vit-small"
OPEN = {"mask": "soft", "maps": "own", "area_target": None}
DRAWN = {"variant": "tied", "start": "drawn", "rate": 1e-3, "edge": 0.3}
CONTROLS = (regard.Random, regard.Centre, regard.Edges, regard.Ones)
MEASURES = {
    f"{measure.name} {share:.0%}": measure(share)
    for share in (0.5, 0.15)
    for measure in (AverageDrop, IncreaseInConfidence)
}


@dataclass(frozen=True)
class Case:
    """One row of the table: the default recipe with something changed.

    Attributes:
        name: what is changed.
        changed: of the recipe.
        fill: in training; all maps are judged with black.
        seeds: trainings that differ in the seed alone.
        trained: False for the attention as it begins.
        all_photos: whether all photos are learnt from, of which others get every second one.
        only: the classifier that it is of; default both.
    """

    name: str
    changed: Mapping[str, Any] = field(default_factory=dict)
    fill: str = "black"
    seeds: int = 1
    trained: bool = True
    all_photos: bool = False
    only: str = ""


CASES = (
    Case("default", seeds=SEEDS),
    Case("default, all photos", seeds=SEEDS, all_photos=True, only=VIT),
    Case("default, untrained", trained=False),
    Case("without smoothing", {"smoothing": 0}, only=LITE),
    Case("without smoothing, untrained", {"smoothing": 0}, trained=False, only=LITE),
    Case("smoothing 2, untrained", {"smoothing": 2}, trained=False, only=LITE),
    Case("smoothing 3, untrained", {"smoothing": 3}, trained=False, only=LITE),
    Case("start at random", DRAWN, only=LITE),
    Case("rows of their own", {"variant": "tame"}, only=LITE),
    Case("tied rows", {"variant": "tied"}, only=VIT),
    Case("rows of their own, start at random", {**DRAWN, "variant": "tame"}, only=LITE),
    Case("own maps alone", {"maps": "own"}, only=LITE),
    Case("cross-batch maps", {"maps": "cross-batch", "area_target": None}, only=LITE),
    Case("area by its weight", {"area_target": None}, only=LITE),
    Case(
        "soft mask, own maps alone, area by its weight", {"mask": "soft", "maps": "own", "area_target": None}, only=LITE
    ),
    Case("one layer", {"count": 1}, only=LITE),
    Case("one layer, untrained", {"count": 1}, trained=False, only=LITE),
    Case("trained with mean colours", fill="mean"),
    Case("trained with a blur", fill="blur", only=LITE),
    Case("no skip, start at random", {**DRAWN, "variant": "no-skip"}, only=LITE),
    Case("no skip, no norm", {"variant": "no-skip-no-norm"}, only=LITE),
    Case("sigmoid branches, start at random", {**DRAWN, "variant": "sigmoid"}, only=LITE),
    Case("L-CAM", {"variant": "l-cam"}, only=LITE),
    Case("published recipe"),
)


@dataclass(frozen=True)
class Photos:
    """What an attention learns from, what it is judged by, and pairs of photos of two classes.

    Attributes:
        learnt: files.
        every: so many-th of them are learnt from, where a case does not learn from all.
        judged: files and classes.
        pairs: files and classes of two photos each, (left, right).
        within: pairs count whose two classes are among so many likeliest of a picture of both.
    """

    learnt: list[Path]
    every: int
    judged: list[tuple[Path, int]]
    pairs: list[tuple[tuple[Path, int], tuple[Path, int]]]
    within: int


def photos_for(name: str, data: Path) -> Photos:
    """Lite0: one photo a class of ImageNet; nips17. ViT-S: Imagenette's photos of training; of validation."""
    rows = listed(data / "imagenette-224")
    column = "imagenet_index" if name == LITE else "label"
    held = [(data / "imagenette-224" / row["file"], int(row[column])) for row in rows if row["split"] == "val"]
    order = ring([index for _, index in held], seed=0)
    pairs = [(held[order[place - 1]], held[order[place]]) for place in range(len(order))]
    if name == VIT:
        learnt = [data / "imagenette-224" / row["file"] for row in rows if row["split"] == "train"]
        return Photos(learnt, 2, held, pairs, within=2)
    samples, judged = data / "imagenet-1k-samples", data / "nips17-ccby"
    return Photos(
        [samples / row["file"] for row in listed(samples)],
        1,
        [(judged / row["file"], int(row["class_index"])) for row in listed(judged)],
        pairs,
        within=10,
    )


def listed(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def recipe_of(case: Case, classifier: regard.Classifier) -> Recipe:
    usual, _ = preset("default", classifier)
    if case.name == "published recipe":
        return replace(preset("paper", classifier)[0], epochs=usual.epochs, batch=usual.batch)
    return replace(usual, **case.changed)


def explainer_of(case: Case, seed: int, classifier: regard.Classifier, photos: Sequence[Path], run: Path) -> TAME:
    """What a row is of."""
    preparation = classifier.preparation
    fills = {"black": black(preparation.mean, preparation.std), "mean": Mean(), "blur": Blur()}
    recipe, fill = recipe_of(case, classifier), fills[case.fill]
    if case.trained:
        tame = fit_tame(classifier, photos, recipe=recipe, fill=fill, seed=seed, run=run)
        return TAME(classifier, tame.trained, force=True)
    plan = Plan.of(classifier, recipe, fill, seed)
    learnt, _, _ = plan.survey(photos, [fingerprint(photo) for photo in photos], 0.1, lambda _, parts: parts)
    plan.task(learnt)
    return TAME(classifier, plan.trained(plan.card(learnt, {})), force=True)


Numbers = dict[str, list[float]]


def judged(explainer: regard.Explainer, photos: Photos) -> Numbers:
    """The numbers of every photo that the classifier is right about; 5 passes a photo and the method's own."""
    classifier, found = explainer.classifier, {name: [] for name in (*MEASURES, "mask")}
    for start in range(0, len(photos.judged), BATCH):
        part = photos.judged[start : start + BATCH]
        pixels = classifier.prepare([file for file, _ in part])
        with torch.no_grad():
            right = classifier(pixels).argmax(1) == torch.tensor([index for _, index in part])
        if not right.any():
            continue
        explanation = explainer(pixels[right])
        read = curves(classifier, pixels[right], explanation, steps=1)
        for name, measure in MEASURES.items():
            found[name] += measure.measure(read)[:, 0].tolist()
        if isinstance(explainer, TAME):
            found["mask"] += explanation.maps[:, 0].sigmoid().mean(dim=(1, 2)).tolist()
    return found


def shares_of_second(explainer: regard.Explainer, photos: Photos) -> list[float]:
    """How much of the less likely class's map lies on its own photo: of TAME's mask σ(c), of others' positive mass."""
    classifier, shares = explainer.classifier, []
    for start in range(0, len(photos.pairs), BATCH):
        part = photos.pairs[start : start + BATCH]
        pixels = classifier.prepare([canvas(left, right).resize((224, 224)) for (left, _), (right, _) in part])
        sides = torch.tensor([[left, right] for (_, left), (_, right) in part])
        with torch.no_grad():
            logits = classifier(pixels)
        answers = logits.gather(1, sides)
        passed = (logits[:, None] > answers[:, :, None]).sum(2).amax(1) < photos.within
        if not passed.any():
            continue
        maps = explainer(pixels[passed], regard.PerImage(sides[passed])).maps
        maps = maps.sigmoid() if isinstance(explainer, TAME) else maps
        second = answers[passed].argmin(1)
        shares += [float(row[place]) for row, place in zip(own_shares(maps), second.tolist(), strict=True)]
    return shares


def kept(file: Path, make: Any) -> dict[str, Any]:
    """What the file holds, made and written where there is none yet."""
    if not file.is_file():
        print(f"{file.stem} …", flush=True)
        start = time.perf_counter()
        found = make()
        found["seconds"] = time.perf_counter() - start
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_name(f"{file.name}.unfinished")
        unfinished.write_text(json.dumps(found), encoding="utf-8")
        unfinished.replace(file)
    return dict(json.loads(file.read_text(encoding="utf-8")))


def numbers_of(explainer: regard.Explainer, photos: Photos) -> dict[str, Any]:
    return {"name": explainer.name, **judged(explainer, photos), "second": shares_of_second(explainer, photos)}


def row_of(case: Case, seed: int, classifier: regard.Classifier, photos: Photos, run: Path) -> dict[str, Any]:
    learnt = photos.learnt if case.all_photos else photos.learnt[:: photos.every]
    explainer = explainer_of(case, seed, classifier, learnt, run)
    training = {name: explainer.trained.card.training.get(name) for name in ("photos", "epoch_chosen")}
    return numbers_of(explainer, photos) | training


def rows(name: str, data: Path, keep: Path, only: Iterable[str]) -> Iterable[tuple[str, list[dict[str, Any]]]]:
    """Name of a row → its trainings, one a seed; then the other methods."""
    classifier, photos, folder = regard.load(name), photos_for(name, data), keep / name.partition(":")[2]
    wanted = set(only)
    for case in CASES:
        if case.only in ("", name) and (not wanted or case.name in wanted):
            slug = case.name.replace(",", "").replace(" ", "-")
            yield (
                case.name,
                [
                    kept(
                        folder / f"{slug}-{seed}.json",
                        partial(row_of, case, seed, classifier, photos, folder / f"{slug}-{seed}"),
                    )
                    for seed in range(case.seeds)
                ],
            )
    others = (regard.CDAM, regard.AttentionMap) if name == VIT else (regard.GradCAM, regard.LayerCAM)
    for kind in (*others, *CONTROLS):
        if not wanted or kind.name in wanted:
            yield kind.name, [kept(folder / f"{kind.name}.json", partial(numbers_of, kind(classifier), photos))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"), help="the folder of photos")
    parser.add_argument("--keep", type=Path, default=Path("regard-runs/study-tame"), help="where rows are kept")
    parser.add_argument("--classifier", choices=(LITE, VIT), action="append", help="default both")
    parser.add_argument("--only", action="append", default=[], help="a row; default all")
    parser.add_argument("--write", type=Path, help=f"page whose part behind {MARK!r} the tables become")
    arguments = parser.parse_args()
    tables = {
        name: dict(rows(name, arguments.data, arguments.keep, arguments.only))
        for name in arguments.classifier or (LITE, VIT)
    }
    text = document(tables)
    print(text)
    if arguments.write:
        put_behind(MARK, text, arguments.write)


if __name__ == "__main__":
    main()
