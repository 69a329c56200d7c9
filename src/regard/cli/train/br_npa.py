"""`regard train br-npa`: a whole network whose head reads what represents a photo, by itself or from a teacher."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from regard.cli.asked import listed
from regard.cli.out_file import check_out
from regard.cli.train.in_words import epoch_in_words
from regard.cli.train.progress import heard, stoppable, watched
from regard.cli.train.task import TrainingTask
from regard.cli.train.told import tell

if TYPE_CHECKING:
    from regard.models.classifier import Classifier
    from regard.training import BRNPARecipe, Labelled


def br_npa(
    photos: Annotated[Path, typer.Argument(help="A folder of class folders (or of train and val), or a CSV file.")],
    out: Annotated[Path, typer.Option("--out", help="The classifier file to write, NAME.safetensors.")],
    classifier: Annotated[
        str | None,
        typer.Option("--classifier", "-c", help="Whose backbone is trained: a name or a file; default: the teacher."),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="A classifier file of the same classes whose answers are learnt, too.")
    ] = None,
    task: Annotated[
        Literal["classification", "few-shot", "re-id"],
        typer.Option(
            help="What is learnt: the photos' classes; new classes by a few photos of each; new persons by cameras, "
            "from a CSV with file, identity, camera and split (train, query, gallery)."
        ),
    ] = "classification",
    preset: Annotated[
        Literal["default", "paper"], typer.Option(help="The recipe that options change: regard's or the authors'.")
    ] = "default",
    pooling: Annotated[
        Literal["representative", "bilinear", "branch", "mean"] | None,
        typer.Option(help="BR-NPA, or what it is compared with: B-CNN, ABN, a plain network."),
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Maps; default: the preset's, 3.")] = None,
    select: Annotated[
        Literal["norm", "random"] | None, typer.Option(help="Which places represent a photo; random: an ablation.")
    ] = None,
    refine: Annotated[
        bool | None, typer.Option("--refine/--no-refine", help="Average what is like them; not: an ablation.")
    ] = None,
    strides: Annotated[
        str | None, typer.Option(help="Of the last layers that shrink the grid: 1,1 takes two away; default as it is.")
    ] = None,
    dilation: Annotated[
        bool | None, typer.Option("--dilation/--no-dilation", help="Default: where there are depthwise convolutions.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Whose output is pooled; default: the last features.")] = None,
    dropout: Annotated[float | None, typer.Option(help="Of the pooled vectors; default: the preset's.")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Of the distillation; default: the preset's. Needs --teacher.")
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(help="Of the distillation in the loss, 0 to 1; default: the preset's. Needs --teacher."),
    ] = None,
    auxiliary: Annotated[
        str | None,
        typer.Option(help="Heads that only watch what ranks carry: 1,2,3,1+2,2+3 as published."),
    ] = None,
    batch_norm: Annotated[
        Literal["frozen", "trained"] | None,
        typer.Option("--batch-norm", help="The backbone's statistics in training; default: the preset's."),
    ] = None,
    optimizer: Annotated[Literal["adamw", "sgd"] | None, typer.Option(help="Default: the preset's.")] = None,
    rate: Annotated[float | None, typer.Option(help="The backbone's largest; default: the preset's.")] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Times that every photo is seen; default: the preset's.")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Photos of a step; default: the preset's.")] = None,
    ways: Annotated[int | None, typer.Option(min=2, help="few-shot: classes of an episode; default 5.")] = None,
    shots: Annotated[
        int | None, typer.Option(min=1, help="few-shot: photos that a class is known by; default: the preset's.")
    ] = None,
    queries: Annotated[
        int | None, typer.Option(min=1, help="few-shot: photos of each class that are asked for; default 15.")
    ] = None,
    episodes: Annotated[
        int | None, typer.Option(min=1, help="few-shot: of an epoch; a step's --batch are episodes, too.")
    ] = None,
    scale: Annotated[float | None, typer.Option(help="few-shot: of the cosines; default: the preset's.")] = None,
    comparison: Annotated[
        Literal["prototypes", "cross-attention"] | None,
        typer.Option(help="few-shot: what decides; cross-attention is compared with, with --pooling mean."),
    ] = None,
    per_person: Annotated[
        int | None,
        typer.Option("--per-person", min=2, help="re-id: photos of a person in a step, whose --batch are persons."),
    ] = None,
    margin: Annotated[float | None, typer.Option(help="re-id: of the triplets; default 0.3.")] = None,
    frame: Annotated[
        str | None, typer.Option(help="re-id: H,W that photos are squashed to: 256,128; default the classifier's.")
    ] = None,
    accumulate: Annotated[int, typer.Option(min=1, help="Parts of a step, so that less memory is needed.")] = 1,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(
            "--checkpoint-every",
            min=1,
            help="Steps between checkpoints, besides those after every epoch; default 500.",
        ),
    ] = None,
    held_out: Annotated[
        float,
        typer.Option(
            "--held-out",
            help="Share of photos (few-shot: of classes) kept for the figures, where the source has no split.",
        ),
    ] = 0.2,
    choosing: Annotated[
        float,
        typer.Option(
            help="Share of the others by which the epoch is chosen; 0, and always in re-id: the last is kept."
        ),
    ] = 0.2,
    weights: Annotated[
        Path | None, typer.Option(help="Weights for a timm: classifier, safetensors or plain torch.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="The training's folder; default regard-runs/train-br-npa-NAME of --out."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file in --out, and a finished or other run in --run.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of every draw.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train a network for your own classes whose decision is made of a few representative places (BR-NPA).

    First a teacher on the backbone's own grid; then a student from it, whose grid, and maps, are finer. Some photos are
    kept for the figures, and some others to choose the epoch by. A training that was stopped goes on with the same
    command.

    Example: regard train br-npa photos/ --classifier regard:efficientnet-lite0 --out teacher.safetensors

    Example: regard train br-npa photos/ --teacher teacher.safetensors --strides 1,1 --out student.safetensors
    """
    from regard.runs import check_run_folder
    from regard.training.processes import Processes, own_device
    from regard.training.split import check_share

    check_out(out, force)
    folder = run or Path("regard-runs") / f"train-br-npa-{out.stem}"
    check_run_folder(folder)
    check_share(held_out)
    _check_sources(classifier, weights, teacher, distilled=temperature is not None or share is not None)
    given = {
        "pooling": pooling,
        "count": count,
        "select": select,
        "refine": refine,
        "strides": _numbers("strides", strides, ",") if strides is not None else None,
        "dilation": dilation,
        "layer": layer,
        "dropout": dropout,
        "temperature": temperature,
        "share": share,
        "auxiliary": _ranks(auxiliary),
        "batch_norm": batch_norm,
        "optimizer": optimizer,
        "rate": rate,
        "epochs": epochs,
        "batch": batch,
        "ways": ways,
        "shots": shots,
        "queries": queries,
        "episodes": episodes,
        "scale": scale,
        "comparison": comparison,
        "photos": per_person,
        "margin": margin,
        "frame": _numbers("frame", frame, ",") if frame is not None else None,
    }
    chosen = _task(task)
    asked = {name: value for name, value in given.items() if value is not None}
    recipe = _recipe(chosen.recipes[preset], asked, task)
    labelled = chosen.read(photos)
    taught, start = _classifiers(classifier, teacher, weights, own_device(device))
    common: dict[str, Any] = {
        "teacher": taught,
        "recipe": recipe,
        "held_out": held_out if labelled.held_out is None else labelled.held_out,
        "choosing": choosing,
        "seed": seed,
        "accumulate": accumulate,
        **({} if checkpoint_every is None else {"checkpoint_every": checkpoint_every}),
    }
    told = Processes.of(start.device).main
    trained = _trained(chosen, start, labelled, common, folder, force, told)
    if not told:
        return
    trained.save(out)
    tell(trained, chosen.told(trained, teacher), out, folder, as_json)
    raise typer.Exit(1 if trained.unreadable else 0)


