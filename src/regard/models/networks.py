"""Networks of any author: what wraps them, which layer is their head, what they return."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from regard.errors import ClassifierError

if TYPE_CHECKING:
    from regard.models.classifier import Classifier


def unwrapped(network: nn.Module) -> nn.Module:
    """The module inside torch.compile, DataParallel and DistributedDataParallel, where taps can reach it."""
    while isinstance(network, nn.Module):
        if isinstance(network, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            network = network.module
        elif isinstance(inner := getattr(network, "_orig_mod", None), nn.Module):
            network = inner
        else:
            break
    return network


def own_head(network: nn.Module) -> str | None:
    """Path of the network's last linear layer, if its columns are the network's output.

    The classification layer that the network names itself (timm), else the last linear layer by
    definition order; whether it really gives the output shows in the pass that reads it.
    """
    if is_backbone(network):
        return None
    getter = getattr(network, "get_classifier", None)
    if callable(getter):
        named = getter()
        return next((path for path, module in network.named_modules() if module is named and _is_linear(module)), None)
    linear = [path for path, module in network.named_modules() if _is_linear(module)]
    last = linear[-1] if linear else None
    top = None if last is None else last.split(".")[0]
    children = [name for name, _ in network.named_children()]
    return last if top is not None and children and top == children[-1] else None


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear)


def is_backbone(network: nn.Module) -> bool:
    """A model of transformers that is not "For" some task returns hidden states and no logits."""
    return hasattr(network, "config") and "For" not in type(network).__name__


def _has_class_token(network: nn.Module) -> bool:
    return any(name.endswith(("cls_token", "class_token", "class_embedding")) for name, _ in network.named_parameters())


def in_fast_layout(network: nn.Module) -> nn.Module:
    """The network itself, its convolutions with channels last, in which they run faster; not so timm's transformers."""
    if any(hasattr(part, "blocks") and hasattr(part, "cls_token") for part in network.modules()):
        return network
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return network


def tensor_of(output: Any, network: nn.Module, name: str) -> Tensor:
    """The tensor in whatever a network returns: logits, or the embedding of a backbone.

    Of transformers' backbones the pooled output; where that comes from a dense pooler, which published weights
    mostly leave at random, the class token.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, dict) or hasattr(output, "to_tuple"):
        trained_late = hasattr(getattr(network, "pooler", None), "dense")
        for key in ("logits", "image_embeds", *(() if trained_late else ("pooler_output",)), "last_hidden_state"):
            found = output.get(key) if isinstance(output, dict) else getattr(output, key, None)
            if isinstance(found, Tensor):
                tokens = key == "last_hidden_state" and found.dim() == 3 and _has_class_token(network)
                return found[:, 0] if tokens else found
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], Tensor):
        return output[0]
    raise ClassifierError(
        f"{name} returns nothing that can be read as logits or embeddings",
        came=type(output).__name__,
        expected="a tensor, a tuple that begins with one, or an output with .logits",
    )


def trial_pictures(classifier: Classifier) -> Tensor:
    """Prepared pictures that show how a network behaves, (3, channels, H, W): the mean colour, noise, bright noise.

    Noise alone has mean zero: what a network does with bright pictures only would be taken for nothing.
    """
    noise = classifier.picture(noise=True)
    return torch.cat([classifier.picture(), noise, noise + 1])


def scale_of(answer: Tensor, other: Tensor) -> float:
    """What differences from an answer are measured by: what another picture changes, and a little of its own size.

    An offset that all answers share (years, Kelvin) must not hide a difference; a hundredth of it stands for rounding.
    """
    return float((answer - other).abs().max() + 0.01 * answer.abs().max().clamp(min=1e-12))
