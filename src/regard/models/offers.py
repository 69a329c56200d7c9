"""What a source of classifiers offers: a network with all that belongs to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from regard.errors import ClassifierError
from regard.labels import Outputs
from regard.models.files import Source
from regard.models.preparation import Preparation


@dataclass(frozen=True)
class Listed:
    """A classifier that can be loaded by name."""

    name: str
    about: str


@dataclass(frozen=True)
class Offer:
    """A network and what its makers say of it.

    Attributes:
        network: with the makers' weights, or random ones.
        preparation: as the makers prepared photos.
        source: what builds the network again.
        labels: of the classes, where they are known.
        outputs: what the output means, where that is known; see `Classifier`.
        head: on top of the network's embedding, where the two come apart.
    """

    network: nn.Module
    preparation: Preparation
    source: Source
    labels: Sequence[str] | None = None
    outputs: Outputs | None = None
    head: nn.Module | None = None


def unbuilt(name: str, fetch: bool, reason: Exception) -> ClassifierError:
    """What a person is told where a library could not build or fetch a network."""
    return ClassifierError(
        f"cannot {'fetch' if fetch else 'build'} {name}",
        came=f"{type(reason).__name__}: {str(reason).partition(chr(10))[0][:200]}",
        remedy="without a network: weights=FILE, or pretrained=False for random weights" if fetch else None,
    )


def check_published(name: str, labels: int, classes: int) -> None:
    """Refuse labels of another number than the published weights have classes: their head would be random."""
    if labels != classes:
        raise ClassifierError(
            "the labels do not fit the published weights",
            came=f"{labels} labels",
            expected=f"{classes}, as {name} was trained",
            remedy="pretrained=False or weights=FILE for a head of another number of classes",
        )


def kept_share(side: int, scaled: int) -> float:
    """The share of a scaled side that a frame keeps, such that `Preparation` scales to that very side again."""
    share = side / scaled
    return share if math.floor(side / share) == scaled else math.nextafter(share, 0)
