"""What is asked of `regard evaluate`: all that its numbers hang on, for its run and for the head of its table."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard.naming import printable

if TYPE_CHECKING:
    from regard.evaluate.asked import MethodAsked
    from regard.evaluate.judge import Protocol
    from regard.evaluate.known_photo import KnownPhoto
    from regard.models.classifier import Classifier


@dataclass(frozen=True)
class Evaluation:
    """Methods × metrics × classifiers × photos.

    Attributes:
        subjects: the classifiers, by what they were called.
        methods: those that a person asked for, of each classifier.
        photos: to judge on.
        source: what these are, in words.
        protocol: how methods are judged.
        fill: what the protocol's fill was called.
        slow_photos: photos of methods of many passes.
        again_photos: photos on which methods are asked again.
    """

    subjects: Mapping[str, Classifier]
    methods: Sequence[Sequence[MethodAsked]]
    photos: tuple[KnownPhoto, ...]
    source: str
    protocol: Protocol
    fill: str
    slow_photos: int
    again_photos: int

    @property
    def entries(self) -> list[list[MethodAsked]]:
        """Of each classifier, the methods that were asked for and the controls, each once."""
        from regard.evaluate.asked import MethodAsked
        from regard.evaluate.judge import CONTROLS

        controls = [MethodAsked(name, name, {}) for name in CONTROLS]
        return [list({method.text: method for method in [*methods, *controls]}.values()) for methods in self.methods]

    def configuration(self) -> dict[str, Any]:
        """All that the numbers depend on but the photos themselves, whose digests stand in the rows."""
        return {
            "classifiers": [[subject.name, subject.hash] for subject in self.subjects.values()],
            "methods": [[[method.text, method.digest] for method in entries] for entries in self.entries],
            "protocol": self.protocol.words(),
            "photos": [[printable(photo.path.as_posix()), photo.digest] for photo in self.photos],
            "photos_of_slow_methods": self.slow_photos,
            "photos_asked_again": self.again_photos,
            "precision": self._precision,
        }

    def facts(self) -> list[str]:
        """Where the numbers come from, a sentence a line."""
        from regard.evaluate.plan import FEWER_AGAIN, SLOW

        ties, protocol = self.protocol.conditions()["ties"], self.protocol
        facts = [f"Classifier {subject.name}, hash {subject.hash[:12]}." for subject in self.subjects.values()]
        facts += [
            f"Photos: {self.source}; {len(self.photos)} in all.",
            f"Slow methods, of more than {SLOW} passes: at most {self.slow_photos} photos.",
            f"Asked again: at most {self.again_photos} photos, slow methods {-(-self.again_photos // FEWER_AGAIN)}.",
        ]
        if protocol.reads("curves"):
            facts.append(f"Curves: {protocol.steps} steps at {protocol.level} level, fill {self.fill}; {ties}.")
        if protocol.reads("token curves"):
            facts.append(f"Token curves: {protocol.steps} steps, tokens dropped; {ties}.")
        return [*facts, f"Precision {self._precision}, seed {protocol.seed}."]

    def without_folders(self, text: str) -> str:
        """A text in which files that were asked for by their whole path have their names alone."""
        files = [method.file for methods in self.methods for method in methods if method.file is not None]
        files += [Path(called.rpartition(":")[2]) for called in self.subjects]
        for file in files:
            text = text.replace(str(file), file.name) if file.is_absolute() else text
        return text

    @property
    def _precision(self) -> str:
        return next(iter(self.subjects.values())).precision


def source_in_words(source: str, where: str | None, limit: int | None) -> str:
    """What photos are: the name of their folder or file without its path, and which of them were chosen."""
    words = [Path(os.path.normpath(Path(source).absolute())).name]
    words += [] if where is None else [f"where {where}"]
    words += [] if limit is None else [f"at most {limit}, spread evenly"]
    return printable(", ".join(words))
