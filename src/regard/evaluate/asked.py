"""Methods as they are asked for on the command line: `cdam,smooth-cdam:samples=50,tame:FILE`."""

from __future__ import annotations

import hashlib
import inspect
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Literal, Protocol, Union, get_args, get_origin, get_type_hints, runtime_checkable

from regard.errors import MissingDependencyError, RegardError, UnsupportedError
from regard.explainers import registry
from regard.explainers.explainer import Explainer
from regard.fills import Blur, Fill, Inpaint, Mean, Noise, black, training_mean
from regard.models.classifier import Classifier
from regard.models.preparation import Preparation

EVERY = "all"
"""In the place of a method: each that explains the classifier and needs no file, or one that is shipped."""
FILLS = ("training-mean", "mean", "black", "blur", "noise", "inpaint")
"""Fills that a name is enough for."""


@runtime_checkable
class Trained(Protocol):
    """What an explainer class has besides, whose method is trained first and kept in a file.

    Class attributes:
        made_by: the command that makes the file; {classifier} and {file} stand for those.
    """

    made_by: ClassVar[str]

    @classmethod
    def load(cls, file: Path, classifier: Classifier) -> Explainer:
        """The explainer of a file, bound to a classifier; settings of its own are further arguments with defaults.

        Raises:
            FileFormatError: the file holds something else, or belongs to another classifier.
        """
        ...


@runtime_checkable
class Shipped(Protocol):
    """What a trained explainer class has besides, of which some files are shipped."""

    @classmethod
    def shipped(cls, classifier: Classifier) -> Path | None:
        """The file that is shipped for a classifier; None where there is none."""
        ...


@runtime_checkable
class Transferable(Protocol):
    """What a trained explainer has besides, if it can be asked of a classifier of other weights, as a sanity check."""

    def transferred(self, classifier: Classifier) -> Explainer:
        """As it was trained, on a copy of its classifier whose weights were redrawn."""
        ...


@dataclass(frozen=True)
class MethodAsked:
    """One method, as asked.

    Attributes:
        text: as written; what tables call it.
        name: of the method.
        settings: values in the types that the method takes.
        file: of a trained method; None for others.
        made_by: the command that makes the file; None where it is there, or none is needed.
    """

    text: str
    name: str
    settings: Mapping[str, Any]
    file: Path | None = None
    made_by: str | None = None

    @property
    def missing(self) -> bool:
        """Whether its file is not there, so that it can be asked nothing until `made_by` has been run."""
        return self.made_by is not None

    @property
    def digest(self) -> str | None:
        """SHA-256 of its file; None where there is none, or it is missing."""
        if self.file is None or self.missing:
            return None
        return hashlib.sha256(self.file.read_bytes()).hexdigest()

    def explainer(self, classifier: Classifier) -> Explainer:
        """The method, bound to a classifier.

        Raises:
            UnsupportedError: it cannot explain the classifier, or its file is missing.
            MissingDependencyError: a package that it needs is not installed.
            FileFormatError: its file is damaged, or belongs to another classifier.
        """
        if self.missing:
            raise UnsupportedError(f"there is no file {str(self.file)!r}", came=self.text, remedy=self.made_by)
        trained = _trained(registry.find(self.name))
        if trained is None or self.file is None:
            return registry.choose(classifier, self.name, **self.settings)
        return trained.load(self.file, classifier, **self.settings)


