"""Characters told by one drawing or five of each, for study_brnpa_tasks.py."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tasks_kept import REPRESENTATIVE, Case, Extent, Keep, Row

import regard
from regard.images import Photo
from regard.models.conv_4 import conv_4
from regard.training import FewShotRecipe, TrainedFewShot, fit_few_shot
from regard.training.brnpa.augmentation import NONE
from regard.training.embeddings import fingerprint
from regard.training.few_shot.class_parts import class_split, parted_by_class
from regard.training.few_shot.figures import places_of
from regard.training.few_shot.task import decided, truth_of
from regard.training.parts import Part
from regard.training.targets import answers_of

SIDE = 28
PREPARATION = regard.Preparation(size=SIDE, mean=(0.08,), std=(0.2,), fit="squash")
CHOOSING = 0.15
QUERIES = 5
BATCH = 64
LEARNT = 1
"""Drawings given of each character in training."""
SHOTS = (LEARNT, 5)
"""And when networks are examined."""
COARSE, FINE = (2, 1), (1, 1)
"""Conv-4 by itself ends in one place, of which there are no ranks: its last stride at 1 gives 3×3, its last two 7×7."""
TEACHER, STUDENT, ALONE = "K = 3, 3×3, the teacher", "K = 3, distilled", "K = 3"
CASES = (
    Case(TEACHER, {"strides": COARSE}),
    Case(STUDENT, teacher=TEACHER),
    Case(ALONE),
    Case("mean", {"pooling": "mean"}),
    Case("B-CNN", {"pooling": "bilinear"}),
    Case("ABN", {"pooling": "branch"}),
    Case("cross attention", {"pooling": "mean", "comparison": "cross-attention"}),
    Case("K = 3, no refining", {"refine": False}),
    Case("K = 3, random places", {"select": "random"}),
)


@dataclass(frozen=True)
class Drawings:
    """White ink on black.

    Attributes:
        photos: (28, 28) each.
        names: their characters.
        held_out: whether the character is of an alphabet that no training sees.
    """

    photos: list[np.ndarray]
    names: list[str]
    held_out: list[bool]

    @cached_property
    def examined(self) -> Part:
        """Those of held-out alphabets, in the order that episodes count them in, whatever the seed."""
        answers, marks = answers_of(self.names, "softmax"), [fingerprint(photo) for photo in self.photos]
        split = class_split(answers, marks, self.held_out, CHOOSING, seed=0)
        return parted_by_class(self.photos, marks, answers, split, PREPARATION, lambda _, parts: parts).examined


def drawings(data: Path, every: int = 1) -> Drawings:
    """Of every so-manieth character."""
    folder = data / "omniglot-subset"
    about = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    packed = np.load(folder / "omniglot_small.npz")
    high, wide = about["shape"]
    taken = packed["character"] % every == 0
    ink = np.unpackbits(packed["images_packed"][taken], axis=1)[:, : high * wide].reshape(-1, high, wide)
    alphabets = [about["alphabets"][number] for number in packed["alphabet"][taken]]
    return Drawings(
        [np.asarray(Image.fromarray(255 * drawn).resize((SIDE, SIDE), Image.Resampling.BOX)) for drawn in ink],
        [about["characters"][number] for number in packed["character"][taken]],
        [name in about["few_shot_split"]["test"] for name in alphabets],
    )


def cases(shots: int) -> list[Case]:
    """Those that can be asked by so many drawings: cross attention is not kept with its network."""
    return [case for case in CASES if shots == LEARNT or not case.crosses]


def recipe_of(case: Case, shots: int, extent: Extent) -> FewShotRecipe:
    usual: dict[str, Any] = {
        "shots": shots,
        "queries": QUERIES,
        "epochs": extent.epochs,
        "episodes": extent.episodes,
        "examined": extent.examined,
        "strides": FINE,
        "augmentation": NONE,
    }
    return FewShotRecipe(**{**usual, **case.changed})


def trained(name: str, seed: int, given: Drawings, extent: Extent, keep: Keep) -> TrainedFewShot:
    """A network as it was trained, or trained now. All of a seed begin with the same weights and see the same episodes.

    They have no teacher's weights, so a student differs from the network alone by what it is taught.
    """
    case = next(each for each in CASES if each.name == name)
    teacher = trained(case.teacher, seed, given, extent, keep).classifier if case.teacher else None
    return fit_few_shot(
        regard.Classifier(conv_4(seed=seed), PREPARATION, name="conv-4"),
        given.photos,
        given.names,
        teacher=teacher,
        recipe=recipe_of(case, LEARNT, extent),
        held_out=given.held_out,
        choosing=CHOOSING,
        seed=seed,
        run=keep.run("few-shot", case.name, seed),
    )


def row_of(case: Case, shots: int, seed: int, given: Drawings, extent: Extent, keep: Keep) -> Row:
    """The share of queries told rightly in each episode, also by some ranks alone."""
    found = trained(case.name, seed, given, extent, keep)
    row = {"task": "few-shot", "case": case.name, "shots": shots, "seed": seed, "grid": found.classifier.grid}
    row |= {"epoch": found.training["epoch_chosen"]}
    if case.crosses:
        return row | {"accuracy": found.worth.accuracies}
    recipe, part = recipe_of(case, shots, extent), given.examined
    vectors = vectors_of(found.classifier, part.photos)[places_of(part, recipe, recipe.examined, seed)]
    row |= {"accuracy": _rightly(vectors, recipe)}
    if not case.has_ranks:
        return row
    some = {name: vectors[..., [rank - 1 for rank in ranks], :] for name, ranks in REPRESENTATIVE.items()}
    return row | {"ranks": {name: _rightly(those, recipe) for name, those in some.items()}}


def _rightly(vectors: torch.Tensor, recipe: FewShotRecipe) -> list[float]:
    """The share of each episode's queries that prototypes tell, of vectors (episodes, N, shots + queries, K, C)."""
    right = decided(vectors, recipe).argmax(dim=2) == truth_of(recipe)
    return right.double().mean(dim=1).tolist()


def vectors_of(classifier: regard.BRNPAClassifier, photos: Sequence[Photo]) -> torch.Tensor:
    """(n, K, C)."""
    parts = [
        classifier.embed(classifier.prepare(photos[start : start + BATCH])) for start in range(0, len(photos), BATCH)
    ]
    return torch.cat(parts).unflatten(1, (classifier.network.pooling.count, -1))
