"""`regard explain`: photos in, a run folder with pictures and raw maps out."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from regard.cli.output import announce, print_json, printable, tracked
from regard.cli.photos import find_photos, image_of, named

if TYPE_CHECKING:
    from torch import Tensor

    from regard.explainers.explainer import Explainer
    from regard.explanation import Explanation
    from regard.models.classifier import Classifier
    from regard.runs import Run


def explain(
    photos: Annotated[list[str], typer.Argument(help="Photos, folders of photos, or patterns such as 'cats/*.jpg'.")],
    classifier: Annotated[
        str | None, typer.Option("--classifier", "-c", help="A name (regard models lists them) or a classifier file.")
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", "-m", help="How; default the best the classifier allows.")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option("--target", "-t", help="A class label or index; may be given again.")
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
    from regard.runs import Run, new_folder

    paths = find_photos(photos)
    subject = load(classifier or DEFAULT, weights=weights, device=device, precision=precision)
    explainer = choose(subject, method)
    targets = _targets(subject, target or [], concept or [], top)
    _check_question(explainer, targets)
    configuration = _configuration(subject, explainer, targets, precision)
    results = Run.open(run or new_folder("explain", Path("regard-runs")), "explain", configuration, force)
    left, each = _left(results, paths), explainer.forwards_each
    seconds = _seconds(subject, each, len(left))
    if seconds > 2:
        announce(f"photos to explain: {len(left)}, forward passes: {each * len(left)}; about {seconds:.0f} s")
    failed = 0
    try:
        for path, name in tracked(left, seconds, f"{explainer.name} on {subject.name}"):
            failed += not _explain_one(results, explainer, targets, path, name)
    except KeyboardInterrupt:
        results.log("interrupted")
        announce(f"stopped; give the same command with --run {results.folder} to go on")
        raise typer.Exit(1) from None
    results.finish(classifier={"name": subject.name, "hash": subject.hash}, photos=len(paths), failed=failed)
    print_json(_summary(results)) if as_json else _print_summary(results, explainer)
    raise typer.Exit(1 if failed else 0)


def _targets(subject: Classifier, labels: list[str], concepts: list[str], top: int) -> list[Any]:
    from regard.concepts import Concept
    from regard.errors import TargetError
    from regard.question import default_targets

    targets: list[Any] = [int(label) if re.fullmatch("-?[0-9]+", label) else label for label in labels]
    for text in concepts:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise TargetError("a concept is given as NAME=FOLDER", came=text)
        targets.append(Concept.from_images(subject, find_photos([folder]), name))
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
        "targets": [_described(target) for target in targets],
        "precision": precision,
    }


def _described(target: Any) -> str:
    direction: Tensor | None = getattr(target, "direction", None)
    if direction is None:
        return repr(target)
    return f"{target!r} {hashlib.sha256(direction.numpy().tobytes()).hexdigest()[:16]}"


def _left(results: Run, paths: list[Path]) -> list[tuple[Path, str]]:
    """Photos that are still to be explained, each with the name of its results: new ones, failed ones, changed ones."""
    done = {row["image"]: row for row in results.rows() if row["status"] == "explained"}
    left = [
        path for path in paths if image_of(path) not in done or done[image_of(path)]["photo_sha256"] != _sha256(path)
    ]
    results.forget({image_of(path) for path in left})
    kept = done.keys() - {image_of(path) for path in left}
    return named(left, {Path(done[image]["picture"]).stem for image in kept})


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _seconds(subject: Classifier, forwards: int, photos: int) -> float:
    """About how long the photos will take: passes like one that is timed, and a quarter of a second to draw each."""
    import time

    start = time.perf_counter()
    subject(subject.picture())
    return photos * (forwards * (time.perf_counter() - start) + 0.25)


def _explain_one(results: Run, explainer: Explainer, targets: list[Any], path: Path, name: str) -> bool:
    """Explain one photo and write its picture, maps and rows; a photo that fails becomes a row that says why."""
    from regard.errors import NotFiniteError, PhotoError

    try:
        explanation = explainer(path, targets)
    except (PhotoError, NotFiniteError) as reason:
        announce(printable(f"failed: {reason}"))
        row = {
            "image": image_of(path),
            "method": explainer.name,
            "target": "",
            "status": "failed",
            "error": printable(str(reason)),
        }
        results.write_rows([row])
        return False
    files = {"picture": f"pictures/{name}.png", "maps": f"maps/{name}.safetensors"}
    for file in files.values():
        (results.folder / file).parent.mkdir(exist_ok=True)
    explanation.save(results.folder / files["maps"])
    explanation.figure([path]).savefig(results.folder / files["picture"], dpi=100)
    results.write_rows(_rows(explanation, path, files))
    return True


def _rows(explanation: Explanation, path: Path, files: dict[str, str]) -> list[dict[str, Any]]:
    photo = {"image": image_of(path), "photo_sha256": _sha256(path)}
    return [
        {
            **photo,
            "method": explanation.method,
            "target": answer.name,
            "place": place,
            "class_index": answer.index,
            "score": answer.score,
            "probability": answer.probability,
            "strongest": strongest_place(explanation.maps[0, place]),
            "status": "explained",
            "error": None,
            **files,
        }
        for place, answer in enumerate(explanation.targets[0])
    ]


def strongest_place(values: Tensor) -> str:
    """Where a map (h, w) has its largest value, in words; "nowhere" if it has no positive one."""
    height, width = values.shape
    if not bool((values > 0).any()):
        return "nowhere"
    row, column = divmod(int(values.argmax()), width)
    down = ("upper", "middle", "lower")[min(2, 3 * row // height)]
    across = ("left", "centre", "right")[min(2, 3 * column // width)]
    return "centre" if (down, across) == ("middle", "centre") else f"{down} {across}"


def _summary(results: Run) -> dict[str, Any]:
    return {"run": str(results.folder), "configuration_hash": results.configuration_hash, "rows": results.rows()}


def _print_summary(results: Run, explainer: Explainer) -> None:
    by_photo: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(results.rows(), key=lambda row: (row["image"], row.get("place") or 0)):
        by_photo.setdefault(row["image"], []).append(row)
    for image, rows in by_photo.items():
        if rows[0]["status"] == "failed":
            print(f"{image}: failed: {rows[0]['error'].partition(chr(10))[0]}")
            continue
        print(f"{image} → {results.folder / rows[0]['picture']}")
        for row in rows:
            number = f"{row['probability']:.1%}" if row["probability"] is not None else f"score {row['score']:.3g}"
            print(f"    {row['target']}: {number}, strongest {row['strongest']}")
    meaning = "red speaks for the class, blue against it" if explainer.signed else "bright is where it looks"
    print(f"{explainer.summary}: {meaning}")
    print(f"pictures, raw maps and index.csv in {results.folder}")