def _check_sources(classifier: str | None, weights: Path | None, teacher: Path | None, distilled: bool) -> None:
    """Refuse a start, or a teacher, that is not there, and settings of what there is not."""
    from regard.errors import FileFormatError, UnsupportedError

    if teacher is not None and not teacher.is_file():
        raise FileFormatError(
            f"there is no teacher {str(teacher)!r}", remedy="train it first, without --teacher and --strides"
        )
    if classifier is None and teacher is None:
        raise UnsupportedError("which network shall be trained?", remedy="--classifier NAME, or --teacher FILE")
    if classifier is None and weights is not None:
        raise UnsupportedError("--weights are those of a --classifier", came="none", remedy="name it")
    if distilled and teacher is None:
        raise UnsupportedError("--temperature and --share are of a distillation", remedy="give a --teacher")


def _task(name: str) -> TrainingTask:
    if name == "few-shot":
        from regard.cli.train.few_shot import few_shot

        return few_shot()
    if name == "re-id":
        from regard.cli.train.re_id import re_id

        return re_id()
    from regard.cli.train.classification import classification

    return classification()


def _recipe(preset: BRNPARecipe, asked: Mapping[str, Any], task: str) -> BRNPARecipe:
    """The preset's recipe with what was asked for in it.

    Raises:
        UnsupportedError: what cannot be, or would change nothing.
    """
    from dataclasses import fields, replace

    from regard.errors import UnsupportedError

    known = {each.name for each in fields(preset)}
    if foreign := [name for name in asked if name not in known]:
        option = {"photos": "per-person"}.get(foreign[0], foreign[0])
        raise UnsupportedError(f"--{option} does nothing with --task {task}", remedy="leave it out")
    recipe = replace(preset, **asked)
    idle = [name for name in ("select", "refine") if name in asked and recipe.pooling != "representative"]
    idle += ["count"] if "count" in asked and recipe.pooling in ("branch", "mean") else []
    if idle:
        raise UnsupportedError(f"--{idle[0]} does nothing with --pooling {recipe.pooling}", remedy="leave it out")
    return recipe


