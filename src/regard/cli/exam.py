"""`regard exam`: tasks whose truth is planted, and what models learn to look at in them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regard.cli.output import announce

if TYPE_CHECKING:
    from regard.exams.sdc.grid import Grid

exam = typer.Typer(
    name="exam",
    help="Exams with planted truth: it is known what a model must look at.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
WHOLE = ("train", "test", "layer", "samples", "warm_up", "epochs", "batch")
"""Fields of a cell that are counted."""
NUMBERS = ("spread", "overlap", "skew", "label_noise", "gamma", "entropy", "rate", "stop")
"""Those that are measured; all others are words, but for `segments` and `foreground`."""

Asked = str | None


@exam.callback()
def options() -> None:
    """Exams with planted truth: it is known what a model must look at."""


@exam.command()
def sdc(
    grid: Annotated[
        Asked,
        typer.Option(
            help="A study: quick, d1, d1-background, d1-learning, d2, boxes, cifar-10. Default quick, where no cell is "
            "described."
        ),
    ] = None,
    task: Annotated[
        Asked, typer.Option(help="A grid of one's own: d1, d2, boxes-1, boxes-2, cifar-10, folder, …")
    ] = None,
    segments: Annotated[
        Asked, typer.Option(help="m, the foreground among them; 2-9 for another number in each mosaic.")
    ] = None,
    train: Annotated[Asked, typer.Option(help="Mosaics to learn from.")] = None,
    test: Annotated[Asked, typer.Option(help="Mosaics to be examined with.")] = None,
    leaky: Annotated[bool, typer.Option("--leaky", help="Examine with the items that were learnt from.")] = False,
    spread: Annotated[Asked, typer.Option(help="Of the background about its mean; 1 as it is.")] = None,
    overlap: Annotated[Asked, typer.Option(help="Share of the background that lies about the foreground.")] = None,
    skew: Annotated[Asked, typer.Option(help="Share of mosaics whose foreground stands first.")] = None,
    label_noise: Annotated[Asked, typer.Option(help="Share of wrong labels in what is learnt from.")] = None,
    gamma: Annotated[Asked, typer.Option(help="Dose of the task implanted.")] = None,
    foreground: Annotated[Asked, typer.Option(help="Classes of pictures that decide: 0+1+2, horse+ship.")] = None,
    focus: Annotated[Asked, typer.Option(help="linear, mlp-50, mlp-50-50, cnn-3, cnn-6.")] = None,
    classifier: Annotated[Asked, typer.Option(help="linear, mlp-50, cnn-1, cnn-2, cnn-3, cnn-6.")] = None,
    layer: Annotated[Asked, typer.Option(help="Of the focus at which is averaged; 0 the segments.")] = None,
    norm: Annotated[Asked, typer.Option(help="Of networks with convolutions: none, running.")] = None,
    weights: Annotated[
        Asked,
        typer.Option(
            help="softmax, sparsemax, entmax, learnt-entmax, spherical, gumbel, top-k:2; softmax:0.5, gumbel:0.5, "
            "entmax:1.3."
        ),
    ] = None,
    paradigm: Annotated[
        Asked,
        typer.Option(
            help="soft, hard, sampled, marginal, posterior, supervised, hybrid, stage-wise, alternating.",
        ),
    ] = None,
    samples: Annotated[Asked, typer.Option(help="Segments drawn for each mosaic, of sampled.")] = None,
    baseline: Annotated[Asked, typer.Option(help="leave-one-out, self-critical, none, of sampled.")] = None,
    entropy: Annotated[Asked, typer.Option(help="k, the share of the weights' entropy in the loss.")] = None,
    warm_up: Annotated[Asked, typer.Option(help="Epochs in which k grows.")] = None,
    focus_begins: Annotated[Asked, typer.Option(help="random, zero, told.")] = None,
    classifier_begins: Annotated[Asked, typer.Option(help="random, told.")] = None,
    learns: Annotated[Asked, typer.Option(help="both, focus, classifier.")] = None,
    epochs: Annotated[Asked, typer.Option(help="At most.")] = None,
    optimizer: Annotated[Asked, typer.Option(help="adam, sgd.")] = None,
    rate: Annotated[Asked, typer.Option(help="Learning rate.")] = None,
    batch: Annotated[Asked, typer.Option(help="Mosaics of a step.")] = None,
    stop: Annotated[Asked, typer.Option(help="Training loss at which a seed is done; never.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Of each cell; default the study's, else 3.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="An npz file of pictures or a folder of photos, of their tasks.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1.")] = "cpu",
    figures: Annotated[bool, typer.Option("--figures", help="Draw every cell, too.")] = False,
    run: Annotated[Path | None, typer.Option(help="Where results go; default regard-runs/exam-sdc-TIME.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the run that stands in --run.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Selective dependence classification: does attention find the one segment that decides?

    A study, or a grid of one's own: each option of a cell takes several values, between commas, and all combinations
    are tried; the first is what the others are compared with. An interrupted run goes on with the same command and
    --run; a finished one prints its table again.

    Example: regard exam sdc --task d1 --weights softmax,sparsemax --layer 0,1 --seeds 5
    """
    given = {**locals()}
    from regard.cli.exam_sitting import sat
    from regard.exams.sdc.cell import Cell
    from regard.exams.sdc.grid import possible
    from regard.exams.sdc.sitting import tasks_of
    from regard.models.catalog import device_called
    from regard.runs import check_run_folder, new_folder
    from regard.training.selective.fit import check_device

    described = {field.name: given[field.name] for field in fields(Cell)}
    check_device(device_called(device))
    if run is not None:
        check_run_folder(run)
    asked = _grid(grid, {name: value for name, value in described.items() if value not in (None, False)})
    _check_data(asked, data)
    tasks = tasks_of(asked, data)
    fitting = possible(asked, tasks)
    for reason in fitting.left_out:
        announce(f"left out: {reason}")
    folder = run or new_folder("exam-sdc", Path("regard-runs"))
    sat(
        fitting,
        tasks,
        range(seeds or fitting.seeds),
        folder,
        device=device,
        force=force,
        figures=figures,
        as_json=as_json,
    )