def methods_asked(texts: Sequence[str], classifier: Classifier) -> tuple[MethodAsked, ...]:
    """Methods from what a person wrote, each once, in that order.

    Several stand between commas. One is a name, then its settings and, where it is trained, its file, with colons
    between them, in any order: `smooth-cdam:samples=50:seed=1`, `tame:FILE`. Without a file a trained method is read
    from the one that is shipped for the classifier. `all` stands for every method that explains the classifier and
    needs no other file. So the name of a file can hold neither comma nor colon; one that looks
    like a setting is written with its folder: `tame:./a=b`.

    Values are read as the method's signature says: whole numbers, numbers, true or false, words; of fills mean
    (of each photo), black, blur, noise, inpaint. What a value means is checked by making the method; one that does not
    explain the classifier with any settings is no wrong use, and is refused by `MethodAsked.explainer` alone.

    Args:
        texts: as given, each perhaps several.
        classifier: that will be explained.

    Raises:
        UnsupportedError: no such method or setting, with near names; a value, or a file, that a method does not take.
        RegardError: whatever else a method says of a value.
    """
    asked: dict[str, MethodAsked] = {}
    for part in ",".join(texts).split(","):
        text = part.strip()
        for method in _every(classifier) if text == EVERY else [_parsed(text, classifier)]:
            asked.setdefault(method.text, method)
    for method in asked.values():
        _check_settings(method, classifier)
    return tuple(asked.values())


def fill_called(name: str, preparation: Preparation) -> Fill:
    """One of `FILLS`, with its usual settings. Black is the colour, in the classifier's prepared units.

    Raises:
        UnsupportedError: no such fill.
    """
    made: dict[str, Callable[[], Fill]] = {
        "training-mean": lambda: training_mean(preparation.channels),
        "mean": Mean,
        "black": lambda: black(preparation.mean, preparation.std),
        "blur": Blur,
        "noise": Noise,
        "inpaint": Inpaint,
    }
    if name not in made:
        raise UnsupportedError("there is no such fill", came=repr(name), expected=" | ".join(FILLS))
    return made[name]()


def fill_name(fill: Fill, preparation: Preparation) -> str:
    """Which of `FILLS` one is, with its usual settings; else what it says of itself."""
    named = (name for name in FILLS if fill_called(name, preparation) == fill)
    return next(named, repr(fill))


def _every(classifier: Classifier) -> list[MethodAsked]:
    """Without what does not fit; one whose package is missing stays, and says so when it is made."""
    fitting = []
    for name in (method.name for method in registry.methods()):
        kind = registry.find(name)
        file = _shipped(kind, classifier)
        if _trained(kind) is not None and file is None:
            continue
        asked = MethodAsked(name, name, {}, file)
        try:
            asked.explainer(classifier)
        except MissingDependencyError:
            pass
        except RegardError:
            continue
        fitting.append(asked)
    return fitting


def _parsed(text: str, classifier: Classifier) -> MethodAsked:
    name, *pieces = text.split(":")
    if not name:
        raise UnsupportedError("a method has no name", came=repr(text), expected="NAME, or NAME:SETTING=VALUE")
    if re.search(r"[./\\]", name) and name not in registry.names():
        raise UnsupportedError(f"there is no method {name!r}", remedy="the name of a file can hold no comma; rename it")
    kind = registry.find(name)
    trained = _trained(kind)
    settings, files = settings_written(
        name, kind.__init__ if trained is None else trained.load, pieces, classifier.preparation
    )
    if len(files) > 1:
        raise UnsupportedError(
            f"{name} has more than one file",
            came=text,
            remedy="the name of a file can hold no colon; rename it. A setting is SETTING=VALUE",
        )
    file = Path(files[0]) if files else _shipped(kind, classifier)
    return MethodAsked(text, name, settings, file, _missing(text, name, kind, file, classifier))


def _missing(text: str, name: str, kind: type[Explainer], file: Path | None, classifier: Classifier) -> str | None:
    """The command that makes a trained method's file, where it is not there.

    Raises:
        UnsupportedError: a file too many or too few, or no file but a folder.
    """
    trained = _trained(kind)
    if trained is None:
        if file is not None:
            raise UnsupportedError(f"{name} has no file", came=text, expected=f"{name}, or {name}:SETTING=VALUE")
        return None
    written = "FILE" if file is None else shlex.quote(str(file))
    command = trained.made_by.replace("{classifier}", shlex.quote(classifier.name)).replace("{file}", written)
    if file is None or file.is_dir():
        came = text if file is None else f"the folder {str(file)!r}"
        raise UnsupportedError(f"{name} is read from a file", came=came, expected=f"{name}:FILE", remedy=command)
    return None if file.is_file() else command


