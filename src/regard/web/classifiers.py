"""The classifiers that a server explains: fixed at its start, each with the methods that explain it."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from regard.cli.photo_run import pass_seconds
from regard.errors import RegardError, UnsupportedError
from regard.evaluate.asked import methods_asked
from regard.explainers.explainer import Explainer
from regard.explainers.registry import choose, names
from regard.models.brnpa import BRNPAClassifier
from regard.models.classifier import Classifier
from regard.web.refusals import not_there
from regard.web.told import ClassifierFacts, MethodFacts

MOST_EXPLAINERS = 32
"""With settings of their own that a classifier keeps; older ones are made again."""
GRADIENT_PASSES = 3
"""What a forward with its backward takes, in forwards."""


@dataclass(eq=False)
class Served:
    """A classifier, under the name that requests know. Only the worker asks it anything."""

    name: str
    classifier: Classifier
    pass_seconds: float = 0.0
    usual: dict[str, Explainer] = field(default_factory=dict)
    made: OrderedDict[str, Explainer] = field(default_factory=OrderedDict)

    def see_through(self) -> None:
        """Measure a pass, and make every method that explains the classifier."""
        self.pass_seconds = pass_seconds(self.classifier)
        for name in names():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # a slower way to the same map is still a way
                    self.usual[name] = self._made(name, name)
            except RegardError:
                continue

    def explainer(self, method: str, settings: Mapping[str, Any]) -> Explainer:
        """A method with its settings, bound to the classifier.

        Raises:
            UnsupportedError: no such method or setting, or none that explains the classifier.
        """
        known = self.known(method, settings)
        if known is None:
            text = written(method, settings)
            known = self.made[text] = self._made(method, text)
            while len(self.made) > MOST_EXPLAINERS:
                self.made.popitem(last=False)
        return known

    def known(self, method: str, settings: Mapping[str, Any]) -> Explainer | None:
        """The same, where it has been made before; None where that would take passes."""
        if method not in self.usual:
            raise UnsupportedError(
                f"{self.name} is not explained by {method[:60]!r}", expected=", ".join(self.usual) or "no method"
            )
        return self.made.get(written(method, settings)) if settings else self.usual[method]

    def seconds(self, explainer: Explainer) -> float:
        """About how long a map takes."""
        return explainer.forwards_each * self.pass_seconds * (GRADIENT_PASSES if explainer.keeps_all else 1)

    @property
    def facts(self) -> ClassifierFacts:
        """What can be asked of it; after `see_through`."""
        classifier, tokens = self.classifier, self.classifier.tokens
        best = None if not self.usual else choose(classifier).name if classifier.class_count else None
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
            methods=[self._method(explainer, best) for explainer in self.usual.values()],
        )

    def _made(self, method: str, text: str) -> Explainer:
        asked = methods_asked([text], self.classifier)
        assert [each.name for each in asked] == [method]
        return asked[0].explainer(self.classifier)

    def _method(self, explainer: Explainer, best: str | None) -> MethodFacts:
        return MethodFacts(
            name=explainer.name,
            summary=explainer.summary,
            signed=explainer.signed,
            signs=list(explainer.signs),
            per_target=explainer.per_target,
            answers=sorted(explainer.answers),
            passes=explainer.forwards_each,
            seconds=self.seconds(explainer),
            settings={
                name: value for name, value in explainer.settings.items() if isinstance(value, int | float | str)
            },
            best=explainer.name == best,
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

    def see_through(self) -> list[ClassifierFacts]:
        """What can be asked of each; in the worker's thread, since it takes passes."""
        for served in self._served.values():
            served.see_through()
        return [served.facts for served in self._served.values()]


def written(method: str, settings: Mapping[str, Any]) -> str:
    """A method and settings as the command line writes them, without a way to name a file.

    The schema lets neither colon nor comma nor slash into a setting, and a method is one that is known by its name.
    """
    return ":".join([method, *(f"{name}={_value(value)}" for name, value in sorted(settings.items()))])


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
