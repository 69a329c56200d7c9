import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from regard.errors import PhotoError
from regard.images import MOST_PIXELS, open_photo

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8))


def encoded(image, form, **settings):
    file = io.BytesIO()
    image.save(file, form, **settings)
    return file.getvalue()


def png_that_claims(width, height):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.fixture
def opened(tmp_path):
    def save_and_open(image, form="PNG", **settings):
        path = tmp_path / "photo.jpg"
        path.write_bytes(image if isinstance(image, bytes) else encoded(image, form, **settings))
        return open_photo(path)

    return save_and_open


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_set_upright(orientation, opened):
    how_it_was_held = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation → what the upright photo went through
    stored = NOISE.transpose(Image.Transpose(how_it_was_held[orientation])) if orientation > 1 else NOISE
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(opened(stored, exif=exif), NOISE)


@pytest.mark.parametrize("form", ["PNG", "BMP", "PPM", "TIFF", "GIF", "WEBP"])
def test_a_photo_is_read_by_its_content_whatever_its_suffix(form, opened):
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    settings = {"lossless": True} if form == "WEBP" else {}
    assert np.array_equal(opened(grey.convert("RGB"), form, **settings), grey.convert("RGB"))


def test_grey_becomes_three_equal_channels(opened):
    photo = np.asarray(opened(NOISE.convert("L")))
    assert photo.shape == (24, 32, 3)
    assert (photo == np.asarray(NOISE.convert("L"))[..., None]).all()


@pytest.mark.parametrize(
    ("mode", "colour", "on_white"),
    [
        ("RGBA", (255, 0, 0, 255), (255, 0, 0)),
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (255, 0, 0, 51), (255, 204, 204)),
        ("LA", (0, 0), (255, 255, 255)),
        ("LA", (0, 102), (153, 153, 153)),
    ],
)
def test_transparency_is_laid_over_white(mode, colour, on_white, opened):
    assert opened(Image.new(mode, (2, 2), colour)).getpixel((1, 1)) == on_white


def test_a_transparent_palette_colour_becomes_white_and_the_others_stay(opened):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putpixel((1, 0), 1)
    photo = opened(image, transparency=0)
    assert [photo.getpixel((0, 0)), photo.getpixel((1, 0))] == [(255, 255, 255), (200, 100, 0)]
    assert opened(image).getpixel((0, 0)) == (10, 20, 30)


def test_a_palette_that_holds_transparency_itself_is_laid_over_white_too():
    image = Image.new("P", (1, 1))
    image.putpalette([10, 20, 30, 0], "RGBA")
    assert open_photo(image).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bit_grey_is_scaled_to_eight(opened):
    values = np.array([[0, 128, 129, 257, 25700, 65535]], dtype=np.uint16)
    assert np.asarray(opened(Image.fromarray(values)))[0, :, 1].tolist() == [0, 0, 1, 1, 100, 255]


@pytest.mark.parametrize("values", [np.full((3, 3), 0.5, np.float32), np.full((3, 3), 70000, np.int32)])
def test_measurements_are_no_photo(values, opened):
    with pytest.raises(PhotoError, match="measurements"):
        opened(Image.fromarray(values), "TIFF")


def test_cmyk_becomes_rgb(opened):
    photo = np.asarray(opened(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)).astype(int)
    assert np.abs(photo - [255, 0, 0]).max() <= 6


def test_the_first_frame_of_an_animation_counts(opened):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    photo = opened(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (np.asarray(photo) == [255, 0, 0]).all()


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4)])
def test_uint8_arrays_are_photos(shape):
    array = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    array = np.dstack([array[..., :3], np.full((5, 7), 255, np.uint8)]) if len(shape) == 3 and shape[2] == 4 else array
    photo = np.asarray(open_photo(array[::-1]))
    assert np.array_equal(photo, array[::-1, :, :3] if array.ndim == 3 else np.dstack([array[::-1]] * 3))


