"""A trained attention and the file it is kept in: its own weights alone, and a header that says whose it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from regard.attention.fusion import FusionAttention, Variant
from regard.errors import FileFormatError, RegardError, UnsupportedError
from regard.models.features import Features, features_of
from regard.models.linear_head import head_of
from regard.models.safetensors_header import read_safetensors_header
from regard.models.taps import Place
from regard.models.weights import digest

if TYPE_CHECKING:
    from regard.models.classifier import Classifier
    from regard.models.taps import At

FORMAT = "regard.tame"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Card:
    """What the file of a trained attention says of itself.

    Attributes:
        classifier: its name.
        classifier_hash: of all that its answers depend on; see `Classifier.hash`.
        layers: dotted paths of the layers read, in the order in which they run, and where: "input" or "output".
        gated: whether patch maps are multiplied by the class token.
        variant: of the attention.
        channels: of each layer.
        classes: rows of the attention.
        photos_of_class: for each class how many photos the classifier took for it in training.
        training: recipe, fill, seed, steps, digest of the photos.
        figures: on photos held out from training.
        versions: of what it was trained with.
        smoothing: of the attention; see `FusionAttention`.
    """

    classifier: str
    classifier_hash: str
    layers: tuple[tuple[str, At], ...]
    gated: bool
    variant: Variant
    channels: tuple[int, ...]
    classes: int
    photos_of_class: tuple[int, ...]
    training: Mapping[str, Any]
    figures: Mapping[str, Any]
    versions: Mapping[str, str]
    smoothing: int = 0

    def check_belongs(
        self, classifier: Classifier, called: str = "this attention", error: type[RegardError] = UnsupportedError
    ) -> None:
        """Refuse a classifier that the attention was not trained for.

        Raises:
            error: its answers depend on something else: other weights, preparation or layers.
        """
        if self.classifier_hash != classifier.hash:
            raise error(
                f"{called} was trained for another classifier, or for other weights of it",
                came=f"{classifier.name}, {classifier.hash[:12]}",
                expected=f"{self.classifier}, {self.classifier_hash[:12]}",
                remedy="load that classifier, in the precision that it had; or train one for this: regard train tame",
            )


@dataclass(frozen=True)
class TrainedAttention:
    """An attention, and the layers of the classifier that it reads."""

    attention: FusionAttention
    layers: tuple[Features, ...]
    card: Card

    @property
    def digest(self) -> str:
        """SHA-256 of its weights."""
        return digest(self.attention.state_dict(), "")

    def save(self, file: Path) -> None:
        """Write the attention's own weights, no classifier's, and the card; a file that stands there is replaced."""
        header = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self.card)}
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.attention.state_dict().items()}
        unfinished = file.with_name(f"{file.name}.unfinished")
        unfinished.write_bytes(save(weights, metadata={"regard": json.dumps(header)}))
        unfinished.replace(file)

    @classmethod
    def load(cls, file: Path, classifier: Classifier) -> TrainedAttention:
        """The attention of a file.

        Raises:
            FileFormatError: no such file, another kind of file, damaged, of a newer regard, or of another classifier.
        """
        card = read_card(file)
        card.check_belongs(classifier, f"the attention in {str(file)!r}", FileFormatError)
        try:
            attention = _unfilled(card, classifier)
            layers = tuple(_stage(classifier, layer, at) for layer, at in card.layers)
        except RegardError as reason:
            raise _damaged(file, reason.problem + (f": {reason.came}" if reason.came else "")) from reason
        _fill(attention, file)
        return cls(attention.eval().to(classifier.device), layers, card)

    def read_from(self, classifier: Classifier) -> TrainedAttention:
        """The same weights, which read another classifier of the same layers; "tied" rows are made of its head.

        The card stays: it says what the attention was trained for.
        """
        attention = _unfilled(self.card, classifier)
        attention.load_state_dict(self.attention.state_dict())
        layers = (replace(layer, tokens=layer.tokens and classifier.tokens) for layer in self.layers)
        return replace(self, attention=attention.eval().to(classifier.device), layers=tuple(layers))


def read_card(file: Path) -> Card:
    """The header of a file.

    Raises:
        FileFormatError: no such file, another kind of file, damaged, or of a newer regard.
    """
    wrong = f"{str(file)!r} holds no trained attention"
    return _card(read_safetensors_header(file, Card, FORMAT, FORMAT_VERSION, wrong), file)


def _card(given: Mapping[str, Any], file: Path) -> Card:
    """A card from JSON values, each of the kind that it must be."""
    try:
        layers = tuple((str(layer), at) for layer, at in given["layers"])
        counts = {name: tuple(given[name]) for name in ("channels", "photos_of_class")}
        card = Card(**{**given, **counts, "layers": layers})
        numbers = (card.classes, card.smoothing, *card.channels, *card.photos_of_class)
        mappings = (card.training, card.figures, card.versions)
        sound = (
            all(type(number) is int and number >= 0 for number in numbers)
            and all(isinstance(mapping, dict) for mapping in mappings)
            and all(at in ("input", "output") for _, at in layers)
            and len(layers) == len(card.channels)
            and len(card.photos_of_class) == card.classes
            and isinstance(card.gated, bool)
        )
    except (TypeError, ValueError) as reason:
        raise _damaged(file, str(reason)) from reason
    if not sound:
        raise _damaged(file, "values of another kind than an attention has")
    return card


def _unfilled(card: Card, classifier: Classifier) -> FusionAttention:
    """An attention as the card describes it, with weights that are still to be filled in."""
    head = head_of(classifier, card.variant)
    with torch.random.fork_rng(devices=[]):
        return FusionAttention(card.channels, card.classes, card.variant, head=head, smoothing=card.smoothing)


def _stage(classifier: Classifier, layer: str, at: At) -> Features:
    return features_of(classifier, layer) if at == "output" else Features(Place(layer, at), "last", classifier.tokens)


def _fill(attention: FusionAttention, file: Path) -> None:
    """Load the weights of a file, all of them and no others.

    Raises:
        FileFormatError: another name, shape or precision, or a value that is not finite.
    """
    weights = load_file(file)
    own, came = ({name: _form(tensor) for name, tensor in each.items()} for each in (attention.state_dict(), weights))
    differing = sorted(name for name in own.keys() | came.keys() if own.get(name) != came.get(name))
    if differing:
        name = differing[0]
        raise FileFormatError(
            f"the weights in {str(file)!r} are not those that its header describes",
            came=f"{name}: {came.get(name, 'missing')}",
            expected=own.get(name, "nothing of that name"),
        )
    broken = next((name for name, tensor in weights.items() if not tensor.isfinite().all()), None)
    if broken is not None:
        raise FileFormatError(f"the weights in {str(file)!r} hold NaN or infinity", came=broken)
    attention.load_state_dict(weights)


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _damaged(file: Path, came: str) -> FileFormatError:
    return FileFormatError(f"the header of {str(file)!r} is damaged", came=came)
