"""Photos in, the geometry of their preparation, photos back.

Two coordinate frames meet here. The *photo* is the upright original, height×width pixels. The
*frame* is what the classifier receives, H×W pixels: an axis-parallel rectangle of the photo,
scaled. `Geometry` holds that rectangle, and every map, box and mask goes through it, so that
"the crop was forgotten" cannot happen in one place and not in another.
"""

from __future__ import annotations

import hashlib
import os
import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as functional
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from regard.errors import PhotoError, PixelsError

Photo = str | os.PathLike[str] | Image.Image | np.ndarray
Interpolation = Literal["nearest", "bilinear"]

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})
MOST_PIXELS = 89_000_000
"""Largest photo that is decoded, in pixels: a 267 MB RGB array. Below Pillow's own warning."""

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")


@dataclass(frozen=True)
class Geometry:
    """Where a prepared frame lies on its photo.

    Attributes:
        photo: (height, width) of the upright original in pixels.
        frame: (H, W) of the prepared pixels.
        box: (left, top, right, bottom) of the frame in photo pixels; the frame shows exactly this
            rectangle. Fractions of a pixel are kept.
    """

    photo: tuple[int, int]
    frame: tuple[int, int]
    box: tuple[float, float, float, float]

    @classmethod
    def whole(cls, size: tuple[int, int]) -> Geometry:
        """The geometry of pixels that are their own photo: nothing cropped, nothing scaled."""
        return cls(photo=size, frame=size, box=(0.0, 0.0, float(size[1]), float(size[0])))

    def corner(self, height: int, width: int) -> Geometry:
        """The geometry of the frame's upper left part: what is left of it where patches do not fill it."""
        left, top, right, bottom = self.box
        box = (left, top, left + (right - left) * width / self.frame[1], top + (bottom - top) * height / self.frame[0])
        return Geometry(self.photo, (height, width), box)

    @property
    def scale(self) -> tuple[float, float]:
        """(vertical, horizontal): frame pixels per photo pixel."""
        left, top, right, bottom = self.box
        return self.frame[0] / (bottom - top), self.frame[1] / (right - left)

    def boxes_to_frame(self, boxes: Tensor) -> Tensor:
        """Boxes (n, 4) as x1, y1, x2, y2 in photo pixels → the same in frame pixels, cut at the frame.

        A box that the crop did not reach comes back with no area.
        """
        boxes = boxes if boxes.is_floating_point() else boxes.float()
        vertical, horizontal = self.scale
        left, top, _, _ = self.box
        shift = boxes.new_tensor([left, top, left, top])
        scale = boxes.new_tensor([horizontal, vertical, horizontal, vertical])
        height, width = self.frame
        return torch.minimum(((boxes - shift) * scale).clamp(min=0), boxes.new_tensor([width, height, width, height]))

    def mask_to_frame(self, mask: Tensor) -> Tensor:
        """A boolean mask (height, width) of the photo → (H, W) of the frame, by the nearest pixel; False beside it."""
        if tuple(mask.shape) != self.photo:
            raise PixelsError(
                "the mask does not have the size of its photo", came=f"{tuple(mask.shape)}", expected=f"{self.photo}"
            )
        vertical, horizontal = self.scale
        left, top, _, _ = self.box
        rows = torch.floor(top + (torch.arange(self.frame[0], dtype=torch.float64) + 0.5) / vertical).long()
        columns = torch.floor(left + (torch.arange(self.frame[1], dtype=torch.float64) + 0.5) / horizontal).long()
        there = [(places >= 0) & (places < side) for places, side in zip((rows, columns), self.photo, strict=True)]
        rows, columns = rows.clamp(0, self.photo[0] - 1), columns.clamp(0, self.photo[1] - 1)
        on_photo = (there[0][:, None] & there[1]).to(mask.device)
        return mask[rows.to(mask.device)][:, columns.to(mask.device)] & on_photo

    def maps_to_photo(
        self, maps: Tensor, size: tuple[int, int] | None = None, mode: Interpolation = "bilinear"
    ) -> Tensor:
        """Maps (T, h, w) over the frame → (T, height, width) over the photo, NaN where the frame did not reach.

        Each photo pixel reads the map at its own centre; `size` draws the photo at another
        (height, width) than its own. Bilinear reads between the centres of the map's cells and
        holds the outermost cell's value up to the frame's edge.
        """
        height, width = size or self.photo
        left, top, right, bottom = self.box
        across = (torch.arange(width, dtype=torch.float64) + 0.5) * (self.photo[1] / width)
        down = (torch.arange(height, dtype=torch.float64) + 0.5) * (self.photo[0] / height)
        across, down = (across - left) / (right - left), (down - top) / (bottom - top)
        y, x = torch.meshgrid(down * 2 - 1, across * 2 - 1, indexing="ij")
        places = torch.stack([x, y], dim=-1).to(maps.device, maps.dtype)[None]
        on_photo = functional.grid_sample(maps[None], places, mode=mode, padding_mode="border", align_corners=False)[0]
        outside = ((y.abs() > 1) | (x.abs() > 1)).to(maps.device)
        return on_photo.masked_fill(outside, float("nan"))


