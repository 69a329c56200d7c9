"""Outlines against matplotlib's polygons and plain loops; masks by their pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.path import Path as Curve
from PIL import Image

from regard.errors import PhotoError
from regard.evaluate.masks import Outline, check_mask, read_mask

SIZE = (9, 11)
# corners beside all pixel centres' rows and columns, so that no centre lies on an edge by more than chance
places = st.integers(-20, 120).map(lambda tenth: tenth / 10 + 0.0137)


def drawn(*polygons, size=SIZE):
    return Outline(size, polygons).drawn(size).numpy()


def crossings(corners, x, y):
    """Edges that a ray from (x, y) to the left crosses."""
    count = 0
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (y0 <= y) != (y1 <= y):
            count += x0 + (y - y0) / (y1 - y0) * (x1 - x0) <= x
    return count


@given(st.lists(st.tuples(places, places), min_size=3, max_size=7))
def test_a_pixel_is_inside_where_its_centre_is(corners):
    expected = [
        [crossings(corners, column + 0.5, row + 0.5) % 2 == 1 for column in range(SIZE[1])] for row in range(SIZE[0])
    ]
    assert drawn(tuple(value for corner in corners for value in corner)).tolist() == expected


@given(st.integers(3, 9), st.floats(0.5, 6), st.tuples(places, places), st.floats(0, 3))
def test_a_regular_polygon_is_that_of_matplotlib(count, radius, centre, turned):
    angles = turned + 2 * np.pi * np.arange(count) / count
    corners = np.stack([np.cos(angles), np.sin(angles)], axis=-1) * radius + centre
    centres = np.stack(np.meshgrid(np.arange(SIZE[1]) + 0.5, np.arange(SIZE[0]) + 0.5), axis=-1).reshape(-1, 2)
    polygon = Curve(np.concatenate([corners, corners[:1]]), closed=True)
    narrower, expected, wider = (
        polygon.contains_points(centres, radius=reach).reshape(SIZE) for reach in (-1e-4, 0, 1e-4)
    )
    clear = narrower == wider  # not on an edge, of which both may say what they like
    assert (drawn(tuple(corners.flatten())) == expected)[clear].all()


def test_a_rectangle_on_whole_pixels_holds_them_and_no_others():
    mask = drawn((2, 3, 6, 3, 6, 8, 2, 8))
    assert mask.sum() == 4 * 5
    assert mask[3:8, 2:6].all()


def test_polygons_that_share_an_edge_cover_every_pixel_once():
    left, right = drawn((0, 0, 4.5, 0, 4.5, 9, 0, 9)), drawn((4.5, 0, 11, 0, 11, 9, 4.5, 9))
    assert (left ^ right).all()
    assert drawn((0, 0, 4.5, 0, 4.5, 9, 0, 9), (4.5, 0, 11, 0, 11, 9, 4.5, 9)).all()


def test_several_polygons_are_one_region_and_a_polygon_may_leave_the_photo():
    assert drawn((0, 0, 4, 0, 4, 4, 0, 4), (2, 2, 6, 2, 6, 6, 2, 6)).sum() == 16 + 16 - 4
    assert drawn((-50, -50, 50, -50, 50, 50, -50, 50)).all()
    assert not drawn((20, 0, 30, 0, 30, 5)).any()


def test_runs_go_down_the_columns():
    mask = Outline((2, 3), runs=((1, 2, 3),)).drawn((2, 3))
    assert mask.tolist() == [[False, True, False], [True, False, False]]


def test_an_outline_of_another_photo_is_refused():
    with pytest.raises(PhotoError, match="not the size"):
        Outline((2, 3)).drawn((3, 2))


def saved(path, array, **settings):
    Image.fromarray(np.asarray(array)).save(path, **settings)
    return path


def palette(path):
    image = Image.fromarray(np.array([[0, 1], [255, 0]], np.uint8), mode=None).convert("P")
    image.putdata([0, 1, 255, 0])
    image.save(path)
    return path


@pytest.mark.parametrize(
    "write",
    [
        lambda path: saved(path, np.array([[0, 1], [255, 0]], np.uint8)),
        lambda path: saved(path, np.array([[0, 1], [65535, 0]], np.uint16)),
        lambda path: saved(path, np.array([[False, True], [True, False]])),
        lambda path: saved(path, np.array([[[0, 0, 0], [0, 0, 9]], [[1, 0, 0], [0, 0, 0]]], np.uint8)),
        palette,
    ],
    ids=["grey", "16 bit", "1 bit", "RGB", "palette"],
)
def test_a_mask_is_what_is_not_zero(write, tmp_path):
    assert read_mask(write(tmp_path / "mask.png"), (2, 2)).tolist() == [[False, True], [True, False]]


def transparent(path):
    return saved(path, np.full((2, 2, 4), 255, np.uint8))


def truncated(path):
    saved(path, np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:1500])
    return path


def disguised(path):
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(path, "JPEG")
    return path


@pytest.mark.parametrize(
    ("write", "size", "problem"),
    [
        (transparent, (2, 2), "not clear"),
        (disguised, (2, 2), "no PNG"),
        (lambda path: path, (2, 2), "cannot be read"),
        (lambda path: saved(path, np.zeros((3, 2), np.uint8)), (2, 3), "not the size"),
        (truncated, (64, 64), "damaged"),
    ],
    ids=["transparent", "a JPEG", "missing", "another size", "truncated"],
)
def test_what_is_no_mask_of_the_photo_is_refused(write, size, problem, tmp_path):
    with pytest.raises(PhotoError, match=problem):
        read_mask(write(tmp_path / "mask.png"), size)


def test_a_mask_is_checked_without_being_decoded(tmp_path):
    check_mask(truncated(tmp_path / "mask.png"), (64, 64))
