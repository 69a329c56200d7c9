import copy
import math
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from regard.compat import import_optional
from regard.errors import ClassifierError, PhotoError, PixelsError
from regard.images import Geometry, Pixels, drawn_as, open_photo, seed_of
from regard.models.preparation import Preparation

MIDDLE_THIRD = Geometry(photo=(100, 300), frame=(50, 50), box=(100.0, 0.0, 200.0, 100.0))


def map_on_photo_by_hand(values, geometry, size):
    """Bilinear between cell centres, read at each photo pixel's centre, one pixel at a time."""
    rows, columns = values.shape
    left, top, right, bottom = geometry.box
    result = np.full(size, np.nan)
    for i in range(size[0]):
        for j in range(size[1]):
            y, x = (i + 0.5) * geometry.photo[0] / size[0], (j + 0.5) * geometry.photo[1] / size[1]
            if not (top <= y <= bottom and left <= x <= right):
                continue
            u = min(max((y - top) / (bottom - top) * rows - 0.5, 0), rows - 1)
            v = min(max((x - left) / (right - left) * columns - 0.5, 0), columns - 1)
            u0, v0 = min(int(u), max(rows - 2, 0)), min(int(v), max(columns - 2, 0))
            u1, v1 = min(u0 + 1, rows - 1), min(v0 + 1, columns - 1)
            upper = values[u0, v0] * (1 - (v - v0)) + values[u0, v1] * (v - v0)
            lower = values[u1, v0] * (1 - (v - v0)) + values[u1, v1] * (v - v0)
            result[i, j] = upper * (1 - (u - u0)) + lower * (u - u0)
    return result


@st.composite
def geometries(draw):
    photo = draw(st.tuples(st.integers(8, 40), st.integers(8, 40)))
    frame = draw(st.tuples(st.integers(4, 24), st.integers(4, 24)))
    left, top = draw(st.floats(0, photo[1] - 5)), draw(st.floats(0, photo[0] - 5))
    right, bottom = draw(st.floats(left + 4, photo[1])), draw(st.floats(top + 4, photo[0]))
    return Geometry(photo, frame, (left, top, right, bottom))


def test_boxes_move_and_shrink_with_the_crop():
    boxes = torch.tensor([[110.0, 20.0, 150.0, 40.0], [90.0, -10.0, 120.0, 200.0]])
    assert MIDDLE_THIRD.boxes_to_frame(boxes).tolist() == [[5.0, 10.0, 25.0, 20.0], [0.0, 0.0, 10.0, 50.0]]


@pytest.mark.parametrize("box", [(0, 0, 90, 100), (210, 0, 300, 100), (0, 0, 100, 100)])
def test_a_box_that_the_crop_missed_has_no_area(box):
    left, top, right, bottom = MIDDLE_THIRD.boxes_to_frame(torch.tensor([box]).float())[0].tolist()
    assert (right - left) * (bottom - top) == 0


def test_whole_number_boxes_keep_their_fractions_in_the_frame():
    geometry = Geometry(photo=(100, 100), frame=(25, 25), box=(0.5, 0.0, 100.5, 100.0))
    assert geometry.boxes_to_frame(torch.tensor([[1, 2, 3, 5]])).tolist() == [[0.125, 0.5, 0.625, 1.25]]


def test_a_mask_is_read_at_the_centre_of_each_frame_pixel():
    mask = torch.zeros(100, 300, dtype=torch.bool)
    mask[20:40, 110:150] = True
    rows, columns = torch.nonzero(MIDDLE_THIRD.mask_to_frame(mask), as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 19, 5, 24)
    assert len(rows) == 10 * 20


def test_a_mask_of_another_size_than_the_photo_is_refused():
    with pytest.raises(PixelsError, match="size of its photo"):
        MIDDLE_THIRD.mask_to_frame(torch.zeros(300, 100, dtype=torch.bool))


def test_a_map_on_the_photo_is_nan_outside_the_crop():
    on_photo = MIDDLE_THIRD.maps_to_photo(torch.ones(2, 5, 5))
    assert on_photo.shape == (2, 100, 300)
    assert on_photo[:, :, :100].isnan().all()
    assert on_photo[:, :, 200:].isnan().all()
    assert (on_photo[:, :, 100:200] - 1).abs().max() < 1e-6


def test_nearest_gives_every_photo_pixel_the_cell_it_lies_in():
    values = torch.arange(4.0).view(1, 2, 2)
    on_photo = Geometry(photo=(6, 8), frame=(4, 4), box=(2.0, 0.0, 8.0, 6.0)).maps_to_photo(values, mode="nearest")[0]
    expected = values[0].repeat_interleave(3, 0).repeat_interleave(3, 1)
    assert on_photo[:, 2:].equal(expected)
    assert on_photo[:, :2].isnan().all()


