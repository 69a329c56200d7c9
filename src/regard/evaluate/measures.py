"""Metrics as they are asked for on the command line: `average-drop:share=0.15,gini`."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from regard.errors import UnsupportedError
from regard.evaluate.asked import EVERY, settings_written
from regard.metrics.curves import RETAINED
from regard.metrics.metric import MapMetric
from regard.metrics.of_curves import AverageDrop, AverageGain, IncreaseInConfidence
from regard.metrics.registry import find, names
from regard.models.classifier import Classifier
from regard.models.preparation import Preparation

OF_PROBABILITIES = (AverageDrop, IncreaseInConfidence, AverageGain)
"""Metrics that read a share of a probability."""

SEVERAL = {
    **dict.fromkeys(("average-drop", "increase-in-confidence", "average-gain"), ("share=0.5", "share=0.15")),
    "class-sensitivity": ("other=second", "other=least"),
    "randomisation": ("part=head", "part=last block"),
}
"""Metrics that `all` measures in more than one way."""


def metrics_asked(texts: Sequence[str], preparation: Preparation, seed: int = 0) -> tuple[MapMetric, ...]:
    """Metrics from what a person wrote, each once, in that order; `all` stands for every one.

    Several stand between commas; a setting after a colon, as with methods.

    Args:
        texts: as given, each perhaps several.
        preparation: of the classifier, whose units a fill's colour has.
        seed: of metrics that draw, where none is written.

    Raises:
        MetricError: no such metric.
        UnsupportedError: no such setting, a value that it cannot have, or a metric that no evaluation can measure.
    """
    written = [part.strip() for part in ",".join(texts).split(",")]
    every = [f"{name}:{way}" if way else name for name in names() for way in SEVERAL.get(name, ("",))]
    asked = dict.fromkeys(one for text in written for one in (every if text == EVERY else [text]))
    found = {metric.column: metric for metric in (_made(text, preparation, seed) for text in asked)}
    return tuple(found.values())


def measurable(metrics: Sequence[MapMetric], classifiers: Sequence[Classifier]) -> tuple[MapMetric, ...]:
    """The metrics without those that need probabilities, where any of the classifiers gives none.

    Raises:
        UnsupportedError: a classifier without a head, or no metric is left.
    """
    headless = [classifier for classifier in classifiers if classifier.class_count is None]
    if headless:
        raise UnsupportedError(
            f"{headless[0].name} has no head, so that there is no answer of which a map could be judged",
            remedy="give it one: regard train head PHOTOS --classifier NAME --out FILE",
        )
    if all(classifier.outputs in ("softmax", "sigmoid") for classifier in classifiers):
        return tuple(metrics)
    left = tuple(metric for metric in metrics if not isinstance(metric, OF_PROBABILITIES))
    if not left:
        raise UnsupportedError(
            "these metrics are shares of a probability, and the classifier gives none",
            came=", ".join(metric.column for metric in metrics),
            remedy="--metrics deletion,insertion,fidelity read any answer",
        )
    return left


def _made(text: str, preparation: Preparation, seed: int) -> MapMetric:
    name, *pieces = text.split(":")
    kind = find(name)
    settings, others = settings_written(name, kind.__init__, pieces, preparation)
    if others:
        raise UnsupportedError(f"{name} has no file", came=text, expected=f"{name}, or {name}:SETTING=VALUE")
    if "seed" in inspect.signature(kind).parameters:
        settings.setdefault("seed", seed)
    metric = kind(**settings)
    if isinstance(metric, OF_PROBABILITIES) and metric.share not in RETAINED:
        raise UnsupportedError(
            f"{name} of the whole picture, the papers' share, says nothing where places are retained by rank",
            came=text,
            expected=" or ".join(f"{name}:share={share:g}" for share in RETAINED),
            remedy="for the papers' soft masks use regard.metrics.softly_retained in Python",
        )
    return metric
