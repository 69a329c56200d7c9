"""`regard evaluate`: methods × metrics on one classifier's photos, with intervals, differences and costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from regard.cli.asked import listed
from regard.cli.output import announce, print_json, print_table
from regard.cli.photo_run import pass_seconds
from regard.naming import printable

if TYPE_CHECKING:
    from regard.evaluate.asked import MethodAsked
    from regard.evaluate.gate import Answered, Gate
    from regard.evaluate.judge import Entrant, Protocol
    from regard.evaluate.judged import Judged
    from regard.evaluate.plan import Planned
    from regard.evaluate.statistics import Estimate
    from regard.evaluate.table import Table
    from regard.models.classifier import Classifier
    from regard.runs import Run

CONTROLS = ("random", "centre", "edges", "ones")
"""In every table: what a map gets that knows nothing of the classifier."""


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
        str, typer.Option(help="What removed pixels become: training-mean, mean, black, blur, noise, inpaint.")
    ] = "training-mean",
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
    from regard.evaluate.asked import fill_called, methods_asked
    from regard.evaluate.judge import Protocol
    from regard.evaluate.measures import metrics_asked
    from regard.evaluate.photos import read_photos
    from regard.evaluate.plan import spread
    from regard.images import check_seed
    from regard.models.catalog import DEFAULT, load
    from regard.runs import Run, new_folder

    check_seed(seed)
    names = listed(classifier) or [DEFAULT]
    _check_models(names, across_models)
    judged = read_photos(photos, labels=labels, where=where, boxes=boxes, masks=masks)
    judged = judged if limit is None else tuple(spread(judged)[:limit])
    subjects = [load(name, device=device, precision=precision) for name in names]
    preparation = subjects[0].preparation
    protocol = Protocol(
        metrics_asked(metrics or ["all"], preparation), fill_called(fill, preparation), steps, level, seed
    )
    asked = [methods_asked([*(methods or ["all"]), *CONTROLS], subject) for subject in subjects]
    configuration = {
        "classifiers": [[subject.name, subject.hash] for subject in subjects],
        "methods": [[method.text for method in of_subject] for of_subject in asked],
        "protocol": protocol.words(),
        "photos": [[printable(photo.path.as_posix()), photo.label, len(photo.boxes)] for photo in judged],
        "photos_of_slow_methods": slow_photos,
        "photos_asked_again": again_photos,
        "precision": precision,
    }
    results = Run.open(run or new_folder("evaluate", Path("regard-runs")), "evaluate", configuration, force)
    try:
        by_name = dict(zip(names, subjects, strict=True))
        gates, skipped = _judge_all(results, by_name, asked, judged, protocol, (slow_photos, again_photos))
    except KeyboardInterrupt:
        results.log("interrupted")
        announce(f"stopped; give the same command with --run {results.folder} to go on")
        raise typer.Exit(1) from None
    _finish(results, subjects, protocol, gates, skipped, table, as_json)


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


def _judge_all(
    results: Run,
    subjects: Mapping[str, Classifier],
    asked: Sequence[Sequence[MethodAsked]],
    judged: Sequence[Judged],
    protocol: Protocol,
    limits: tuple[int, int],
) -> tuple[dict[str, Gate], dict[str, str]]:
    """Gate and judge on every classifier; the gates by classifier, and why methods were skipped.

    Args:
        results: the run.
        subjects: the classifiers, by what they were called.
        asked: the methods of each.
        judged: the photos.
        protocol: how.
        limits: photos of slow methods, and photos on which methods are asked again.
    """
    from regard.evaluate.contest import SKIPPED
    from regard.evaluate.gate import Gate
    from regard.evaluate.plan import planned

    gates, skipped = {}, dict[str, str]()
    for (called, subject), wanted in zip(subjects.items(), asked, strict=True):
        seconds = pass_seconds(subject)
        answers = _answers(results, subject, judged, seconds)
        gates[subject.name] = Gate.of(answers)
        announce(f"{subject.name}: {gates[subject.name].words()}")
        counted = _counted(answers, subject, gates[subject.name])
        if subject.precision == "bfloat16":
            _check_precision(called, subject, counted, protocol)
        entrants, reasons = _entrants(subject, wanted, f" on {subject.name}" if len(subjects) > 1 else "")
        skipped |= reasons
        results.write_rows(
            [
                {"kind": SKIPPED, "image": "", "method": name, "target": "", "status": SKIPPED, "error": reason}
                for name, reason in reasons.items()
            ]
        )
        plans = planned(entrants, counted, protocol, *limits)
        _announce_plan(plans, seconds)
        _contest(results, plans, protocol, seconds)
    return gates, skipped


def _answers(results: Run, subject: Classifier, judged: Sequence[Judged], seconds: float) -> list[Answered]:
    from regard.evaluate.contest import gated

    with _progress(len(judged), seconds * len(judged), f"{subject.name}: which photos count") as advance:
        return gated(results, subject, judged, advance)


def _counted(answers: Sequence[Answered], subject: Classifier, gate: Gate) -> list[Answered]:
    """The photos that count.

    Raises:
        PixelsError: none does.
    """
    from regard.errors import PixelsError
    from regard.evaluate.gate import COUNTED

    counted = [answer for answer in answers if answer.status == COUNTED]
    if not counted:
        raise PixelsError(
            f"no photo counts: {subject.name} is right about none",
            came=gate.words(),
            remedy="check --labels, and that its classes are those of the photos",
        )
    return counted


def _check_precision(called: str, subject: Classifier, counted: Sequence[Answered], protocol: Protocol) -> None:
    """Refuse half precision where it changes the curves."""
    from regard.evaluate.agreement import check_agreement
    from regard.models.catalog import load

    full = load(called, device=str(subject.device))
    worst = check_agreement(subject, full, counted, protocol.fill, protocol.steps)
    announce(f"{subject.name}: areas in bfloat16 differ from those in float32 by {worst:.4f} at most")


def _contest(results: Run, plans: Sequence[Planned], protocol: Protocol, seconds: float) -> None:
    from regard.evaluate.contest import contested, overlapped
    from regard.metrics.of_maps import RankCorrelation

    maps = {}
    for plan in plans:
        with _progress(len(plan.photos), plan.forwards * seconds, plan.entrant.name) as advance:
            maps[plan.entrant.name] = contested(results, plan, protocol, advance)
    for metric in protocol.metrics:
        if isinstance(metric, RankCorrelation):
            overlapped(results, plans, maps, metric)


def _entrants(subject: Classifier, asked: Sequence[MethodAsked], suffix: str) -> tuple[list[Entrant], dict[str, str]]:
    """The methods that can be made, and why the others cannot."""
    from regard.errors import RegardError
    from regard.evaluate.judge import Entrant

    entrants, skipped = [], {}
    for method in asked:
        name = method.text + suffix
        if method.made_by is not None:
            skipped[name] = f"its file is missing; make it with: {method.made_by}"
        else:
            try:
                entrants.append(Entrant(name, method.explainer, method.explainer(subject)))
            except RegardError as reason:
                skipped[name] = reason.problem + (f" ({reason.came})" if reason.came else "")
        if name in skipped:
            announce(printable(f"skipped {name}: {skipped[name]}"))
    return entrants, skipped


def _announce_plan(plans: Sequence[Planned], seconds: float) -> None:
    forwards = sum(plan.forwards for plan in plans)
    for plan in plans:
        announce(f"  {plan.entrant.name}: {len(plan.photos)} photos, {plan.forwards} forward passes")
    announce(f"forward passes in all: {forwards}; about {_duration(forwards * seconds)}")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


@contextmanager
def _progress(total: int, seconds: float, what: str) -> Iterator[Callable[[int], None]]:
    """A bar that is advanced by hand, where it will take over two seconds and a person is watching."""
    import sys

    if seconds <= 2 or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


def _finish(
    results: Run,
    subjects: Sequence[Classifier],
    protocol: Protocol,
    gates: dict[str, Gate],
    skipped: dict[str, str],
    file: Path | None,
    as_json: bool,
) -> None:
    """Close the run, and print and write its table."""
    from dataclasses import asdict

    from regard.evaluate.markdown import written
    from regard.evaluate.table import tabulated

    found = tabulated(results.rows(), protocol.metrics, protocol.seed, pairs=len(subjects) == 1)
    text = written(found, _title(subjects), _facts(subjects, protocol, gates, skipped))
    for place in [results.folder / "table.md", *([file] if file else [])]:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    results.finish(
        classifiers={subject.name: subject.hash for subject in subjects},
        gate={name: asdict(gate) for name, gate in gates.items()},
        skipped=skipped,
    )
    if as_json:
        gate = {name: asdict(one) for name, one in gates.items()}
        print_json({"run": str(results.folder), "gate": gate, "skipped": skipped, **found.to_json()})
    else:
        _print(found, results)


def _title(subjects: Sequence[Classifier]) -> str:
    return f"Methods judged on {', '.join(subject.name for subject in subjects)}"


def _facts(
    subjects: Sequence[Classifier], protocol: Protocol, gates: dict[str, Gate], skipped: dict[str, str]
) -> list[str]:
    conditions = protocol.conditions()
    facts = [f"{name}: {gate.words()}." for name, gate in gates.items()]
    facts.append(
        f"Curves: {protocol.steps} steps at {protocol.level} level, fill {conditions['fill']}; {conditions['ties']}."
    )
    facts.append(f"Precision {subjects[0].precision}, seed {protocol.seed}.")
    return facts + [f"Skipped: {name}: {reason}" for name, reason in skipped.items()]


def _print(found: Table, results: Run) -> None:
    """Means alone; table.md has the intervals."""
    from regard.evaluate.markdown import LEGEND, figures

    def mean(estimate: Estimate, _: int) -> str:
        return f"{estimate.mean:.3f}" if estimate.photos else "–"

    for heading, (head, *rows) in figures(found, mean):
        print(heading)
        print_table(head, rows)
    print(LEGEND)
    print(f"intervals, costs and overlaps in {results.folder / 'table.md'}; rows and manifest beside it")
