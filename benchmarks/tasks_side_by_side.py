"""One backbone trained for three tasks on the same photos of clothing, for study_brnpa_tasks.py.

Garments are classes, characters and persons alike: seven are learnt, from 12 photos each, three are only examined. Each
training shows every photo about as often, on the same grid, with the same rates.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study_tame import LITE, listed
from tasks_kept import Extent, Keep, Row
from tasks_overlap import network_of, pair_of

import regard
from regard.training import (
    BRNPARecipe,
    FewShotRecipe,
    ReidRecipe,
    Sighting,
    TrainedBRNPA,
    TrainedFewShot,
    TrainedReid,
    fit_brnpa,
    fit_few_shot,
    fit_reid,
)

TASKS = ("classification", "few-shot", "re-id")
METHODS = ("br-npa", "br-npa:rank=mean", "grad-cam")
HERE = {"strides": (1,)}
WAYS, QUERIES, PERSONS = 3, 5, 4
DRAWN = 2
"""Every so-manieth photo is compared: drawing nine networks takes longer than asking them."""


@dataclass(frozen=True)
class Clothing:
    """Photos of garments.

    Attributes:
        learnt: to train on, and their garments.
        unseen: other photos of the same garments.
        others: photos of garments that no training sees.
    """

    learnt: tuple[tuple[Path, str], ...]
    unseen: tuple[tuple[Path, str], ...]
    others: tuple[tuple[Path, str], ...]

    @property
    def garments(self) -> int:
        return len({name for _, name in self.learnt})


def clothing(data: Path) -> Clothing:
    folder = data / "clothing10-sample"
    rows = [(folder / row["file"], row["name"], row["split"]) for row in listed(folder)]
    apart = sorted({name for _, name, _ in rows})[2::3]
    return Clothing(
        tuple((file, name) for file, name, split in rows if name not in apart and split == "train"),
        tuple((file, name) for file, name, split in rows if name not in apart and split == "test"),
        tuple((file, name) for file, name, _ in rows if name in apart),
    )


def trained(
    task: str, seed: int, photos: Clothing, extent: Extent, keep: Keep
) -> TrainedBRNPA | TrainedFewShot | TrainedReid:
    """A network for a task, as it was trained, or trained now."""
    start, run = regard.load(LITE), keep.run("side-by-side", task, seed)
    shown = extent.showings * len(photos.learnt)
    if task == "classification":
        files, names = zip(*photos.learnt, *photos.unseen, strict=True)
        marks = [place >= len(photos.learnt) for place in range(len(files))]
        recipe = BRNPARecipe(**HERE, epochs=extent.showings)
        return fit_brnpa(start, files, names, recipe=recipe, held_out=marks, choosing=0, seed=seed, run=run)
    if task == "few-shot":
        files, names = zip(*photos.learnt, *photos.others, strict=True)
        marks = [place >= len(photos.learnt) for place in range(len(files))]
        usual = BRNPARecipe()
        recipe = FewShotRecipe(
            **HERE,
            ways=WAYS,
            queries=QUERIES,
            episodes=math.ceil(shown / (WAYS * (1 + QUERIES))),
            epochs=1,
            examined=extent.examined,
            batch_norm=usual.batch_norm,
            rate=usual.rate,
            head_rate=usual.head_rate,
        )
        return fit_few_shot(start, files, names, recipe=recipe, held_out=marks, choosing=0, seed=seed, run=run)
    seen = [Sighting(file, name, "any", "train") for file, name in photos.learnt]
    for number, (file, name) in enumerate(photos.others):
        seen += [Sighting(file, name, f"camera {number}", use) for use in ("query", "gallery")]
    recipe = ReidRecipe(**HERE, batch=PERSONS, epochs=math.ceil(shown / (ReidRecipe.photos * photos.garments)))
    return fit_reid(start, seen, recipe=recipe, seed=seed, run=run)


def network_row(task: str, seed: int, photos: Clothing, extent: Extent, keep: Keep) -> Row:
    """What a network is worth."""
    found = trained(task, seed, photos, extent, keep)
    return {"task": "side by side", "case": task, "seed": seed, "grid": found.classifier.grid, **worth(found)}


def worth(found: TrainedBRNPA | TrainedFewShot | TrainedReid) -> dict[str, Any]:
    if isinstance(found, TrainedReid):
        figure, of = found.found.figures[0], "mAP of new garments"
    elif isinstance(found, TrainedFewShot):
        figure, of = found.worth.examined, "accuracy of new garments, 3 ways, 1 shot"
    else:
        figure, of = found.worth.held_out.overall, "accuracy of unseen photos"
    assert figure is not None
    return {"of": of, "value": figure.value, "chance": figure.chance}


def file_of(task: str, seed: int, photos: Clothing, extent: Extent, keep: Keep) -> Path:
    """The file of a network, which may be trained for it."""
    file = keep.folder / "networks" / f"{task}-{seed}.safetensors"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        trained(task, seed, photos, extent, keep).save(file)
    return file


def compared(
    files: Sequence[Path], photos: Sequence[Path], methods: Sequence[str], run: Path, *more: str
) -> dict[str, Any]:
    """`regard compare`, as a person calls it, in the folder of the networks; what it prints as JSON."""
    asked = ["--models", ",".join(file.name for file in files), "--methods", ",".join(methods)]
    command = [sys.executable, "-m", "regard", "compare", *map(str, photos), *asked, "--run", str(run.absolute())]
    done = subprocess.run([*command, *more, "--force", "--json"], cwd=files[0].parent, capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def method_row(method: str, photos: Clothing, extent: Extent, keep: Keep) -> Row:
    """Of every photo how sparse the maps of a task's networks are, and how alike those of two networks.

    A photo's sparsity is the mean over a task's networks; overlap is of every two networks.
    """
    files = [file_of(task, seed, photos, extent, keep) for seed in range(extent.seeds) for task in TASKS]
    shown = [file for file, _ in photos.unseen[::DRAWN][: extent.judged]]
    found = compared(files, shown, [method], keep.folder / "compared")
    rows = [row for row in found["rows"] if row.get("place") == 0]
    maps = [row for row in rows if row["kind"] == "map"]
    return {
        "task": "compare",
        "method": method,
        "seeds": extent.seeds,
        "sparsity": {
            name: by_photo((task_of(row["method"]), row["image"], row[name]) for row in maps)
            for name in ("compactness", "gini")
        },
        "overlap": by_photo(
            (pair_of(row["method"]), row["image"], row["rank_correlation"]) for row in rows if row["kind"] == "overlap"
        ),
    }


def by_photo(values: Iterable[tuple[str, str, float | None]]) -> dict[str, list[float | None]]:
    """(what, photo, value) → what → its mean of every photo in one order; none where a photo has no value."""
    found: Mapping[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    photos = set()
    for what, photo, value in values:
        photos.add(photo)
        if value is not None:
            found[what][photo].append(value)
    return {
        what: [statistics.fmean(own[photo]) if photo in own else None for photo in sorted(photos)]
        for what, own in found.items()
    }


def task_of(contender: str) -> str:
    """The task of "br-npa on few-shot-1.safetensors"."""
    return network_of(contender).rpartition("-")[0]
