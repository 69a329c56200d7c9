"""A trained pooled network: what all tasks say of it, and its file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from regard.models.brnpa import BRNPAClassifier
from regard.models.files import fill, read_header, read_weights
from regard.training.brnpa.classification import Trainee

CLASSIFIER = "classifier.safetensors"
"""In a finished run, so that the same training asked again is not done again."""


@dataclass(frozen=True)
class TrainedNetwork(ABC):
    """A trained classifier, and how it came to be.

    Attributes:
        classifier: in eval mode.
        training: how it was trained: start, teacher, recipe, numbers of photos, the epoch that was kept.
        unreadable: photo → why it could not be read; such photos were left out.
    """

    classifier: BRNPAClassifier
    training: Mapping[str, Any]
    unreadable: Mapping[str, str]

    @property
    @abstractmethod
    def summary(self) -> str:
        """One line on what it is worth."""

    @abstractmethod
    def figures(self) -> Mapping[str, Any]:
        """What it is worth, as JSON values."""

    def save(self, path: str | Path) -> None:
        """Write one file that `regard.load(path)` reads."""
        about = {"summary": self.summary, "training": self.training, "unreadable": self.unreadable}
        self.classifier.save(path, {**about, **self.figures()})


def read_back(path: Path, trainee: Trainee) -> Mapping[str, Any]:
    """Give network and head the weights of a finished run, and return what its file says besides.

    Args:
        path: of the file.
        trainee: what was trained, of which no file holds what helped in training alone.

    Raises:
        FileFormatError, ClassifierError: the file is damaged, or of another network.
    """
    fill(nn.ModuleDict({"network": trainee.network, "head": trainee.head}), read_weights(path), path)
    return read_header(path).about
