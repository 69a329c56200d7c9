"""Which photos each method is judged on, and what that will cost."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from regard.evaluate.gate import Answered
from regard.evaluate.judge import AGAIN, Entrant, Protocol
from regard.explainers.explainer import Explainer
from regard.metrics.metric import MapMetric, Needs
from regard.metrics.of_methods import MaxSensitivity, Randomisation
from regard.models.classifier import Classifier
from regard.models.randomised import stages
from regard.naming import image_of

Item = TypeVar("Item")

SLOW = 50
"""Forward passes a photo above which a method counts as slow."""
FEWER_AGAIN = 5
"""A slow method is asked again on so many times fewer photos than the others, and of other targets alone: moved
pictures and shuffled weights would take ten times its passes once more."""
GRADIENTS = 3
"""About how many forward passes one with gradients costs."""


@dataclass(frozen=True)
class Planned:
    """One method's share of the work.

    Attributes:
        entrant: the method.
        photos: that it is judged on, spread evenly over all.
        again: how many of these, the first ones, it is asked again on.
        needs: for what.
        each: forward passes of one photo; where gradients are asked, each counts as three.
        filled_each: of these, passes of pictures that have been filled, which take longer.
        again_each: how many more a photo takes on which it is asked again.
    """

    entrant: Entrant
    photos: tuple[Answered, ...]
    again: int
    needs: frozenset[Needs]
    each: int
    filled_each: int
    again_each: int

    @property
    def forwards(self) -> int:
        """Forward passes in all."""
        return self.each * len(self.photos) + self.again_each * self.again

    @property
    def filled(self) -> int:
        """Of these, passes of pictures that have been filled."""
        return self.filled_each * len(self.photos)

    def seconds(self, each: float, filled: float) -> float:
        """About how long that takes, where a pass takes `each` seconds, one of a filled picture `filled`."""
        return (self.forwards - self.filled) * each + self.filled * filled

    def without(self, done: Collection[str]) -> Planned:
        """What is left once some photos are done, by what rows call them."""
        left = [image_of(answer.photo.path) not in done for answer in self.photos]
        return replace(self, photos=tuple(itertools.compress(self.photos, left)), again=sum(left[: self.again]))


def planned(
    entrants: Sequence[Entrant], photos: Sequence[Answered], protocol: Protocol, slow_photos: int, again_photos: int
) -> list[Planned]:
    """What each method does. Every method's photos begin the same, so that any two share as many as they can.

    Args:
        entrants: the methods.
        photos: that count.
        protocol: what is measured.
        slow_photos: photos of methods of more than 50 passes.
        again_photos: photos on which methods are asked again; a fifth of it for slow ones, and of other targets alone.
    """
    order = spread(photos)
    found = []
    for entrant in entrants:
        slow = entrant.explainer.forwards_each > SLOW
        chosen = tuple(order[:slow_photos] if slow else order)
        again = min(len(chosen), -(-again_photos // FEWER_AGAIN) if slow else again_photos)
        needs = AGAIN & {metric.needs for metric in protocol.metrics}
        needs -= {"method"} if slow else set()
        once, more = _passes(entrant, protocol, needs)
        filled = _filled(protocol)
        found.append(Planned(entrant, chosen, again, needs, once + filled, filled, more))
    return found


def spread(items: Sequence[Item]) -> list[Item]:
    """The items in an order of which every beginning is spread evenly over all: by the bits of their place, reversed.

    Photos mostly stand class by class, so the first of them would be of one class.
    """
    bits = max(1, (len(items) - 1).bit_length())
    places = (int(f"{place:0{bits}b}"[::-1], 2) for place in range(2**bits))
    return [items[place] for place in places if place < len(items)]


def forwards_of_map(explainer: Explainer) -> int:
    """Forward passes of one map; where gradients are asked, each counts as three."""
    return explainer.forwards_each * (GRADIENTS if explainer.keeps_all else 1)


def _passes(entrant: Entrant, protocol: Protocol, again: frozenset[Needs]) -> tuple[int, int]:
    """Forward passes of one photo but for filled ones, and how many more where the method is asked again."""
    explainer = entrant.explainer
    each = forwards_of_map(explainer)
    tokens = explainer.classifier.tokens
    drops = protocol.reads("token curves") and tokens is not None and tokens.cannot_drop is None
    once = each + (protocol.steps if drops else 0)
    asking = [metric for metric in protocol.metrics if metric.needs == "method" and "method" in again]
    times = sum(_times_again(metric, explainer.classifier) for metric in asking)
    return once, each * (times + ("several targets" in again))


def _filled(protocol: Protocol) -> int:
    """Passes of filled pictures that the curves of one photo take."""
    return 2 * protocol.steps + 1 if protocol.reads("curves") else 0


def _times_again(metric: MapMetric, classifier: Classifier) -> int:
    """Maps of one photo that a metric asks for: of every moved picture, or by every shuffled copy, and the photo's."""
    if isinstance(metric, MaxSensitivity):
        return metric.samples + 1
    return 1 + (len(stages(classifier)) if isinstance(metric, Randomisation) and metric.part == "cascade" else 1)
