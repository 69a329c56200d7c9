"""`regard evaluate`: methods × metrics on one classifier's photos, with intervals, differences and costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from regard.cli.asked import check_weights, listed
from regard.cli.output import announce

if TYPE_CHECKING:
    from regard.cli.evaluation_asked import Evaluation
    from regard.cli.evaluation_results import Judged, Report
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
    weights: Annotated[
        Path | None, typer.Option(help="Weights for the one timm: classifier, safetensors or plain torch.")
    ] = None,
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
    goes on with the same command and --run; a finished one prints its table again.

    Example: regard evaluate photos/ --methods cdam,attention,rollout --classifier regard:vit-small
    """
    from regard.cli.evaluation_asked import Evaluation, source_in_words
    from regard.cli.evaluation_results import Judged, Report, tell
    from regard.errors import UnsupportedError
    from regard.evaluate.asked import fill_called, methods_asked
    from regard.evaluate.judge import Protocol
    from regard.evaluate.measures import metrics_asked
    from regard.evaluate.photos import read_photos
    from regard.evaluate.plan import spread
    from regard.models.catalog import DEFAULT, load
    from regard.runs import check_run_folder, finished_run, new_folder
    from regard.seeds import check_seed

    check_seed(seed)
    if run is not None:
        check_run_folder(run)
    if table is not None and table.is_dir():
        raise UnsupportedError(f"--table {str(table)!r} is a folder", remedy="name a file in it, such as table.md")
    names = listed(classifier) or [DEFAULT]
    check_weights(weights, names)
    _check_comparable(names, across_models)
    known = read_photos(photos, labels=labels, where=where, boxes=boxes, masks=masks)
    subjects = [load(name, weights=weights, device=device, precision=precision) for name in names]
    preparation = subjects[0].preparation
    wanted = metrics_asked(metrics or ["all"], preparation, seed)
    asked = Evaluation(
        subjects=dict(zip(names, subjects, strict=True)),
        methods=[methods_asked(methods or ["all"], subject) for subject in subjects],
        photos=known if limit is None else tuple(spread(known)[:limit]),
        source=source_in_words(photos, where, limit),
        protocol=Protocol(_measured(wanted, subjects), fill_called(fill, preparation), steps, level, seed),
        fill=fill,
        slow_photos=slow_photos,
        again_photos=again_photos,
    )
    folder, configuration = run or new_folder("evaluate", Path("regard-runs")), asked.configuration()
    there = None if force else finished_run(folder, "evaluate", configuration)
    if there is None:
        found, report = _judged(asked, folder, configuration, force)
    else:
        announce(f"the run in {folder} is finished: nothing is judged anew")
        found = Judged.before(there, asked)
        report = Report.of(found, asked)
    tell(report, found, folder, table, as_json)
    raise typer.Exit(1 if found.failed else 0)


def _check_comparable(names: Sequence[str], across_models: bool) -> None:
    """Refuse several classifiers that were not meant.

    Raises:
        UnsupportedError: there are several.
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


def _judged(asked: Evaluation, folder: Path, configuration: dict[str, Any], force: bool) -> tuple[Judged, Report]:
    """Judge all, and close the run; a stop says how to go on."""
    from regard.cli.evaluation import entrants_of, judge_all
    from regard.cli.evaluation_results import Judged, Report
    from regard.provenance import versions
    from regard.runs import Run

    lists = entrants_of(asked)
    results = Run.open(folder, "evaluate", configuration, force)
    try:
        gates = judge_all(results, asked, lists)
    except KeyboardInterrupt:
        results.log("interrupted")
        announce(f"stopped; give the same command with --run {folder} to go on")
        raise typer.Exit(1) from None
    skipped = {name: reason for each in lists for name, reason in each.skipped.items()}
    found = Judged(results.rows(), gates, skipped, versions()["regard"])
    report = Report.of(found, asked)
    (folder / "table.md").write_text(report.page, encoding="utf-8")
    results.finish(classifiers={subject.name: subject.hash for subject in asked.subjects.values()}, **found.facts())
    return found, report
