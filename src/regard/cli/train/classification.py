"""`regard train br-npa --task classification`: what is said before and after a training for classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard.cli.output import announce
from regard.cli.train.in_words import recipe_in_words
from regard.cli.train.task import TrainingTask
from regard.cli.train.told import Told, row
from regard.timing import pass_seconds

if TYPE_CHECKING:
    from regard.models.classifier import Classifier
    from regard.training import Labelled, TrainedBRNPA

FEW_HELD_OUT = 30
"""Photos below which a share of those held out is a rough guide."""


def classification() -> TrainingTask:
    """The task."""
    from regard.training import BRNPA_RECIPES, fit_brnpa

    return TrainingTask(BRNPA_RECIPES, fit_brnpa, _announce, _told)


def _announce(start: Classifier, labelled: Labelled, common: Mapping[str, Any]) -> float:
    """Say recipe, photos, steps, passes and time; seconds of a step."""
    from regard.training.brnpa.plan import Plan
    from regard.training.targets import answers_of

    recipe, teacher, held_out = common["recipe"], common["teacher"], common["held_out"]
    plan = Plan.of(start, teacher, answers_of(labelled.labels, "softmax").names, recipe, common["seed"])
    height, width = plan.classifier.network.read(plan.classifier.picture()).shape[2:]
    announce(recipe_in_words(recipe, plan.classifier.name, (height, width), teacher is not None))
    total = len(labelled.photos)
    examined = round(held_out * total) if isinstance(held_out, float) else sum(held_out)
    judged = round(common["choosing"] * (total - examined))
    learnt = max(1, total - examined - judged)
    steps = -(-learnt // recipe.batch)
    own, taught = pass_seconds(plan.classifier), 0.0 if teacher is None else pass_seconds(teacher)
    # a pass with gradients to all weights costs about three
    a_step: float = (learnt * (3 * own + taught + 0.01) + judged * (own + taught + 0.01)) / steps
    looks = (recipe.epochs + 1) * judged + examined
    forwards = (1 if teacher is None else 2) * (recipe.epochs * learnt + looks)
    announce(
        f"photos: {total}, of which about {examined} held out and {judged} to choose by; steps: about "
        f"{recipe.epochs * steps}; forward passes: about {forwards}, {recipe.epochs * learnt} of them with gradients; "
        f"about {recipe.epochs * steps * a_step + 0.01 * total + examined * (own + taught):.0f} s in all"
    )
    return a_step


def _told(trained: TrainedBRNPA, teacher: Path | None) -> Told:
    training, held_out = trained.training, trained.worth.held_out
    overall = () if held_out.overall is None else (held_out.overall,)
    return Told(
        f"trained on {training['photos_trained_on']} photos; epoch {training['epoch_chosen']} is kept, "
        + (f"chosen by {training['photos_chosen_by']} others" if trained.epochs else "the last")
        + f"; examined on {held_out.photos} that no choice has seen",
        ["", "held-out photos", held_out.measure, "95 % interval", "by chance"],
        [row(figure, figure.photos) for figure in (*overall, *trained.worth.beside, *held_out.each)],
        _notes(trained, teacher),
    )


def _notes(trained: TrainedBRNPA, teacher: Path | None) -> list[str]:
    """What forbids to trust the figures."""
    notes = []
    if trained.worth.held_out.photos < FEW_HELD_OUT:
        notes.append(f"fewer than {FEW_HELD_OUT} photos are held out, so these figures are rough")
    if unexamined := trained.worth.held_out.unexamined:
        notes.append(f"no held-out photo shows {len(unexamined)} classes: {', '.join(unexamined[:10])}")
    if teacher is not None and _other_photos(teacher, trained.training):
        notes.append(
            "the teacher was trained with other photos held out, so it may know those that are examined here: give "
            "both the same --held-out and --seed"
        )
    return notes


def _other_photos(teacher: Path, training: Mapping[str, Any]) -> bool:
    """Whether a teacher's file says that other photos than here were held out from it."""
    from regard.models.files import read_header

    told = read_header(teacher).about.get("training")
    if not isinstance(told, Mapping) or "photos_digest" not in told:
        return False
    marked = isinstance(training["held_out"], str)  # by the source: the seed draws nothing
    names = ("photos_digest", "held_out") if marked else ("photos_digest", "held_out", "seed")
    return any(told.get(name) != training[name] for name in names)
