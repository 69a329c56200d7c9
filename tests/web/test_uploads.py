"""What is kept of a photo, and what is not even decoded."""

import io

import numpy as np
import pytest
from PIL import Image

from regard.errors import PhotoError
from regard.images import open_photo
from regard.web import uploads
from regard.web.uploads import plain_copy, scans, upright

from .conftest import file_of, picture

SCAN, END = b"\xff\xda", b"\xff\xd9"


def smooth(size=(90, 70), mode="RGB"):
    return picture(5, (9, 7)).resize(size, Image.Resampling.BICUBIC).convert(mode)


def jpeg(image, **settings):
    file = io.BytesIO()
    image.save(file, "JPEG", **settings)
    return file.getvalue()


def many_scans(count):
    """A progressive JPEG whose last scan comes again and again."""
    file = jpeg(smooth(), progressive=True)
    last = file.rindex(SCAN)
    return file[:-2] + file[last:-2] * count + END


def decoded(file):
    return np.asarray(open_photo(Image.open(io.BytesIO(file)))).astype(int)


def test_scans_are_counted_as_a_decoder_meets_them():
    plain, progressive = jpeg(smooth()), jpeg(smooth(), progressive=True)
    assert (scans(plain), scans(progressive)) == (1, progressive.count(SCAN))
    assert scans(many_scans(300)) == scans(progressive) + 300
    hidden = plain[:2] + b"\xff\xfe\x07\xd2" + SCAN * 1000 + plain[2:]  # in a comment of 2000 bytes
    assert scans(hidden) == 1
    assert scans(plain + SCAN * 500) == 1  # behind the end, as a film behind a photo
    assert scans(b"\xff" * 1000) == scans(b"") == 0


def test_a_photo_made_to_be_slow_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(uploads, "open_photo", lambda _: pytest.fail("it was decoded"))
    with pytest.raises(PhotoError, match="very long to decode") as refusal:
        upright(many_scans(120))
    assert refusal.value.remedy == "open and save it with an image program"


def test_usual_progressive_photos_are_taken():
    assert upright(jpeg(smooth(), progressive=True)).size == (90, 70)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "WEBP"])
def test_the_copy_has_the_pixels_of_the_photo(kind):
    file = file_of(smooth(), kind)
    copy, size = plain_copy(file, 10**6, 10**6)
    assert size == (90, 70)
    assert np.array_equal(decoded(copy), decoded(file))


@pytest.mark.parametrize("settings", [{}, {"progressive": True}, {"subsampling": 0}], ids=["plain", "scans", "4:4:4"])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("turned", range(9))
def test_the_copy_of_a_jpeg_has_its_very_pixels_and_no_place(mode, settings, turned):
    image = smooth(mode=mode)
    exif = image.getexif()
    if turned:
        exif[0x0112] = turned
    exif.get_ifd(0x8825)[2] = (48.0, 12.0, 34.5)
    file = jpeg(image, exif=exif, comment=b"my garden", icc_profile=b"garden " * 20_000, **settings)
    copy, size = plain_copy(file + b"a film of the garden", 10**6, 10**6)
    assert np.array_equal(decoded(copy), decoded(file))
    assert size == ((70, 90) if turned >= 5 else (90, 70))
    assert b"garden" not in copy
    left = dict(Image.open(io.BytesIO(copy)).getexif())
    assert left == ({0x0112: turned} if turned > 1 else {})


def test_a_copy_that_would_be_large_is_a_jpeg():
    file = file_of(picture(1, (100, 100)), "PNG")
    copy, _ = plain_copy(file, 10**6, len(file) // 2)
    assert copy[:2] == b"\xff\xd8"
    assert np.abs(decoded(copy) - decoded(file)).mean() < 5
