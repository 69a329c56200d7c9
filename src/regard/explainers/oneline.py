"""The one-line way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from regard.errors import ClassifierError
from regard.explainers.registry import choose
from regard.explanation import Explanation
from regard.images import Photo
from regard.models.catalog import DEFAULT, load
from regard.models.classifier import Classifier
from regard.question import default_targets

DEFAULT_TARGETS = 3
"""How many of the likeliest classes are explained where nobody names targets."""


def explain(
    photo: Photo | Sequence[Photo] | Tensor,
    classifier: Classifier | str = DEFAULT,
    method: str | None = None,
    targets: Any = None,
    **settings: Any,
) -> Explanation:
    """Explain one or more photos, with everything chosen that is not said.

    Args:
        photo: a path, PIL image, uint8 array, or a list of those.
        classifier: a classifier, or a name for `regard.load`; default the embedded ImageNet one.
        method: a name from `regard.methods()`; default the best that the classifier allows and
            that answers the targets.
        targets: what is asked; default the three likeliest classes.
        **settings: of the method.

    Example:
        regard.explain("cat.jpg").figure().savefig("cat.png")
    """
    subject = load(classifier) if isinstance(classifier, str) else classifier
    if not isinstance(subject, Classifier):
        raise ClassifierError(
            "the classifier is a regard.Classifier or a name",
            came=type(subject).__name__,
            remedy="regard.Classifier(network, regard.Preparation(…))",
        )
    explainer = choose(subject, method, targets, **settings)
    return explainer(photo, default_targets(subject, DEFAULT_TARGETS) if targets is None else targets)
