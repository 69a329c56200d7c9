"""Classifier files: weights as safetensors, and a JSON header that says how to build what they belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from regard.errors import ClassifierError, FileFormatError
from regard.labels import Outputs
from regard.models.safetensors_header import read_safetensors_header

FORMAT = "regard.classifier"
FORMAT_VERSION = 3
"""2: heads apart from their backbone, whose weights are then named "head.…" and "network.…"; 3: heads without a bias,
finer grids, and pooled networks, whose backbone's weights are then named "network.backbone.…"."""


@dataclass(frozen=True)
class Finer:
    """What `high_resolution` did to a network.

    Attributes:
        strides: as it takes them.
        dilation: whether it dilated.
    """

    strides: tuple[int, ...]
    dilation: bool


@dataclass(frozen=True)
class Source:
    """What a network was built from, so that a file can say how to build it again.

    Attributes:
        architecture: "timm:NAME", "torchvision:NAME" or "transformers:CLASS"; "" for a network of one's own, which
            regard cannot build.
        arguments: for its builder, as JSON values.
        removed: dotted path of the layer that was made an identity afterwards: its own classification layer.
        finer: how its grid was made finer, one time after the other.
    """

    architecture: str
    arguments: Mapping[str, Any]
    removed: str | None = None
    finer: tuple[Finer, ...] = ()


@dataclass(frozen=True)
class Header:
    """What a classifier file says of itself.

    Attributes:
        name: of the classifier.
        architecture: a name that `regard.load` builds, such as "timm:vit_small_patch14_dinov2"; see `Source`.
        arguments: for the builder.
        preparation: fields of `Preparation`.
        outputs: what the output means.
        labels: one per class, or None.
        about: origin, licence, training, measured accuracy: for people.
        removed: the layer that was made an identity; see `Source`.
        head: fields of `HeadForm`, where the head is apart from the network.
        precision: of the passes; see `Classifier`.
        pooled: fields of `PooledForm`, where the network is a backbone with representatives; architecture, arguments,
            removed and finer are then the backbone's.
        finer: fields of each `Finer` of `Source`, where there are some.
    """

    name: str
    architecture: str
    arguments: Mapping[str, Any]
    preparation: Mapping[str, Any]
    outputs: Outputs
    labels: list[str] | None
    about: Mapping[str, Any]
    removed: str | None = None
    head: Mapping[str, Any] | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    pooled: Mapping[str, Any] | None = None
    finer: Sequence[Mapping[str, Any]] | None = None

    @property
    def source(self) -> Source:
        """What the network, or the backbone, was built from.

        Raises:
            ClassifierError: a finer grid that cannot be.
        """
        try:
            finer = tuple(Finer(tuple(each["strides"]), each["dilation"]) for each in self.finer or ())
        except (TypeError, KeyError) as reason:
            raise FileFormatError(
                "a file cannot be read: its header is damaged", came=f"finer={self.finer!r:.200}"
            ) from reason
        return Source(self.architecture, self.arguments, self.removed, finer)


def write_classifier(path: Path, header: Header, weights: Mapping[str, Tensor]) -> None:
    """Write a classifier file that `regard.load(path)` reads; a file that stands there is replaced once it is whole.

    Raises:
        ClassifierError: the arguments of the builder are no JSON values.
    """
    try:
        text = json.dumps({"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(header)})
    except TypeError as reason:
        raise ClassifierError(
            "a file cannot say how this network is built", came=f"arguments={dict(header.arguments)!r:.200}: {reason}"
        ) from None
    apart = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in weights.items()}
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_bytes(
        save(apart, metadata={"regard": text})
    )  # each tensor in memory of its own, as safetensors asks
    unfinished.replace(path)


def read_header(path: Path) -> Header:
    """The header of a classifier file.

    Raises:
        FileFormatError: no such file, no safetensors, no classifier, damaged, or of a newer format.
    """
    wrong = f"{str(path)!r} does not say which network its weights belong to"
    remedy = f'name it: regard.load("timm:NAME", weights="{path.name}")'
    return Header(**read_safetensors_header(path, Header, FORMAT, FORMAT_VERSION, wrong, remedy))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Weights from a safetensors file, or from a torch file that holds tensors only; never from pickled code.

    Wrappings that trainers add (`state_dict`, `model`, a `module.` before every name) are taken off.

    Raises:
        FileFormatError: no such file, or its content is something else.
    """
    if not path.is_file():
        raise FileFormatError(f"there is no file {str(path)!r}")
    try:
        if path.suffix == ".safetensors":
            return _unwrapped(load_file(path), path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as reason:  # damaged files raise whatever their readers stumble over
        raise FileFormatError(
            f"{str(path)!r} holds no plain weights",
            came=str(reason).partition("\n")[0][:200],
            expected="safetensors, or a torch file of tensors only (weights_only)",
            remedy="where you trust it: torch.load it yourself and save network.state_dict() as safetensors",
        ) from reason
    return _unwrapped(loaded, path)


def fill(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load weights into a network, all of them and no others.

    Raises:
        ClassifierError: names or shapes that do not fit, with the first of them.
    """
    own = network.state_dict()
    missing, surplus = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    differing = [name for name in sorted(own.keys() & weights.keys()) if own[name].shape != weights[name].shape]
    if not (missing or surplus or differing):
        network.load_state_dict(dict(weights))
        return
    shape = (
        differing and f"{differing[0]} is {tuple(weights[differing[0]].shape)}, not {tuple(own[differing[0]].shape)}"
    )
    raise ClassifierError(
        f"the weights in {str(path)!r} are not those of this network",
        came="; ".join(
            text
            for text in (
                missing and f"{len(missing)} missing ({missing[0]}, …)",
                surplus and f"{len(surplus)} too many ({surplus[0]}, …)",
                shape,
            )
            if text
        ),
        remedy="check the architecture's name; another number of classes needs labels=[…] or num_classes=…",
    )


def _unwrapped(loaded: Any, path: Path) -> dict[str, Tensor]:
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise FileFormatError(f"{str(path)!r} holds no plain weights", came=type(loaded).__name__)
    return {str(name).removeprefix("module."): tensor for name, tensor in loaded.items()}