def test_a_pil_image_is_read_and_left_as_it_was():
    image = NOISE.copy()
    image.getexif()[0x0112] = 3
    assert np.array_equal(open_photo(image), np.asarray(NOISE)[::-1, ::-1])
    assert np.array_equal(image, NOISE)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((5, 7, 3), np.float32),
        np.zeros((5, 7, 3), np.int64),
        np.zeros((3, 5, 7), np.uint8),
        np.zeros((5, 7, 1), np.uint8),
        np.zeros((1, 5, 7, 3), np.uint8),
        np.zeros(5, np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_other_arrays_are_refused_with_what_to_do(array):
    with pytest.raises(PhotoError, match="colours last") as refusal:
        open_photo(array)
    assert str(array.shape) in refusal.value.came


def test_an_empty_array_is_refused():
    with pytest.raises(PhotoError, match="empty"):
        open_photo(np.zeros((0, 5, 3), np.uint8))


@pytest.mark.parametrize("thing", [torch.zeros(3, 5, 7, dtype=torch.uint8), 7, None, b"bytes", ["cat.jpg"]], ids=repr)
def test_what_is_no_photo_is_refused_with_what_is_one(thing):
    with pytest.raises(PhotoError, match="not a photo") as refusal:
        open_photo(thing)
    assert "uint8 array (height, width, 3)" in refusal.value.expected
    assert "prepared pixels" in refusal.value.remedy


@pytest.mark.filterwarnings("ignore:Truncated File Read")  # Pillow's, of a TIFF that it then refuses
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_a_truncated_photo_is_refused_and_not_half_read(form, share, opened):
    whole = encoded(NOISE, form)
    with pytest.raises(PhotoError):
        opened(whole[: int(len(whole) * share)])


def test_a_damaged_photo_says_so(opened):
    whole = encoded(NOISE, "JPEG")
    with pytest.raises(PhotoError, match="damaged") as refusal:
        opened(whole[: len(whole) * 2 // 3])
    assert "again" in refusal.value.remedy


def test_a_text_file_in_disguise_is_shown_by_its_first_bytes(opened):
    with pytest.raises(PhotoError, match="whatever its name says") as refusal:
        opened(b"<html>not found</html>")
    assert "<html>" in refusal.value.came


def test_an_empty_file_is_called_empty(opened):
    with pytest.raises(PhotoError) as refusal:
        opened(b"")
    assert refusal.value.came == "an empty file"


@pytest.mark.parametrize(
    "name", ["missing.jpg", ".", "a" * 5000, "nul\0.jpg"], ids=["missing", "folder", "long", "nul"]
)
def test_a_path_without_a_file_is_refused(name, tmp_path):
    with pytest.raises(PhotoError, match="there is no file"):
        open_photo(tmp_path / name)


@pytest.mark.parametrize("size", [(30000, 30000), (9500, 9500), (9450, 9430)], ids=str)
def test_a_decompression_bomb_is_refused_before_it_is_decoded(size, opened):
    assert size[0] * size[1] > MOST_PIXELS
    with pytest.raises(PhotoError, match="too large") as refusal:
        opened(png_that_claims(*size))
    assert f"{MOST_PIXELS:,}" in refusal.value.expected


def test_a_bomb_is_refused_also_where_pillow_s_own_guard_is_off(opened, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(PhotoError, match="too large"):
        opened(png_that_claims(30000, 30000))


WHOLE = [encoded(NOISE, form) for form in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "PPM")]


@given(st.sampled_from(WHOLE), st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8))
def test_any_damage_gives_a_photo_or_a_refusal_and_no_other_error(tmp_path_factory, whole, damage):
    content = bytearray(whole)
    for place, value in damage:
        content[int(place**3 * len(content))] = value  # ** 3: mostly the headers
    path = tmp_path_factory.mktemp("damaged") / "photo"
    path.write_bytes(content)
    with suppress(PhotoError):
        assert open_photo(path).mode == "RGB"


@pytest.mark.parametrize("header", [b"P6\n4 4\n9999999\n", b"P5\n4 4\n0\n", b"P6\n4 4\n70000\n"])
def test_a_nonsense_depth_is_refused(header, opened):
    with pytest.raises(PhotoError):
        opened(header + bytes(48))
