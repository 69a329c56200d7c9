"""Networks that tell classes by a few photos of each: photos of many classes in, a network for new ones out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from regard.attention.cross_attention import CrossAttention
from regard.errors import ClassifierError
from regard.images import Photo
from regard.models.brnpa import BRNPAClassifier
from regard.models.classifier import Classifier
from regard.models.files import read_header, read_weights
from regard.models.saved import save_classifier
from regard.runs import Run, finished_run
from regard.training import checkpoints, loop
from regard.training.begun import check_labelled, digest_of_values, finite, standing, warn_of_unreadable
from regard.training.brnpa import CHOSEN_BY, CLASSIFIER
from regard.training.brnpa_plan import Plan
from regard.training.class_parts import ClassSplit, class_split, parted_by_class
from regard.training.embeddings import fingerprint
from regard.training.episodes import Episodes
from regard.training.fewshot_figures import Asked, FewShotWorth, episode_figures, few_shot_worth
from regard.training.fewshot_recipe import FewShotRecipe
from regard.training.fewshot_task import FewShot, Learner
from regard.training.labelled import Label
from regard.training.parts import Parts
from regard.training.processes import Processes
from regard.training.steps import Settings, kept_for_the_caller, seed_for
from regard.training.surveyed import Watched
from regard.training.targets import answers_of

COMMAND = "train-few-shot"


@dataclass(frozen=True)
class TrainedFewShot:
    """A network for new classes, and what it is worth.

    Attributes:
        classifier: in eval mode: the network, of whose `represent(…)` vectors prototypes are made, with a head of the
            classes trained on. Cross attention, if that decided, is not part of it.
        worth: figures of classes that neither training nor any choice has seen.
        epochs: figures of the classes by which the epoch is chosen, of the start (epoch 0) and after every epoch; none
            where none is chosen.
        training: how it was trained: start, teacher, recipe, classes and numbers of photos, the epoch that was kept.
        unreadable: photo → why it could not be read; such photos were left out.
    """

    classifier: BRNPAClassifier
    worth: FewShotWorth
    epochs: tuple[Mapping[str, float | None], ...]
    training: Mapping[str, Any]
    unreadable: Mapping[str, str]

    def save(self, path: str | Path) -> None:
        """Write one file that `regard.load(path)` reads."""
        save_classifier(
            self.classifier,
            path,
            {
                "summary": self.summary,
                "training": self.training,
                "epochs": self.epochs,
                "unreadable": self.unreadable,
                **self.worth.words(),
            },
        )

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
        run, force, accumulate, checkpoint_every, tracked, heard: see `fit_brnpa`.

    Raises:
        UnsupportedError: no list of photos; settings, strides or networks that do not fit.
        ClassifierError: labels, marks or a teacher that do not fit, too few classes, or too few photos of one.
        PhotoError: no photo can be read.
        RunError: the run folder holds something else.
        NotFiniteError: a loss or weight is no number any more.
    """
    recipe = recipe or FewShotRecipe()
    check_labelled(photos, labels, held_out, choosing, "classes")
    answers = answers_of(labels, "softmax")
    marks = [fingerprint(photo) for photo in photos]
    split = class_split(answers, marks, held_out, choosing, seed)
    _check_classes(split, recipe)
    plan, learner = _planned(start, teacher, split, recipe, seed)
    subject, settings = plan.classifier, plan.settings(accumulate, checkpoint_every)
    processes = Processes.of(subject.device)
    asked = {
        **plan.words(),
        "photos_digest": digest_of_values(marks, labels),
        "held_out": held_out if isinstance(held_out, (int, float)) else digest_of_values(marks, held_out),
        "choosing": choosing,
        "accumulate": accumulate,
        "processes": processes.count,
    }
    with ExitStack() as stack:
        folder = Path(run) if run is not None else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if not force and finished_run(folder, COMMAND, asked) is not None:
            checkpoints.remove(folder)  # one that was killed as it removed them
            return _read_back(folder / CLASSIFIER, subject, learner)
        opened = standing(folder, COMMAND, asked, force) if processes.main else None
        stack.enter_context(kept_for_the_caller(learner))
        parts = parted_by_class(photos, marks, answers, split, subject.preparation, tracked)
        if processes.main:
            warn_of_unreadable([*parts.unreadable.items()])
        task = FewShot(learner, teacher, parts.learnt, subject, recipe, seed, split.learnt)
        _check_episodes(parts, split, recipe)
        plan.measure(parts.learnt)
        learner.to_be_trained(recipe.batch_norm)
        optimizer = plan.optimizer()

        def on_epoch(number: int) -> Mapping[str, float]:
            judged = Asked(subject, learner, teacher, parts.chosen_by, recipe.chosen_by, seed, split.chosen_by)
            figures = episode_figures(judged)
            if processes.main:
                heard(number, figures)
            return figures

        chosen, begin = len(split.chosen_by) > 0, []
        if chosen:
            with kept_for_the_caller(learner):
                begin = [on_epoch(0)]
        if processes.main and opened is None:
            opened = Run.open(folder, COMMAND, asked, force)
            for figures in begin:
                opened.log("epoch", epoch=0, step=0, numbers=finite(figures), best=False)
        came = loop.fit(
            task,
            optimizer,
            plan.schedule(optimizer, task.examples),
            settings,
            opened,
            on_epoch=on_epoch if chosen else None,
            choose_by=CHOSEN_BY if chosen else None,
            tracked=lambda left: tracked("training", left),
        )
        plan.check_unchanged()
        learner.eval()
        training = asked | {
            **_counted(parts, split),
            "steps": came.steps,
            "epoch_chosen": came.best or settings.epochs,
        }
        trained = TrainedFewShot(
            subject,
            few_shot_worth(
                Asked(subject, learner, teacher, parts.examined, recipe.examined, seed, split.examined), seed
            ),
            tuple(finite(epoch) for epoch in (*begin, *came.epochs)),
            training,
            parts.unreadable,
        )
        if opened is not None:
            trained.save(folder / CLASSIFIER)
            _finish(opened, trained)
    return trained