@pytest.mark.parametrize("size", [None, (20, 60), (45, 90)])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 4), (7, 7)])
def test_bilinear_maps_equal_a_loop_over_photo_pixels(rows, columns, size):
    geometry = Geometry(photo=(30, 90), frame=(28, 28), box=(31.7, 1.25, 59.2, 29.5))
    values = torch.randn(1, rows, columns, generator=torch.Generator().manual_seed(rows))
    found = geometry.maps_to_photo(values, size)[0].numpy()
    np.testing.assert_allclose(found, map_on_photo_by_hand(values[0].numpy(), geometry, found.shape), atol=2e-5)


@given(geometries(), st.integers(0, 99))
def test_maps_on_photos_invent_no_values_and_cover_exactly_the_frame(geometry, seed):
    values = torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(seed))
    on_photo = geometry.maps_to_photo(values)[0]
    seen = ~on_photo.isnan()
    assert on_photo[seen].min() >= values.min() - 1e-5
    assert on_photo[seen].max() <= values.max() + 1e-5
    left, top, right, bottom = geometry.box
    across = sum(left <= x + 0.5 <= right for x in range(geometry.photo[1]))
    down = sum(top <= y + 0.5 <= bottom for y in range(geometry.photo[0]))
    on_a_centre = any(side % 1 == 0.5 for side in geometry.box)
    assert abs(int(seen.sum()) - across * down) <= 2 * sum(geometry.photo) * on_a_centre


@given(geometries(), st.data())
def test_a_box_and_its_mask_reach_the_same_frame_pixels(geometry, data):
    height, width = geometry.photo
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    found = geometry.mask_to_frame(mask)
    x1, y1, x2, y2 = geometry.boxes_to_frame(torch.tensor([[left, top, right, bottom]]).double())[0].tolist()
    for i in range(geometry.frame[0]):
        for j in range(geometry.frame[1]):
            if min(abs(j + 0.5 - x1), abs(j + 0.5 - x2), abs(i + 0.5 - y1), abs(i + 0.5 - y2)) > 1e-6:
                assert bool(found[i, j]) == (x1 < j + 0.5 < x2 and y1 < i + 0.5 < y2)


RECTANGLE = (400, 90, 520, 210)


