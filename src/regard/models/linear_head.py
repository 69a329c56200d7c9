"""The linear layer that a classifier ends in, if it does: a weight vector for every class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from regard.errors import UnsupportedError

if TYPE_CHECKING:
    from regard.attention.fusion import Variant
    from regard.models.classifier import Classifier


def last_linear(classifier: Classifier) -> nn.Linear | None:
    """The layer itself; None where the classifier ends in another one, or in none that is known."""
    layer = classifier.head_module()
    return layer if isinstance(layer, nn.Linear) else None


def linear_head(classifier: Classifier) -> Tensor:
    """Its weights (C, D), float32.

    Raises:
        UnsupportedError: the classifier does not end in a linear layer.
    """
    layer = last_linear(classifier)
    if layer is None:
        other = classifier.head_module()
        raise UnsupportedError(
            f"{classifier.name} does not end in a linear layer, whose class vectors the rows would be made of",
            came="no known head" if other is None else type(other).__name__,
            remedy="another variant, such as tame, has rows of its own",
        )
    return layer.weight.detach().float()


def head_of(classifier: Classifier, variant: Variant) -> Tensor | None:
    """The class vectors (C, D) that the rows of a "tied" attention are made of; None for other variants.

    Raises:
        UnsupportedError: the classifier does not end in a linear layer.
    """
    return linear_head(classifier) if variant == "tied" else None
