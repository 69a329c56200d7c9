"""How a photo becomes what a classifier receives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from regard.drawing import picture_of
from regard.errors import ClassifierError
from regard.images import Geometry, Photo, Pixels, open_photo

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preparation:
    """Size, crop and colour scaling of a classifier's input.

    Attributes:
        size: frame side, or (H, W), in pixels.
        mean: per channel, of colours in [0, 1]; ImageNet's by default.
        std: per channel; ImageNet's by default.
        fit: "crop" keeps the aspect: the shorter side is scaled to size / crop, and the centre is cut
            out. "squash" scales both sides to the frame, so that the whole photo is seen.
        crop: share of the scaled side that the frame keeps; 0.875 is the usual 224 of 256.
        interpolation: of the scaling; antialiased, as Pillow does it.
    """

    size: int | tuple[int, int] = 224
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    fit: Literal["crop", "squash"] = "crop"
    crop: float = 0.875
    interpolation: Literal["bilinear", "bicubic", "lanczos", "nearest"] = "bicubic"

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
        object.__setattr__(self, "std", tuple(float(value) for value in self.std))
        if not isinstance(self.size, int):
            object.__setattr__(self, "size", tuple(int(side) for side in self.size))
        if min(self.frame) < 1 or len(self.frame) != 2:
            raise ClassifierError("the frame has no size", came=f"size={self.size!r}", expected="pixels, or (H, W)")
        if len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0:
            raise ClassifierError(
                "mean and std do not fit", came=f"{self.mean}, {self.std}", expected="one each per channel, std above 0"
            )
        if self.fit not in ("crop", "squash") or not 0 < self.crop <= 1:
            raise ClassifierError("no such fit", came=f"fit={self.fit!r}, crop={self.crop}", expected="crop or squash")
        if self.interpolation not in ("bilinear", "bicubic", "lanczos", "nearest"):
            raise ClassifierError("no such interpolation", came=repr(self.interpolation))

    @property
    def frame(self) -> tuple[int, int]:
        """(H, W) of prepared pixels."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    @property
    def channels(self) -> int:
        """Colour channels of prepared pixels."""
        return len(self.mean)

    def __call__(self, photos: Sequence[Photo]) -> Pixels:
        """Photos → float32 (B, channels, H, W) with their geometries."""
        prepared = [self._one(open_photo(photo)) for photo in photos]
        return Pixels.of(torch.stack([values for values, _ in prepared]), [geometry for _, geometry in prepared])

    def pictures(self, pixels: Tensor) -> Tensor:
        """Prepared pixels → uint8 (B, H, W, 3) as a person sees them."""
        return picture_of(pixels, self.mean, self.std)

    def to_dict(self) -> dict[str, Any]:
        """JSON values that `Preparation(**…)` takes back."""
        return asdict(self)

    def _one(self, photo: Image.Image) -> tuple[Tensor, Geometry]:
        resized, geometry = self._fitted(photo)
        colours = np.asarray(resized if self.channels == 3 else resized.convert("L"), dtype=np.float32) / 255
        values = torch.from_numpy(colours.reshape(*self.frame, -1)).permute(2, 0, 1)
        mean, std = torch.tensor(self.mean).view(-1, 1, 1), torch.tensor(self.std).view(-1, 1, 1)
        return (values - mean) / std, geometry

    def _fitted(self, photo: Image.Image) -> tuple[Image.Image, Geometry]:
        height, width = self.frame
        resample = Image.Resampling[self.interpolation.upper()]
        if self.fit == "squash":
            whole = (0.0, 0.0, float(photo.width), float(photo.height))
            geometry = Geometry((photo.height, photo.width), (height, width), whole)
            return photo.resize((width, height), resample), geometry
        wide, high = self._scaled(photo.width, photo.height)
        left, top = round((wide - width) / 2), round((high - height) / 2)
        scaled = photo.resize((wide, high), resample).crop((left, top, left + width, top + height))
        across, down = photo.width / wide, photo.height / high
        box = (left * across, top * down, (left + width) * across, (top + height) * down)
        return scaled, Geometry((photo.height, photo.width), (height, width), box)

    def _scaled(self, width: int, height: int) -> tuple[int, int]:
        """Size of the whole photo after scaling; the long side is cut to whole pixels as torchvision does it."""
        target_height, target_width = (math.floor(side / self.crop) for side in self.frame)
        if target_width * height >= target_height * width:
            return target_width, max(target_height, int(target_width * height / width))
        return max(target_width, int(target_height * width / height)), target_height
