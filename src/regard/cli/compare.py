"""`regard compare`: one photo, several methods, targets and classifiers, side by side and in numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from regard.cli.asked import check_weights, described, listed, method_asked
from regard.cli.columns import LIKELIEST, Column, columns_asked, likeliest_columns
from regard.cli.comparison import Contender, answered, likeness
from regard.cli.comparison_results import draw, figures, print_figures, rows_of, save_maps
from regard.cli.output import announce, print_json
from regard.cli.photo_run import each_photo, failed_row, photos_left, summary
from regard.cli.photos import find_photos
from regard.naming import printable
from regard.timing import pass_seconds

if TYPE_CHECKING:
    from regard.models.classifier import Classifier
    from regard.runs import Run

USUAL, USUAL_COUNT = ("cdam", "relevance", "attention", "grad-cam"), 3
"""Without --methods: the first three of these that a classifier allows."""
DRAWING_SECONDS = 0.7
"""About what one row of a comparison takes to draw, write and correlate."""


def compare(
    photos: Annotated[list[str], typer.Argument(help="A photo; each of several gets a comparison of its own.")],
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--methods",
            "-m",
            help="NAME, NAME:SETTING=VALUE or NAME:FILE, between commas; default up to three that fit.",
        ),
    ] = None,
    targets: Annotated[
        list[str] | None,
        typer.Option(help="Labels, else indices, separated by commas; default the first classifier's three likeliest."),
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option(help="Names or classifier files, separated by commas; default the embedded one.")
    ] = None,
    concept: Annotated[
        list[str] | None, typer.Option(help="NAME=FOLDER of example photos; may be given again.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights for the one timm: classifier of --models, safetensors or plain torch.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="Where results go; default regard-runs/compare-TIME.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the run that stands in --run.")] = False,
    pictures: Annotated[
        Literal["png", "svg", "pdf"], typer.Option(help="What pictures are written as; svg and pdf are for papers.")
    ] = "png",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "cpu",
    precision: Annotated[
        Literal["float32", "bfloat16"], typer.Option(help="Of the networks; maps are float32.")
    ] = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare methods, targets and classifiers on a photo: a grid of maps, and in numbers how much they are alike.

    A row is a method on a classifier, on one colour scale; a column is a target. Beneath: the overlap of the methods
    (rank correlation), and of each map the compactness and Gini index. Labels may hold commas, and every option may be
    given again.

    Results: pictures/, maps/ (raw, safetensors), index.csv, and the run's rows.parquet and manifest.json.

    Example: regard compare church.jpg --models regard:vit-small --methods cdam,rollout --targets "church,gas pump"
    """
    from regard.models.catalog import DEFAULT, load
    from regard.runs import Run, check_run_folder, new_folder

    if run is not None:
        check_run_folder(run)
    paths, names = find_photos(photos), listed(models) or [DEFAULT]
    check_weights(weights, names)
    subjects = [load(name, weights=weights, device=device, precision=precision) for name in names]
    contenders = _contenders(names, subjects, listed(methods))
    columns = columns_asked(subjects, targets or [], concept or [])
    _check_answerable(contenders, subjects[0], columns)
    configuration = _configuration(contenders, subjects, columns, precision)
    results = Run.open(run or new_folder("compare", Path("regard-runs")), "compare", configuration, force)
    forwards, seconds = _cost(contenders, subjects)
    failed = each_photo(
        results,
        photos_left(results, paths),
        forwards,
        seconds,
        "comparing",
        lambda path, name: _compare_one(
            results, contenders, lambda: columns or likeliest_columns(subjects, path), path, name, pictures
        ),
    )
    hashes = {name: subject.hash for name, subject in zip(names, subjects, strict=True)}
    results.finish(classifiers=hashes, photos=len(paths), failed=failed)
    found = figures(results.rows())
    print_json({**summary(results), "figures": found}) if as_json else print_figures(results, found)
    raise typer.Exit(1 if failed else 0)


