"""BR-NPA, and the networks that it is compared with, trained for one's own classes: photos in, a classifier out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from regard.images import Photo
from regard.models.classifier import Classifier
from regard.training.brnpa.answers import ANSWERS, Examined, answered
from regard.training.brnpa.figures import Worth, epoch_figures, worth_of
from regard.training.brnpa.plan import Plan, warn_of_anew
from regard.training.brnpa.recipe import BRNPARecipe
from regard.training.brnpa.trained import CLASSIFIER, TrainedNetwork, read_back
from regard.training.embeddings import fingerprint
from regard.training.given import check_labelled, warn_of_unreadable, words_of_labelled
from regard.training.kept import Choice, Figures, epoch_rows, kept
from regard.training.labelled import Label
from regard.training.parts import Parts, parted
from regard.training.processes import Processes
from regard.training.readable import Watched
from regard.training.steps import Settings, kept_for_the_caller
from regard.training.targets import answers_of

COMMAND, METHOD = "train-br-npa", "br-npa"
CHOSEN_BY = "cross_entropy"
"""What is least in the epoch that is kept: among few photos many epochs are right on as many."""


@dataclass(frozen=True)
class TrainedBRNPA(TrainedNetwork):
    """A trained classifier, and what it is worth.

    Attributes:
        worth: figures of photos that neither training nor any choice has seen.
        examined: these photos and the answers to them; in a run's folder, not in the classifier's file.
        epochs: figures of the photos by which the epoch is chosen, of the start (epoch 0) and after every epoch; none
            where none is chosen.
    """

    worth: Worth
    examined: Examined
    epochs: tuple[Figures, ...]

    def figures(self) -> Mapping[str, Any]:
        return {"epochs": self.epochs, **asdict(self.worth)}

    @property
    def summary(self) -> str:
        """One line on what it is worth."""
        figure = self.worth.held_out.overall
        assert figure is not None
        return (
            f"{self.classifier.name}; accuracy of {figure.photos} held-out photos: {figure.value:.3g} "
            f"(by chance {figure.chance:.3g})"
        )


def fit_brnpa(
    start: Classifier,
    photos: Sequence[Photo],
    labels: Sequence[Label],
    *,
    teacher: Classifier | None = None,
    recipe: BRNPARecipe | None = None,
    held_out: float | Sequence[bool] = 0.2,
    choosing: float = 0.2,
    seed: int = 0,
    run: str | Path | None = None,
    force: bool = False,
    accumulate: int = 1,
    checkpoint_every: int = Settings.checkpoint_every,
    tracked: Watched = lambda _, parts: parts,
    heard: Callable[[int, Mapping[str, float]], None] = lambda *_: None,
) -> TrainedBRNPA:
    """Train a whole network whose head reads representatives of its last features, by itself or from a teacher.

    As published, in two trainings: first a teacher on the backbone's own grid; then, with `teacher=`, a student whose
    grid is finer (`recipe.strides`). A student that starts from its teacher (`start` and `teacher` the same) goes on
    from its backbone, pooling and head, unless the recipe asks for another pooling, which a warning says; where its
    filters are not dilated, batch norm is measured anew before.

    Photos are parted in three by their content, of each class alike: some are examined, and no choice sees them; of the
    others a share says which epoch is kept, the one with the least cross-entropy. What the photos are called and how
    they are ordered changes nothing. Device and precision are the start's.

    Args:
        start: whose backbone is copied and trained; it stays as it is, in itself. Of a `BRNPAClassifier` settings of
            representatives that no recipe has are taken on: weights, temperature, negative, detach.
        photos: paths, PIL images or uint8 arrays; those that cannot be read are left out, with a warning.
        labels: the name of each photo's class.
        teacher: a classifier of the same classes and preparation, frozen and in eval mode; it sees the very pixels that
            the student sees.
        recipe: how; see `BRNPARecipe`.
        held_out: share of the photos that is examined, of each class; or which ones, one mark a photo. Teacher and
            student trained with the same share and seed have the same photos held out.
        choosing: share of the others by which the epoch is chosen; 0 keeps the last one.
        seed: of first weights, order, dropout, augmentation, of which photos are held out, and of the bootstrap.
        run: a folder of the training: configuration, log, figures, and checkpoints while it is not finished. The same
            training asked again goes on where it was stopped, by Ctrl-C or a kill, on the CPU to the same bits; a
            finished one is read back. Nothing is written before all that may be refused has been looked at. Default
            none.
        force: replace another run that stands there, or a finished one.
        accumulate: parts into which a step is cut, so that less memory is needed. Batch norm that is trained sees one
            part at a time; else the gradient is that of the whole step.
        checkpoint_every: steps between checkpoints, besides those after every epoch: what a kill costs at most.
        tracked: goes through the photos, then through the steps; a place for progress.
        heard: told each epoch and its figures as they come, epoch 0 first; in the main process alone.

    Cost: an epoch a forward and a backward a photo trained on, and a forward of the teacher; a forward of each a photo
    to choose by.

    Raises:
        UnsupportedError: no list of photos; settings, strides or networks that do not fit.
        ClassifierError: labels, marks or a teacher that do not fit, or too few photos of a class.
        PhotoError: no photo can be read.
        RunError: the run folder holds something else.
        NotFiniteError: a loss or weight is no number any more.
    """
    check_labelled(photos, labels, held_out, choosing, "photos")
    answers = answers_of(labels, "softmax")
    plan = Plan.of(start, teacher, answers.names, recipe or BRNPARecipe(), seed)
    subject, trainee = plan.classifier, plan.trainee
    settings = plan.settings(accumulate, checkpoint_every)
    processes = Processes.of(subject.device)
    marks = [fingerprint(photo) for photo in photos]
    asked = {
        **plan.words(),
        **words_of_labelled(marks, labels, held_out, choosing),
        "accumulate": accumulate,
        "processes": processes.count,
    }
    with ExitStack() as stack:
        training = stack.enter_context(kept(run, COMMAND, asked, force, processes.main))
        if training.finished:
            about = read_back(training.folder / CLASSIFIER, trainee)
            worth, epochs = Worth.of_words(about), tuple(about["epochs"])
            examined = Examined.load(training.folder / ANSWERS)
            return TrainedBRNPA(subject, about["training"], about["unreadable"], worth, examined, epochs)
        warn_of_anew(plan, processes.main)
        stack.enter_context(kept_for_the_caller(trainee))
        parts = parted(photos, marks, answers, subject.preparation, held_out, choosing, seed, tracked)
        _warn(parts, processes.main)
        plan.measure(parts.learnt)
        task, optimizer = plan.task(parts.learnt), plan.optimizer()

        def judged(_: int) -> Mapping[str, float]:
            return epoch_figures(answered(subject, trainee, teacher, parts.chosen_by), parts.chosen_by)

        choice = Choice(judged, CHOSEN_BY, heard) if len(parts.chosen_by) else None
        came = training.fit(task, optimizer, plan.schedule(optimizer, task.examples), settings, choice, tracked)
        plan.check_unchanged()
        trainee.eval()
        facts = {**parts.counted(), "steps": came.steps, "epoch_chosen": came.chosen}
        examined = Examined.of(parts.examined, answered(subject, trainee, teacher, parts.examined))
        worth = worth_of(examined.answers, parts.examined, parts.learnt, answers.names, seed)
        trained = TrainedBRNPA(subject, asked | facts, parts.unreadable, worth, examined, came.epochs)
        rows = [*epoch_rows("chosen by", METHOD, came.epochs), *examined.rows(METHOD, answers.names)]

        def save(path: Path) -> None:
            trained.save(path)
            examined.save(path.with_name(ANSWERS))

        training.finish(save, CLASSIFIER, rows, {**facts, **asdict(worth), "unreadable": parts.unreadable})
    return trained


def _warn(parts: Parts, main: bool) -> None:
    """Say, by the main process, what the figures do not: photos left out, and photos in two parts."""
    if main:
        warn_of_unreadable([*parts.unreadable.items()])
    both = {*parts.examined.marks}.intersection((*parts.learnt.marks, *parts.chosen_by.marks))
    if both and main:
        warnings.warn(f"{len(both)} held-out photos are trained on too, byte for byte", stacklevel=3)