def _grid(name: str | None, described: dict[str, Any]) -> Grid:
    """A study by name, or the product of what is described.

    Raises:
        UnsupportedError: both, or values that cannot be.
    """
    from regard.errors import UnsupportedError
    from regard.exams.sdc.grid import product
    from regard.exams.sdc.studies import study, usual

    if name is not None and described:
        raise UnsupportedError(
            "a study has its own cells",
            came=f"--grid {name} and {', '.join('--' + each.replace('_', '-') for each in described)}",
            remedy="without --grid, the options make a grid of one's own",
        )
    if not described:
        return study(name or "quick")
    settings = {field: _values(field, value) for field, value in {"task": "d1", **described}.items()}
    return product(settings, usual, 3)


def _check_data(asked: Grid, data: Path | None) -> None:
    """Refuse pictures that no cell has, and cells whose pictures are not said.

    Raises:
        UnsupportedError: either.
    """
    from regard.errors import UnsupportedError
    from regard.exams.sdc.cell import POINTS

    pictured = sorted({cell.task for cell in asked.cells.values()} - {*POINTS})
    if pictured and data is None:
        raise UnsupportedError(
            f"{', '.join(pictured)} needs pictures",
            remedy="--data FILE.npz with x_train, y_train, x_test and y_test, or --data FOLDER for the task folder",
        )
    if data is not None and not pictured:
        raise UnsupportedError("no cell of this grid has pictures", came=f"--data {data}")


def _values(field: str, text: str | bool) -> list[Any]:
    from regard.errors import UnsupportedError

    if isinstance(text, bool):
        return [text]
    try:
        return [_value(field, part.strip()) for part in text.split(",")]
    except ValueError as reason:
        kind = "numbers" if field in ("segments", *WHOLE, *NUMBERS) else "words"
        raise UnsupportedError(
            f"--{field.replace('_', '-')} takes {kind}, several of them between commas", came=repr(text)
        ) from reason


def _value(field: str, text: str) -> Any:
    """What one value means; a ValueError where it means nothing."""
    if not text:
        raise ValueError("nothing stands between two commas")
    if field == "segments":
        least, _, most = text.partition("-")
        return (int(least), int(most)) if most else int(text)
    if field == "foreground":
        return tuple(int(part) if part.isdecimal() else part for part in text.split("+"))
    if field == "stop" and text == "never":
        return None
    return int(text) if field in WHOLE else float(text) if field in NUMBERS else text
