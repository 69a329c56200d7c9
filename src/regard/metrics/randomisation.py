"""Sanity checks by randomised weights (Adebayo et al. 2018): a map that stays does not show what the network learnt."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from regard.errors import MetricError
from regard.explanation import Explanation
from regard.metrics.rank_correlation import rank_correlation
from regard.models import passes
from regard.models.classifier import Classifier
from regard.question import ask
from regard.targets import Output, Target

Method = Callable[[Classifier], Callable[[Tensor, Any], Explanation]]
"""A classifier → what explains it: a class of explainers, or a function that makes one."""


def randomisation_correlation(
    method: Method, classifier: Classifier, pixels: Tensor, copies: Iterable[Classifier], targets: Any = None
) -> Tensor:
    """Rank correlation of the maps of one class, by a trained classifier and by randomised copies of it.

    Near 0 is good: the map hangs on the weights that were redrawn. At 1 it does not see them, as the attention map
    cannot see the head; near −1 it only turned its sign, so average sizes over pictures: one by one the signs
    cancel. The class is held: the likeliest of the trained classifier is asked of the copies too.

    Args:
        method: for example `regard.CDAM`, or `functools.partial(regard.SmoothCDAM, samples=50)`.
        classifier: the trained one.
        pixels: (B, 3, H, W), prepared.
        copies: of `models.randomised`: `[randomised(classifier, "head")]`, or `cascade(classifier)`, of which one is
            held at a time.
        targets: as an explainer takes them; default the likeliest class.

    Returns:
        For S copies, B pictures and T targets (S, B, T), float64, −1 to 1, ties averaged; NaN where a map is constant.

    Raises:
        MetricError: no copies.
        TargetError: targets that the classifier cannot be asked.

    Cost: S + 1 maps a picture and target.
    """
    asked = held(classifier, pixels, targets)
    before = method(classifier)(pixels, asked).maps
    found = [rank_correlation(before, method(other)(pixels, asked).maps) for other in copies]
    if not found:
        raise MetricError("there is no randomised copy", remedy='[randomised(classifier, "head")], or cascade(…)')
    return torch.stack(found)


def held(classifier: Classifier, pixels: Tensor, targets: Any) -> list[Target] | None:
    """The targets, predicted classes as the trained classifier predicts them; as they came where there is no head."""
    if classifier.class_count is None:
        return None if targets is None else targets
    question = ask(targets, classifier, len(pixels))
    plain = classifier.prepare(pixels).as_subclass(Tensor)
    logits = passes.in_chunks(classifier, len(plain), plain[:1], lambda numbers: classifier.forward(plain[numbers]))
    return list(question.fixed(Output(logits, None)).targets)
