"""A photo on which maps are judged, and what is known about it."""

from __future__ import annotations

import hashlib
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image
from torch import Tensor

from regard.evaluate.boxes import Box
from regard.evaluate.masks import Outline, read_mask
from regard.labels import Subject, class_index, classes_called


@dataclass(frozen=True)
class KnownPhoto:
    """A photo and what is known about it. Boxes and masks are of the upright photo, as `images.open_photo` gives it.

    Attributes:
        path: of the photo.
        label: its class, by name or by index, as given; `class_of` finds it in a classifier. None where nobody says.
        boxes: where the object is: (x1, y1, x2, y2) in pixels of the photo, its left upper corner at (0, 0); x2 and y2
            lie behind the last pixel.
        mask: the same by pixel: a mask's file, or outlines.
    """

    path: Path
    label: str | int | None = None
    boxes: tuple[Box, ...] = ()
    mask: Path | Outline | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of what is known of it: label, boxes, and the mask's file or outlines; not of the photo itself."""
        known = hashlib.sha256(repr((self.label, self.boxes)).encode(errors="backslashreplace"))
        if isinstance(self.mask, Path):
            known.update(self.mask.read_bytes() if self.mask.is_file() else b"no file")
        else:
            known.update(repr(self.mask).encode())
        return known.hexdigest()

    def region(self, size: tuple[int, int]) -> Tensor | None:
        """The mask, bool (height, width), True inside; None where there is none. Read or drawn anew each time.

        Args:
            size: (height, width) of the upright photo: `geometry.photo`.

        Raises:
            PhotoError: the mask's file cannot be read, or the mask has another size.
        """
        if isinstance(self.mask, Outline):
            return self.mask.drawn(size)
        return None if self.mask is None else read_mask(self.mask, size)


def class_of(label: str | int | None, subject: Subject) -> int | None:
    """The index of the class that a photo's label names; None where it names none, or more than one.

    A name is sought as `labels.class_index` does; a text that is a whole number and no name counts as an index.

    Raises:
        TargetError: an index that the classifier does not have, or a classifier without a head.
    """
    if label is None:
        return None
    called = classes_called(label, subject) if isinstance(label, str) else []
    if called:
        return called[0] if len(called) == 1 else None
    if isinstance(label, str) and not re.fullmatch("[0-9]+", label):
        return None
    return class_index(int(label), subject)


def upright_size(photo: Path) -> tuple[int, int] | None:
    """(height, width) of a photo as it is shown, from its first bytes alone; None where they cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(photo) as image:
                width, height = image.size
                lies = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
                told_upright = image.format == "TIFF"  # Pillow turns the sizes of these itself
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return (width, height) if lies and not told_upright else (height, width)
