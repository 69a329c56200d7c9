"""`regard train tame`: maps of every class from one pass, for a classifier that stays as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from regard.cli.asked import listed
from regard.cli.out_file import check_out
from regard.cli.output import announce
from regard.cli.train.options import Accumulate, CheckpointEvery, Replace
from regard.cli.train.progress import heard, stoppable, watched
from regard.cli.train.tame_results import Loaded, epoch_in_words, recipe_in_words, tell, tell_rates
from regard.timing import pass_seconds

if TYPE_CHECKING:
    from regard.explainers.tame import TAME
    from regard.models.classifier import Classifier
    from regard.training import Recipe


def tame(
    photos: Annotated[str, typer.Argument(help="A folder of photos or of class folders, a CSV, or a COCO file.")],
    classifier: Annotated[str, typer.Option("--classifier", "-c", help="A name or a classifier file.")],
    out: Annotated[Path | None, typer.Option("--out", help="The file to write, NAME.safetensors.")] = None,
    preset: Annotated[
        Literal["default", "paper", "paper-v1"],
        typer.Option(help="The recipe that options change: regard's, T-TAME's or TAME's."),
    ] = "default",
    variant: Annotated[
        Literal["tame", "no-skip", "no-skip-no-norm", "sigmoid", "l-cam", "tied"] | None,
        typer.Option(
            help="Of the attention; tied: rows are made of the classifier's own class vectors; default: the preset's."
        ),
    ] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option(help="Layers that are read, between commas; default: the preset's, or the last stages."),
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="How many of the last stages are read; default: the preset's.")
    ] = None,
    at: Annotated[
        Literal["norm", "block"] | None,
        typer.Option(help="Where a transformer's blocks are read; default: the preset's."),
    ] = None,
    gated: Annotated[
        bool | None,
        typer.Option("--gated", help="Multiply patches by their layer's class token; default: the preset's."),
    ] = None,
    smoothing: Annotated[
        int | None, typer.Option(min=0, help="Cells over which features are averaged; default: the preset's.")
    ] = None,
    start: Annotated[
        Literal["drawn", "head"] | None,
        typer.Option(help="At random, or as the class activation map; default: the preset's."),
    ] = None,
    mask: Annotated[
        Literal["soft", "ranked"] | None,
        typer.Option(help="What is shown: all by the map, or the top half; default: the preset's."),
    ] = None,
    maps: Annotated[
        Literal["own", "negatives", "cross-batch"] | None,
        typer.Option(
            help="Whose maps are kept small: the own class's, some others' too, or all of the batch; "
            "default: the preset's."
        ),
    ] = None,
    negatives: Annotated[
        int | None, typer.Option(min=1, help="Other classes for each photo; default: the preset's.")
    ] = None,
    area: Annotated[
        float | None,
        typer.Option(min=0, help="Weight of the maps' area, in place of a target; default: the preset's."),
    ] = None,
    area_target: Annotated[
        float | None,
        typer.Option(
            "--area-target",
            help="Mean of own masks, held by a multiplier in place of a weight; default: the preset's.",
        ),
    ] = None,
    fill: Annotated[
        str | None,
        typer.Option(help="What hidden pixels become: black, training-mean, mean, blur, noise; default: the preset's."),
    ] = None,
    optimizer: Annotated[
        Literal["adamw", "sgd"] | None, typer.Option(help="Under OneCycle; default: the preset's.")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="The largest learning rate; default: the preset's.")] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Times that every photo is seen; default: the preset's.")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Photos of a step; default: the preset's.")] = None,
    accumulate: Accumulate = 1,
    checkpoint_every: CheckpointEvery = None,
    held_out: Annotated[float, typer.Option("--held-out", help="Share of photos by which the epoch is chosen.")] = 0.1,
    where: Annotated[str | None, typer.Option(help="COLUMN=VALUE: the photos that count, such as split=train.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights for a timm: classifier, safetensors or plain torch.")
    ] = None,
    rate_test: Annotated[
        bool, typer.Option("--rate-test", help="Only suggest a learning rate, by a short sweep; nothing is written.")
    ] = False,
    run: Annotated[
        Path | None, typer.Option("--run", help="The training's folder; default regard-runs/train-tame-NAME of --out.")
    ] = None,
    force: Replace = False,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of every draw.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "cpu",
    precision: Annotated[Literal["float32", "bfloat16"], typer.Option(help="Of the networks.")] = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train an attention that gives a map of every class with the classifier's own forward pass (TAME).

    Photos need no labels: what counts is what the classifier takes them for. Some are held out; the epoch is kept whose
    maps lose least of their probability where only the top half is shown. A training that was stopped goes on with the
    same command.

    Example: regard train tame photos/ --classifier regard:efficientnet-lite0 --out my-tame.safetensors
    """
    from regard.errors import UnsupportedError
    from regard.evaluate.asked import fill_called, fill_name
    from regard.evaluate.photos import read_photos
    from regard.models.catalog import load
    from regard.runs import check_run_folder
    from regard.training import Recipe
    from regard.training import preset as recipe_called
    from regard.training.processes import Processes, own_device
    from regard.training.split import check_share
    from regard.training.tame.plan import Plan

    if out is None and not rate_test:
        raise UnsupportedError("where shall the attention be written?", remedy="--out NAME.safetensors")
    if out is not None and not rate_test:
        check_out(out, force)
        check_run_folder(_folder(run, out))
    check_share(held_out)
    given: dict[str, Any] = {
        "variant": variant,
        "layers": tuple(listed(layers)) or None,
        "count": count,
        "at": at,
        "gated": gated,
        "smoothing": smoothing,
        "start": start,
        "mask": mask,
        "maps": maps,
        "negatives": negatives,
        "area": area,
        "area_target": area_target,
        "optimizer": optimizer,
        "rate": rate,
        "epochs": epochs,
        "batch": batch,
    }
    asked = {name: value for name, value in given.items() if value is not None}
    Recipe(**asked)  # refuses what cannot be before anything is read
    known = [photo.path for photo in read_photos(photos, where=where)]
    subject = load(classifier, weights=weights, device=own_device(device), precision=precision)
    usual, usual_fill = recipe_called(preset, subject)
    recipe = _changed(usual, asked, subject)
    chosen_fill = usual_fill if fill is None else fill_called(fill, subject.preparation)
    common: dict[str, Any] = {
        "recipe": recipe,
        "fill": chosen_fill,
        "held_out": held_out,
        "seed": seed,
        "accumulate": accumulate,
    }
    told = Processes.of(subject.device).main
    called = fill_name(chosen_fill, subject.preparation)
    stages = Plan.of(subject, recipe, chosen_fill, seed).stages  # what does not fit is refused before anything is said
    if told:
        announce(recipe_in_words(recipe, [stage.place.layer for stage in stages], called))
    if out is None or rate_test:
        _rate_test(subject, known, common, told, as_json)
        return
    common |= {} if checkpoint_every is None else {"checkpoint_every": checkpoint_every}
    folder = _folder(run, out)
    trained = _trained(subject, known, common, folder, force, told)
    if not told:
        return
    trained.save(out)
    tell(trained, out, folder, Loaded(classifier, weights, precision), called, as_json)
    raise typer.Exit(1 if trained.trained.card.training["photos_unreadable"] else 0)