def _check_settings(asked: MethodAsked, classifier: Classifier) -> None:
    """Refuse settings with which a method cannot be made that can be made without them."""
    if not asked.settings or asked.file is not None:
        return
    try:
        asked.explainer(classifier)
    except RegardError:
        try:
            registry.choose(classifier, asked.name)
        except RegardError:
            return
        raise


def _trained(kind: type[Explainer]) -> Trained | None:
    return kind if isinstance(kind, Trained) else None


def _shipped(kind: type[Explainer], classifier: Classifier) -> Path | None:
    return kind.shipped(classifier) if isinstance(kind, Shipped) else None


def settings_written(
    name: str, maker: Callable[..., Any], pieces: Sequence[str], preparation: Preparation
) -> tuple[dict[str, Any], list[str]]:
    """Settings from pieces such as `samples=50`, in the types of the signature that takes them, and what is no setting.

    Args:
        name: of the method or metric, for errors.
        maker: what takes the settings.
        pieces: as written.
        preparation: of the classifier, whose units a fill's colour has.

    Raises:
        UnsupportedError: no such setting, with near names; one given twice; a value of another type.
    """
    kinds, settings, others = _kinds_of_settings(maker), dict[str, Any](), list[str]()
    for piece in pieces:
        setting, equals, value = piece.partition("=")
        if not (equals and re.fullmatch(r"[A-Za-z][\w-]*", setting)):
            others.append(piece)
        elif setting in settings:
            raise UnsupportedError(f"{setting} is set twice", came=":".join([name, *pieces]))
        else:
            settings[setting] = _value(name, setting, value, kinds, preparation)
    return settings, others


def _kinds_of_settings(maker: Callable[..., Any]) -> dict[str, Any]:
    """Setting → type, from the signature of what takes them; words where another package's says none."""
    try:
        hints = get_type_hints(maker)
    except NameError:  # names that are imported for types alone
        hints = {}
    return {
        name: hints.get(name, str if parameter.default in (None, parameter.empty) else type(parameter.default))
        for name, parameter in inspect.signature(maker).parameters.items()
        if name not in ("self", "file", "classifier")
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }


def _value(method: str, setting: str, text: str, kinds: Mapping[str, Any], preparation: Preparation) -> Any:
    if setting not in kinds:
        near = get_close_matches(setting, kinds, 3, 0.6)
        raise UnsupportedError(
            f"{method} has no setting {setting!r}",
            expected=", ".join(kinds) or "none: it has no settings",
            remedy=f"perhaps {' or '.join(near)}" if near else None,
        )
    kind = kinds[setting]
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    expected = []
    for option in options:
        reader = _reader(option, preparation)
        if reader is None:
            continue
        pattern, words, read = reader
        if re.fullmatch(pattern, text):
            return read(text)
        expected.append(words)
    raise UnsupportedError(
        f"{setting} of {method} cannot be that",
        came=repr(text),
        expected=" or ".join(expected) or f"a {kind}, which cannot be written here: use regard from Python",
    )


def _reader(kind: Any, preparation: Preparation) -> tuple[str, str, Callable[[str], Any]] | None:
    """What a value of a type looks like, in words, and how it is read; None for a type that nobody can write."""
    if get_origin(kind) is Literal:
        known = {str(choice): choice for choice in get_args(kind)}
        return "|".join(map(re.escape, known)), " | ".join(known), known.__getitem__
    if isinstance(kind, type) and issubclass(kind, Fill):
        return "|".join(FILLS), " | ".join(FILLS), lambda name: fill_called(name, preparation)
    return _PLAIN.get(kind)


_PLAIN: dict[Any, tuple[str, str, Callable[[str], Any]]] = {
    bool: ("true|false", "true | false", "true".__eq__),
    int: ("-?[0-9]{1,30}", "a whole number", int),
    float: (r"-?([0-9]+\.?[0-9]*|\.[0-9]+)(e-?[0-9]{1,2})?", "a number, with a decimal point", float),
    str: (r"(?s).+", "words", str),
}
