"""`regard train br-npa --task few-shot`: what is said before and after a training on episodes."""

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
    from regard.training import Labelled
    from regard.training.few_shot.fit import TrainedFewShot

FEW_CLASSES = 20
"""Held-out classes below which other ones could tell another story."""


def few_shot() -> TrainingTask:
    """The task."""
    from regard.training.few_shot.fit import fit_few_shot
    from regard.training.few_shot.recipe import FEW_SHOT_RECIPES

    return TrainingTask(FEW_SHOT_RECIPES, fit_few_shot, _announce, _told)


def _announce(start: Classifier, labelled: Labelled, common: Mapping[str, Any]) -> float:
    """Say recipe, classes, episodes, passes and time; seconds of a step."""
    from regard.training.brnpa.plan import Plan
    from regard.training.embeddings import fingerprint
    from regard.training.few_shot.class_parts import class_split
    from regard.training.targets import answers_of

    recipe, teacher = common["recipe"], common["teacher"]
    answers = answers_of(labelled.labels, "softmax")
    names, marks = answers.names, [fingerprint(photo) for photo in labelled.photos]
    split = class_split(answers, marks, common["held_out"], common["choosing"], common["seed"])
    split.check(recipe.ways)
    apart, inner = len(split.examined), len(split.chosen_by)
    network = Plan.of(start, None, names, recipe, common["seed"]).classifier
    height, width = network.network.read(network.picture()).shape[2:]
    announce(recipe_in_words(recipe, network.name, (height, width), teacher is not None))
    own, taught = pass_seconds(network), 0.0 if teacher is None else pass_seconds(teacher)
    shown = recipe.ways * (recipe.shots + recipe.queries)  # photos of an episode
    trained = recipe.epochs * recipe.episodes
    steps = recipe.epochs * -(-recipe.episodes // recipe.batch)
    looks = ((recipe.epochs + 1) * inner + apart) * len(labelled.photos) // len(names)
    # a pass with gradients to all weights costs about three
    a_step: float = (trained * shown * (3 * own + taught + 0.01) + looks * (own + taught + 0.01)) / steps
    forwards = (1 if teacher is None else 2) * (trained * shown + looks)
    announce(
        f"classes: {len(names)}, of which {apart} held out and {inner} to choose by; episodes: {trained} of "
        f"{recipe.ways} classes by {recipe.shots}, {recipe.queries} asked for; decided by {recipe.comparison}; steps: "
        f"{steps}; forward passes: about {forwards}, {trained * shown} of them with gradients; about "
        f"{steps * a_step + 0.01 * len(labelled.photos):.0f} s in all"
    )
    return a_step


def _told(trained: TrainedFewShot, _: Path | None) -> Told:
    training, worth = trained.training, trained.worth
    return Told(
        f"trained on {training['classes_trained_on']} classes, {training['photos_trained_on']} photos; epoch "
        f"{training['epoch_chosen']} is kept, "
        + (f"chosen by {training['classes_chosen_by']} other classes" if trained.epochs else "the last")
        + f"; examined on {len(training['classes_held_out'])} that no choice has seen",
        ["", "episodes", "accuracy", "95 % interval", "by chance"],
        [row(figure, figure.episodes) for figure in (worth.examined, *worth.beside)],
        _notes(trained),
    )


def _notes(trained: TrainedFewShot) -> list[str]:
    """What forbids to trust the figures, or the file to stand for them."""
    notes, held_out = [], trained.training["classes_held_out"]
    if len(held_out) < FEW_CLASSES:
        notes.append(f"fewer than {FEW_CLASSES} classes are held out: the intervals are of their episodes alone")
    if trained.training["recipe"]["comparison"] == "cross-attention":
        notes.append("the file holds the network, not the cross attention by which these figures were decided")
    return notes
