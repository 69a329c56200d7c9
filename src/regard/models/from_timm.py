"""Classifiers of timm: "timm:NAME"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from torch import nn

from regard.compat import import_optional
from regard.errors import ClassifierError
from regard.models.files import Source
from regard.models.offers import Listed, Offer, unbuilt
from regard.models.preparation import Fit, Preparation

_FITS: dict[str, Fit] = {"squash": "squash", "border": "pad"}


def offer(name: str, fetch: bool, labels: Sequence[str] | None, arguments: Mapping[str, Any]) -> Offer:
    """A network of timm with the preparation and labels that timm prescribes.

    Args:
        name: as timm writes it, with or without the tag of its weights.
        fetch: the published weights; else random ones.
        labels: of one's own; their number sets the number of classes.
        arguments: for timm's create_model.
    """
    arguments = ({} if labels is None else {"num_classes": len(labels)}) | dict(arguments)
    network = _network(name, fetch, arguments)
    known = labels if labels is not None else _labels(network)
    return Offer(network, _preparation(network, arguments), Source(f"timm:{name}", arguments), known)


def build(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The network with random weights."""
    return _network(name, False, arguments)


def listed() -> list[Listed]:
    """All of timm's networks."""
    timm = import_optional("timm", "timm")
    trained = {name.partition(".")[0] for name in timm.list_pretrained()}
    return [
        Listed(f"timm:{name}", "weights to fetch" if name in trained else "random weights only")
        for name in timm.list_models(pretrained=False)
    ]


def _network(name: str, fetch: bool, arguments: Mapping[str, Any]) -> nn.Module:
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
        network: nn.Module = timm.create_model(name, pretrained=fetch, **arguments)
    except Exception as reason:  # hubs raise errors of many libraries; all mean the same to a person
        raise unbuilt(f"timm:{name}", fetch, reason) from reason
    return network


def _preparation(network: nn.Module, arguments: Mapping[str, Any]) -> Preparation:
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


def _labels(network: nn.Module) -> list[str] | None:
    data = import_optional("timm.data", "timm")
    if getattr(network, "num_classes", 0) != 1000:
        return None
    return list(data.ImageNetInfo().label_descriptions())
