"""`regard explain`: photos in, a run folder with pictures and raw maps out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from regard.cli.asked import class_asked, concept_asked, described, method_asked
from regard.cli.output import announce, print_json
from regard.cli.photo_run import each_photo, failed_row, photos_left, summary
from regard.cli.photos import find_photos
from regard.explained_run import write_explanation
from regard.naming import printable
from regard.timing import pass_seconds

if TYPE_CHECKING:
    from regard.explainers.explainer import Explainer
    from regard.models.classifier import Classifier
    from regard.runs import Run

DRAWING_SECONDS = 0.25
"""About what one picture takes to draw and write."""


def explain(
    photos: Annotated[list[str], typer.Argument(help="Photos, folders of photos, or patterns such as 'cats/*.jpg'.")],
    classifier: Annotated[
        str | None, typer.Option("--classifier", "-c", help="A name (regard models lists them) or a classifier file.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", "-m", help="NAME, NAME:SETTING=VALUE or NAME:FILE; default the best that fits."),
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option("--target", "-t", help="A class label, else an index; may be given again.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Without --target: how many of the likeliest classes.")] = 3,
    concept: Annotated[
        list[str] | None, typer.Option(help="NAME=FOLDER of example photos; may be given again.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights for a timm: classifier, safetensors or plain torch.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="Where results go; default regard-runs/explain-TIME.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the run that stands in --run.")] = False,
    pictures: Annotated[
        Literal["png", "svg", "pdf"], typer.Option(help="What pictures are written as; svg and pdf are for papers.")
    ] = "png",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "cpu",
    precision: Annotated[
        Literal["float32", "bfloat16"], typer.Option(help="Of the network; maps are float32.")
    ] = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Explain photos: which parts speak for, and against, each class.

    Results: pictures/ (the maps over the photos), maps/ (raw, one safetensors file a photo), index.csv, and the
    run's rows.parquet and manifest.json. An interrupted run goes on with the same command and --run.

    Example: regard explain cat.jpg --target "tabby, tabby cat" --target 281
    """
    from regard.explainers.registry import choose
    from regard.models.catalog import DEFAULT, load
    from regard.runs import Run, check_run_folder, new_folder

    if run is not None:
        check_run_folder(run)
    paths = find_photos(photos)
    subject = load(classifier or DEFAULT, weights=weights, device=device, precision=precision)
    asked = None if method is None else method_asked(method, subject)
    targets = _targets(subject, target or [], concept or [], top)
    explainer = choose(subject, targets=targets) if asked is None else asked.explainer(subject)
    _check_question(explainer, targets)
    configuration = _configuration(subject, explainer, targets, precision)
    if asked is not None and asked.digest is not None:
        configuration["method_file"] = asked.digest
    results = Run.open(run or new_folder("explain", Path("regard-runs")), "explain", configuration, force)
    left, forwards = photos_left(results, paths), explainer.forwards_each
    seconds = forwards * pass_seconds(subject) + DRAWING_SECONDS
    failed = each_photo(
        results,
        left,
        forwards,
        seconds,
        f"{explainer.name} on {subject.name}",
        lambda path, name: _explain_one(results, explainer, targets, path, name, pictures),
    )
    results.finish(classifier={"name": subject.name, "hash": subject.hash}, photos=len(paths), failed=failed)
    print_json(summary(results)) if as_json else _print_summary(results, explainer)
    raise typer.Exit(1 if failed else 0)


def _targets(subject: Classifier, labels: list[str], concepts: list[str], top: int) -> list[Any]:
    from regard.question import default_targets

    targets: list[Any] = [class_asked(label, subject) for label in labels]
    targets += [concept_asked(subject, text) for text in concepts]
    return targets or list(default_targets(subject, top))


def _check_question(explainer: Explainer, targets: list[Any]) -> None:
    """Refuse what the classifier or the method cannot be asked before a run folder is made."""
    explainer.question(targets, images=1)


def _configuration(subject: Classifier, explainer: Explainer, targets: list[Any], precision: str) -> dict[str, Any]:
    return {
        "classifier": subject.name,
        "classifier_hash": subject.hash,
        "method": explainer.name,
        "settings": dict(explainer.settings),
        "targets": [described(target) for target in targets],
        "precision": precision,
    }


def _explain_one(results: Run, explainer: Explainer, targets: list[Any], path: Path, name: str, ending: str) -> bool:
    """Explain one photo and write its picture, maps and rows; a photo that fails becomes a row that says why."""
    from regard.errors import NotFiniteError, PhotoError, TargetError

    try:
        explanation = explainer(path, targets)
    except (PhotoError, NotFiniteError, TargetError) as reason:
        results.write_rows([failed_row(path, explainer.name, reason)])
        return False
    write_explanation(results, explanation, path, name, ending)
    for note in explanation.notes:
        announce(printable(f"note: {path.name}: {note}"))
    return True


def _print_summary(results: Run, explainer: Explainer) -> None:
    """What was drawn, and how it is read; what failed has been said when it did."""
    by_photo: dict[str, list[dict[str, Any]]] = {}
    drawn = [row for row in results.rows() if row["status"] != "failed"]
    for row in sorted(drawn, key=lambda row: (row["image"], row["place"])):
        by_photo.setdefault(row["image"], []).append(row)
    for image, rows in by_photo.items():
        print(f"{image} → {results.folder / rows[0]['picture']}")
        for row in rows:
            number = f"{row['probability']:.1%}" if row["probability"] is not None else f"score {row['score']:.3g}"
            print(f"    {row['target']}: {number}, {_strongest(row)}")
    if by_photo:
        print(f"{explainer.summary}: {explainer.colours}")
    print(f"{'pictures, raw maps and ' if by_photo else ''}index.csv in {results.folder}")


def _strongest(row: dict[str, Any]) -> str:
    return "no map" if row["strongest"] is None else f"strongest {row['strongest']}"
