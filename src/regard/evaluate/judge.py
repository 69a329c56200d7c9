"""One method on some photos: its maps, and every metric's number for each of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from regard.errors import RegardError
from regard.evaluate.asked import Transferable
from regard.evaluate.cost import measured
from regard.evaluate.gate import FAILED, Answered
from regard.evaluate.known_photo import KnownPhoto
from regard.explainers.explainer import Explainer
from regard.explanation import Explanation, join
from regard.fills import Fill
from regard.images import Geometry, Pixels
from regard.metrics.curves import Curves, Level, curves, token_curves
from regard.metrics.metric import MapMetric, Needs
from regard.metrics.of_curves import AverageDrop
from regard.metrics.ranking import TIES
from regard.metrics.regions import region_of_boxes
from regard.models.classifier import Classifier
from regard.targets import PerImage

CONTROLS = ("random", "centre", "edges", "ones")
"""Methods that know nothing of the classifier: what a map gets for nothing."""
SHARES, DELETION, INSERTION = "curve shares", "deletion curve", "insertion curve"
"""Columns of a photo's curves, where any metric reads them, each a list: shares of places that are shown, ascending;
answers with the most relevant places removed, point k having lost 1 − shares[S−k]; answers with them shown."""
AGAIN: frozenset[Needs] = frozenset({"several targets", "method"})
"""What needs the method to be asked again: measured on fewer photos."""


@dataclass(frozen=True)
class Protocol:
    """How methods are judged; all that the numbers depend on beside methods, photos and classifier.

    Attributes:
        metrics: what is measured.
        fill: what removed pixels become.
        steps: of the curves.
        level: what the curves remove: pixels of the enlarged map, or whole cells of its own grid.
        seed: of the order among equals, the randomised weights, the bootstrap.
    """

    metrics: tuple[MapMetric, ...]
    fill: Fill
    steps: int
    level: Level
    seed: int

    def words(self) -> dict[str, Any]:
        """For a run's configuration."""
        return {
            "metrics": [[metric.column, metric.rule, metric.settings] for metric in self.metrics],
            **self.conditions(),
            "seed": self.seed,
        }

    def conditions(self) -> dict[str, Any]:
        """What every row says of how it was measured."""
        return {
            "fill": repr(self.fill),
            "steps": self.steps,
            "level": self.level,
            "ties": TIES,
            "rule": AverageDrop.rule,
        }

    def reads(self, needs: Needs) -> bool:
        """Whether any metric needs that."""
        return any(metric.needs == needs for metric in self.metrics)


@dataclass(frozen=True)
class Entrant:
    """A method on a classifier.

    Attributes:
        name: as rows call it.
        make: the method on any classifier of the same kind, so that it can be asked of a randomised copy.
        explainer: the method on the classifier that is judged.
    """

    name: str
    make: Callable[[Classifier], Explainer]
    explainer: Explainer

    @property
    def is_control(self) -> bool:
        """Whether it knows nothing of the classifier."""
        return self.explainer.name in CONTROLS

    def method(self, classifier: Classifier) -> Explainer:
        """The method on this classifier, or on a copy of it; what was trained for this one, as it was trained."""
        if classifier is self.explainer.classifier:
            return self.explainer
        if isinstance(self.explainer, Transferable):
            return self.explainer.transferred(classifier)
        return self.make(classifier)


@dataclass(frozen=True)
class Judgement:
    """What one photo's map is worth.

    Attributes:
        row: of the run: how it was measured, what it cost, every number by its column, and what went wrong.
        explanation: the map; None where the method failed.
    """

    row: dict[str, Any]
    explanation: Explanation | None


def judge(
    entrant: Entrant,
    photos: Sequence[Answered],
    protocol: Protocol,
    *,
    again: frozenset[Needs] = frozenset(),
    memory: bool = False,
) -> list[Judgement]:
    """Numbers of each photo, in order.

    The map is that of the photo's class, which is the likeliest. A photo whose map is not finite has no numbers, and
    its row says so; one that the method cannot explain, or whose mask cannot be read where that is asked, fails alone.

    Args:
        entrant: the method.
        photos: that count.
        protocol: how.
        again: for what the method is asked again.
        memory: whether the peak is measured, which takes time.
    """
    explainer = entrant.explainer
    classifier = explainer.classifier
    try:
        pixels = classifier.prepare([answer.photo.path for answer in photos])
        objects = _objects(photos, pixels) if protocol.reads("region") else None
        with measured(classifier.device, memory) as cost:
            explanation = explainer(pixels, PerImage([answer.predicted for answer in photos]), on_nan="skip")
    except RegardError as reason:
        if len(photos) > 1:
            return [one for answer in photos for one in judge(entrant, [answer], protocol, again=again, memory=memory)]
        return [Judgement({**_about(entrant, protocol, again), "status": FAILED, "error": str(reason)}, None)]
    common = {**_about(entrant, protocol, again), **cost.each(len(photos))}
    found = [Judgement({**common, **_seen(one)}, one) for one in explanation]
    sound = [place for place in range(len(photos)) if place not in explanation.not_finite]
    if sound:
        part = join([explanation[place] for place in sound])
        numbers, wrong, drawn = _numbers(
            entrant,
            [photos[place] for place in sound],
            pixels[sound],
            None if objects is None else objects[sound],
            part,
            protocol,
            again,
        )
        for number, place in enumerate(sound):
            values = {name: float(column[number]) for name, column in numbers.items()}
            known = {name: None if math.isnan(value) else value for name, value in values.items()}
            found[place].row.update(known, nan=sum(map(math.isnan, values.values())), again_error=wrong)
            if drawn is not None:
                found[place].row.update(_curve_columns(drawn, number))
    return found


