"""TAME, trained for a frozen classifier: photos in, an explainer out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from regard.explainers.tame import TAME
from regard.fills import Fill
from regard.images import Photo
from regard.models.classifier import Classifier
from regard.training.embeddings import fingerprint
from regard.training.frozen import frozen
from regard.training.given import check_listed
from regard.training.kept import Choice, epoch_rows, kept
from regard.training.processes import Processes
from regard.training.rate_test import STEPS, RateTest, rate_test
from regard.training.readable import Watched
from regard.training.schedules import one_cycle
from regard.training.split import check_share
from regard.training.steps import Settings
from regard.training.tame.descent import optimizer_of
from regard.training.tame.held_out_maps import CHOSEN_BY, held_out_figures
from regard.training.tame.plan import Plan
from regard.training.tame.presets import preset
from regard.training.tame.recipe import Recipe
from regard.training.tame.surveyed import Surveyed, digest_of

COMMAND = "train-tame"
ATTENTION = "attention.safetensors"
"""In a finished run, so that the same training asked again is not done again."""


def fit_tame(
    classifier: Classifier,
    photos: Sequence[Photo],
    *,
    recipe: Recipe | None = None,
    fill: Fill | None = None,
    held_out: float = 0.1,
    seed: int = 0,
    run: str | Path | None = None,
    force: bool = False,
    accumulate: int = 1,
    checkpoint_every: int = Settings.checkpoint_every,
    tracked: Watched = lambda _, parts: parts,
    heard: Callable[[int, Mapping[str, float]], None] = lambda *_: None,
) -> TAME:
    """Train an attention that gives maps of every class, for a classifier that stays as it is.

    Photos need no labels: the class of a picture is what the classifier takes it for. Before the training and after
    every epoch the maps of photos held out are judged by binary retention with the same fill, and the epoch is kept
    whose average drop at 50 % is least. The start, epoch 0, is never kept: it says what the training was worth. Device
    and precision are the classifier's. What the photos are called and how they are ordered changes nothing.

    Args:
        classifier: with two classes or more. It is read in eval mode, and proven unchanged.
        photos: paths, PIL images or uint8 arrays; those that cannot be read are left out, with a warning.
        recipe: how; see `Recipe`, and `preset` for those that have a name. Default `preset("default", classifier)`.
        fill: what hidden pixels become, in training and in the figures; default black.
        held_out: share of the photos by which the epoch is chosen; see `Surveyed.apart`.
        seed: of first weights, order, crops, flips, other classes and of what is held out.
        run: a folder of the training: configuration, log, figures, and checkpoints while it is not finished. The same
            training asked again goes on where it was stopped, by Ctrl-C or a kill, on the CPU to the same bits; a
            finished one is read back. Nothing is written before all that may be refused has been looked at. Default
            none.
        force: replace another run that stands there, or a finished one.
        accumulate: parts into which a step is cut, so that less memory is needed. Batch norm and cross-batch maps see
            one part at a time.
        checkpoint_every: steps between checkpoints, besides those after every epoch: what a kill costs at most.
        tracked: goes through the photos, then through the steps; a place for progress.
        heard: told each epoch and its figures as they come, epoch 0 first; in the main process alone.

    Returns:
        The explainer. `trained.card` says what it was trained for, on and how, and its figures; `save(file)` writes it.

    Cost: one forward a photo; an epoch about 4 forwards a photo trained on and 5 a photo held out, which the start has,
    too.

    Raises:
        UnsupportedError: no list of photos, no two classes, layers or a start that do not fit, a fill that no gradient
            passes.
        ClassifierError: fewer than two photos that differ, `held_out` is no share, or the classifier has changed
            meanwhile.
        PhotoError: no photo can be read.
        RunError: the run folder holds something else.
        NotFiniteError: a loss or weight is no number any more.
    """
    check_share(held_out)
    check_listed(photos)
    marks = [fingerprint(photo) for photo in photos]
    plan = Plan.of(classifier, recipe or preset("default", classifier)[0], fill, seed)
    settings = plan.settings(accumulate, checkpoint_every)
    processes = Processes.of(classifier.device)
    asked = {
        **plan.words(),
        "photos_digest": digest_of(marks),
        "held_out": held_out,
        "accumulate": accumulate,
        "processes": processes.count,
    }
    with ExitStack() as stack:
        training = stack.enter_context(kept(run, COMMAND, {**plan.reads(), **asked}, force, processes.main))
        if training.finished:
            return TAME.load(training.folder / ATTENTION, classifier)
        stack.enter_context(frozen(classifier))
        learnt, held, unreadable = plan.survey(photos, marks, held_out, tracked)
        task = plan.task(learnt)
        steps, optimizer = settings.steps(task.examples), optimizer_of(task.module, plan.recipe)
        counted = _counted(learnt, held, unreadable) | {"steps": steps}
        card = plan.card(learnt, {**asked, **counted})

        def judged(_: int) -> Mapping[str, float]:
            plan.check_unchanged()
            return held_out_figures(TAME(classifier, plan.trained(card), force=True), held, plan.fill)

        choice = Choice(judged, CHOSEN_BY, heard)
        came = training.fit(task, optimizer, one_cycle(optimizer, steps), settings, choice, tracked)
        plan.check_unchanged()
        plan.attention.eval()
        chosen = {"epoch_chosen": came.chosen}
        card = replace(card, training={**card.training, **chosen}, figures=came.epochs[came.chosen])
        tame = TAME(classifier, plan.trained(card))
        rows = epoch_rows("held out", TAME.name, came.epochs)
        training.finish(tame.save, ATTENTION, rows, {**counted, **chosen, "unreadable": dict(unreadable)})
    return tame


def rates_of_tame(
    classifier: Classifier,
    photos: Sequence[Photo],
    *,
    recipe: Recipe | None = None,
    fill: Fill | None = None,
    held_out: float = 0.1,
    seed: int = 0,
    accumulate: int = 1,
    steps: int = STEPS,
    tracked: Watched = lambda _, parts: parts,
) -> RateTest:
    """The learning-rate range test of a training: what each rate does to the loss, and which one it suggests.

    All but `steps`, the length of the sweep, is as in `fit_tame`, which is given the suggestion as its recipe's `rate`.

    Raises:
        RegardError: as `fit_tame`.
    """
    check_share(held_out)
    check_listed(photos)
    marks = [fingerprint(photo) for photo in photos]
    plan = Plan.of(classifier, recipe or preset("default", classifier)[0], fill, seed)
    with frozen(classifier):
        learnt, _, _ = plan.survey(photos, marks, held_out, tracked)
        task = plan.task(learnt)
        found = rate_test(
            task,
            optimizer_of(task.module, plan.recipe),
            plan.settings(accumulate),
            steps=steps,
            tracked=lambda left: tracked("trying rates", left),
        )
    plan.check_unchanged()
    return found


def _counted(learnt: Surveyed, judged: Surveyed, unreadable: Mapping[str, str]) -> dict[str, int]:
    return {
        "photos": len(learnt.photos),
        "photos_held_out": len(judged.photos),
        "photos_unreadable": len(unreadable),
    }
