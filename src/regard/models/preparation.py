"""How a photo becomes what a classifier receives."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from regard.errors import ClassifierError, PhotoError, PixelsError
from regard.images import MOST_PIXELS, Geometry, Photo, Pixels, open_photo

Fit = Literal["crop", "squash", "pad"]
Resampling = Literal["bilinear", "bicubic", "lanczos", "nearest"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preparation:
    """Size, crop and colour scaling of a classifier's input.

    Attributes:
        size: frame side, or (H, W), in pixels.
        mean: per channel, of colours in [0, 1]; ImageNet's by default.
        std: per channel; ImageNet's by default.
        fit: what is scaled to size / crop before the centre is cut out. "crop": the shorter side, so the
            aspect is kept and the longer side loses its ends. "squash": both sides, each by its own
            factor. "pad": the longer side, with bars of the mean colour.
        crop: share of the scaled side that the frame keeps. Default 0.875 for "crop", the usual 224 of
            256; 1 for the others, so that the whole photo is seen. Above 1, black bars surround it.
        interpolation: of the scaling; antialiased, as Pillow does it.
    """

    size: int | tuple[int, int] = 224
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    fit: Fit = "crop"
    crop: float = 0.0
    interpolation: Resampling = "bicubic"

    def __post_init__(self) -> None:
        if self.crop == 0:
            object.__setattr__(self, "crop", 0.875 if self.fit == "crop" else 1.0)
        try:
            object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
            object.__setattr__(self, "std", tuple(float(value) for value in self.std))
            sides = self.size if isinstance(self.size, (tuple, list)) else operator.index(self.size)
            object.__setattr__(self, "size", sides if isinstance(sides, int) else tuple(map(operator.index, sides)))
        except TypeError as reason:
            raise ClassifierError(
                "a preparation takes size in whole pixels, mean and std per channel", came=str(reason)
            ) from None
        if min(self.frame) < 1 or len(self.frame) != 2:
            raise ClassifierError("the frame has no size", came=f"size={self.size!r}", expected="pixels, or (H, W)")
        if len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0:
            raise ClassifierError(
                "mean and std do not fit", came=f"{self.mean}, {self.std}", expected="one each per channel, std above 0"
            )
        if self.fit not in get_args(Fit) or not 0 < self.crop < 2:
            raise ClassifierError(
                "no such fit",
                came=f"fit={self.fit!r}, crop={self.crop}",
                expected=f"one of {get_args(Fit)}, crop below 2",
            )
        if self.interpolation not in get_args(Resampling):
            raise ClassifierError("no such interpolation", came=repr(self.interpolation))

    @property
    def frame(self) -> tuple[int, int]:
        """(H, W) of prepared pixels."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    @property
    def channels(self) -> int:
        """Colour channels of prepared pixels."""
        return len(self.mean)

    def __call__(self, photos: Sequence[Photo], corner: tuple[float, float] | None = None) -> Pixels:
        """Photos → float32 (B, channels, H, W) with their geometries.

        Args:
            photos: paths, PIL images or uint8 arrays.
            corner: where the frame is cut from the scaled photo, as shares of the room down and across that it leaves:
                (0, 0) at the upper left, (1, 1) at the lower right; default the middle, as classifiers are used.
        """
        if self.channels not in (1, 3):
            raise PixelsError(
                f"a photo does not become {self.channels} channels",
                expected="1 (grey) or 3 (red, green, blue)",
                remedy="give prepared pixels as a float tensor",
            )
        prepared = [self._one(open_photo(photo), corner) for photo in photos]
        return Pixels.of(torch.stack([values for values, _ in prepared]), [geometry for _, geometry in prepared], self)

    def pictures(self, pixels: Tensor) -> Tensor:
        """Prepared pixels → uint8 (B, H, W, 3) as a person sees them; of other than three channels the first."""
        plain = pixels.detach().float().cpu()
        shift, scale = torch.tensor(self.mean).view(1, -1, 1, 1), torch.tensor(self.std).view(1, -1, 1, 1)
        visible = torch.addcmul(255 * shift, plain, 255 * scale).nan_to_num_(0).clamp_(0, 255).round_().to(torch.uint8)
        visible = visible if visible.shape[1] == 3 else visible[:, :1].expand(-1, 3, -1, -1)
        return visible.permute(0, 2, 3, 1).contiguous()

    def check_range(self, pixels: Tensor) -> None:
        """Refuse pictures (B, channels, H, W) that cannot have been prepared so: of values far beyond colours', or raw.

        Raises:
            PixelsError: the first such picture.
        """
        both = [*zip(self.mean, self.std, strict=True)]
        largest = max(max(abs(mean), abs(1 - mean)) / std for mean, std in both)
        scaled = any(mean != 0 or std != 1 for mean, std in both)
        for picture in pixels.detach():
            finite = picture[picture.isfinite()]
            if finite.numel() == 0:
                continue
            low, high = float(finite.min()), float(finite.max())
            if high > 8 * largest or low < -8 * largest or (scaled and 0 <= low < high <= 1):
                raise PixelsError(
                    "these pixels cannot have been prepared for this classifier",
                    came=f"values from {low:.3g} to {high:.3g}",
                    expected=f"(colour − {self.mean}) / {self.std}, colours in [0, 1]",
                    remedy="classifier.prepare(photos) does it; or subtract mean and divide by std yourself",
                )

    def to_dict(self) -> dict[str, Any]:
        """JSON values that `Preparation(**…)` takes back."""
        return asdict(self)

    def _one(self, photo: Image.Image, corner: tuple[float, float] | None) -> tuple[Tensor, Geometry]:
        resized, geometry = self._fitted(photo, corner)
        colours = np.asarray(resized if self.channels == 3 else resized.convert("L"), dtype=np.float32) / 255
        values = torch.from_numpy(colours.reshape(*self.frame, -1)).permute(2, 0, 1)
        mean, std = torch.tensor(self.mean).view(-1, 1, 1), torch.tensor(self.std).view(-1, 1, 1)
        return (values - mean) / std, geometry

    def _fitted(self, photo: Image.Image, corner: tuple[float, float] | None) -> tuple[Image.Image, Geometry]:
        """The photo scaled, and the frame cut out of it, or laid over its middle where the photo is smaller."""
        height, width = self.frame
        wide, high = self._scaled(photo.width, photo.height)
        if wide * high > MOST_PIXELS:
            raise PhotoError(
                "the photo is too long and thin to be scaled to the frame",
                came=f"{photo.width}×{photo.height}, scaled {wide}×{high}",
                expected=f"at most {MOST_PIXELS:,} pixels",
                remedy='cut it, or prepare with fit="squash" or "pad"',
            )
        down, across = (None, None) if corner is None else corner
        left, top = _start(wide, width, across), _start(high, height, down)
        scaled = photo.resize((wide, high), Image.Resampling[self.interpolation.upper()])
        if self.fit == "pad":
            bars = tuple(round(255 * value) for value in self.mean * (3 // self.channels))  # grey: one value for all
            framed = Image.new("RGB", (width, height), bars)
            framed.paste(scaled, (-left, -top))
        else:
            framed = scaled.crop((left, top, left + width, top + height))
        wider, higher = photo.width / wide, photo.height / high
        box = (left * wider, top * higher, (left + width) * wider, (top + height) * higher)
        return framed, Geometry((photo.height, photo.width), (height, width), box)

    def _scaled(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the whole photo after scaling, rounded as torchvision and timm round it."""
        target_height, target_width = (math.floor(side / self.crop) for side in self.frame)
        if self.fit == "squash":
            return target_width, target_height
        if self.fit == "crop" and target_width == target_height:
            shorter = min(width, height)
            return int(target_width * width / shorter), int(target_height * height / shorter)
        choose = min if self.fit == "crop" else max
        ratio = choose(width / target_width, height / target_height)
        return max(1, round(width / ratio)), max(1, round(height / ratio))


def _start(scaled: int, frame: int, share: float | None) -> int:
    """Where the frame begins on the scaled photo: at a share of the room that it leaves, or else in the middle."""
    return _middle(scaled, frame) if share is None or scaled < frame else round(share * (scaled - frame))


def _middle(scaled: int, frame: int) -> int:
    """Where the frame begins on the scaled photo, rounded as torchvision cuts and timm pads; negative outside it."""
    return round((scaled - frame) / 2) if scaled >= frame else -((frame - scaled) // 2)