def _curve_columns(drawn: Curves, number: int) -> dict[str, list[float]]:
    """The curves of one photo."""
    found = {
        SHARES: drawn.counts.double() / drawn.places,
        DELETION: drawn.deletion[number, 0],
        INSERTION: drawn.insertion[number, 0],
    }
    return {name: values.tolist() for name, values in found.items()}


def _about(entrant: Entrant, protocol: Protocol, again: frozenset[Needs]) -> dict[str, Any]:
    """What every row of a method says of how it was measured."""
    precision = entrant.explainer.classifier.precision
    return {**protocol.conditions(), "precision": precision, "again": ", ".join(sorted(again)), "again_error": None}


def _seen(explanation: Explanation) -> dict[str, Any]:
    """What a row says of the map of its photo."""
    lost = bool(explanation.not_finite)
    return {
        "status": "not finite" if lost else "judged",
        "error": "the map holds NaN or infinity" if lost else None,
        "grid": "×".join(map(str, explanation.maps.shape[2:])),
        "zero": bool((explanation.maps == 0).all()),
    }


def _numbers(
    entrant: Entrant,
    photos: Sequence[Answered],
    pixels: Tensor,
    objects: Tensor | None,
    explanation: Explanation,
    protocol: Protocol,
    again: frozenset[Needs],
) -> tuple[dict[str, Tensor], str | None, Curves | None]:
    """Every metric that applies, (B,) each, by its column; what went wrong in asking again; the curves.

    What several metrics need is computed once. Metrics for which asking again fails have NaN: the others stand.
    """
    classifier = entrant.explainer.classifier

    @functools.cache
    def material(needs: Needs) -> tuple[Any, ...] | None:
        match needs:
            case "maps":
                return (explanation,)
            case "curves":
                return (_curves(classifier, pixels, explanation, protocol),)
            case "token curves":
                return _token_curves(classifier, pixels, explanation, protocol)
            case "region":
                known = any(answer.photo.mask is not None or answer.photo.boxes for answer in photos)
                return (explanation, objects) if known else None
            case "several targets":
                asked = PerImage([[answer.predicted, answer.second, answer.least] for answer in photos])
                return (entrant.explainer(pixels, asked),)
            case "method":
                return entrant.method, classifier, pixels, PerImage([answer.predicted for answer in photos])
            case _:
                return None

    numbers, wrong = dict[str, Tensor](), list[str]()
    for metric in (metric for metric in protocol.metrics if metric.needs not in AGAIN - again):
        try:
            given = material(metric.needs)
            if given is not None:
                numbers[metric.column] = metric.measure(*given)[:, 0]
        except RegardError as reason:
            if metric.needs not in AGAIN:
                raise
            numbers[metric.column] = torch.full((len(photos),), torch.nan)
            wrong.append(f"{metric.column}: {reason}")
    (drawn,) = (material("curves") if protocol.reads("curves") else None) or (None,)
    return numbers, "\n".join(wrong) or None, drawn


def _curves(classifier: Classifier, pixels: Tensor, explanation: Explanation, protocol: Protocol) -> Curves:
    return curves(
        classifier,
        pixels,
        explanation,
        fill=protocol.fill,
        steps=protocol.steps,
        level=protocol.level,
        seed=protocol.seed,
    )


def _token_curves(
    classifier: Classifier, pixels: Tensor, explanation: Explanation, protocol: Protocol
) -> tuple[Curves] | None:
    if classifier.tokens is None or classifier.tokens.cannot_drop is not None:
        return None
    return (token_curves(classifier, pixels, explanation, steps=protocol.steps, seed=protocol.seed),)


def _objects(photos: Sequence[Answered], pixels: Pixels) -> Tensor:
    """Where the objects are, in the frame of the maps, (B, H, W): read before the map, since a mask may be damaged."""
    return torch.stack([region_in(one.photo, place) for one, place in zip(photos, pixels.geometries, strict=True)])


def region_in(photo: KnownPhoto, geometry: Geometry) -> Tensor:
    """The share of each pixel of the frame that is object, (H, W), float64: its mask, else its boxes; all 0 without."""
    mask = photo.region(geometry.photo)
    if mask is not None:
        return geometry.mask_to_frame(mask).double()
    boxes = torch.tensor(photo.boxes, dtype=torch.float64).view(-1, 4)
    return region_of_boxes(geometry.boxes_to_frame(boxes), geometry.frame)
