"""Metrics as they are asked for on the command line: `average-drop:share=0.15,gini`."""

from __future__ import annotations

from collections.abc import Sequence

from regard.errors import UnsupportedError
from regard.evaluate.asked import EVERY, settings_written
from regard.metrics.metric import MapMetric
from regard.metrics.registry import find, names
from regard.models.preparation import Preparation

SEVERAL = {
    **dict.fromkeys(("average-drop", "increase-in-confidence", "average-gain"), ("share=0.5", "share=0.15")),
    "class-sensitivity": ("other=1", "other=-1"),
    "randomisation": ("part=head", "part=last block"),
}
"""Metrics that `all` measures in more than one way."""


def metrics_asked(texts: Sequence[str], preparation: Preparation) -> tuple[MapMetric, ...]:
    """Metrics from what a person wrote, each once, in that order; `all` stands for every one.

    Several stand between commas; a setting after a colon, as with methods.

    Raises:
        MetricError: no such metric.
        UnsupportedError: no such setting, or a value that it cannot have.
    """
    written = [part.strip() for part in ",".join(texts).split(",")]
    every = [f"{name}:{way}" if way else name for name in names() for way in SEVERAL.get(name, ("",))]
    asked = dict.fromkeys(one for text in written for one in (every if text == EVERY else [text]))
    found = {metric.column: metric for metric in (_made(text, preparation) for text in asked)}
    return tuple(found.values())


def _made(text: str, preparation: Preparation) -> MapMetric:
    name, *pieces = text.split(":")
    kind = find(name)
    settings, others = settings_written(name, kind.__init__, pieces, preparation)
    if others:
        raise UnsupportedError(f"{name} has no file", came=text, expected=f"{name}, or {name}:SETTING=VALUE")
    return kind(**settings)