def _folder(run: Path | None, out: Path) -> Path:
    """Where the training is kept."""
    return run or Path("regard-runs") / f"train-tame-{out.stem}"


def _changed(usual: Recipe, asked: Mapping[str, Any], subject: Classifier) -> Recipe:
    """A recipe with what was asked for in it.

    Raises:
        UnsupportedError: what was asked for would change nothing.
    """
    from dataclasses import replace

    from regard.errors import UnsupportedError

    if "count" in asked and "layers" in asked:
        raise UnsupportedError("layers are named, so none are counted", remedy="give --layers or --count, not both")
    if "at" in asked and ("layers" in asked or subject.tokens is None):
        raise UnsupportedError(
            "--at says where the blocks of a transformer are read",
            came="named layers" if "layers" in asked else f"{subject.name}, which has no one grid of tokens",
            remedy="leave it out",
        )
    without = {"layers": None} if {"count", "at"} & asked.keys() else {}
    without |= {"area_target": None} if "area" in asked else {}
    recipe = replace(usual, **{**without, **asked})
    if "negatives" in asked and recipe.maps != "negatives":
        raise UnsupportedError(
            "--negatives counts other classes of the same photo, whose maps do not count here",
            came=f"maps {recipe.maps}",
            remedy="--maps negatives, or leave it out",
        )
    return recipe


def _trained(
    subject: Classifier, photos: Sequence[Path], common: dict[str, Any], folder: Path, force: bool, told: bool
) -> TAME:
    """Train, or go on, with what it will cost said first; `told` is whether this process is the one that says it."""
    from regard.training import fit_tame

    progress: dict[str, Any] = {}
    if told:
        looking, a_step = _announce(subject, photos, common["recipe"], common["held_out"])
        progress = {"tracked": watched(looking, a_step), "heard": heard(epoch_in_words, common["recipe"].epochs)}
    trained: TAME = stoppable(lambda: fit_tame(subject, photos, **common, **progress, run=folder, force=force), told)
    return trained


def _announce(subject: Classifier, photos: Sequence[Path], recipe: Recipe, held_out: float) -> tuple[float, float]:
    """Say photos, steps, passes and time; seconds of a part of the look at the photos, and of a step."""
    from regard.training.readable import BATCH

    each = pass_seconds(subject) + 0.01
    judged = max(1, round(held_out * len(photos)))
    learnt = max(1, len(photos) - judged)
    steps = -(-learnt // recipe.batch)
    forwards = len(photos) + 5 * judged + recipe.epochs * (2 * learnt + 5 * judged)
    an_epoch = each * (4 * learnt + 5 * judged)  # a pass with gradients to the pixels costs about three
    seconds = each * (len(photos) + 5 * judged) + recipe.epochs * an_epoch
    announce(
        f"photos: {len(photos)}, of which about {judged} held out; steps: about {recipe.epochs * steps}; forward "
        f"passes: about {forwards}, {recipe.epochs * learnt} of them with gradients; about {seconds:.0f} s in all"
    )
    return BATCH * each, an_epoch / steps


def _rate_test(subject: Classifier, photos: Sequence[Path], common: dict[str, Any], told: bool, as_json: bool) -> None:
    from regard.training import rates_of_tame
    from regard.training.rate_test import STEPS
    from regard.training.readable import BATCH

    each, batch = pass_seconds(subject) + 0.01, min(common["recipe"].batch, len(photos))
    a_step = 4 * each * batch
    if not told:
        rates_of_tame(subject, photos, **common)
        return
    announce(
        f"photos: {len(photos)}; steps: at most {STEPS}, forward passes: at most {len(photos) + 2 * STEPS * batch};"
        f" about {each * len(photos) + STEPS * a_step:.0f} s"
    )
    tell_rates(rates_of_tame(subject, photos, **common, tracked=watched(BATCH * each, a_step)), as_json)