class Pixels(Tensor):
    """Prepared pixels, float32 (B, 3, H, W), that remember the geometry of each photo.

    A tensor in every respect; what is computed from it is a plain tensor. Slicing and indexing
    images (`pixels[2:5]`, `pixels[[0, 3]]`) and moving to a device keep the geometry.
    """

    geometries: tuple[Geometry, ...]
    prepared_by: object
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # as torch's own subclasses do

    @staticmethod
    def of(values: Tensor, geometries: Sequence[Geometry], prepared_by: object = None) -> Pixels:
        """Join prepared values (B, 3, H, W), their geometries, and the preparation that they went through."""
        pixels = values.as_subclass(Pixels)
        pixels.geometries, pixels.prepared_by = tuple(geometries), prepared_by
        return pixels

    def __getitem__(self, index: Any) -> Tensor:
        values = super().__getitem__(index).as_subclass(Tensor)
        images = _images_taken(index, len(self.geometries))
        if images is None:
            return values
        return Pixels.of(values, [self.geometries[image] for image in images], self.prepared_by)

    def __deepcopy__(self, _: object) -> Pixels:
        return Pixels.of(self.as_subclass(Tensor).clone(), self.geometries, self.prepared_by)

    def to(self, *arguments: Any, **settings: Any) -> Pixels:
        return Pixels.of(super().to(*arguments, **settings).as_subclass(Tensor), self.geometries, self.prepared_by)


def _images_taken(index: Any, images: int) -> list[int] | None:
    """The images that an index along the first axis takes; None where it takes something else."""
    if isinstance(index, slice):
        return list(range(images))[index]
    if isinstance(index, (list, np.ndarray, Tensor)):
        numbers = torch.as_tensor(index if len(index) else [0][:0], device="cpu")
        if numbers.dim() == 1 and (not numbers.dtype.is_floating_point or len(numbers) == 0):
            chosen: list[int] = torch.arange(images)[numbers if len(numbers) else []].tolist()
            return chosen
    return None


def open_photo(photo: Photo) -> Image.Image:
    """Read a photo as upright 8-bit RGB.

    Paths are decoded by their content, whatever their suffix; the first frame of several counts;
    EXIF rotation is applied; transparency is laid over white; 16-bit grey is scaled to 8 bit.

    Args:
        photo: a path, a PIL image, or a uint8 array (height, width), (height, width, 3) or
            (height, width, 4).

    Raises:
        PhotoError: missing, truncated, disguised, too large (`MOST_PIXELS`), or no photo at all.
    """
    if isinstance(photo, (str, os.PathLike)):
        with _opened(Path(photo)) as image:
            return _upright_rgb(image, str(photo))
    if isinstance(photo, Image.Image):
        return _upright_rgb(photo, "the PIL image")
    if isinstance(photo, np.ndarray):
        return _upright_rgb(_image_of_array(photo), "the array")
    raise PhotoError(
        "this is not a photo",
        came=_describe(photo),
        expected="a path, a PIL image, or a uint8 array (height, width, 3)",
        remedy="float tensors (B, 3, H, W) count as prepared pixels; give them alone, not in a list",
    )


