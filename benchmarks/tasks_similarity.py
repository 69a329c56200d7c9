"""Maps of what makes a photo like its class, or like its match, for study_brnpa_tasks.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import tasks_few_shot
import tasks_reid
import torch
from tasks_kept import Extent, Keep, Row

import regard
from regard.attention.prototypes import prototypes
from regard.images import Photo
from regard.metrics.curves import curves
from regard.training import Sighting
from regard.training.few_shot.figures import places_of
from regard.training.reid.figures import embedded

STEPS = 16
LIKENESS = "likeness to its class"
SHOTS = 5
"""Of a prototype; the networks learnt by one."""
RANKED = {"br-npa, rank 1": {"rank": 1}, "br-npa, mean of ranks": {"rank": "mean"}}
OWN = {"its own maps, mean": {"rank": "mean"}}
MEANS = ("br-npa, mean of ranks", *OWN)
SUBJECTS = {
    "few-shot": (tasks_few_shot.STUDENT, "B-CNN", "ABN"),
    "re-id": (tasks_reid.STUDENT, tasks_reid.TEACHER, "B-CNN", tasks_reid.ATTENTION_BRANCH),
}
"""Networks whose maps are judged."""


@dataclass(frozen=True)
class Asked:
    """A photo, and what it is like.

    Attributes:
        photo: what a map is of.
        reference: what its own is compared with: an embedding (D,), or of an episode vectors (K, C), rank by rank.
        about: whom or what it shows.
    """

    photo: Photo
    reference: torch.Tensor
    about: str

    @property
    def target(self) -> regard.Similarity:
        """The score that decides: of an episode the mean over ranks of the cosines."""
        return regard.Similarity(self.reference, "by ranks" if self.reference.dim() == 2 else "cosine", name=LIKENESS)


def queries(
    name: str, seed: int, given: tasks_few_shot.Drawings, extent: Extent, keep: Keep
) -> tuple[regard.BRNPAClassifier, list[Asked]]:
    """The first query of the first class of an episode, and the prototype of that class."""
    classifier = tasks_few_shot.trained(name, seed, given, extent, keep).classifier
    case = next(each for each in tasks_few_shot.CASES if each.name == name)
    recipe, part = tasks_few_shot.recipe_of(case, SHOTS, extent), given.examined
    first = places_of(part, recipe, extent.judged, seed)[:, 0, : SHOTS + 1]
    photos = [part.photos[place] for place in first.flatten().tolist()]
    vectors = tasks_few_shot.vectors_of(classifier, photos).unflatten(0, first.shape)
    references = prototypes(vectors[:, :SHOTS])
    return classifier, [
        Asked(part.photos[row[-1]], reference, f"episode {number}")
        for number, (row, reference) in enumerate(zip(first.tolist(), references, strict=True))
    ]


def matches(
    name: str, seed: int, seen: Sequence[Sighting], extent: Extent, keep: Keep
) -> tuple[regard.BRNPAClassifier, list[Asked]]:
    """One photo of each person by each camera, and its nearest right match, as this network has it."""
    classifier = tasks_reid.trained(name, seed, seen, extent, keep).classifier
    those = [each for each in seen if each.split == "query"]
    shown = embedded(classifier, those)
    nearest = tasks_reid.nearest_right(shown).tolist()
    first = {(each.identity, each.camera): place for place, each in reversed([*enumerate(those)])}
    return classifier, [
        Asked(those[place].photo, shown.embeddings[nearest[place]], those[place].identity)
        for place in sorted(first.values())[: extent.judged]
    ]


def explainers(classifier: regard.BRNPAClassifier, ranked: bool, masks: int) -> Iterable[tuple[str, regard.Explainer]]:
    """Of a network: its own maps, and others of it to compare with."""
    for name, settings in (RANKED if ranked else OWN).items():
        yield name, regard.BRNPA(classifier, **settings)
    yield "grad-cam", regard.GradCAM(classifier)
    if ranked:
        yield f"rise, {masks} masks", regard.RISE(classifier, samples=masks)
    yield "random", regard.Random(classifier)
    yield "centre", regard.Centre(classifier)


def judged(explainer: regard.Explainer, asked: Iterable[Asked]) -> dict[str, list[float]]:
    """The cosine of the whole photo, and its mean while the photo is taken away, or shown, in the order of the map."""
    found: dict[str, list[float]] = {"clean": [], "deletion": [], "insertion": []}
    for each in asked:
        pixels, target = explainer.classifier.prepare([each.photo]), each.target
        read = curves(explainer.classifier, pixels, explainer(pixels, [target]), steps=STEPS, targets=[target])
        found["clean"].append(float(read.clean))
        found["deletion"].append(float(read.area("deletion")))
        found["insertion"].append(float(read.area("insertion")))
    return found


def row_of(
    task: str,
    name: str,
    seed: int,
    given: tasks_few_shot.Drawings | Sequence[Sighting],
    extent: Extent,
    keep: Keep,
) -> Row:
    """Of each method on a network the curves of each photo."""
    if isinstance(given, tasks_few_shot.Drawings):
        (classifier, asked), cases = queries(name, seed, given, extent, keep), tasks_few_shot.CASES
    else:
        (classifier, asked), cases = matches(name, seed, given, extent, keep), tasks_reid.CASES
    ranked = next(case.has_ranks for case in cases if case.name == name)
    return {
        "task": f"similarity, {task}",
        "case": name,
        "seed": seed,
        "grid": classifier.grid,
        "about": [each.about for each in asked],
        "methods": {
            method: judged(explainer, asked) for method, explainer in explainers(classifier, ranked, extent.masks)
        },
    }
