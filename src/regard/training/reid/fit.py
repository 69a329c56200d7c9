"""BR-NPA for re-identification (BR-NPA, 2.4): photos of persons in, a network out that finds them by other cameras."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from regard.errors import ClassifierError
from regard.models.classifier import Classifier
from regard.training.brnpa.plan import warn_of_anew
from regard.training.brnpa.trained import CLASSIFIER, TrainedNetwork, read_back
from regard.training.embeddings import fingerprint
from regard.training.given import warn_of_unreadable
from regard.training.kept import kept
from regard.training.parts import Part
from regard.training.processes import Processes
from regard.training.readable import Watched, listed_by_name, name_of, reasons_against
from regard.training.reid.figures import Found, embedded, found_in
from regard.training.reid.plan import ReidPlan
from regard.training.reid.recipe import ReidRecipe
from regard.training.reid.sightings import Sighting, check_sightings, of_use
from regard.training.steps import Settings, kept_for_the_caller

COMMAND = "train-re-id"


@dataclass(frozen=True)
class TrainedReid(TrainedNetwork):
    """A trained network, and how well it finds persons that it has never seen.

    Its labels are the persons learnt; its embedding stands behind the neck, so that retrieval compares
    `classifier.embed` by the cosine, and so does the target `Similarity`.

    Attributes:
        found: figures of the queries.
        before: the same before the training: of the start's features on the grid that is trained, pooled.
        taught: the same of the teacher; None without one.
    """

    found: Found
    before: Found
    taught: Found | None

    def figures(self) -> Mapping[str, Any]:
        return {name: each and asdict(each) for name, each in self._named().items()}

    def _named(self) -> dict[str, Found | None]:
        return {"found": self.found, "before": self.before, "taught": self.taught}

    @property
    def summary(self) -> str:
        """One line on what it is worth."""
        precision, first = self.found.figures[:2]
        return (
            f"{self.classifier.name}; {precision.photos} queries in {self.found.gallery} photos: mAP "
            f"{precision.value:.3g} (by chance {precision.chance:.3g}), rank-1 {first.value:.3g} (by chance "
            f"{first.chance:.3g})"
        )


def fit_reid(
    start: Classifier,
    sightings: Sequence[Sighting],
    *,
    teacher: Classifier | None = None,
    recipe: ReidRecipe | None = None,
    seed: int = 0,
    run: str | Path | None = None,
    force: bool = False,
    accumulate: int = 1,
    checkpoint_every: int = Settings.checkpoint_every,
    tracked: Watched = lambda _, parts: parts,
) -> TrainedReid:
    """Train a whole network to embed photos of a person alike, by itself or from a teacher, and examine it on others.

    As `fit_brnpa`, first a teacher on the backbone's own grid, then a student from it with `recipe.strides`. The last
    epoch is kept: no photos choose. Figures are of queries and gallery, whose persons training has not seen.

    Args:
        start: whose backbone is copied and trained; it stays as it is.
        sightings: to train on, to look for and to look in; those that cannot be read are left out, with a warning.
        teacher: a classifier of the same persons and preparation, such as the one trained before; it stays as it is.
        recipe: how; see `ReidRecipe`.
        seed: of first weights, order, which photos of a person are taken and how they are shown, and of the bootstrap.
        run: a folder of the training: configuration, log, a row a query, and checkpoints while it is not finished. The
            same training asked again goes on where it was stopped, on the CPU to the same bits; a finished one is read
            back. Default none.
        force: replace another run that stands there, or a finished one.
        accumulate: parts into which a step is cut, so that less memory is needed; triplets and neck then see one part
            at a time.
        checkpoint_every: steps between checkpoints, besides those after every epoch.
        tracked: goes through the photos, then through the steps; a place for progress.

    With several processes a step is cut among them, and triplets and neck see each one's part: another training than in
    one, the same whenever there are as many.

    Cost: an epoch a forward and a backward for `recipe.photos` of each person, and as many forwards of the teacher;
    two forwards of each query and gallery photo, and one of the teacher.

    Raises:
        UnsupportedError: settings, strides or networks that do not fit.
        ClassifierError: sightings that do not do (see `check_sightings`), or a teacher that does not fit.
        PhotoError: no photo can be read.
        MetricError: no query can be answered.
        RunError: the run folder holds something else.
        NotFiniteError: a loss or weight is no number any more.
    """
    check_sightings(sightings)
    names = sorted({each.identity for each in of_use(sightings, "train")})
    plan = ReidPlan.of(start, teacher, names, recipe or ReidRecipe(), seed)
    settings, processes = plan.settings(accumulate, checkpoint_every), Processes.of(plan.classifier.device)
    marks = [fingerprint(each.photo) for each in sightings]
    asked = {
        **plan.words(),
        "first_weights": plan.classifier.hash,
        "sightings_digest": _digest(marks, sightings),
        "accumulate": accumulate,
        "processes": processes.count,
    }
    with ExitStack() as stack:
        training = stack.enter_context(kept(run, COMMAND, asked, force, processes.main))
        if training.finished:
            about = read_back(training.folder / CLASSIFIER, plan.trainee)
            found, before = Found.of_words(about["found"]), Found.of_words(about["before"])
            taught = about["taught"] and Found.of_words(about["taught"])
            return TrainedReid(plan.classifier, about["training"], about["unreadable"], found, before, taught)
        warn_of_anew(plan, processes.main)
        stack.enter_context(kept_for_the_caller(plan.trainee))
        photos = [each.photo for each in sightings]
        reasons = reasons_against(photos, range(len(photos)), plan.classifier.preparation, tracked)
        unreadable = listed_by_name(photos, reasons)
        if processes.main:
            warn_of_unreadable([(name_of(photos[place]), reason) for place, reason in reasons.items()])
        known = [place for place in range(len(sightings)) if place not in reasons]
        check_sightings([sightings[place] for place in known])
        learnt = _learnt([(marks[place], sightings[place]) for place in known], names)
        queries, gallery = (of_use([sightings[place] for place in known], use) for use in ("query", "gallery"))
        plan.measure(learnt)
        before, _ = _examined(plan.classifier, queries, gallery, seed)
        taught = None if teacher is None else _examined(teacher, queries, gallery, seed)[0]
        task, optimizer = plan.task(learnt), plan.optimizer()
        came = training.fit(task, optimizer, plan.schedule(optimizer, task.examples), settings, None, tracked)
        plan.check_unchanged()
        plan.trainee.eval()
        found, precisions = _examined(plan.classifier, queries, gallery, seed)
        facts = {"photos": len(learnt), "persons": len(names), "steps": came.steps}
        trained = TrainedReid(plan.classifier, asked | facts, unreadable, found, before, taught)
        rows = _query_rows(queries, precisions)
        training.finish(trained.save, CLASSIFIER, rows, {**facts, **trained.figures(), "unreadable": unreadable})
    return trained


def _digest(marks: Sequence[str], sightings: Sequence[Sighting]) -> str:
    """SHA-256 of what is known of each photo, whatever their order and names."""
    lines = [
        f"{mark} {each.split} {each.identity!r} {each.camera!r}" for mark, each in zip(marks, sightings, strict=True)
    ]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _learnt(known: Sequence[tuple[str, Sighting]], names: Sequence[str]) -> Part:
    """Photos to train on, in the order of their content: the order in which they came changes nothing.

    Raises:
        ClassifierError: nothing is left of a person.
    """
    taken = sorted(
        ((mark, each.identity, each.photo) for mark, each in known if each.split == "train"), key=lambda one: one[:2]
    )
    lost = sorted({*names} - {identity for _, identity, _ in taken})
    if lost:
        raise ClassifierError("no photo of some persons can be read", came=", ".join(lost[:6]))
    marks, identities, photos = zip(*taken, strict=True)
    return Part(photos, marks, tuple(names.index(identity) for identity in identities))


def _examined(
    classifier: Classifier, queries: Sequence[Sighting], gallery: Sequence[Sighting], seed: int
) -> tuple[Found, Tensor]:
    return found_in(embedded(classifier, queries), embedded(classifier, gallery), seed)


def _query_rows(queries: Sequence[Sighting], precisions: Tensor) -> list[dict[str, Any]]:
    """A row a query."""
    return [
        {
            "image": f"query {place:06d}",
            "method": "br-npa",
            "target": query.identity,
            "photo": name_of(query.photo),
            "camera": query.camera,
            "average_precision": None if math.isnan(precision) else precision,
        }
        for place, (query, precision) in enumerate(zip(queries, precisions.tolist(), strict=True))
    ]