def _numbers(option: str, text: str, between: str) -> tuple[int, ...]:
    from regard.errors import UnsupportedError

    parts = [part.strip() for part in text.split(between)]
    if not all(part.isdecimal() for part in parts):
        raise UnsupportedError(f"--{option} are whole numbers with {between!r} between them", came=repr(text))
    return tuple(map(int, parts))


def _ranks(text: str | None) -> tuple[tuple[int, ...], ...] | None:
    return None if text is None else tuple(_numbers("auxiliary", ranks, "+") for ranks in listed([text]))


def _classifiers(
    classifier: str | None, teacher: Path | None, weights: Path | None, device: str
) -> tuple[Classifier | None, Classifier]:
    """The teacher, and whose backbone is trained."""
    from regard.models.catalog import load

    taught = None if teacher is None else load(str(teacher), device=device)
    if classifier is not None:
        return taught, load(classifier, weights=weights, device=device)
    assert taught is not None
    return taught, taught


def _trained(
    task: TrainingTask,
    start: Classifier,
    labelled: Labelled,
    common: dict[str, Any],
    folder: Path,
    force: bool,
    told: bool,
) -> Any:
    """Train, or go on, with what it will cost said first; `told` is whether this process is the one that says it."""
    progress: dict[str, Any] = {}
    if told:
        a_step = task.announce(start, labelled, common)
        progress = {"tracked": watched(0.3, a_step), "heard": heard(epoch_in_words, common["recipe"].epochs)}

    def training() -> Any:
        return task.fit(start, labelled.photos, labelled.labels, **common, **progress, run=folder, force=force)

    return stoppable(training, told)