@pytest.mark.parametrize("rotated", [False, True], ids=["upright", "rotated by EXIF"])
@pytest.mark.parametrize("fit", ["crop", "squash"])
def test_a_rectangle_is_found_where_its_box_and_mask_say_and_the_map_leads_back_to_it(fit, rotated, tmp_path):
    upright = Image.new("RGB", (900, 300))
    left, top, right, bottom = RECTANGLE
    ImageDraw.Draw(upright).rectangle((left, top, right - 1, bottom - 1), fill="white")
    path = tmp_path / "photo.png"
    if rotated:
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned clockwise by a quarter when shown
        upright.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    else:
        upright.save(path)
    pixels = Preparation(size=96, fit=fit, mean=(0, 0, 0), std=(1, 1, 1))([path])
    geometry = pixels.geometries[0]
    assert geometry.photo == (300, 900)

    seen = pixels[0, 0] > 0.5
    rows, columns = torch.nonzero(seen, as_tuple=True)
    where = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()
    box = geometry.boxes_to_frame(torch.tensor([RECTANGLE]).float())[0]
    assert (box - where).abs().max() <= 1

    mask = torch.zeros(300, 900, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    there = geometry.mask_to_frame(mask)
    assert (there & seen).sum() / (there | seen).sum() > 0.9

    cell = 96 // 12
    hot = torch.zeros(1, 12, 12)
    hot[0, int(where[1] + where[3]) // 2 // cell, int(where[0] + where[2]) // 2 // cell] = 1
    brightest = int(geometry.maps_to_photo(hot)[0].nan_to_num(-1).argmax())
    assert top <= brightest // 900 < bottom
    assert left <= brightest % 900 < right


def prepared(count=4):
    values = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return Pixels.of(values, [Geometry((image + 1, 9), (8, 8), (0.0, 0.0, 9.0, 1.0)) for image in range(count)])


@pytest.mark.parametrize("index", [slice(1, 3), slice(None, None, 2), [0, 3], [3, 3, 1], []], ids=str)
def test_pixels_keep_the_geometry_of_the_images_that_are_taken(index):
    pixels = prepared()
    part = pixels[index]
    chosen = list(range(4))[index] if isinstance(index, slice) else index
    assert isinstance(part, Pixels)
    assert [geometry.photo[0] - 1 for geometry in part.geometries] == chosen
    assert part.as_subclass(torch.Tensor).equal(pixels.as_subclass(torch.Tensor)[chosen])


def test_pixels_keep_their_geometry_when_moved():
    moved = prepared().to("cpu", torch.float64)
    assert (type(moved), moved.dtype, moved.geometries) == (Pixels, torch.float64, prepared().geometries)


@pytest.mark.parametrize(
    "compute",
    [
        lambda pixels: pixels * 2,
        lambda pixels: torch.cat([pixels, pixels]),
        lambda pixels: pixels[0],
        lambda pixels: pixels[:, 0],
        lambda pixels: pixels.clone(),
        lambda pixels: torch.nn.functional.conv2d(pixels, torch.ones(1, 3, 1, 1)),
    ],
)
def test_what_is_computed_from_pixels_is_a_plain_tensor(compute):
    assert type(compute(prepared())) is torch.Tensor


def test_a_seed_belongs_to_the_picture_and_not_to_its_place():
    pixels = prepared()
    assert seed_of(pixels[1], 0) == seed_of(pixels[[3, 1]][1], 0) == seed_of(pixels[1].clone().double(), 0)
    assert seed_of(pixels[1].transpose(1, 2).contiguous().transpose(1, 2), 0) == seed_of(pixels[1], 0)
    other = pixels[1].clone()
    other[0, 0, 0] += 1e-4
    seeds = {seed_of(image, seed) for image in [*pixels.unbind(), other] for seed in (0, 1, -1)}
    assert len(seeds) == 15
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_picture_that_is_drawn_as_another_has_its_seeds_for_a_block_alone():
    pixels = prepared()
    moved = pixels.as_subclass(torch.Tensor) + 1e-3
    own = [seed_of(picture, 7) for picture in moved]
    with drawn_as(moved, pixels):
        for place in (2, 0, 1):
            assert seed_of(moved[place], 7) == seed_of(pixels[place], 7)
            assert seed_of(moved[[place]][0].clone(), 0) == seed_of(pixels[place], 0)
        with drawn_as(moved[:1], pixels[1:2]):
            assert seed_of(moved[0], 7) == seed_of(pixels[1], 7)
            assert seed_of(moved[1], 7) == seed_of(pixels[1], 7)
        assert seed_of(moved[0], 7) == seed_of(pixels[0], 7)
        assert seed_of(moved[0] + 1, 7) not in {seed_of(picture, 7) for picture in pixels}
    with pytest.raises(ZeroDivisionError), drawn_as(moved, pixels):
        raise ZeroDivisionError
    assert [seed_of(picture, 7) for picture in moved] == own


def noise_photo(width, height):
    colours = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height), Image.Resampling.BOX)


SIZES = [(500, 375), (333, 500), (1000, 210), (256, 256), (50, 71), (225, 257)]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("frame", "crop"), [(224, 0.875), (96, 1.0), (160, 0.95)])
def test_cropped_pixels_equal_timm_s(size, frame, crop, interpolation):
    create_transform = import_optional("timm.data", "timm").create_transform
    preparation = Preparation(size=frame, crop=crop, interpolation=interpolation)
    transform = create_transform(
        (3, frame, frame), mean=preparation.mean, std=preparation.std, interpolation=interpolation, crop_pct=crop
    )
    photo = noise_photo(*size)
    assert (preparation([photo])[0] - transform(photo)).abs().max() <= 1e-6


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_squashed_pixels_equal_torchvision_s(size):
    transforms = import_optional("torchvision.transforms", "torchvision")
    preparation = Preparation(size=(96, 64), fit="squash")
    resize = transforms.Resize((96, 64), transforms.InterpolationMode.BICUBIC)
    steps = [resize, transforms.ToTensor(), transforms.Normalize(preparation.mean, preparation.std)]
    photo = noise_photo(*size)
    assert (preparation([photo])[0] - transforms.Compose(steps)(photo)).abs().max() <= 1e-6


@given(st.integers(20, 400), st.integers(20, 400), st.sampled_from([(32, 32), (24, 40)]), st.floats(0.5, 1))
def test_the_cropped_box_lies_on_the_photo_in_its_middle_with_the_frame_s_aspect(width, height, frame, crop):
    pixels = Preparation(size=frame, crop=crop)([Image.new("RGB", (width, height))])
    left, top, right, bottom = pixels.geometries[0].box
    assert pixels.shape == (1, 3, *frame)
    assert left >= 0 <= top
    assert right <= width + 1e-9
    assert bottom <= height + 1e-9
    down, across = pixels.geometries[0].scale
    assert math.isclose(down, across, rel_tol=1.01 / min(frame))
    assert abs((left + right) - width) <= 2.01 / across
    assert abs((top + bottom) - height) <= 2.01 / down


