"""Classifiers that a training reads and must not change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from regard.models.classifier import Classifier


@contextmanager
def frozen(classifier: Classifier) -> Iterator[None]:
    """While the block runs, the classifier is in eval mode, and gradients reach its pixels and not its weights.

    Then all is as before. For a whole training: a backward may run layers again, in the mode that they have then.
    """
    weights = [*classifier.module.parameters(), *(classifier.head.parameters() if classifier.head is not None else ())]
    with classifier.untouched():
        for weight in weights:
            weight.requires_grad_(False)
        yield
