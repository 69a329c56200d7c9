"""`regard train br-npa --task re-id`: what is said before and after a training that tells persons apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard.cli.output import announce
from regard.cli.train.in_words import recipe_in_words
from regard.cli.train.task import TrainingTask
from regard.cli.train.told import Told, row
from regard.timing import pass_seconds

if TYPE_CHECKING:
    from regard.models.classifier import Classifier
    from regard.training.reid.fit import TrainedReid
    from regard.training.reid.sightings import Sighting

FEW_QUERIES = 30
"""Queries below which figures are a rough guide."""
DRAWN = 5
"""Matches of a query that are drawn."""


def re_id() -> TrainingTask:
    """The task. Its source says what is held out, and nothing is chosen by."""
    from regard.training.reid.fit import fit_reid
    from regard.training.reid.recipe import REID_RECIPES

    return TrainingTask(
        REID_RECIPES, fit_reid, _announce, _told, _read, lambda seen: (seen,), lambda _: {}, shares={}, drawn=_drawn
    )


def _read(source: Path) -> tuple[Sighting, ...]:
    from regard.training.reid.sightings import check_sightings, read_sightings

    sightings = read_sightings(source)
    check_sightings(sightings)
    return sightings


def _announce(start: Classifier, seen: Sequence[Sighting], common: Mapping[str, Any]) -> float:
    """Say recipe, persons, photos, steps, passes and time; seconds of a step."""
    from regard.training.reid.plan import ReidPlan
    from regard.training.reid.sightings import of_use

    recipe, teacher = common["recipe"], common["teacher"]
    learnt, queries, gallery = (of_use(seen, use) for use in ("train", "query", "gallery"))
    names = sorted({sighting.identity for sighting in learnt})
    plan = ReidPlan.of(start, teacher, names, recipe, common["seed"])
    network = plan.classifier
    height, width = network.network.read(network.picture()).shape[2:]
    announce(recipe_in_words(recipe, network.name, (height, width), teacher is not None))
    own, taught = pass_seconds(network), 0.0 if teacher is None else pass_seconds(teacher)
    steps, shown = plan.settings(1).steps_an_epoch(len(names)), len(names) * recipe.photos
    # a pass with gradients to all weights costs about three
    a_step: float = shown * (3 * own + taught + 0.01) / steps
    looked = 2 if teacher is None else 3  # before, after, and the teacher
    looks = looked * (len(queries) + len(gallery)) + len(gallery) + 1 + 1 + DRAWN  # as figures, and to be drawn
    forwards = (1 if teacher is None else 2) * recipe.epochs * shown
    announce(
        f"persons: {len(names)} to learn, in {len(learnt)} photos, {recipe.photos} of each a step, margin "
        f"{recipe.margin:g}; {len(queries)} queries in a gallery of {len(gallery)}; steps: {recipe.epochs * steps}; "
        f"forward passes: {forwards + looks}, {recipe.epochs * shown} of them with gradients; about "
        f"{recipe.epochs * steps * a_step + looks * (own + 0.01) + 0.01 * len(seen):.0f} s in all"
    )
    return a_step


def _drawn(trained: TrainedReid, seen: Sequence[Sighting], folder: Path) -> None:
    """What the first query that can be answered finds, with the maps."""
    from regard.figure_file import save
    from regard.training.readable import name_of
    from regard.training.reid.matches import answerable, draw_found

    known = [each for each in seen if name_of(each.photo) not in trained.unreadable]
    file = folder / "matches.png"
    save(draw_found(trained.classifier, known, answerable(known)[0], DRAWN), file)
    announce(f"what the first query finds, and by which places: {file}")


def _told(trained: TrainedReid, _: Path | None) -> Told:
    training, found = trained.training, trained.found
    beside = {"before training": trained.before, **({} if trained.taught is None else {"teacher": trained.taught})}
    return Told(
        f"trained on {training['photos']} photos of {training['persons']} persons, the last epoch is kept; examined by "
        f"{found.queries} queries of others in {found.gallery} photos",
        ["", "queries", "found", "95 % interval", "by chance", *beside],
        [
            [*row(figure, figure.photos), *(f"{other.value(figure.name):.1%}" for other in beside.values())]
            for figure in found.figures
        ],
        _notes(trained),
    )


def _notes(trained: TrainedReid) -> list[str]:
    """What forbids to trust the figures."""
    found, notes = trained.found, []
    if found.queries - found.unanswerable < FEW_QUERIES:
        notes.append(f"fewer than {FEW_QUERIES} queries can be answered, so these figures are rough")
    if found.unanswerable:
        notes.append(
            f"{found.unanswerable} queries cannot be answered, since no other camera of the gallery saw the person; "
            "they count in no figure"
        )
    return notes