def test_the_frame_shows_the_very_pixels_of_its_box():
    photo = noise_photo(60, 40)
    pixels = Preparation(size=20, crop=0.5, mean=(0, 0, 0), std=(1, 1, 1))([photo])
    assert pixels.geometries[0].box == (20.0, 10.0, 40.0, 30.0)
    expected = torch.from_numpy(np.asarray(open_photo(photo))[10:30, 20:40] / np.float32(255)).permute(2, 0, 1)
    assert pixels[0].equal(expected)


def test_prepared_pixels_are_shown_in_the_photo_s_colours():
    colours = torch.tensor([[0, 51, 255], [255, 102, 10]], dtype=torch.uint8)
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.1])
    pixels = ((colours / 255 - mean) / std).T.reshape(1, 3, 1, 2)
    assert Preparation(mean=mean.tolist(), std=std.tolist()).pictures(pixels)[0, 0].equal(colours)
    extremes = torch.tensor([math.nan, -9.0, 9.0]).reshape(1, 1, 1, 3)
    shown = Preparation(mean=[0.5], std=[0.5]).pictures(extremes)
    assert shown.tolist() == [[[[0] * 3, [0] * 3, [255] * 3]]]


@pytest.mark.parametrize(
    "index", [torch.tensor([2, 0]), torch.tensor([True, False, True, False]), np.array([3, 1])], ids=str
)
def test_pixels_keep_their_geometry_under_tensors_and_arrays_of_numbers(index):
    pixels = prepared()
    part = pixels[index]
    assert isinstance(part, Pixels)
    chosen = torch.arange(4)[torch.as_tensor(index)].tolist()
    assert [geometry.photo[0] - 1 for geometry in part.geometries] == chosen
    assert part.as_subclass(torch.Tensor).equal(pixels.as_subclass(torch.Tensor)[chosen])


def test_pixels_are_copied_with_their_geometry():
    copied = copy.deepcopy(prepared())
    assert (copied.geometries, type(copied)) == (prepared().geometries, Pixels)


def test_a_photo_that_would_become_too_large_in_scaling_is_refused(tmp_path):
    thread = Image.new("RGB", (1, 30_000))
    with pytest.raises(PhotoError, match="too long and thin") as refusal:
        Preparation(size=224)([thread])
    assert "pad" in refusal.value.remedy
    assert Preparation(size=224, fit="pad")([thread]).shape == (1, 3, 224, 224)


@pytest.mark.parametrize("wrong", [{"size": 1.5}, {"mean": 0.5}, {"std": None}, {"size": "224"}], ids=str)
def test_a_preparation_of_the_wrong_kind_of_values_is_refused(wrong):
    with pytest.raises(ClassifierError, match="whole pixels"):
        Preparation(**wrong)
    assert Preparation(size=np.int64(32)) == Preparation(size=32)


def test_a_photo_laid_into_a_padded_frame_is_where_its_geometry_says():
    photo = Image.new("RGB", (90, 30), "white")
    pixels = Preparation(size=30, fit="pad", mean=(0, 0, 0), std=(1, 1, 1))([photo])
    geometry = pixels.geometries[0]
    assert geometry.box == (0.0, -30.0, 90.0, 60.0)
    seen = (pixels[0, 0] > 0.5).nonzero()[:, 0]
    assert (int(seen.min()), int(seen.max())) == (10, 19)
    assert geometry.mask_to_frame(torch.ones(30, 90, dtype=torch.bool)).equal(pixels[0, 0] > 0.5)
    torch.testing.assert_close(geometry.maps_to_photo(torch.ones(1, 3, 3)), torch.ones(1, 30, 90))


def test_a_photo_whose_exif_cannot_be_turned_is_refused_as_damaged(tmp_path):
    """The width as a float, which Pillow cannot write again when it turns the photo."""
    entries = [struct.pack("<HHIf", 256, 11, 1, 1.5), struct.pack("<HHIHH", 274, 3, 1, 6, 0)]
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    Image.new("RGB", (8, 6)).save(tmp_path / "odd.jpg", exif=exif)
    with pytest.raises(PhotoError, match="damaged"):
        open_photo(tmp_path / "odd.jpg")
