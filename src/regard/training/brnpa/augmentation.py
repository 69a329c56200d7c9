"""Photos shown a little differently in every epoch: another part of them, mirrored, lighter, paler (BR-NPA, 2.1)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from regard.attention.settings import is_number
from regard.errors import UnsupportedError
from regard.images import Photo
from regard.models.preparation import Preparation

_GREY = (0.299, 0.587, 0.114)
"""How light red, green and blue are (ITU-R 601)."""

CHANGES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"crop": {"crop": False}, "flip": {"flip": False}, "colour": {"brightness": 0.0, "saturation": 0.0}}
)
"""What a person can choose of an augmentation, by name, and what each is where it is left out."""


@dataclass(frozen=True)
class Augmentation:
    """What is drawn for a photo each time that it is shown.

    Attributes:
        crop: whether the frame is cut from a random place of the scaled photo, in place of its middle; its size is the
            preparation's. A preparation that shows the whole photo leaves nothing to choose.
        flip: whether every second photo is mirrored, left and right.
        brightness: b, colours are multiplied by a factor from 1 − b to 1 + b; published 0.126.
        saturation: s, colours are moved away from the picture's grey, or towards it, by a factor from 1 − s to 1 + s;
            published 0.5. No grey picture changes.

    Raises:
        UnsupportedError: a crop or flip that is neither true nor false, a brightness or saturation that is no number
            from 0 to 1.
    """

    crop: bool = True
    flip: bool = True
    brightness: float = 0.126
    saturation: float = 0.5

    def __post_init__(self) -> None:
        for name in ("crop", "flip"):
            value = getattr(self, name)
            if type(value) is not bool:
                raise UnsupportedError(f"{name} is done or not", came=repr(value), expected="True or False")
        for name in ("brightness", "saturation"):
            value = getattr(self, name)
            if not (is_number(value) and 0 <= value <= 1):
                raise UnsupportedError(f"{name} changes by a share", came=repr(value), expected="from 0 to 1")

    def of_these(self, changes: Sequence[str]) -> Augmentation:
        """The same of some `CHANGES` alone; of none the photo is as the classifier is used.

        Raises:
            UnsupportedError: no such change.
        """
        if unknown := [change for change in changes if change not in CHANGES]:
            raise UnsupportedError(
                "photos are not changed so", came=", ".join(unknown), expected=f"some of {', '.join(CHANGES)}; or none"
            )
        left_out = [without for change, without in CHANGES.items() if change not in changes]
        return replace(self, **{name: value for without in left_out for name, value in without.items()})

    @property
    def changes(self) -> tuple[str, ...]:
        """The `CHANGES` that it makes, by name."""
        return tuple(
            change
            for change, without in CHANGES.items()
            if any(getattr(self, name) != value for name, value in without.items())
        )

    def __call__(self, photo: Photo, preparation: Preparation, seed: int) -> Tensor:
        """A prepared picture (1, channels, H, W), by the draws of one seed: whatever else is drawn or shown.

        Colours stay between black and white; they are changed after the crop, which is the same as before it.

        Args:
            photo: path, PIL image or uint8 array.
            preparation: the classifier's.
            seed: of five draws, which are the same whether all of them are used.
        """
        draws = torch.rand(5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()
        down, across, mirrored, *colours = draws
        pixels = preparation([photo], corner=(down, across) if self.crop else None).as_subclass(Tensor)
        if self.flip and mirrored < 0.5:
            pixels = pixels.flip(-1)
        brightness, saturation = (
            1 + span * (2 * draw - 1) for span, draw in zip((self.brightness, self.saturation), colours, strict=True)
        )
        return _coloured(pixels, preparation, brightness, saturation)


NONE = Augmentation(crop=False, flip=False, brightness=0.0, saturation=0.0)
"""The photo as the classifier is used."""


def _coloured(pixels: Tensor, preparation: Preparation, brightness: float, saturation: float) -> Tensor:
    """Prepared pixels with other colours: first lighter or darker, then paler or stronger, clamped after each."""
    if math.isclose(brightness, 1) and math.isclose(saturation, 1):
        return pixels
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (preparation.mean, preparation.std))
    colours = ((pixels * std + mean) * brightness).clamp(0, 1)
    if preparation.channels == 3:
        grey = (colours * torch.tensor(_GREY).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
        colours = (grey + saturation * (colours - grey)).clamp(0, 1)
    return (colours - mean) / std
