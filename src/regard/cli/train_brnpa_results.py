"""What `regard train br-npa` tells: the recipe before, epochs as they come, and what the classifier is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard.cli.output import print_json, print_table

if TYPE_CHECKING:
    from regard.training import BRNPARecipe, TrainedBRNPA
    from regard.training.figures import Figure

FEW_HELD_OUT = 30
"""Photos below which a share of those held out is a rough guide."""


def recipe_in_words(recipe: BRNPARecipe, name: str, grid: tuple[int, int], taught: bool) -> str:
    """The recipe in force, one line."""
    ablated = ", ".join(
        [*(["random places"] if recipe.select == "random" else []), *(["not refined"] if not recipe.refine else [])]
    )
    distilled = f"; distilled at temperature {recipe.temperature:g}, share {recipe.share:g}" if taught else ""
    return (
        f"recipe: {name}: {recipe.pooling} pooling of {grid[0]}×{grid[1]} places, maps {recipe.maps}"
        + (f" ({ablated})" if ablated else "")
        + f"{distilled}; dropout {recipe.dropout:g}; batch norm {recipe.batch_norm}; {recipe.optimizer} at rate "
        f"{recipe.rate:g}; epochs {recipe.epochs}; batch {recipe.batch}"
    )


def epoch_in_words(number: int, epochs: int, figures: Mapping[str, float]) -> str:
    """The figures of an epoch, one line."""
    place = "before training" if number == 0 else f"epoch {number} of {epochs}"
    agreed = f", agreement with the teacher {figures['agreement']:.1%}" if "agreement" in figures else ""
    return f"{place}: cross-entropy {figures['cross_entropy']:.3f}, accuracy {figures['accuracy']:.1%}{agreed}"


def tell(trained: TrainedBRNPA, out: Path, folder: Path, teacher: Path | None, as_json: bool) -> None:
    """Print what came of a training.

    Args:
        trained: the classifier that was written.
        out: where.
        folder: of the finished run.
        teacher: the teacher's file.
        as_json: as JSON.
    """
    notes = _notes(trained, teacher)
    if as_json:
        print_json(_summary(trained, out, folder, notes))
        return
    training, held_out = trained.training, trained.worth.held_out
    print(
        f"{trained.classifier.name}: trained on {training['photos_trained_on']} photos; epoch "
        f"{training['epoch_chosen']} is kept, "
        + (f"chosen by {training['photos_chosen_by']} others" if trained.epochs else "the last")
        + f"; examined on {held_out.photos} that no choice has seen"
        + (f"; {len(trained.unreadable)} cannot be read and are left out" if trained.unreadable else "")
    )
    overall = () if held_out.overall is None else (held_out.overall,)
    print_table(
        ["", "held-out photos", "accuracy", "95 % interval", "by chance"],
        [_row(figure) for figure in (*overall, *trained.worth.beside, *held_out.each)],
    )
    for note in notes:
        print(f"note: {note}")
    print(f"written to {out}; explain with it: regard explain PHOTO --classifier {out} --method br-npa")


def _summary(trained: TrainedBRNPA, out: Path, folder: Path, notes: list[str]) -> dict[str, Any]:
    return {
        "file": str(out),
        "run": str(folder),
        "classifier_hash": trained.classifier.hash,
        "labels": trained.classifier.labels,
        "training": dict(trained.training),
        "epochs": [dict(epoch) for epoch in trained.epochs],
        "held_out": asdict(trained.worth.held_out),
        "beside": [asdict(figure) for figure in trained.worth.beside],
        "unreadable": dict(trained.unreadable),
        "notes": notes,
    }


def _row(figure: Figure) -> list[str]:
    interval = "" if figure.interval is None else f"{figure.interval[0]:.1%} to {figure.interval[1]:.1%}"
    return [figure.name, str(figure.photos), f"{figure.value:.1%}", interval, f"{figure.chance:.1%}"]


def _notes(trained: TrainedBRNPA, teacher: Path | None) -> list[str]:
    """What forbids to trust the figures."""
    notes = []
    if trained.worth.held_out.photos < FEW_HELD_OUT:
        notes.append(f"fewer than {FEW_HELD_OUT} photos are held out, so these figures are rough")
    if unexamined := trained.worth.held_out.unexamined:
        notes.append(f"no held-out photo shows {len(unexamined)} classes: {', '.join(unexamined[:10])}")
    if teacher is not None and _other_photos(teacher, trained.training):
        notes.append(
            "the teacher was trained with other photos held out, so it may know those that are examined here: give "
            "both the same --held-out and --seed"
        )
    return notes


def _other_photos(teacher: Path, training: Mapping[str, Any]) -> bool:
    """Whether a teacher's file says that other photos than here were held out from it."""
    from regard.models.files import read_header

    told = read_header(teacher).about.get("training")
    if not isinstance(told, Mapping) or "photos_digest" not in told:
        return False
    marked = isinstance(training["held_out"], str)  # by the source: the seed draws nothing
    names = ("photos_digest", "held_out") if marked else ("photos_digest", "held_out", "seed")
    return any(told.get(name) != training[name] for name in names)
