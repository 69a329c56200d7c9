"""The layers of a network that can be tapped, as one pass of one picture shows them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from regard.models import passes

if TYPE_CHECKING:
    from regard.models.classifier import Classifier


@dataclass(frozen=True)
class Layer:
    """A layer whose output can be read and differentiated.

    Attributes:
        path: dotted, in the classifier's network.
        kind: its class.
        shape: of its output for one picture of the preparation's frame, without the batch.
    """

    path: str
    kind: str
    shape: tuple[int, ...]


def tappable(classifier: Classifier) -> list[Layer]:
    """The layers that run once in a pass and give a tensor, alone or first of several, in the order they are done.

    Cost: one pass, which is not counted.
    """
    given: dict[str, list[torch.Size]] = {}
    with ExitStack() as stack, classifier.untouched(), torch.no_grad(), passes.uncounted():
        for path, module in classifier.module.named_modules():
            if path:
                stack.callback(module.register_forward_hook(_noting(given, path)).remove)
        classifier.forward(classifier.picture())
    return [
        Layer(path, type(classifier.module.get_submodule(path)).__name__, tuple(shapes[0][1:]))
        for path, shapes in given.items()
        if len(shapes) == 1
    ]


def _noting(given: dict[str, list[torch.Size]], path: str) -> Callable[..., None]:
    def hook(_: nn.Module, __: tuple[Any, ...], output: object) -> None:
        first = output[0] if isinstance(output, (tuple, list)) and output else output
        if isinstance(first, Tensor):
            given.setdefault(path, []).append(first.shape)

    return hook
