"""Which photos each method is judged on, and what that will cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from regard.evaluate.gate import Answered
from regard.evaluate.judge import AGAIN, Entrant, Protocol
from regard.metrics.metric import MapMetric, Needs
from regard.metrics.of_methods import MaxSensitivity

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
        forwards: forward passes in all; where gradients are asked, each counts as three.
    """

    entrant: Entrant
    photos: tuple[Answered, ...]
    again: int
    needs: frozenset[Needs]
    forwards: int


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
        found.append(Planned(entrant, chosen, again, needs, once * len(chosen) + more * again))
    return found


def spread(items: Sequence[Item]) -> list[Item]:
    """The items in an order of which every beginning is spread evenly over all: by the bits of their place, reversed.

    Photos mostly stand class by class, so the first of them would be of one class.
    """
    bits = max(1, (len(items) - 1).bit_length())
    places = (int(f"{place:0{bits}b}"[::-1], 2) for place in range(2**bits))
    return [items[place] for place in places if place < len(items)]


def _passes(entrant: Entrant, protocol: Protocol, again: frozenset[Needs]) -> tuple[int, int]:
    """Forward passes of one photo, and how many more where the method is asked again."""
    explainer, needs = entrant.explainer, {metric.needs for metric in protocol.metrics}
    each = explainer.forwards_each * (GRADIENTS if explainer.keeps_all else 1)
    tokens = explainer.classifier.tokens
    once = each + (2 * protocol.steps + 1 if "curves" in needs else 0)
    if "token curves" in needs and tokens is not None and tokens.cannot_drop is None:
        once += protocol.steps
    times = [_times_again(metric) for metric in protocol.metrics if metric.needs == "method" and "method" in again]
    return once, each * (sum(times) + ("several targets" in again))


def _times_again(metric: MapMetric) -> int:
    """Maps of one photo that a metric asks for: of every moved picture, or by two classifiers."""
    return metric.samples + 1 if isinstance(metric, MaxSensitivity) else 2
