import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from regard.errors import MetricError
from regard.images import Geometry
from regard.metrics.placement import area_inside, average_precision, mass_inside
from regard.metrics.regions import on_cells, region_of_boxes

quarters = some.integers(-4, 28)
boxes_in_quarters = some.lists(
    some.tuples(quarters, quarters, quarters, quarters).map(
        lambda box: (min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3]))
    ),
    max_size=4,
)


def counted(boxes, height, width):
    """Shares of pixels by counting their 16 parts, from boxes in quarters of a pixel."""
    shares = [[0] * width for _ in range(height)]
    for y in range(4 * height):
        for x in range(4 * width):
            if any(left <= x < right and top <= y < bottom for left, top, right, bottom in boxes):
                shares[y // 4][x // 4] += 1 / 16
    return torch.tensor(shares, dtype=torch.float64)


def overlap(first, second):
    return max(0, min(first[1], second[1]) - max(first[0], second[0]))


def slow_cells(region, height, width):
    """Shares of cells by adding up the rectangles in which pixels and cells meet, in fractions."""
    rows, columns = len(region), len(region[0])
    cells = [[Fraction(0)] * width for _ in range(height)]
    for i in range(height):
        for j in range(width):
            for y in range(rows):
                for x in range(columns):
                    high = overlap(
                        (Fraction(i, height), Fraction(i + 1, height)), (Fraction(y, rows), Fraction(y + 1, rows))
                    )
                    wide = overlap(
                        (Fraction(j, width), Fraction(j + 1, width)), (Fraction(x, columns), Fraction(x + 1, columns))
                    )
                    cells[i][j] += region[y][x] * high * wide * height * width
    return torch.tensor([[float(cell) for cell in row] for row in cells], dtype=torch.float64)


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([[0.5, 0.25, 1.5, 1.0]], [[0.375, 0.375], [0, 0]]),
        ([[0, 0, 2, 2]], [[1, 1], [1, 1]]),
        ([[-5, 1, 1, 9]], [[0, 0], [1, 0]]),  # beside the frame nothing counts
        ([[0, 0, 1, 1], [0.5, 0.5, 1.5, 1.5]], [[1, 0.25], [0.25, 0.25]]),  # what two boxes share counts once
        ([[1, 1, 1, 1]], [[0, 0], [0, 0]]),
        ([[2, 0, 2, 2], [0, 0, 0, 0]], [[0, 0], [0, 0]]),  # what a crop leaves of boxes beside it
        ([[0.2, 0.2, 0.4, 0.4], [0.6, 0.6, 0.8, 0.8]], [[0.08, 0], [0, 0]]),
    ],
    ids=["fractions", "all", "beyond", "overlapping", "a point", "not reached", "two in a pixel"],
)
def test_a_pixel_counts_by_the_area_that_boxes_cover(boxes, expected):
    found = region_of_boxes(torch.tensor(boxes), (2, 2))
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-7)


def test_no_boxes_are_no_region():
    assert region_of_boxes(torch.zeros(0, 4), (3, 2)).equal(torch.zeros(3, 2, dtype=torch.float64))


@settings(max_examples=40, deadline=None)
@given(boxes_in_quarters)
def test_the_share_is_what_counting_parts_of_pixels_gives(boxes):
    found = region_of_boxes(torch.tensor(boxes, dtype=torch.float32).view(-1, 4) / 4, (5, 6))
    assert torch.allclose(found, counted(boxes, 5, 6), rtol=0, atol=1e-12)


def test_a_cell_of_one_and_a_half_pixels_counts_by_area():
    """3×3 pixels on 2×2 cells: a cell is 2.25 pixels, a corner pixel lies whole in one, the middle one in all four."""
    corner, middle = torch.zeros(3, 3, dtype=torch.bool), torch.zeros(3, 3, dtype=torch.bool)
    corner[0, 0] = middle[1, 1] = True
    expected = torch.tensor([[[1, 0], [0, 0]], [[0.25, 0.25], [0.25, 0.25]]], dtype=torch.float64) / 2.25
    assert torch.allclose(on_cells(torch.stack([corner, middle]), (2, 2)), expected, rtol=0, atol=1e-11)


@settings(max_examples=25, deadline=None)
@given(some.data())
def test_cells_of_any_grid_get_the_area_that_loops_give(data):
    sizes = some.integers(1, 5)
    rows, columns, height, width = (data.draw(sizes) for _ in range(4))
    region = data.draw(
        some.lists(some.lists(some.integers(0, 1), min_size=columns, max_size=columns), min_size=rows, max_size=rows)
    )
    found = on_cells(torch.tensor(region), (height, width))
    assert torch.allclose(found, slow_cells(region, height, width), rtol=0, atol=1e-11)
    assert float(found.mean()) == pytest.approx(float(torch.tensor(region).double().mean()), abs=1e-11)


def test_box_and_mask_of_a_photo_come_into_the_frame_as_the_photo_did():
    """A photo of 8×12, its middle 8×8 scaled to 4×4; the object is rows 2 to 5, columns 4 to 7."""
    geometry = Geometry((8, 12), (4, 4), (2.0, 0.0, 10.0, 8.0))
    mask = torch.zeros(8, 12, dtype=torch.bool)
    mask[2:6, 4:8] = True
    expected = torch.zeros(4, 4, dtype=torch.float64)
    expected[1:3, 1:3] = 1
    boxes = geometry.boxes_to_frame(torch.tensor([[4, 2, 8, 6]]))
    assert region_of_boxes(boxes, geometry.frame).equal(expected)
    assert on_cells(geometry.mask_to_frame(mask), (4, 4)).equal(expected)
    assert float(mass_inside(expected, region_of_boxes(boxes, geometry.frame))) == 1


def test_an_object_that_the_crop_did_not_reach_gives_no_figure():
    geometry = Geometry((8, 12), (4, 4), (4.0, 0.0, 12.0, 8.0))
    region = region_of_boxes(geometry.boxes_to_frame(torch.tensor([[0, 0, 3, 8]])), geometry.frame)
    assert float(area_inside(region)) == 0
    assert average_precision(torch.rand(4, 4), region).isnan()


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        (torch.zeros(4), r"\(n, 4\)"),
        (torch.zeros(2, 5), r"\(n, 4\)"),
        (torch.tensor([[0.0, 0, 1, 1], [5, 2, 3, 4]]), r"\[5.0, 2.0, 3.0, 4.0\]"),
        (torch.tensor([[0.0, 0, math.nan, 1]]), "before it begins"),
    ],
    ids=["one row", "five columns", "width and height", "nan"],
)
def test_what_are_no_boxes_is_refused(boxes, message):
    with pytest.raises(MetricError, match=message):
        region_of_boxes(boxes, (4, 4))


@pytest.mark.parametrize(
    "region",
    [
        torch.tensor([[0, 255]]),
        torch.tensor([[-0.1, 0]]),
        torch.tensor([[math.nan, 0]]),
        torch.ones(3),
        torch.ones(0, 3),
    ],
    ids=["grey values", "negative", "nan", "one axis", "no rows"],
)
def test_what_is_no_region_is_refused(region):
    for measure in (area_inside, lambda region: mass_inside(torch.ones(2, 2), region)):
        with pytest.raises(MetricError):
            measure(region)
