"""Bytes that claim to be a photo → an upright photo, or a sentence why not. A name or a type is never believed."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from PIL import ExifTags, Image, UnidentifiedImageError

from regard.errors import PhotoError
from regard.images import open_photo

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
TURNED = (5, 6, 7, 8)
"""EXIF orientations in which height and width are exchanged."""


def upright(file: bytes, most_pixels: int | None = None) -> Image.Image:
    """Decode to the end, as upright RGB, what is a photo of at most so many pixels.

    Raises:
        PhotoError: empty, of another format, damaged, or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # sizes are looked at below
            image = Image.open(io.BytesIO(file), formats=FORMATS)
    except Image.DecompressionBombError:
        raise _too_large("more than Pillow opens", most_pixels) from None
    except UnidentifiedImageError:
        raise PhotoError(
            "this file holds no photo that can be read, whatever its name says",
            came=f"a file that begins with {file[:12]!r}" if file else "an empty file",
            expected=f"one of {', '.join(FORMATS)}",
            remedy="open and save it as JPEG or PNG with an image program",
        ) from None
    except Exception as reason:  # decoders fail in ways of their own on files made to break them
        raise _damaged(reason) from None
    if most_pixels is not None and image.width * image.height > most_pixels:
        raise _too_large(f"{image.width}×{image.height}", most_pixels)
    try:
        return open_photo(image)
    except PhotoError as reason:
        raise PhotoError(
            reason.problem.replace("the PIL image", "the photo"), came=reason.came, remedy=reason.remedy
        ) from None
    except Exception as reason:  # likewise
        raise _damaged(reason) from None


def upright_size(path: Path) -> tuple[int, int]:
    """(width, height) of a file's upright photo, from its first bytes alone.

    Raises:
        PhotoError: it is no photo.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) in TURNED
            return (image.height, image.width) if turned else image.size
    except Exception as reason:  # likewise
        raise _damaged(reason) from None


def _damaged(reason: Exception) -> PhotoError:
    return PhotoError(
        "the photo is damaged: its pixels cannot be decoded", came=type(reason).__name__, remedy="export the file again"
    )


def _too_large(came: str, most: int | None) -> PhotoError:
    expected = None if most is None else f"at most {most / 1e6:.0f} million"
    return PhotoError(
        "the photo has too many pixels",
        came=came,
        expected=expected,
        remedy="scale it down first; a classifier sees a few hundred pixels a side",
    )
