"""What a person asks of a classifier on the command line: classes by index or label, concepts by folders."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard.cli.photos import find_photos

if TYPE_CHECKING:
    from torch import Tensor

    from regard.concepts import Concept
    from regard.evaluate.asked import MethodAsked
    from regard.models.classifier import Classifier


def method_asked(text: str, subject: Classifier) -> MethodAsked:
    """One method, as it is written for every command: NAME, NAME:SETTING=VALUE, NAME:FILE.

    Raises:
        RegardError: there is no such method, setting or file, or not one method is named; see `methods_asked`.
    """
    from regard.errors import UnsupportedError
    from regard.evaluate.asked import methods_asked

    found = methods_asked([text], subject)
    if len(found) != 1:
        raise UnsupportedError("one method is named here", came=text, remedy="regard compare shows several, by name")
    if found[0].missing:
        raise UnsupportedError(f"there is no file {str(found[0].file)!r}", came=text, remedy=found[0].made_by)
    return found[0]


def class_asked(text: str, subject: Classifier) -> int | str:
    """A label, or an index where the text is a whole number and the classifier has no class of that name."""
    from regard.labels import classes_called

    return int(text) if re.fullmatch("-?[0-9]+", text) and not classes_called(text, subject) else text


def concept_asked(subject: Classifier, text: str) -> Concept:
    """A concept from NAME=FOLDER, shown to a classifier by the photos of the folder.

    Raises:
        TargetError: the text is written otherwise, or there is no such folder.
        PhotoError: the folder holds no photos.
    """
    from regard.concepts import Concept
    from regard.errors import TargetError

    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise TargetError("a concept is given as NAME=FOLDER", came=text)
    if not Path(folder).is_dir():
        raise TargetError(f"there is no folder {folder!r}", came=text, expected="NAME=FOLDER of example photos")
    return Concept.from_images(subject, find_photos([folder]), name)


def check_weights(weights: Path | None, names: Sequence[str]) -> None:
    """Refuse one file of weights for several classifiers.

    Raises:
        ClassifierError: it is given so.
    """
    from regard.errors import ClassifierError

    if weights is not None and len(names) > 1:
        raise ClassifierError(
            "--weights are those of one classifier",
            came=", ".join(names),
            remedy="name one classifier, or give classifier files",
        )


def described(target: Any) -> str:
    """A target for a run's configuration: in words, and with the digest of a direction that it holds."""
    direction: Tensor | None = getattr(target, "direction", None)
    if direction is None:
        return repr(target)
    return f"{target!r} {hashlib.sha256(direction.numpy().tobytes()).hexdigest()[:16]}"


def listed(given: Sequence[str] | None) -> list[str]:
    """Names that stand between commas, each once.

    Raises:
        UnsupportedError: one of them is empty.
    """
    from regard.errors import UnsupportedError

    names = list(dict.fromkeys(name.strip() for text in given or [] for name in text.split(",")))
    if "" in names:
        raise UnsupportedError("a name between commas is empty", came=repr(given))
    return names