def _contenders(names: Sequence[str], subjects: Sequence[Classifier], methods: Sequence[str]) -> list[Contender]:
    """Every method on every classifier; the usual ones that fit where none is named.

    Raises:
        RegardError: a method, setting or file that there is not, for whichever classifier.
        UnsupportedError: none explains any of the classifiers.
    """
    from regard.errors import UnsupportedError

    for method in methods:
        _check_asked(method, subjects)
    contenders = []
    for place, (name, subject) in enumerate(zip(names, subjects, strict=True)):
        candidates = [_contender(method, name, place, subject) for method in methods or USUAL]
        usual = [one for one in candidates if one.explainer is not None][:USUAL_COUNT] or candidates[:1]
        contenders += candidates if methods else usual
    if all(one.explainer is None for one in contenders):
        reasons = "; ".join(f"{one.name}: {one.reason}" for one in contenders)
        raise UnsupportedError(
            "none of the methods explains any of the classifiers",
            came=reasons,
            remedy="--models regard:vit-small, a transformer, or --methods grad-cam, for convolutional networks",
        )
    return contenders


def _check_asked(method: str, subjects: Sequence[Classifier]) -> None:
    """Refuse what cannot be asked of any of the classifiers; what is shipped for some may be asked of all."""
    from regard.errors import RegardError

    reasons = []
    for subject in subjects:
        try:
            method_asked(method, subject)
        except RegardError as reason:
            reasons.append(reason)
    if len(reasons) == len(subjects):
        raise reasons[0]


def _contender(method: str, name: str, place: int, subject: Classifier) -> Contender:
    from regard.errors import RegardError

    try:
        asked = method_asked(method, subject)
        return Contender(method, name, place, asked.explainer(subject), file_digest=asked.digest)
    except RegardError as reason:
        return Contender(method, name, place, None, reason.problem)


def _check_answerable(contenders: Sequence[Contender], first: Classifier, columns: Sequence[Column]) -> None:
    """Refuse, before a run folder is made, questions that no method answers.

    Raises:
        TargetError: why.
    """
    from regard.errors import TargetError
    from regard.question import default_targets

    if not columns:
        default_targets(first, LIKELIEST)
    asked = [one.asked(columns) for one in contenders]
    for place, column in enumerate(columns):
        answers = {one.name: row[place] for one, row in zip(contenders, asked, strict=True)}
        if all(isinstance(answer, str) for answer in answers.values()):
            reasons = "; ".join(f"{name}: {reason}" for name, reason in answers.items())
            raise TargetError(f"no method can be asked for {column.name!r}", came=reasons)


def _configuration(
    contenders: Sequence[Contender], subjects: Sequence[Classifier], columns: Sequence[Column], precision: str
) -> dict[str, Any]:
    return {
        "rows": [
            {
                "classifier": one.classifier,
                "classifier_hash": subjects[one.place].hash,
                "method": one.method,
                "settings": dict(one.explainer.settings) if one.explainer else None,
                **({} if one.file_digest is None else {"method_file": one.file_digest}),
            }
            for one in contenders
        ],
        "targets": [[described(target) for target in column.targets] for column in columns] or f"top {LIKELIEST}",
        "precision": precision,
    }


def _cost(contenders: Sequence[Contender], subjects: Sequence[Classifier]) -> tuple[int, float]:
    """Forward passes of one photo, and about how many seconds it takes."""
    passes = [0] * len(subjects)
    for one in contenders:
        passes[one.place] += one.explainer.forwards_each if one.explainer else 0
    seconds = [count * pass_seconds(subject) for count, subject in zip(passes, subjects, strict=True)]
    return sum(passes), sum(seconds) + DRAWING_SECONDS * len(contenders)


def _compare_one(
    results: Run,
    contenders: Sequence[Contender],
    columns: Callable[[], list[Column]],
    path: Path,
    name: str,
    ending: str,
) -> bool:
    """Compare on one photo and write picture, maps and rows; what fails becomes a row that says why."""
    from regard.errors import NotFiniteError, PhotoError, UnsupportedError

    try:
        asked = columns()
        rows = [answered(one, asked, path) for one in contenders]
        for row in rows:
            for note in () if row.explanation is None else row.explanation.notes:
                announce(printable(f"note: {path}: {row.contender.name}: {note}"))
        if all(row.explanation is None for row in rows):
            raise UnsupportedError("no method explained the photo", came=rows[0].why())
    except (PhotoError, NotFiniteError, UnsupportedError) as reason:
        results.write_rows([failed_row(path, "", reason)])
        return False
    alike = likeness(rows, len(asked))
    maps = save_maps(results.folder, rows, name)
    picture = draw(results.folder, rows, asked, alike, path, f"{name}.{ending}")
    results.write_rows(rows_of(rows, asked, alike, path, picture, maps))
    return not any(row.failed for row in rows)
