"""Classifiers with a head apart, in one file: backbone and head, how both are built, and what is between them."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from regard.errors import ClassifierError, FileFormatError, RegardError
from regard.models.classifier import Classifier
from regard.models.files import Header, Source, fill, read_weights, write_classifier
from regard.models.head import HeadForm, form_of
from regard.models.high_resolution import high_resolution
from regard.models.networks import unwrapped
from regard.models.pooled import PooledNetwork
from regard.models.pooled_form import PooledForm
from regard.models.preparation import Preparation

_NETWORK, _HEAD = "network.", "head."


def save_classifier(classifier: Classifier, path: str | Path, about: Mapping[str, Any]) -> None:
    """Write a classifier with a head apart as one safetensors file that `regard.load(path)` reads.

    Weights are written in the precision that they have.

    Args:
        classifier: made with `head=`, or a `BRNPAClassifier`.
        path: ends in .safetensors.
        about: origin, training, measured accuracy: JSON values for people.

    Raises:
        ClassifierError: no head apart, a head of another form than `HeadForm` knows, representatives selected by a
            function, or a path of another ending.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ClassifierError("a classifier file ends in .safetensors", came=path.name)
    if classifier.head is None:
        raise ClassifierError(f"{classifier.name} has no head apart from its network")
    source, pooled = classifier.built_from()
    header = Header(
        name=classifier.name,
        architecture=source.architecture,
        arguments=source.arguments,
        preparation=classifier.preparation.to_dict(),
        outputs=classifier.outputs,
        labels=classifier.labels,
        about=about,
        removed=source.removed,
        head=asdict(form_of(classifier.head)),
        precision=classifier.precision,
        pooled=pooled,
        finer=[asdict(change) for change in source.finer] or None,
    )
    parts = ((_NETWORK, classifier.module), (_HEAD, classifier.head))
    weights = {f"{part}{name}": tensor for part, module in parts for name, tensor in module.state_dict().items()}
    write_classifier(path, header, weights)


def restored(
    path: Path, header: Header, build: Callable[[Source], nn.Module], own: nn.Module | None
) -> tuple[nn.Module, nn.Module]:
    """Network and head of a file that `save_classifier` wrote, in the precision in which they were written.

    Args:
        path: the file.
        header: what it says.
        build: makes a network of a source, with random weights.
        own: a network of one's own that regard cannot build, before its grid was made finer; a copy of it is filled.

    Raises:
        ClassifierError: the network is one's own and was not given, or the weights are not its.
        FileFormatError: the header's head is none, or its representatives are not what the head reads.
    """
    source = header.source
    if own is None and not source.architecture:
        raise ClassifierError(
            f"regard did not build the network in {str(path)!r}, so it cannot build it again",
            remedy=f'give it, whatever its weights: regard.load("{path.name}", network=backbone)',
        )
    weights = read_weights(path)
    network = build(source) if own is None else copy.deepcopy(unwrapped(own))
    if source.removed is not None:
        _remove(network, source.removed, path)
    network = _formed(network, header, path)
    _fill(network, _part(weights, _NETWORK), path)
    head = _head(header, path)
    _fill(head, _part(weights, _HEAD), path)
    return network, head


def _part(weights: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name.removeprefix(part): tensor for name, tensor in weights.items() if name.startswith(part)}


def _remove(network: nn.Module, layer: str, path: Path) -> None:
    try:
        network.set_submodule(layer, nn.Identity(), strict=True)
    except (AttributeError, ValueError) as reason:
        raise ClassifierError(
            f"the network is not that of {str(path)!r}", came=f"no layer {layer!r}", expected="the backbone trained on"
        ) from reason


def _formed(network: nn.Module, header: Header, path: Path) -> nn.Module:
    """The network, its grid as fine as it was, with what stands between it and the head where that is a pooling."""
    try:
        for change in header.source.finer:
            frame = Preparation(**header.preparation).frame
            network = high_resolution(network, change.strides, dilation=change.dilation, frame=frame)
        return network if header.pooled is None else _pooled(network, header, path)
    except FileFormatError:
        raise
    except RegardError as reason:
        raise ClassifierError(
            f"the network is not that of {str(path)!r}, or the header is damaged",
            came=f"{reason.problem}: {reason.came}" if reason.came else reason.problem,
            expected="the backbone trained on, before its grid was made finer",
        ) from reason
    except (TypeError, KeyError, AttributeError, RuntimeError) as reason:
        came = f"{reason}: pooled={header.pooled!r:.300}"
        raise FileFormatError(f"the header of {str(path)!r} is damaged", came=came) from reason


def _pooled(backbone: nn.Module, header: Header, path: Path) -> PooledNetwork:
    """The backbone with its pooling; ranks that cannot be what the head reads are refused."""
    form = PooledForm(**(header.pooled or {}))
    network = form.build(backbone)
    count, width = form.pooling.get("count", 1), HeadForm(**(header.head or {})).width
    if width % count:
        raise FileFormatError(
            f"the header of {str(path)!r} is damaged", came=f"{count} vectors for a head of {width} numbers"
        )
    return network


def _fill(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load weights in the precision in which they are stored; what a file leaves out takes that of most of them."""
    stored: Counter[torch.dtype] = Counter()
    for tensor in weights.values():
        stored[tensor.dtype] += tensor.numel() if tensor.is_floating_point() else 0
    if stored.total():
        network.to(stored.most_common(1)[0][0])
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if name in weights:
            tensor.data = tensor.data.to(weights[name].dtype)
    fill(network, weights, path)


def _head(header: Header, path: Path) -> nn.Module:
    try:
        return HeadForm(**(header.head or {})).build()
    except (TypeError, RuntimeError) as reason:
        raise FileFormatError(f"the header of {str(path)!r} is damaged", came=f"head={header.head!r}") from reason
