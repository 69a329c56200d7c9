"""`regard evaluate`: methods × metrics on one classifier's photos, with intervals, differences and costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from regard.cli.asked import listed
from regard.cli.output import announce
from regard.naming import printable

if TYPE_CHECKING:
    from regard.evaluate.asked import MethodAsked
    from regard.evaluate.judge import Protocol
    from regard.evaluate.known_photo import KnownPhoto
    from regard.metrics.metric import MapMetric
    from regard.models.classifier import Classifier


def evaluate(
    photos: Annotated[
        str, typer.Argument(help="A folder of photos or of class folders, a CSV with labels, or a COCO file.")
    ],
    methods: Annotated[
        list[str] | None,
        typer.Option("--methods", "-m", help="NAME or NAME:SETTING=VALUE or NAME:FILE, between commas; default all."),
    ] = None,
    metrics: Annotated[list[str] | None, typer.Option(help="NAME or NAME:SETTING=VALUE; default all.")] = None,
    classifier: Annotated[
        list[str] | None,
        typer.Option("--classifier", "-c", help="A name or file; several, between commas, with --across-models."),
    ] = None,
    labels: Annotated[str | None, typer.Option(help="The CSV's column with the class, by name or index.")] = None,
    where: Annotated[str | None, typer.Option(help="COLUMN=VALUE: the photos that count, such as split=val.")] = None,
    boxes: Annotated[Path | None, typer.Option(help="A CSV of boxes: file, x1, y1, x2, y2.")] = None,
    masks: Annotated[Path | None, typer.Option(help="A folder with a mask for each photo, of the same stem.")] = None,
    fill: Annotated[
        str, typer.Option(help="What removed pixels become: black, training-mean, mean, blur, noise, inpaint.")
    ] = "black",
    steps: Annotated[int, typer.Option(min=1, help="Of the curves.")] = 16,
    level: Annotated[
        Literal["pixel", "grid"], typer.Option(help="What curves remove: pixels, or whole cells of a map.")
    ] = "pixel",
    slow_photos: Annotated[int, typer.Option(min=1, help="Photos for methods of more than 50 passes.")] = 60,
    again_photos: Annotated[
        int, typer.Option(min=1, help="Photos for metrics that ask a method again; a fifth for slow ones.")
    ] = 20,
    limit: Annotated[int | None, typer.Option(min=1, help="Judge at most so many photos, spread evenly.")] = None,
    across_models: Annotated[
        bool, typer.Option("--across-models", help="Several classifiers: adds their accuracy; no paired tests.")
    ] = False,
    table: Annotated[Path | None, typer.Option(help="Also write the table, as Markdown, to this file.")] = None,
    seed: Annotated[int, typer.Option(help="Of ties, moves, shuffled weights and the bootstrap.")] = 0,
    run: Annotated[
        Path | None, typer.Option("--run", help="Where results go; default regard-runs/evaluate-TIME.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the run that stands in --run.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "cpu",
    precision: Annotated[
        Literal["float32", "bfloat16"], typer.Option(help="Of the network; maps and sums are float32.")
    ] = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Judge methods: are their maps faithful, well placed, sparse, and about the class?

    Photos that the classifier gets wrong are left out and counted. The ranked score is the average drop where only the
    top half, by rank, is shown. The controls random, centre, edges and ones are in every table. An interrupted run
    goes on with the same command and --run.

    Example: regard evaluate photos/ --methods cdam,attention,rollout --classifier regard:vit-small
    """
    from regard.cli.evaluation import judge_all
    from regard.cli.evaluation_results import finish
    from regard.errors import UnsupportedError
    from regard.evaluate.asked import fill_called, methods_asked
    from regard.evaluate.judge import CONTROLS, Protocol
    from regard.evaluate.measures import metrics_asked
    from regard.evaluate.photos import read_photos
    from regard.evaluate.plan import spread
    from regard.images import check_seed
    from regard.models.catalog import DEFAULT, load
    from regard.runs import Run, new_folder

    check_seed(seed)
    if table is not None and table.is_dir():
        raise UnsupportedError(f"--table {str(table)!r} is a folder", remedy="name a file in it, such as table.md")
    names = listed(classifier) or [DEFAULT]
    _check_models(names, across_models)
    known = read_photos(photos, labels=labels, where=where, boxes=boxes, masks=masks)
    known = known if limit is None else tuple(spread(known)[:limit])
    subjects = [load(name, device=device, precision=precision) for name in names]
    preparation = subjects[0].preparation
    wanted = metrics_asked(metrics or ["all"], preparation, seed)
    protocol = Protocol(_measured(wanted, subjects), fill_called(fill, preparation), steps, level, seed)
    asked = [methods_asked([*(methods or ["all"]), *CONTROLS], subject) for subject in subjects]
    limits = slow_photos, again_photos
    configuration = _configuration(subjects, asked, protocol, known, limits)
    results = Run.open(run or new_folder("evaluate", Path("regard-runs")), "evaluate", configuration, force)
    try:
        gates, skipped = judge_all(results, dict(zip(names, subjects, strict=True)), asked, known, protocol, limits)
    except KeyboardInterrupt:
        results.log("interrupted")
        announce(f"stopped; give the same command with --run {results.folder} to go on")
        raise typer.Exit(1) from None
    failed = finish(results, subjects, protocol, gates, skipped, table, as_json)
    raise typer.Exit(1 if failed else 0)


def _check_models(names: Sequence[str], across_models: bool) -> None:
    """Refuse several classifiers that were not meant.

    Raises:
        UnsupportedError: why.
    """
    from regard.errors import UnsupportedError

    if len(names) > 1 and not across_models:
        raise UnsupportedError(
            "numbers of different classifiers are not comparable photo by photo",
            came=", ".join(names),
            remedy="--across-models puts them into one table, with each one's accuracy and without paired tests",
        )


def _measured(wanted: Sequence[MapMetric], subjects: Sequence[Classifier]) -> tuple[MapMetric, ...]:
    """The metrics that the classifiers allow; what is left out is said."""
    from regard.evaluate.measures import measurable

    found = measurable(wanted, subjects)
    kept = {metric.column for metric in found}
    left_out = [metric.column for metric in wanted if metric.column not in kept]
    if left_out:
        announce(f"left out, since there are no probabilities: {', '.join(left_out)}")
    return found


def _configuration(
    subjects: Sequence[Classifier],
    asked: Sequence[Sequence[MethodAsked]],
    protocol: Protocol,
    known: Sequence[KnownPhoto],
    limits: tuple[int, int],
) -> dict[str, Any]:
    """All that the numbers depend on but the photos themselves, whose digests stand in the rows."""
    slow_photos, again_photos = limits
    return {
        "classifiers": [[subject.name, subject.hash] for subject in subjects],
        "methods": [[[method.text, method.digest] for method in of_subject] for of_subject in asked],
        "protocol": protocol.words(),
        "photos": [[printable(photo.path.as_posix()), photo.digest] for photo in known],
        "photos_of_slow_methods": slow_photos,
        "photos_asked_again": again_photos,
        "precision": subjects[0].precision,
    }
