"""`regard train tame`: maps of every class from one pass, for a classifier that stays as it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from regard.cli.asked import listed
from regard.cli.out_file import check_out
from regard.cli.output import announce, print_json, print_table, tracked
from regard.cli.photo_run import pass_seconds

if TYPE_CHECKING:
    from regard.explainers.tame import TAME
    from regard.models.classifier import Classifier
    from regard.training import RateTest, Recipe
    from regard.training.surveyed import Tracked

SWEEP = 200
"""Steps of a rate test."""


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
        typer.Option(help="Of the attention; tied: rows are made of the classifier's own class vectors."),
    ] = None,
    layers: Annotated[
        list[str] | None, typer.Option(help="Layers that are read, between commas; default the last three stages.")
    ] = None,
    at: Annotated[Literal["norm", "block"] | None, typer.Option(help="Where a transformer's blocks are read.")] = None,
    smoothing: Annotated[int | None, typer.Option(min=0, help="Cells over which features are averaged.")] = None,
    start: Annotated[
        Literal["drawn", "head"] | None, typer.Option(help="At random, or as the class activation map.")
    ] = None,
    mask: Annotated[
        Literal["soft", "ranked"] | None, typer.Option(help="What is shown: all by the map, or the top half.")
    ] = None,
    maps: Annotated[
        Literal["own", "negatives", "cross-batch"] | None,
        typer.Option(help="Whose maps are kept small: the own class's, some others' too, or all of the batch."),
    ] = None,
    negatives: Annotated[int | None, typer.Option(min=1, help="Other classes for each photo.")] = None,
    area: Annotated[float | None, typer.Option(min=0, help="Weight of the maps' area, in place of a target.")] = None,
    area_target: Annotated[
        float | None,
        typer.Option("--area-target", help="Mean of own masks, held by a multiplier in place of a weight."),
    ] = None,
    fill: Annotated[
        str | None, typer.Option(help="What hidden pixels become: black, training-mean, mean, blur, noise.")
    ] = None,
    optimizer: Annotated[Literal["adamw", "sgd"] | None, typer.Option(help="Under OneCycle.")] = None,
    rate: Annotated[float | None, typer.Option(help="The largest learning rate.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Times that every photo is seen.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Photos of a step.")] = None,
    accumulate: Annotated[int, typer.Option(min=1, help="Parts of a step, so that less memory is needed.")] = 1,
    held_out: Annotated[float, typer.Option("--held-out", help="Share of photos by which the epoch is chosen.")] = 0.1,
    where: Annotated[str | None, typer.Option(help="COLUMN=VALUE: the photos that count, such as split=train.")] = None,
    rate_test: Annotated[
        bool, typer.Option("--rate-test", help="Only suggest a learning rate, by a sweep of 200 steps.")
    ] = False,
    run: Annotated[
        Path | None, typer.Option("--run", help="The training's folder; default regard-runs/train-tame-NAME of --out.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file in --out, and a finished or other run in --run.")
    ] = False,
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
    from dataclasses import replace

    from regard.errors import UnsupportedError
    from regard.evaluate.asked import fill_called, fill_name
    from regard.evaluate.photos import read_photos
    from regard.models.catalog import load
    from regard.training import preset as recipe_called

    if out is None and not rate_test:
        raise UnsupportedError("where shall the attention be written?", remedy="--out NAME.safetensors")
    if out is not None:
        check_out(out, force)
    known = [photo.path for photo in read_photos(photos, where=where)]
    subject = load(classifier, device=device, precision=precision)
    usual, usual_fill = recipe_called(preset, subject)
    asked = {
        "variant": variant,
        "layers": tuple(listed(layers)) or None,
        "at": at,
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
    weighed = replace(usual, area_target=None) if area is not None else usual
    recipe = _changed(weighed, asked)
    chosen_fill = usual_fill if fill is None else fill_called(fill, subject.preparation)
    common: dict[str, Any] = {
        "recipe": recipe,
        "fill": chosen_fill,
        "held_out": held_out,
        "seed": seed,
        "accumulate": accumulate,
    }
    if out is None or rate_test:
        _rate_test(subject, known, common, as_json)
        return
    folder = run or Path("regard-runs") / f"train-tame-{out.stem}"
    trained = _trained(subject, known, common, folder, force)
    if trained is None:
        return
    trained.save(out)
    epochs_done = _epochs(folder)
    if as_json:
        print_json(_summary(trained, epochs_done, out, folder))
    else:
        _print_summary(trained, epochs_done, out, classifier, fill_name(chosen_fill, subject.preparation))
    raise typer.Exit(1 if trained.trained.card.training["photos_unreadable"] else 0)


def _changed(recipe: Recipe, asked: dict[str, Any]) -> Recipe:
    from dataclasses import replace

    return replace(recipe, **{name: value for name, value in asked.items() if value is not None})


def _trained(
    subject: Classifier, photos: Sequence[Path], common: dict[str, Any], folder: Path, force: bool
) -> TAME | None:
    """Train, or go on, with what it will cost said first; None in a process that is not to tell of it."""
    from regard.training import fit_tame
    from regard.training.processes import Processes

    seconds = _announce(subject, photos, common["recipe"], common["held_out"])
    try:
        trained = fit_tame(subject, photos, **common, run=folder, force=force, tracked=_watched(seconds))
    except KeyboardInterrupt:
        announce(f"stopped; give the same command again to go on: {_command()}")
        raise typer.Exit(1) from None
    return trained if Processes.of(subject.device).main else None


def _announce(subject: Classifier, photos: Sequence[Path], recipe: Recipe, held_out: float) -> tuple[float, float]:
    """Say photos, steps, passes and time; seconds of the look at the photos, and of a step."""
    each = pass_seconds(subject) + 0.01
    judged = max(1, round(held_out * len(photos)))
    learnt = max(1, len(photos) - judged)
    steps = -(-learnt // recipe.batch)
    forwards = len(photos) + recipe.epochs * (2 * learnt + 5 * judged)
    an_epoch = each * (4 * learnt + 5 * judged)  # a pass with gradients to the pixels costs about three
    seconds = each * len(photos) + recipe.epochs * an_epoch
    announce(
        f"photos: {len(photos)}, of which about {judged} held out; steps: about {recipe.epochs * steps}; forward "
        f"passes: about {forwards}, {recipe.epochs * learnt} of them with gradients; about {seconds:.0f} s in all"
    )
    return each * len(photos), an_epoch / steps


def _watched(seconds: tuple[float, float]) -> Tracked:
    """Progress of the look at the photos, then of the steps; one that goes on says where."""
    looking, a_step = seconds

    def watch(what: str, parts: Sequence[int]) -> Iterable[int]:
        if what == "training" and parts and parts[0]:
            announce(f"going on: {parts[0]} steps are done, {len(parts)} are left")
        return tracked(parts, looking if what.startswith("looking") else a_step * len(parts), what)

    return watch


def _command() -> str:
    """What was typed."""
    import shlex
    import sys

    return shlex.join(["regard", *sys.argv[1:]])


def _rate_test(subject: Classifier, photos: Sequence[Path], common: dict[str, Any], as_json: bool) -> None:
    from dataclasses import asdict

    from regard.training import rates_of_tame

    each, batch = pass_seconds(subject) + 0.01, min(common["recipe"].batch, len(photos))
    seconds = each * len(photos), 4 * each * batch
    announce(
        f"photos: {len(photos)}; steps: at most {SWEEP}, forward passes: at most {len(photos) + 2 * SWEEP * batch};"
        f" about {seconds[0] + SWEEP * seconds[1]:.0f} s"
    )
    found = rates_of_tame(subject, photos, **common, steps=SWEEP, tracked=_watched(seconds))
    print_json(asdict(found)) if as_json else _print_rates(found)


def _print_rates(found: RateTest) -> None:
    last = f"{found.rates[-1]:.2g}"
    print(f"tried {len(found.rates)} rates up to {last}" + (", where the loss diverged" if found.diverged else ""))
    if found.suggestion is None:
        print("the loss falls clearly at none of them: more photos or a larger batch make it less noisy")
    else:
        print(f"it falls most steeply at --rate {found.suggestion:.2g}")
    print(f"a tenth of the rate where it is least: {found.tenth_of_minimum:.2g}")


def _epochs(folder: Path) -> list[dict[str, Any]]:
    """The figures of every epoch."""
    from regard.runs import read_run

    words = ("configuration_hash", "image", "method", "target")
    rows = sorted(read_run(folder).rows, key=lambda row: row["epoch"])
    return [{name: value for name, value in row.items() if name not in words} for row in rows]


def _summary(trained: TAME, epochs: list[dict[str, Any]], out: Path, folder: Path) -> dict[str, Any]:
    card = trained.trained.card
    return {
        "file": str(out),
        "run": str(folder),
        "classifier_hash": card.classifier_hash,
        "layers": [layer for layer, _ in card.layers],
        "training": dict(card.training),
        "figures": dict(card.figures),
        "epochs": epochs,
        "photos_of_class": list(card.photos_of_class),
    }


def _print_summary(trained: TAME, epochs: list[dict[str, Any]], out: Path, classifier: str, fill: str) -> None:
    card = trained.trained.card
    training = card.training
    left_out = training["photos_unreadable"]
    print(
        f"{card.classifier}: {card.variant} attention on {', '.join(layer for layer, _ in card.layers)}, trained on "
        f"{training['photos']} photos; epoch {training['epoch_chosen']} is kept, chosen by "
        f"{training['photos_held_out']} others" + (f"; {left_out} cannot be read and are left out" if left_out else "")
    )
    print(_taught(trained))
    print_table(
        ["epoch", "average drop at 50 %", "at 15 %", "increase in confidence at 50 %", "at 15 %", "mean mask"],
        [[str(row["epoch"]), *(_share(row[name]) for name in _COLUMNS), _number(row["own_mask"])] for row in epochs],
    )
    print(f"written to {out}; explain with it: regard explain PHOTO --classifier {classifier} --method tame:{out}")
    print(
        f"judge it on photos it has not seen: regard evaluate PHOTOS --classifier {classifier} --fill {fill} "
        f"--methods tame:{out},…"
    )


_COLUMNS = ("average_drop_50", "average_drop_15", "increase_in_confidence_50", "increase_in_confidence_15")


def _taught(trained: TAME) -> str:
    """Which classes it has maps of."""
    from regard.explainers.tame import FEWEST_PHOTOS

    card = trained.trained.card
    if card.variant == "tied":
        return f"maps of all {card.classes} classes: rows are made of the classifier's own class vectors"
    taught = sum(count >= FEWEST_PHOTOS for count in card.photos_of_class)
    return f"maps of {taught} of {card.classes} classes: those that {FEWEST_PHOTOS} photos or more were taken for"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
