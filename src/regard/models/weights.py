"""A classifier's weights as a whole: all of them by name, their hash, and which of them are not finite."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from regard.models.classifier import Classifier

Some = TypeVar("Some", bound="Classifier")


def named_weights(**parts: nn.Module | None) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers of all parts, also those that a state dict leaves out, as "part.path"."""
    for part, module in parts.items():
        if module is not None:
            yield from ((f"{part}.{name}", tensor) for name, tensor in module.named_parameters())
            yield from ((f"{part}.{name}", tensor) for name, tensor in module.named_buffers())


def digest(weights: Mapping[str, Tensor], meaning: str) -> str:
    """SHA-256 of names, types, shapes and values, and of what else the outputs depend on, in words."""
    running = hashlib.sha256(meaning.encode())
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        running.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        running.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return running.hexdigest()


def state(weights: Mapping[str, Tensor]) -> tuple[object, ...]:
    """What differs once a weight has changed, cheap enough for every call.

    Torch counts changes per tensor; eight values of each, evenly spread, tell of those that go past the count
    (through `.data`).
    """
    counted = ((name, tensor.data_ptr(), _version(tensor)) for name, tensor in weights.items())
    values = [_spread(tensor) for tensor in weights.values()]
    with torch.no_grad():
        return (*counted, torch.cat(values).cpu().numpy().tobytes() if values else b"")


def of_other_weights(classifier: Some, network: nn.Module, head: nn.Module | None, name: str) -> Some:
    """The classifier with another network of the same layers, and all else that it knows of itself kept.

    So a classifier with representatives stays one, and an anatomy is not looked for again.
    """
    other = copy.copy(classifier)
    other.network = other.module = network
    other.head, other.name = head, name
    return other


def blame_for_nan(weights: Mapping[str, Tensor]) -> str:
    """Name the weights that hold NaN or infinity, or say that none does."""
    bad = [name for name, value in weights.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    if not bad:
        return "all weights are finite; the network itself overflows on this picture"
    more = f" ({len(bad)} in all)" if bad[1:] else ""
    return f"the weight {bad[0].partition('.')[2]!r} holds NaN or infinity{more}"


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _spread(tensor: Tensor) -> Tensor:
    """At most eight values, float32; of a tensor that does not lie densely those of its first row."""
    tensor = tensor.detach()
    row = tensor if tensor.is_contiguous() else tensor[(0,) * (tensor.dim() - 1)].contiguous()
    count = row.numel()
    values = torch.as_strided(row, (min(8, count),), (max(1, count // 8),))
    return values if values.dtype is torch.float32 else values.float()
