"""Pictures as items: arrays in a file, or photos in folders."""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from regard.errors import FileFormatError, UnsupportedError
from regard.exams.sdc.items import Items, classes_called
from regard.images import open_photo

logger = logging.getLogger("regard")

FIRST_THREE: tuple[str | int, ...] = (0, 1, 2)


def of_arrays(path: str | Path, foreground: Sequence[str | int] = FIRST_THREE) -> tuple[Items, Items]:
    """The pictures of an npz file, such as CIFAR-10, Fashion-MNIST or MNIST: (to learn from, to be examined with).

    Args:
        path: it holds x_train and x_test, uint8 (n, height, width) or (n, height, width, 3), and y_train and y_test,
            (n,), the class of each. A file classes.json beside it names them; otherwise their numbers do.
        foreground: the classes that decide, by name or number; all others are background. Default: the first three,
            which for CIFAR-10 are those of the paper.

    Raises:
        FileFormatError: it is no such file.
        UnsupportedError: no such class, or one without pictures.
    """
    arrays = _read(Path(path))
    names = _class_names(
        Path(path).with_name("classes.json"), int(max(arrays["y_train"].max(), arrays["y_test"].max()))
    )
    chosen = classes_called(foreground, names)
    one, other = (_items(arrays[f"x_{part}"], arrays[f"y_{part}"], names, chosen) for part in ("train", "test"))
    return one, _without(other, one)


def of_photos(
    path: str | Path,
    foreground: Sequence[str | int] = FIRST_THREE,
    size: int = 32,
    held_out: float = 0.25,
    seed: int = 0,
) -> tuple[Items, Items]:
    """Photos in folders of their classes, or of a CSV (`regard.training.read_labelled`), at one size.

    Each photo is scaled and cut at its longer ends to a square of `size` pixels. Where the source has no train and val
    (or test), a share of every class is held out, by the content of the photos.

    Args:
        path: of the folder or CSV.
        foreground: the classes that decide, by name or number in the order of their names; all others are background.
        size: of a segment, in pixels.
        held_out: share of the photos of each class.
        seed: another one, other photos held out.

    Raises:
        PhotoError: there are none, or one cannot be read.
        ClassifierError: no such share, or too few photos to hold some out.
        UnsupportedError: no such class, or one without photos in a part.
    """
    from regard.training.embeddings import fingerprint  # here, since training brings what no other task needs
    from regard.training.labelled import read_labelled
    from regard.training.split import check_share, held_out_marks

    if type(size) is not int or size < 1:
        raise UnsupportedError("a size is a number of pixels", came=repr(size))
    check_share(held_out)
    found = read_labelled(path)
    labels = [str(label) for label in found.labels]
    names = tuple(sorted({*labels}))
    chosen = classes_called(foreground, names)
    apart = found.held_out
    if apart is None:
        marks = [fingerprint(photo) for photo in found.photos]
        apart = tuple(held_out_marks(marks, labels, held_out, f"held out {seed}"))
    pictures = np.stack([_square(open_photo(photo), size) for photo in found.photos])
    classes = np.array([names.index(label) for label in labels])
    tested = np.array(apart)
    one, other = (_items(pictures[part], classes[part], names, chosen) for part in (~tested, tested))
    return one, _without(other, one)


def _read(path: Path) -> dict[str, np.ndarray]:
    expected = "x_train, y_train, x_test, y_test: uint8 pictures (n, height, width[, 3]) and a class number each"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("x_train", "y_train", "x_test", "y_test")}
    except (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as reason:
        raise FileFormatError(
            f"cannot read pictures from {str(path)!r}", came=str(reason), expected=expected
        ) from reason
    for part in ("train", "test"):
        pictures, classes = arrays[f"x_{part}"], arrays[f"y_{part}"]
        pixels = pictures.dtype == np.uint8 and (pictures.ndim == 3 or (pictures.ndim == 4 and pictures.shape[3] == 3))
        numbers = classes.dtype.kind in "iu" and classes.shape == pictures.shape[:1] and classes.size
        if not pixels or not numbers or int(classes.min()) < 0 or int(classes.max()) >= 2**15:
            raise FileFormatError(
                f"{str(path)!r} holds other arrays in {part}",
                came=f"{pictures.dtype} {pictures.shape} and {classes.dtype} {classes.shape}",
                expected=expected,
            )
    return arrays


def _class_names(path: Path, largest: int) -> tuple[str, ...]:
    if not path.is_file():
        return tuple(str(number) for number in range(largest + 1))
    try:
        names = json.loads(path.read_text("utf-8"))
    except ValueError as reason:
        raise FileFormatError(f"cannot read {str(path)!r}", came=str(reason)) from reason
    if not isinstance(names, list) or len(names) <= largest or not all(isinstance(name, str) for name in names):
        raise FileFormatError(
            f"{str(path)!r} does not name the classes", expected=f"a list of {largest + 1} or more names"
        )
    return tuple(names)


def _items(pictures: np.ndarray, classes: np.ndarray, names: tuple[str, ...], chosen: tuple[int, ...]) -> Items:
    coloured = np.moveaxis(pictures, 3, 1) if pictures.ndim == 4 else pictures[:, None]
    values = torch.from_numpy(np.ascontiguousarray(coloured))
    return Items(values, torch.from_numpy(classes.astype(np.int16)), names, chosen)


def _square(image: Image.Image, size: int) -> np.ndarray:
    return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC))


def _without(items: Items, others: Items) -> Items:
    """The items but those whose pixels also occur in others: a picture twice in a source would be a leak."""
    known = {*_digests(others.values)}
    new = torch.tensor([digest not in known for digest in _digests(items.values)])
    if bool(new.all()):
        return items
    logger.warning("%d pictures to be examined with are also learnt from, and left out", int((~new).sum()))
    return replace(items, values=items.values[new], classes=items.classes[new])


def _digests(values: Tensor) -> list[bytes]:
    return [hashlib.blake2b(value.data, digest_size=16).digest() for value in values.numpy()]