def _opened(path: Path) -> Image.Image:
    if not is_file(path):
        raise PhotoError(f"there is no file {str(path)!r}", remedy="check the path; folders are for the command line")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(path, formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(str(path), "more than Pillow opens") from None
    except UnidentifiedImageError:
        raise PhotoError(
            f"{str(path)!r} holds no photo that can be read, whatever its name says",
            came=_first_bytes(path),
            expected=f"one of {', '.join(_FORMATS)}",
            remedy="open and save it as JPEG or PNG with an image program",
        ) from None
    except (OSError, SyntaxError, ValueError, EOFError) as reason:
        raise PhotoError(f"cannot read {str(path)!r} as a photo", came=str(reason)) from reason


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise _too_large(name, f"{width}×{height}")
    if width == 0 or height == 0:
        raise PhotoError(f"{name} is empty", came=f"{width}×{height} pixels")
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as reason:
        raise PhotoError(
            f"{name!r} is damaged: its pixels cannot be decoded to the end",
            came=str(reason),
            remedy="fetch or export the file again",
        ) from reason
    return _rgb(upright, name)


def _rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "F"):
        return Image.fromarray(_eight_bit(np.asarray(image), name)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _eight_bit(values: np.ndarray, name: str) -> np.ndarray:
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise PhotoError(
            f"{name!r} holds measurements, not a photo",
            came=f"{values.dtype} from {values.min():g} to {values.max():g}",
            expected="8- or 16-bit whole numbers",
            remedy="choose how its values become grey, save that as PNG, and give the PNG",
        )
    return np.round(values.astype(np.float64) / 257).astype(np.uint8)


def _image_of_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise PhotoError(
            "an array counts as a photo only as uint8 (height, width), (height, width, 3) or (height, width, 4)",
            came=_describe(array),
            remedy="scale to 0…255 and convert to uint8, colours last; or give prepared pixels as a float tensor",
        )
    return Image.fromarray(array)


def _too_large(name: str, size: str) -> PhotoError:
    return PhotoError(
        f"{name!r} is too large to be decoded safely",
        came=f"{size} pixels",
        expected=f"at most {MOST_PIXELS:,} pixels",
        remedy="scale it down first; a classifier sees a few hundred pixels a side",
    )


def is_file(path: Path) -> bool:
    """Whether a file stands there; a name too long to be one, or a folder that may not be read, is no file."""
    try:
        return path.is_file()
    except OSError:
        return False


def _first_bytes(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(16)
    return f"a file that begins with {start!r}" if start else "an empty file"


def _describe(value: object) -> str:
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    return f"{type(value).__name__} of {dtype} {tuple(shape)}" if shape is not None else repr(value)[:80]


def seed_of(pixels: Tensor, seed: int) -> int:
    """A 63-bit seed of one image's pixels (3, H, W) and `seed`.

    Draws that use it belong to the picture: they do not depend on its batch mates, its place in
    the batch, or who computes it. Inside `drawn_as` they are those of another picture.
    """
    if stand_ins := _stand_ins.get():
        pixels = stand_ins.get(_digest(pixels), pixels)
    return int.from_bytes(_digest(pixels, seed), "little") >> 1


@contextmanager
def drawn_as(pictures: Tensor, originals: Tensor) -> Iterator[None]:
    """While the block runs, `seed_of` takes each picture (B, 3, H, W) for its original: draws stay as pictures move.

    Pictures are known by their values, so in any chunk and order; any other picture has its own draws.
    """
    known = {_digest(picture): original for picture, original in zip(pictures, originals, strict=True)}
    token = _stand_ins.set({**_stand_ins.get(), **known})
    try:
        yield
    finally:
        _stand_ins.reset(token)


_stand_ins: ContextVar[Mapping[bytes, Tensor]] = ContextVar("regard_stand_ins", default=MappingProxyType({}))


def _digest(pixels: Tensor, seed: int = 0) -> bytes:
    """Eight bytes of one image's values (3, H, W), salted."""
    digest = hashlib.blake2b(digest_size=8, salt=seed.to_bytes(16, "little", signed=True))
    digest.update(pixels.detach().to("cpu", torch.float32).contiguous().numpy().data)
    return digest.digest()
