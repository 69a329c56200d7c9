"""Whether half precision gives the curves of full precision: only then may a table be made with it."""

from __future__ import annotations

from collections.abc import Sequence

from regard.errors import MetricError
from regard.evaluate.gate import Answered
from regard.explainers.controls import Edges
from regard.fills import Fill
from regard.metrics.curves import curves
from regard.models.classifier import Classifier
from regard.targets import PerImage

PHOTOS = 4
"""Photos on which agreement is shown."""
TOLERANCE = 0.005
"""Largest difference of an area, per photo."""


def check_agreement(half: Classifier, full: Classifier, photos: Sequence[Answered], fill: Fill, steps: int) -> float:
    """The largest difference of insertion and deletion areas on the first photos, in the order of their edges.

    An order that hangs on no weights, so that nothing but the passes differs. Cost: 2 · 8 · steps passes.

    Args:
        half: in bfloat16.
        full: the same classifier in float32.
        photos: that count.
        fill: of the curves.
        steps: of the curves.

    Raises:
        MetricError: it is above 0.005, with the figure.
    """
    areas = []
    for classifier in (half, full):
        pixels = classifier.prepare([answer.photo.path for answer in photos[:PHOTOS]])
        explanation = Edges(classifier)(pixels, PerImage([answer.predicted for answer in photos[:PHOTOS]]))
        found = curves(classifier, pixels, explanation, fill=fill, steps=steps)
        areas += [(found.area("insertion"), found.area("deletion"))]
    differences = [float((one - other).abs().max()) for one, other in zip(*areas, strict=True)]
    if max(differences) > TOLERANCE:
        raise MetricError(
            f"curves of {half.name} in bfloat16 are not those in float32",
            came=f"areas differ by up to {max(differences):.4f} on {len(photos[:PHOTOS])} photos",
            expected=f"at most {TOLERANCE:g}",
            remedy="leave --precision at float32",
        )
    return max(differences)
