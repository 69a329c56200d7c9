"""What is known about a photo, and which class of a classifier that is."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from regard.errors import PhotoError, TargetError
from regard.evaluate.known_photo import KnownPhoto, class_of, upright_size
from regard.evaluate.masks import Outline
from regard.images import open_photo

from .files import SIZE, write_mask, write_photo


@dataclass(frozen=True)
class Subject:
    labels: tuple[str, ...] | None = ("tabby, tabby cat", "dog", "crane", "crane", "7")
    class_count: int | None = 5
    outputs: str = "softmax"
    hash: str = ""
    width: int | None = None


@pytest.mark.parametrize(
    ("label", "index"),
    [
        ("Dog", 1),
        ("tabby cat", 0),
        ("3", 3),
        ("7", 4),
        (2, 2),
        (None, None),
        ("cow", None),
        ("crane", None),
        ("-1", None),
    ],
)
def test_a_label_names_one_class_or_none(label, index):
    assert class_of(label, Subject()) == index


def test_an_index_that_a_classifier_does_not_have_is_refused():
    for label in (5, "5", -1):
        with pytest.raises(TargetError, match="no such class"):
            class_of(label, Subject())
    with pytest.raises(TargetError, match="no head"):
        class_of(1, Subject(None, None))
    assert class_of("1", Subject(None)) == 1
    assert class_of("dog", Subject(None)) is None


def test_a_mask_is_read_when_it_is_needed(tmp_path):
    photo = KnownPhoto(write_photo(tmp_path / "a.jpg"), mask=tmp_path / "a.png")
    with pytest.raises(PhotoError, match="cannot be read"):
        photo.region(SIZE)
    write_mask(tmp_path / "a.png", (slice(1, 3), slice(2, 5)))
    expected = torch.zeros(SIZE, dtype=torch.bool)
    expected[1:3, 2:5] = True
    assert photo.region(SIZE).equal(expected)
    assert KnownPhoto(photo.path).region(SIZE) is None


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_photo_as_it_is_opened(orientation, form, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.zeros((12, 16, 3), np.uint8)).save(tmp_path / "photo", form, exif=exif)
    assert upright_size(tmp_path / "photo") == open_photo(tmp_path / "photo").size[::-1]


@pytest.mark.parametrize("content", [b"", b"no photo", b"\x89PNG\r\n\x1a\n"])
def test_a_size_that_cannot_be_read_is_none(content, tmp_path):
    (tmp_path / "photo").write_bytes(content)
    assert upright_size(tmp_path / "photo") is None
    assert upright_size(tmp_path / "nowhere") is None


def test_the_digest_tells_labels_boxes_outlines_and_the_contents_of_masks_apart(tmp_path):
    path, mask, twin = tmp_path / "a.jpg", tmp_path / "a.png", tmp_path / "b.png"
    write_mask(mask, (slice(1, 3), slice(2, 5)))
    write_mask(twin, (slice(1, 3), slice(2, 5)))
    known = [
        KnownPhoto(path),
        KnownPhoto(path, "1"),
        KnownPhoto(path, 1),
        KnownPhoto(path, boxes=((0.0, 0.0, 4.0, 4.0),)),
        KnownPhoto(path, boxes=((0.0, 0.0, 4.0, 4.5),)),
        KnownPhoto(path, mask=mask),
        KnownPhoto(path, mask=tmp_path / "nowhere.png"),
        KnownPhoto(path, mask=Outline(SIZE, polygons=((0.0, 0.0, 4.0, 0.0, 4.0, 4.0),))),
        KnownPhoto(path, mask=Outline(SIZE, polygons=((0.0, 0.0, 4.0, 0.0, 4.0, 5.0),))),
    ]
    assert len({photo.digest for photo in known}) == len(known)
    assert KnownPhoto(path, mask=twin).digest == KnownPhoto(path, mask=mask).digest
    before = KnownPhoto(path, mask=mask).digest
    write_mask(mask, (slice(1, 3), slice(2, 6)))
    assert KnownPhoto(path, mask=mask).digest != before
    assert KnownPhoto(path, "\udcff").digest
