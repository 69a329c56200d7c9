"""What `regard train tame` tells: the recipe before, epochs as they come, and what the attention is worth."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard.cli.output import print_json, print_table

if TYPE_CHECKING:
    from regard.explainers.tame import TAME
    from regard.explainers.trained_attention import Card
    from regard.training import RateTest, Recipe

FEW_HELD_OUT = 30
"""Photos below which a mean over those held out is a rough guide: one photo moves it by more than three points."""

_DROP, _MASK = "average_drop_50", "own_mask"
_SHARES = {
    _DROP: "average drop at 50 %",
    "average_drop_15": "at 15 %",
    "increase_in_confidence_50": "increase in confidence at 50 %",
    "increase_in_confidence_15": "at 15 %",
}


@dataclass(frozen=True)
class Loaded:
    """How the classifier was loaded, as a person must do it again to use what was trained for it."""

    name: str
    weights: Path | None
    precision: str

    @property
    def options(self) -> str:
        """As they are typed."""
        options = ["--classifier", self.name]
        options += [] if self.weights is None else ["--weights", str(self.weights)]
        options += [] if self.precision == "float32" else ["--precision", self.precision]
        return shlex.join(options)


def recipe_in_words(recipe: Recipe, layers: Sequence[str], fill: str) -> str:
    """The recipe in force, one line."""
    gated = " times their class token" if recipe.gated else ""
    smoothing = f"smoothed over {recipe.smoothing}" if recipe.smoothing else "not smoothed"
    maps = f"{recipe.negatives} negatives" if recipe.maps == "negatives" else recipe.maps
    held = "" if recipe.area_target is None else f" of other maps, own masks held at {recipe.area_target:g}"
    return (
        f"recipe: {recipe.variant} attention on {', '.join(layers)}{gated}, {smoothing}; start {recipe.start}; "
        f"mask {recipe.mask}; maps {maps}; area weight {recipe.area:g}{held}; fill {fill}; {recipe.optimizer} at rate "
        f"{recipe.rate:g}; epochs {recipe.epochs}; batch {recipe.batch}"
    )


def epoch_in_words(number: int, epochs: int, figures: Mapping[str, float]) -> str:
    """The figures of an epoch, one line."""
    place = "before training" if number == 0 else f"epoch {number} of {epochs}"
    shares = ", ".join(f"{words} {_share(figures[name])}" for name, words in _SHARES.items())
    return f"{place}: {shares}, mean mask {_number(figures[_MASK])}"


def tell(trained: TAME, out: Path, folder: Path, loaded: Loaded, fill: str, as_json: bool) -> None:
    """Print what came of a training.

    Args:
        trained: the attention that was written.
        out: where.
        folder: of the finished run.
        loaded: how its classifier was.
        fill: what the fill was called.
        as_json: as JSON.
    """
    epochs = _epochs(folder)
    if as_json:
        print_json(_summary(trained.trained.card, epochs, out, folder))
    else:
        _print_summary(trained, epochs, out, loaded, fill)


def tell_rates(found: RateTest, as_json: bool) -> None:
    """Print what a learning-rate range test found."""
    from dataclasses import asdict

    if as_json:
        print_json(asdict(found))
        return
    last = f"{found.rates[-1]:.2g}"
    print(f"tried {len(found.rates)} rates up to {last}" + (", where the loss diverged" if found.diverged else ""))
    if found.suggestion is None:
        print("the loss falls clearly at none of them: more photos or a larger batch make it less noisy")
    else:
        print(f"it falls most steeply at --rate {found.suggestion:.2g}")
    print(f"a tenth of the rate where it is least: {found.tenth_of_minimum:.2g}")


def _epochs(folder: Path) -> list[dict[str, Any]]:
    """The figures of the start, epoch 0, and of every epoch."""
    from regard.runs import read_run

    words = ("configuration_hash", "image", "method", "target")
    rows = sorted(read_run(folder).rows, key=lambda row: row["epoch"])
    return [{name: value for name, value in row.items() if name not in words} for row in rows]


def _summary(card: Card, epochs: list[dict[str, Any]], out: Path, folder: Path) -> dict[str, Any]:
    return {
        "file": str(out),
        "run": str(folder),
        "classifier_hash": card.classifier_hash,
        "layers": [layer for layer, _ in card.layers],
        "training": dict(card.training),
        "figures": dict(card.figures),
        "epochs": epochs,
        "photos_of_class": list(card.photos_of_class),
    }


def _print_summary(trained: TAME, epochs: list[dict[str, Any]], out: Path, loaded: Loaded, fill: str) -> None:
    card, training = trained.trained.card, trained.trained.card.training
    left_out, held = training["photos_unreadable"], training["recipe"]["area_target"]
    print(
        f"{card.classifier}: {card.variant} attention on {', '.join(layer for layer, _ in card.layers)}, trained on "
        f"{training['photos']} photos; epoch {training['epoch_chosen']} is kept, chosen by "
        f"{training['photos_held_out']} others" + (f"; {left_out} cannot be read and are left out" if left_out else "")
    )
    taught, force = _taught(card)
    print(taught)
    print(f"figures on the {training['photos_held_out']} photos held out; epoch 0 is the attention before training:")
    print_table(
        ["epoch", *_SHARES.values(), "mean mask" + ("" if held is None else f" (held at {held:g})")],
        [[str(row["epoch"]), *(_share(row[name]) for name in _SHARES), _number(row[_MASK])] for row in epochs],
    )
    for note in _notes(card, epochs):
        print(f"note: {note}")
    method, other = f"tame:{out}{force}", "grad-cam" if trained.classifier.tokens is None else "cdam"
    print(f"written to {out}; explain with it: regard explain PHOTO {loaded.options} --method {shlex.quote(method)}")
    print(
        f"judge it on photos it has not seen: regard evaluate PHOTOS {loaded.options} --fill {fill} "
        f"--methods {shlex.quote(f'{method},{other}')}"
    )


def _taught(card: Card) -> tuple[str, str]:
    """Which classes it has maps of, in words; and what must follow the name of its file where that is none."""
    from regard.explainers.tame import FEWEST_PHOTOS

    if card.variant == "tied":
        return f"maps of all {card.classes} classes: rows are made of the classifier's own class vectors", ""
    taught = sum(count >= FEWEST_PHOTOS for count in card.photos_of_class)
    of_classes = f"maps of {taught} of {card.classes} classes: those that {FEWEST_PHOTOS} photos or more were taken for"
    return of_classes, "" if taught else ":force=true"


def _notes(card: Card, epochs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What forbids to trust the figures."""
    training, notes = card.training, []
    if training["photos_held_out"] < FEW_HELD_OUT:
        notes.append(
            f"fewer than {FEW_HELD_OUT} photos are held out, so these figures, and the choice of the epoch, are rough"
        )
    if sum(count > 0 for count in card.photos_of_class) == 1:
        notes.append("all photos are taken for one class: nothing here says that maps tell classes apart")
    drops = {row["epoch"]: row[_DROP] for row in epochs}
    before, after = drops.get(0), drops[training["epoch_chosen"]]
    if before is not None and after is not None and after >= before:
        notes.append(
            "no epoch is better than the start, so the training was worth nothing that these photos show: "
            "more photos, more epochs, or another --rate (--rate-test suggests one)"
        )
    return notes


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