def _planned(
    start: Classifier, teacher: BRNPAClassifier | None, split: ClassSplit, recipe: FewShotRecipe, seed: int
) -> tuple[Plan, Learner]:
    """The training of the network as `Plan` has it, with a learner of episodes in the place of its trainee."""
    if teacher is not None and not isinstance(teacher, BRNPAClassifier):
        raise ClassifierError(
            "a teacher of episodes is a network with vectors to compare",
            came=teacher.name,
            expected="a BRNPAClassifier, from fit_few_shot or fit_brnpa",
        )
    plan = Plan.of(start, teacher, split.learnt, recipe, seed)
    network, crossed = plan.classifier.network, None
    if recipe.comparison == "cross-attention":
        height, width = network.read(plan.classifier.picture()).shape[2:]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_for(seed, "cross attention"))
            crossed = CrossAttention(height * width)
    learner = Learner(network, plan.classifier.head, recipe, crossed).to(plan.classifier.device)
    return replace(plan, trainee=learner), learner


def _check_classes(split: ClassSplit, recipe: FewShotRecipe) -> None:
    """Refuse a part that has fewer classes than an episode."""
    for what, names in (("train on", split.learnt), ("choose by", split.chosen_by), ("examine", split.examined)):
        if 0 < len(names) < recipe.ways:
            raise ClassifierError(
                f"there are too few classes to {what} for episodes of {recipe.ways}",
                came=", ".join(names),
                remedy="photos of more classes, fewer ways, or other shares: choosing 0 keeps the last epoch",
            )


def _check_episodes(parts: Parts, split: ClassSplit, recipe: FewShotRecipe) -> None:
    """Refuse before the training classes, or photos of one, too few for the episodes after it."""
    for part, names in ((parts.chosen_by, split.chosen_by), (parts.examined, split.examined)):
        if names:
            Episodes(part.classes, recipe.ways, recipe.shots, recipe.queries, 0, names)


def _counted(parts: Parts, split: ClassSplit) -> dict[str, Any]:
    return {
        "classes_trained_on": len(split.learnt),
        "classes_chosen_by": len(split.chosen_by),
        "classes_held_out": list(split.examined),
        "photos_trained_on": len(parts.learnt),
        "photos_chosen_by": len(parts.chosen_by),
        "photos_held_out": len(parts.examined),
        "photos_unreadable": len(parts.unreadable),
    }


def _finish(run: Run, trained: TrainedFewShot) -> None:
    """Figures of the start, of every epoch and every examined episode as rows; then no checkpoints are needed."""
    epochs = [
        {"image": "chosen by", "method": "few-shot", "target": f"epoch {number:04d}", "epoch": number, **figures}
        for number, figures in enumerate(trained.epochs)
    ]
    examined = [
        {"image": "examined", "method": "few-shot", "target": f"episode {number:06d}", "accuracy": accuracy}
        for number, accuracy in enumerate(trained.worth.accuracies)
    ]
    run.write_rows([*epochs, *examined])
    facts = ("photos_trained_on", "photos_chosen_by", "photos_held_out", "photos_unreadable", "steps", "epoch_chosen")
    run.finish(
        **{name: trained.training[name] for name in facts},
        **trained.worth.words(),
        unreadable=dict(trained.unreadable),
    )
    checkpoints.remove(run.folder)


def _read_back(path: Path, subject: BRNPAClassifier, learner: Learner) -> TrainedFewShot:
    """What a finished run came to."""
    about = read_header(path).about
    left_out = learner.load_state_dict(read_weights(path), strict=False)
    assert all(name.startswith("crossed.") for name in left_out.missing_keys)  # which no file holds
    return TrainedFewShot(
        subject, FewShotWorth.of_words(about), tuple(about["epochs"]), about["training"], about["unreadable"]
    )
