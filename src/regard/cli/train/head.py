"""`regard train head`: a head of one's own classes on a frozen backbone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from regard.cli.out_file import check_out
from regard.cli.output import announce, print_json, print_table, tracked
from regard.naming import printable
from regard.timing import pass_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regard.models.classifier import Classifier
    from regard.training import TrainedHead
    from regard.training.embeddings import Batch
    from regard.training.figures import Figure, HeldOut


def head(
    photos: Annotated[Path, typer.Argument(help="A folder of class folders (or of train and val), or a CSV file.")],
    classifier: Annotated[str, typer.Option("--classifier", "-c", help="The backbone: a name or a classifier file.")],
    out: Annotated[Path, typer.Option("--out", help="The classifier file to write, NAME.safetensors.")],
    outputs: Annotated[
        Literal["softmax", "sigmoid", "scalar"],
        typer.Option(help="One class a photo, several or none, or measurements."),
    ] = "softmax",
    kind: Annotated[Literal["linear", "mlp"], typer.Option(help="One layer, or two.")] = "linear",
    hidden: Annotated[int, typer.Option(min=1, help="Units between the layers of an mlp.")] = 256,
    held_out: Annotated[
        float, typer.Option("--held-out", help="Share of photos kept for the figures, where the source has no split.")
    ] = 0.2,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the split and of an mlp.")] = 0,
    weights: Annotated[
        Path | None, typer.Option(help="Weights for a timm: backbone, safetensors or plain torch.")
    ] = None,
    cache: Annotated[Path, typer.Option(help="Where embeddings are kept for the next training.")] = Path(
        "regard-runs/embeddings"
    ),
    run: Annotated[
        Path | None, typer.Option("--run", help="Where figures and answers go; default regard-runs/train-head-TIME.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "cpu",
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file that stands in --out, and the run in --run.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train a head of your own classes on a frozen backbone, and say what it is worth on photos kept from it.

    A folder holds one folder a class. A CSV has the columns file, label (several with "|" between them for sigmoid; for
    scalar one column a measurement instead) and, where you like, split: train or val. A training that was stopped goes
    on with the same command.

    Example: regard train head photos/ --classifier regard:vit-small --out my-head.safetensors
    """
    from regard.runs import check_folder, check_run_folder, new_folder
    from regard.training import fit_head, read_labelled
    from regard.training.split import check_share

    check_out(out, force)
    check_share(held_out)
    check_folder(cache)
    folder = run or new_folder("train-head", Path("regard-runs"))
    check_run_folder(folder)
    labelled = read_labelled(photos, outputs)
    subject = _backbone(classifier, weights, device)
    try:
        trained = fit_head(
            subject,
            labelled.photos,
            labelled.labels,
            outputs=outputs,
            kind=kind,
            hidden=hidden,
            held_out=held_out if labelled.held_out is None else labelled.held_out,
            seed=seed,
            cache=cache,
            run=folder,
            force=force,
            tracked=lambda batches: _watched(batches, subject),
        )
    except KeyboardInterrupt:
        announce(f"stopped; give the same command again to go on: embeddings are kept in {cache}")
        raise typer.Exit(1) from None
    trained.save(out)
    print_json(_summary(trained, out, folder)) if as_json else _print_summary(trained, out, folder)
    raise typer.Exit(1 if trained.unreadable else 0)


def _backbone(name: str, weights: Path | None, device: str) -> Classifier:
    """The classifier; weights of a self-supervised backbone hold no head, and fit a network without one."""
    from regard.errors import ClassifierError
    from regard.models.catalog import load

    try:
        return load(name, weights=weights, device=device)
    except ClassifierError:
        if weights is None or not name.startswith("timm:"):
            raise
        return load(name, weights=weights, device=device, num_classes=0)


def _watched(batches: Sequence[Batch], subject: Classifier) -> Iterable[Batch]:
    """The batches, with what they will cost said before, and a bar while they go."""
    photos = sum(map(len, batches))
    if not photos:
        return batches
    seconds = photos * (pass_seconds(subject) + 0.01)
    if seconds > 2:
        announce(f"photos to embed: {photos}, forward passes: {photos}; about {seconds:.0f} s")
    return tracked(batches, seconds, f"embedding by {subject.name}")


def _summary(trained: TrainedHead, out: Path, folder: Path) -> dict[str, Any]:
    return {
        "file": str(out),
        "run": str(folder),
        "classifier_hash": trained.classifier.hash,
        "labels": trained.classifier.labels,
        "training": trained.training,
        "held_out": asdict(trained.held_out),
        "unreadable": {printable(photo): reason for photo, reason in trained.unreadable.items()},
    }


def _print_summary(trained: TrainedHead, out: Path, folder: Path) -> None:
    figures = trained.held_out
    chosen = ", ".join(f"{name} {trained.training[name]}" for name in ("penalty", "epochs") if name in trained.training)
    print(
        f"{trained.classifier.name}: {trained.training['kind']} head ({chosen}), trained on "
        f"{trained.training['photos_trained_on']} photos, examined on {figures.photos} others"
        + (f"; {len(trained.unreadable)} cannot be read and are left out" if trained.unreadable else "")
    )
    of_all = () if figures.overall is None else (figures.overall,)
    several = trained.classifier.outputs == "sigmoid"
    counted = ["held-out photos", *(("that show it",) if several else ())]
    print_table(
        ["", *counted, figures.measure, "95 % interval", "by chance", *(() if of_all else ("R²",))],
        [_row(figure, bool(of_all), several) for figure in (*of_all, *figures.each)],
    )
    if figures.confusion is not None:
        _print_confusion(figures, trained.classifier.labels or [])
    print(f"written to {out}; explain with it: regard explain PHOTO --classifier {out}")
    print(f"every answer to a held-out photo is in {folder}; see them: regard report {folder} --open")


def _row(figure: Figure, share: bool, several: bool) -> list[str]:
    """One line of the table; `several` classes may be on a photo, so that those that show one are counted apart."""

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.1%}" if share else f"{value:.4g}"

    interval = "" if figure.interval is None else f"{number(figure.interval[0])} to {number(figure.interval[1])}"
    shown = ["" if figure.shown is None else str(figure.shown)] if several else []
    plain = [figure.name, str(figure.photos), *shown, number(figure.value), interval]
    r_squared = [] if share else ["" if figure.r_squared is None else f"{figure.r_squared:.3f}"]
    return [*plain, number(figure.chance), *r_squared]


def _print_confusion(figures: HeldOut, labels: Sequence[str]) -> None:
    """What wrong answers were taken for, the most frequent first."""
    wrong = [
        (count, labels[true], labels[answer])
        for true, row in enumerate(figures.confusion or ())
        for answer, count in enumerate(row)
        if count and answer != true
    ]
    if wrong:
        most = sorted(wrong, key=lambda each: -each[0])[:5]
        print("most confused: " + ", ".join(f"{true} taken for {answer} ({count})" for count, true, answer in most))
