"""`regard train br-npa`: a whole network whose head reads what represents a photo, by itself or from a teacher."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from regard.cli.asked import listed
from regard.cli.out_file import check_out
from regard.cli.train.in_words import epoch_in_words
from regard.cli.train.options import Accumulate, CheckpointEvery, Replace
from regard.cli.train.progress import heard, stoppable, watched
from regard.cli.train.task import TrainingTask
from regard.cli.train.told import tell

if TYPE_CHECKING:
    from regard.errors import UnsupportedError
    from regard.models.classifier import Classifier
    from regard.training import BRNPARecipe


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
        str | None,
        typer.Option(
            help="Of the last layers that shrink the grid: 1,1 takes two away; of a transformer pixels from patch to "
            "patch: 7; default as it is."
        ),
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
    head_rate: Annotated[
        float | None,
        typer.Option(help="Times --rate, of all else; default: the preset's. 1 suits bilinear, whose head is large."),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Times that every photo is seen (few-shot: of --episodes; re-id: that every person is); default: the "
            "preset's.",
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Photos of a step (few-shot: episodes; re-id: persons); default: the preset's."),
    ] = None,
    augmentation: Annotated[
        str | None,
        typer.Option(
            help="How photos differ from epoch to epoch: crop,flip,colour (default), some of them (crop,colour for "
            "letters, which no mirror keeps), or none."
        ),
    ] = None,
    ways: Annotated[int | None, typer.Option(min=2, help="few-shot: classes of an episode; default 5.")] = None,
    shots: Annotated[
        int | None, typer.Option(min=1, help="few-shot: photos that a class is known by; default: the preset's.")
    ] = None,
    queries: Annotated[
        int | None, typer.Option(min=1, help="few-shot: photos of each class that are asked for; default 15.")
    ] = None,
    episodes: Annotated[int | None, typer.Option(min=1, help="few-shot: of an epoch; default: the preset's.")] = None,
    scale: Annotated[float | None, typer.Option(help="few-shot: of the cosines; default: the preset's.")] = None,
    comparison: Annotated[
        Literal["prototypes", "cross-attention"] | None,
        typer.Option(help="few-shot: what decides; cross-attention is compared with, with --pooling mean."),
    ] = None,
    per_person: Annotated[
        int | None,
        typer.Option("--per-person", min=2, help="re-id: photos of a person in a step; default 4."),
    ] = None,
    margin: Annotated[float | None, typer.Option(help="re-id: of the triplets; default 0.3.")] = None,
    frame: Annotated[
        str | None, typer.Option(help="re-id: H,W that photos are squashed to: 256,128; default the classifier's.")
    ] = None,
    accumulate: Accumulate = 1,
    checkpoint_every: CheckpointEvery = None,
    held_out: Annotated[
        float | None,
        typer.Option(
            "--held-out",
            help="Share of photos (few-shot: of classes) kept for the figures, where the source has no split; default "
            "0.2. Not in re-id, whose source has one.",
        ),
    ] = None,
    choosing: Annotated[
        float | None,
        typer.Option(
            help="Share of the others by which the epoch is chosen; default 0.2; 0: the last is kept, as in re-id."
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights for a timm: classifier, safetensors or plain torch.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="The training's folder; default regard-runs/train-br-npa-NAME of --out."),
    ] = None,
    force: Replace = False,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of every draw.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train a network for your own classes whose decision is made of a few representative places (BR-NPA).

    First a teacher on the backbone's own grid; then a student from it, whose grid, and maps, are finer. Some photos are
    kept for the figures, and some others to choose the epoch by. A training that was stopped goes on with the same
    command.

    Example: regard train br-npa photos/ --classifier regard:efficientnet-lite0 --out teacher.safetensors

    Example: regard train br-npa photos/ --teacher teacher.safetensors --strides 1 --rate 3e-5 --epochs 5
    --out student.safetensors

    Example: regard train br-npa photos/ --task few-shot -c regard:efficientnet-lite0 --rate 1e-4
    --batch-norm frozen --out episodes.safetensors

    Example: regard train br-npa persons.csv --task re-id -c regard:efficientnet-lite0 --frame 256,128
    --out persons.safetensors
    """
    from regard.runs import check_run_folder
    from regard.training.processes import Processes, own_device

    check_out(out, force)
    folder = run or Path("regard-runs") / f"train-br-npa-{out.stem}"
    check_run_folder(folder)
    chosen = _task(task)
    shares = _shares(chosen.shares, task, {"held_out": held_out, "choosing": choosing})
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
        "head_rate": head_rate,
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
    asked: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if augmentation is not None:
        changes = [] if augmentation == "none" else listed([augmentation])
        asked["augmentation"] = chosen.recipes[preset].augmentation.of_these(changes)
    recipe = _recipe(chosen.recipes[preset], asked, task)
    found = chosen.read(photos)
    taught, start = _classifiers(classifier, teacher, weights, own_device(device))
    common: dict[str, Any] = {
        "teacher": taught,
        "recipe": recipe,
        **shares,
        **chosen.split(found),
        "seed": seed,
        "accumulate": accumulate,
        **({} if checkpoint_every is None else {"checkpoint_every": checkpoint_every}),
    }
    told = Processes.of(start.device).main
    trained = _trained(chosen, start, found, common, folder, force, told)
    if not told:
        return
    trained.save(out)
    chosen.drawn(trained, found, folder)
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

    known = {each.name for each in fields(preset)}
    if foreign := [name for name in asked if name not in known]:
        option = {"photos": "per-person"}.get(foreign[0], foreign[0])
        raise _idle(option, f"--task {task}")
    if "dilation" in asked and asked.get("strides", preset.strides) is None:
        raise _idle("dilation", "no --strides")
    recipe = replace(preset, **asked)
    idle = [name for name in ("select", "refine") if name in asked and recipe.pooling != "representative"]
    idle += ["count"] if "count" in asked and recipe.pooling in ("branch", "mean") else []
    if idle:
        raise _idle(idle[0], f"--pooling {recipe.pooling}")
    return recipe


def _shares(usual: Mapping[str, float], task: str, asked: Mapping[str, float | None]) -> dict[str, Any]:
    """Of what training does not see: those asked for, else as usual with the task.

    Raises:
        UnsupportedError: a share that the task has not.
        ClassifierError: a number that is no share.
    """
    from regard.training.split import check_choosing, check_share

    given = {name: share for name, share in asked.items() if share is not None}
    if foreign := given.keys() - usual.keys():
        raise _idle(min(foreign).replace("_", "-"), f"--task {task}")
    shares = {**usual, **given}
    if shares:
        check_share(shares["held_out"])
        check_choosing(shares["choosing"], "photos, of few-shot of the classes")
    return shares


def _idle(option: str, beside: str) -> UnsupportedError:
    """What is said of an option that would change nothing."""
    from regard.errors import UnsupportedError

    return UnsupportedError(f"--{option} does nothing with {beside}", remedy="leave it out")


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
    found: Any,
    common: dict[str, Any],
    folder: Path,
    force: bool,
    told: bool,
) -> Any:
    """Train, or go on, with what it will cost said first; `told` is whether this process is the one that says it."""
    progress: dict[str, Any] = {}
    if told:
        a_step = task.announce(start, found, common)
        progress = {"tracked": watched(0.3, a_step)}
        if "choosing" in common:  # else no epoch has figures
            progress["heard"] = heard(epoch_in_words, common["recipe"].epochs)

    def training() -> Any:
        return task.fit(start, *task.given(found), **common, **progress, run=folder, force=force)

    return stoppable(training, told)
