"""Bytes that claim to be a photo → an upright photo, or a sentence why not. A name or a type is never believed."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, JpegImagePlugin, UnidentifiedImageError

from regard.errors import PhotoError
from regard.images import open_photo

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
TURNED = (5, 6, 7, 8)
"""EXIF orientations in which height and width are exchanged."""
MOST_SCANS = 40
"""Of a progressive JPEG, whose every scan goes over all pixels; programs write about 10."""
MARKER = re.compile(rb"\xff+([^\x00\x01\xff\xd0-\xd8])", re.DOTALL)
"""Of a JPEG: the next segment, past coded pixels."""
SCAN, END, NOTES = b"\xda", b"\xd9", re.compile(rb"[\xe1-\xed\xef\xfe]")
"""Segments: the pixels once over, the end, and what stands beside pixels (EXIF, previews, comments)."""


def upright(file: bytes, most_pixels: int | None = None) -> Image.Image:
    """Decode to the end, as upright RGB, what is a photo of at most so many pixels.

    Raises:
        PhotoError: empty, of another format, damaged, too large, or made to be slow.
    """
    return _decoded(_opened(file, most_pixels))


def plain_copy(file: bytes, most_pixels: int, most_bytes: int) -> tuple[bytes, tuple[int, int]]:
    """A photo without what stands beside its pixels, but for which way is up; and its upright (width, height).

    A JPEG's own coded pixels are kept; others are written as PNG, or as JPEG where that took more than so many bytes.

    Raises:
        PhotoError: as from `upright`.
    """
    opened = _opened(file, most_pixels)
    if isinstance(opened, JpegImagePlugin.JpegImageFile):
        copy = without_notes(file, opened.getexif().get(ExifTags.Base.Orientation, 1))
        return copy, upright(copy, most_pixels).size
    image = _decoded(opened)
    image.info.clear()
    copy = _encoded(image, "PNG", compress_level=1)
    return copy if len(copy) <= most_bytes else _encoded(image, "JPEG", quality=95, subsampling=0), image.size


def segments(file: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Of a JPEG, as a decoder meets them: the kind of each segment, and where it, or its head, begins and ends."""
    place = 0
    while found := MARKER.search(file, place):
        place = found.end()
        if found[1] != END:
            place += int.from_bytes(file[place : place + 2])
        yield found[1], found.start(), place
        if found[1] == END:
            return


def scans(file: bytes) -> int:
    """How often a JPEG goes over its pixels."""
    return sum(kind == SCAN for kind, _, _ in segments(file))


def without_notes(file: bytes, turned: object) -> bytes:
    """A JPEG up to its end without notes, but for the EXIF orientation."""
    exif = Image.Exif()
    if turned in range(2, 9):
        exif[ExifTags.Base.Orientation] = turned
    note = exif.tobytes() if exif else b""
    kept, place = [file[:2], b"\xff\xe1" + (len(note) + 2).to_bytes(2) + note if note else b""], 2
    for kind, start, end in segments(file):
        if NOTES.fullmatch(kind):
            kept.append(file[place:start])
            place = end
        elif kind == END:
            return b"".join([*kept, file[place:end]])
    return b"".join([*kept, file[place:]])


def _opened(file: bytes, most_pixels: int | None) -> Image.Image:
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
    if isinstance(image, JpegImagePlugin.JpegImageFile) and (count := scans(file)) > MOST_SCANS:
        raise PhotoError(
            "this photo is a JPEG written in a way that takes very long to decode",
            came=f"{count} scans",
            expected=f"at most {MOST_SCANS}",
            remedy="open and save it with an image program",
        )
    return image


def _decoded(image: Image.Image) -> Image.Image:
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


def _encoded(image: Image.Image, kind: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    try:
        image.save(file, kind, **settings)
    except Exception as reason:  # tables that no encoder takes
        raise _damaged(reason) from None
    return file.getvalue()


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
