"""How photos are prepared for a model of transformers, read from its image processor and compared with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from regard.compat import import_optional
from regard.errors import ClassifierError
from regard.models.offers import kept_share
from regard.models.preparation import Fit, Preparation, Resampling

_RESAMPLING: dict[int, Resampling] = {
    Image.Resampling.NEAREST: "nearest",
    Image.Resampling.LANCZOS: "lanczos",
    Image.Resampling.BILINEAR: "bilinear",
    Image.Resampling.BICUBIC: "bicubic",
}
"""Pillow's numbers, in which transformers writes it down; others are refused."""
_NEAR = 4 / 255
"""Of a colour: transformers' processors differ so much among themselves, by rounding after scaling."""


def image_processor(name: str) -> Any:
    """The image processor of a folder or of a name of the hub.

    Raises:
        ClassifierError: there is none.
    """
    transformers = import_optional("transformers", "transformers")
    try:
        return transformers.AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
    except Exception as reason:  # hubs raise errors of many libraries; all mean the same to a person
        raise ClassifierError(
            f"transformers:{name} does not say how photos are prepared",
            came=f"{type(reason).__name__}: {str(reason).partition(chr(10))[0][:200]}",
            expected="preprocessor_config.json beside the weights",
            remedy="save its image processor there; or wrap the network: regard.Classifier(network, preparation)",
        ) from reason


def preparation_of(processor: Any) -> Preparation:
    """What an image processor does, as a `Preparation`, proven on two drawn pictures.

    Colours: x · rescale_factor of bytes x, then (· − image_mean) / image_std, which is (c − m) / s of colours
    c = x / 255 with m = image_mean / (255 rescale_factor), s = image_std / (255 rescale_factor).

    Raises:
        ClassifierError: it does something else to a picture than scaling, cutting the middle and normalising.
    """
    try:
        preparation = _read(processor.to_dict())
    except (KeyError, TypeError, ValueError) as reason:
        if isinstance(reason, ClassifierError):
            raise
        raise _more(processor) from reason
    if not all(_same(processor, preparation, picture) for picture in (_drawn(301, 233), _drawn(233, 301))):
        raise _more(processor)
    return preparation


def _read(said: Mapping[str, Any]) -> Preparation:
    """The preparation that the processor's own values describe."""
    fit, frame, crop = _framing(said)
    scale = 255 * said["rescale_factor"] if said.get("do_rescale", True) else 255
    plain = ((0.0,) * 3, (1.0,) * 3)
    mean, std = (said["image_mean"], said["image_std"]) if said.get("do_normalize", True) else plain
    return Preparation(
        size=frame[0] if frame[0] == frame[1] else frame,
        mean=tuple(value / scale for value in mean),
        std=tuple(value / scale for value in std),
        fit=fit,
        crop=crop,
        interpolation=_RESAMPLING[int(said["resample"])],
    )


def _framing(said: Mapping[str, Any]) -> tuple[Fit, tuple[int, int], float]:
    """What is scaled how, the frame (H, W), and the share of the scaled sides that it keeps."""
    size = {name: side for name, side in dict(said["size"]).items() if side}
    shorter = size.get("shortest_edge")
    if said.get("do_center_crop"):
        frame = _sides(said["crop_size"])
        if shorter:
            return "crop", frame, kept_share(min(frame), shorter)
        return "squash", frame, kept_share(frame[0], _sides(size)[0])
    if shorter and (share := said.get("crop_pct")):  # ConvNeXT's: small pictures are cut, large ones squashed
        kept = kept_share(shorter, int(shorter / share))
        return ("crop", (shorter, shorter), kept) if shorter < 384 else ("squash", (shorter, shorter), 1.0)
    return "squash", _sides(size), 1.0


def _sides(size: Any) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    sides = dict(size)
    try:
        return sides["height"], sides["width"]
    except KeyError:
        raise ClassifierError(
            "the image processor does not bring photos to one size", came=str(sides), expected="height and width"
        ) from None


def _drawn(width: int, height: int) -> Image.Image:
    """A picture of slow waves, on which another cut or scale is seen and rounding is not."""
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    waves = [np.sin(3 * across + 1), np.cos(4 * down), np.sin(2 * (across + down))]
    return Image.fromarray((127.5 + 120 * np.stack(waves, axis=-1)).astype(np.uint8))


def _same(processor: Any, preparation: Preparation, picture: Image.Image) -> bool:
    """Whether both prepare a picture alike, to rounding."""
    expected = processor(images=picture, return_tensors="pt")["pixel_values"][0]
    own = preparation([picture]).as_subclass(torch.Tensor)[0]
    if own.shape != expected.shape:
        return False
    std = torch.tensor(preparation.std).view(-1, 1, 1)
    return float(((own - expected) * std).abs().max()) <= _NEAR


def _more(processor: Any) -> ClassifierError:
    return ClassifierError(
        "the image processor does more to a photo than scaling it, cutting its middle and normalising colours",
        came=type(processor).__name__,
        remedy="prepare photos with it, and give the tensors to a regard.Classifier of your own",
    )
