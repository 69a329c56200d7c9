"""Small photos, masks and tables on disk."""

import numpy as np
from PIL import Image

SIZE = (12, 16)
"""(height, width)."""


def write_photo(path, size=SIZE, orientation=None):
    """A photo of one grey; `size` is that of the stored picture, before EXIF turns it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.full((*size, 3), 90, np.uint8))
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path


def write_mask(path, inside):
    """A mask with a white rectangle: rows and columns as slices, in a picture of `SIZE`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(SIZE, np.uint8)
    mask[inside] = 255
    Image.fromarray(mask).save(path)
    return path


def write_table(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path
