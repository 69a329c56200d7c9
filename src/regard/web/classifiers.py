"""The classifiers that a server explains: fixed at its start, each with the methods that explain it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from regard.errors import RegardError, UnsupportedError
from regard.evaluate.asked import methods_asked
from regard.explainers.explainer import Explainer
from regard.explainers.registry import choose, names
from regard.images import Pixels
from regard.models.brnpa import BRNPAClassifier
from regard.models.classifier import Classifier
from regard.timing import pass_seconds
from regard.web.jobs import Result, Told, Work
from regard.web.photos import PreparedPhotos, ShownPhoto
from regard.web.refusals import not_there
from regard.web.told import ClassifierFacts, MethodFacts

logger = logging.getLogger("regard.web")

MOST_EXPLAINERS = 32
"""With settings of their own that a classifier keeps; those unused for longest are made again."""
TRUSTED_PASSES = 20
"""As many passes of jobs as the seconds of a pass are worth that were known before."""
GRADIENT_PASSES = 3
"""What a forward with its backward takes, in forwards."""


@dataclass(eq=False)
class Served:
    """A classifier, under the name that requests know. Only the worker asks it anything."""

    name: str
    classifier: Classifier
    pass_seconds: float = 0.0
    usual: dict[str, Explainer] = field(default_factory=dict)
    made: dict[str, Explainer] = field(default_factory=dict)
    best: str | None = None
    photos: PreparedPhotos = field(default_factory=PreparedPhotos)

    def see_through(self) -> None:
        """Measure a pass, and make every method that explains the classifier; what fails is left out, and logged."""
        try:
            self.pass_seconds = pass_seconds(self.classifier)
        except Exception:  # a network of somebody's own: the others are served all the same
            logger.exception("%s cannot be run", self.name)
            return
        for name in names():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # a slower way to the same map is still a way
                    self.usual[name] = self._made(name, name)
            except RegardError:
                continue  # it does not explain such a classifier
            except Exception:  # a method of another package may fail in any way
                logger.exception("%s cannot be explained by %s", self.name, name)
        if self.usual and self.classifier.class_count:
            self.best = choose(self.classifier).name

    def pixels(self, photo: ShownPhoto) -> Pixels:
        """A photo as the classifier sees it, (1, 3, H, W)."""
        return self.photos.pixels(photo, self.classifier)

    def work(
        self,
        kind: str,
        run: Callable[[Told], Result],
        passes: int | None,
        plain: int | None = None,
        *,
        quick: bool,
        alike: tuple[Hashable, ...],
        photos: Sequence[ShownPhoto],
    ) -> Work:
        """What is to be done with the classifier.

        Args:
            kind, run, passes, quick: as of `Work`.
            plain: as many forwards as it takes time; default as many as it has.
            alike: what has as many passes, of this kind and classifier.
            photos: that it is about.
        """
        timed = passes if plain is None else plain
        return Work(
            kind,
            run,
            passes,
            None if timed is None else timed * self.pass_seconds,
            quick,
            (kind, self.name, *alike),
            frozenset(photo.id for photo in photos),
            lambda seconds: None if timed is None else self.learn(timed, seconds),
        )

    def learn(self, passes: float, seconds: float) -> None:
        """How long a job's passes took: the more passes, the less counts what was known before."""
        self.pass_seconds += (seconds - passes * self.pass_seconds) / (passes + TRUSTED_PASSES)

    def explainer(self, method: str, settings: Mapping[str, Any]) -> Explainer:
        """A method with its settings, bound to the classifier.

        Raises:
            UnsupportedError: no such method or setting, or none that explains the classifier.
        """
        known = self.known(method, settings)
        if known is None:
            known = self._made(method, written(method, settings))
        if settings:
            text = written(method, settings)
            self.made.pop(text, None)
            self.made[text] = known
            while len(self.made) > MOST_EXPLAINERS:
                del self.made[next(iter(self.made))]
        return known

    def known(self, method: str, settings: Mapping[str, Any]) -> Explainer | None:
        """The same, where it has been made before; None where that would take passes."""
        if method not in self.usual:
            raise UnsupportedError(
                f"{self.name} is not explained by {method[:60]!r}", expected=", ".join(self.usual) or "no method"
            )
        return self.made.get(written(method, settings)) if settings else self.usual[method]

    @property
    def facts(self) -> ClassifierFacts:
        """What can be asked of it; after `see_through`."""
        classifier, tokens = self.classifier, self.classifier.tokens
        return ClassifierFacts(
            name=self.name,
            classes=classifier.class_count,
            outputs=classifier.outputs,
            transformer=tokens is not None,
            can_drop_tokens=tokens is not None and tokens.cannot_drop is None,
            side=list(classifier.preparation.frame),
            concepts=classifier.width is not None,
            ranked=isinstance(classifier, BRNPAClassifier),
            pass_seconds=self.pass_seconds,
            methods=[self._method(explainer) for explainer in self.usual.values()],
        )

    def _made(self, method: str, text: str) -> Explainer:
        asked = methods_asked([text], self.classifier)
        assert [each.name for each in asked] == [method]
        return asked[0].explainer(self.classifier)

    def _method(self, explainer: Explainer) -> MethodFacts:
        return MethodFacts(
            name=explainer.name,
            summary=explainer.summary,
            signed=explainer.signed,
            signs=list(explainer.signs),
            per_target=explainer.per_target,
            answers=sorted(explainer.answers),
            passes=explainer.forwards_each,
            seconds=plain_passes(explainer) * self.pass_seconds,
            settings={
                name: value for name, value in explainer.settings.items() if isinstance(value, int | float | str)
            },
            best=explainer.name == self.best,
            ranked=explainer.name == "br-npa",
        )


class Classifiers:
    """All of a server's, by the names that `regard.load` knows."""

    def __init__(self, loaded: Mapping[str, Classifier]) -> None:
        self._served = {name: Served(name, classifier) for name, classifier in loaded.items()}

    def __getitem__(self, name: str) -> Served:
        if name not in self._served:
            raise not_there("classifier")
        return self._served[name]

    def see_through(self) -> None:
        """Find out what can be asked of each; in the worker's thread, since it takes passes."""
        for served in self._served.values():
            served.see_through()

    @property
    def facts(self) -> list[ClassifierFacts]:
        """What can be asked of each; after `see_through`."""
        return [served.facts for served in self._served.values()]


def plain_passes(explainer: Explainer) -> int:
    """As many forwards as a map takes time."""
    return explainer.forwards_each * (GRADIENT_PASSES if explainer.keeps_all else 1)


def written(method: str, settings: Mapping[str, Any]) -> str:
    """A method and settings as the command line writes them, without a way to name a file.

    The schema lets neither colon nor comma nor slash into a setting, and a method is one that is known by its name.
    """
    return ":".join([method, *(f"{name}={_value(value)}" for name, value in sorted(settings.items()))])


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
