"""Networks that tell classes by a few photos of each: photos of many classes in, a network for new ones out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from regard.images import Photo
from regard.models.brnpa import BRNPAClassifier
from regard.models.classifier import Classifier
from regard.training.brnpa.fit import CHOSEN_BY
from regard.training.brnpa.plan import warn_of_anew
from regard.training.brnpa.trained import CLASSIFIER, TrainedNetwork, read_back
from regard.training.embeddings import fingerprint
from regard.training.few_shot.class_parts import ClassSplit, class_split, parted_by_class
from regard.training.few_shot.episodes import Episodes
from regard.training.few_shot.figures import Asked, FewShotWorth, episode_figures, few_shot_worth
from regard.training.few_shot.plan import FewShotPlan
from regard.training.few_shot.recipe import FewShotRecipe
from regard.training.given import check_labelled, warn_of_unreadable, words_of_labelled
from regard.training.kept import Choice, Figures, epoch_rows, kept
from regard.training.labelled import Label
from regard.training.parts import Parts
from regard.training.processes import Processes
from regard.training.readable import Watched
from regard.training.steps import Settings, kept_for_the_caller
from regard.training.targets import answers_of

COMMAND = "train-few-shot"


@dataclass(frozen=True)
class TrainedFewShot(TrainedNetwork):
    """A network for new classes, and what it is worth.

    Of its `represent(…)` vectors prototypes are made; its head is of the classes trained on. Cross attention, if that
    decided, is not part of it.

    Attributes:
        worth: figures of classes that neither training nor any choice has seen.
        epochs: figures of the classes by which the epoch is chosen, of the start (epoch 0) and after every epoch; none
            where none is chosen.
    """

    worth: FewShotWorth
    epochs: tuple[Figures, ...]

    def figures(self) -> Mapping[str, Any]:
        return {"epochs": self.epochs, **asdict(self.worth)}

    @property
    def summary(self) -> str:
        """One line on what it is worth."""
        figure, recipe = self.worth.examined, self.training["recipe"]
        return (
            f"{self.classifier.name}; accuracy of {figure.episodes} episodes of {recipe['ways']} new classes by "
            f"{recipe['shots']} photos of each: {figure.value:.3g} (by chance {figure.chance:.3g})"
        )


def fit_few_shot(
    start: Classifier,
    photos: Sequence[Photo],
    labels: Sequence[Label],
    *,
    teacher: BRNPAClassifier | None = None,
    recipe: FewShotRecipe | None = None,
    held_out: float | Sequence[bool] = 0.2,
    choosing: float = 0.2,
    seed: int = 0,
    run: str | Path | None = None,
    force: bool = False,
    accumulate: int = 1,
    checkpoint_every: int = Settings.checkpoint_every,
    tracked: Watched = lambda _, parts: parts,
    heard: Callable[[int, Mapping[str, float]], None] = lambda *_: None,
) -> TrainedFewShot:
    """Train a network on episodes, by itself or from a teacher; as `fit_brnpa` but for what is named here.

    Classes are parted in three by the content of their photos: some are examined, and no choice sees them; of the
    others a share says which epoch is kept. Photos of the same class and content count once.

    Args:
        start: whose backbone is copied and trained; it stays as it is.
        photos: paths, PIL images or uint8 arrays; those that cannot be read are left out, with a warning.
        labels: the name of each photo's class.
        teacher: of the same training classes and preparation, from this function or `fit_brnpa`: its own prototypes
            answer the same episodes. Trained with the same share and seed it has the same classes held out.
        recipe: how; see `FewShotRecipe`.
        held_out: share of the classes that is examined; or which photos are, one mark each, alike for all of a class.
        choosing: share of the other classes by which the epoch is chosen; 0 keeps the last one.
        seed: of first weights, episodes, dropout, augmentation, of which classes are held out, and of the bootstrap.
        run: see `fit_brnpa`, as those that follow.
        force: of a run that stands there.
        accumulate: parts of a step.
        checkpoint_every: steps between checkpoints.
        tracked: progress.
        heard: told each epoch's figures.

    Raises:
        UnsupportedError: no list of photos; settings, strides or networks that do not fit.
        ClassifierError: labels, marks or a teacher that do not fit, too few classes, or too few photos of one.
        PhotoError: no photo can be read.
        RunError: the run folder holds something else.
        NotFiniteError: a loss or weight is no number any more.
    """
    recipe = recipe or FewShotRecipe()
    FewShotPlan.check(start, teacher, recipe)
    check_labelled(photos, labels, held_out, choosing, "classes")
    answers = answers_of(labels, "softmax")
    marks = [fingerprint(photo) for photo in photos]
    split = class_split(answers, marks, held_out, choosing, seed)
    split.check(recipe.ways)
    plan = FewShotPlan.of(start, teacher, split.learnt, recipe, seed)
    subject, learner, settings = plan.classifier, plan.trainee, plan.settings(accumulate, checkpoint_every)
    processes = Processes.of(subject.device)
    asked = {
        **plan.words(),
        **words_of_labelled(marks, labels, held_out, choosing),
        "accumulate": accumulate,
        "processes": processes.count,
    }
    with ExitStack() as stack:
        training = stack.enter_context(kept(run, COMMAND, asked, force, processes.main))
        if training.finished:
            about = read_back(training.folder / CLASSIFIER, learner)
            worth, epochs = FewShotWorth.of_words(about), tuple(about["epochs"])
            return TrainedFewShot(subject, about["training"], about["unreadable"], worth, epochs)
        warn_of_anew(plan, processes.main)
        stack.enter_context(kept_for_the_caller(learner))
        parts = parted_by_class(photos, marks, answers, split, subject.preparation, tracked)
        if processes.main:
            warn_of_unreadable([*parts.unreadable.items()])
        _check_episodes(parts, split, recipe)
        plan.measure(parts.learnt)
        task, optimizer = plan.task(parts.learnt), plan.optimizer()

        def judged(_: int) -> Mapping[str, float]:
            return episode_figures(
                Asked(subject, learner, teacher, parts.chosen_by, recipe.chosen_by, seed, split.chosen_by)
            )

        choice = Choice(judged, CHOSEN_BY, heard) if split.chosen_by else None
        came = training.fit(task, optimizer, plan.schedule(optimizer, task.examples), settings, choice, tracked)
        plan.check_unchanged()
        learner.eval()
        facts = {**_classes(split), **parts.counted(), "steps": came.steps, "epoch_chosen": came.chosen}
        asked_last = Asked(subject, learner, teacher, parts.examined, recipe.examined, seed, split.examined)
        worth = few_shot_worth(asked_last, seed)
        trained = TrainedFewShot(subject, asked | facts, parts.unreadable, worth, came.epochs)
        rows = [*epoch_rows("chosen by", "few-shot", came.epochs), *_episode_rows(worth)]
        training.finish(trained.save, CLASSIFIER, rows, {**facts, **asdict(worth), "unreadable": parts.unreadable})
    return trained


def _check_episodes(parts: Parts, split: ClassSplit, recipe: FewShotRecipe) -> None:
    """Refuse before the training classes, or photos of one, too few for the episodes after it."""
    given = ((parts.learnt, split.learnt), (parts.chosen_by, split.chosen_by), (parts.examined, split.examined))
    for part, names in given:
        if names:
            Episodes(part.classes, recipe.ways, recipe.shots, recipe.queries, 0, names)


def _classes(split: ClassSplit) -> dict[str, Any]:
    return {
        "classes_trained_on": len(split.learnt),
        "classes_chosen_by": len(split.chosen_by),
        "classes_held_out": list(split.examined),
    }


def _episode_rows(worth: FewShotWorth) -> list[dict[str, Any]]:
    """Every examined episode as a row."""
    return [
        {"image": "examined", "method": "few-shot", "target": f"episode {number:06d}", "accuracy": accuracy}
        for number, accuracy in enumerate(worth.accuracies)
    ]
