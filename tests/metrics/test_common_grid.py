import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from regard.errors import PixelsError
from regard.images import Geometry
from regard.metrics.common_grid import on_common_grid
from regard.metrics.rank_correlation import rank_correlation

WHOLE = Geometry.whole((40, 60))


def on(left, top, right, bottom, photo=(40, 60)):
    return Geometry(photo, (16, 16), (left, top, right, bottom))


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sampled(maps, geometry, area, count, fine=60):
    """Cell means by reading the map at the centres of fine × fine points a cell: slow, and with no share computed."""
    left, top, right, bottom = area
    rows, columns = count
    height, width = maps.shape
    found = torch.zeros(rows, columns, dtype=torch.float64)
    for row in range(rows):
        for column in range(columns):
            total = 0.0
            for step in range(fine * fine):
                down, across = divmod(step, fine)
                y = top + (bottom - top) * (row + (down + 0.5) / fine) / rows
                x = left + (right - left) * (column + (across + 0.5) / fine) / columns
                own_y = (y - geometry.box[1]) / (geometry.box[3] - geometry.box[1]) * height
                own_x = (x - geometry.box[0]) / (geometry.box[2] - geometry.box[0]) * width
                total += float(maps[int(own_y), int(own_x)])
            found[row, column] = total / fine**2
    return found


@pytest.mark.parametrize("geometry", [WHOLE, on(3.7, 1.1, 51.3, 39.9), on(1 / 3, 0, 59 + 2 / 3, 40)])
@pytest.mark.parametrize("shape", [(2, 7, 7), (3, 5), (1, 2, 16, 11)])
def test_maps_of_one_grid_and_frame_stay_exactly_as_they_are(geometry, shape):
    first, second = draw(*shape), draw(*shape, seed=1)
    found = on_common_grid([first, second], [geometry, geometry])
    assert found[0].equal(first.double())
    assert found[1].equal(second.double())


def test_a_finer_map_of_the_same_frame_is_averaged_over_the_coarser_s_cells():
    fine, coarse = draw(2, 14, 14), draw(2, 7, 7)
    found = on_common_grid([fine, coarse], [WHOLE, WHOLE])
    assert torch.allclose(found[0], torch.nn.functional.avg_pool2d(fine.double(), 2))
    assert found[1].equal(coarse.double())


def test_a_map_and_its_own_means_correlate_fully():
    fine = draw(16, 16)
    coarse = torch.nn.functional.avg_pool2d(fine[None].double(), 4)[0]
    for pair in ([fine, coarse], [coarse, fine]):
        assert float(rank_correlation(*on_common_grid(pair, [WHOLE, WHOLE]))) == pytest.approx(1)


def test_only_the_part_of_the_photo_that_both_reach_counts():
    left, right = torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[5.0, 6.0, 7.0, 8.0]])
    found = on_common_grid([left, right], [on(0, 0, 40, 40), on(20, 0, 60, 40)])  # common: 20 to 40, cells of 10
    assert found[0].tolist() == [[3.0, 4.0]]
    assert found[1].tolist() == [[5.0, 6.0]]


def test_what_lies_beside_the_photo_does_not_count():
    padded = torch.arange(6.0).view(1, 6)  # cells of 20 from −30 to 90: the photo is from 0 to 60
    found = on_common_grid([padded, padded], [on(-30, 0, 90, 40)] * 2)
    assert found[0][0].tolist() == pytest.approx([1.5, 2.5, 3.5])


def test_frames_that_do_not_meet_have_no_common_place():
    found = on_common_grid([draw(4, 4), draw(4, 4)], [on(0, 0, 20, 40), on(20, 0, 60, 40)])
    assert found[0].numel() == found[1].numel() == 0
    assert rank_correlation(*found).isnan()


def test_unaligned_means_are_those_of_many_samples():
    frames = [on(2.5, 0.0, 45.0, 37.0), on(11.0, 3.0, 58.0, 40.0)]
    maps = [draw(5, 6), draw(3, 4, seed=1)]
    found = on_common_grid(maps, frames)
    area = (11.0, 3.0, 45.0, 37.0)  # 34 × 34; the coarsest cells are 47/4 wide and 37/3 high, so 3 × 3 fit best
    assert found[0].shape == found[1].shape == (3, 3)
    for values, frame, means in zip(maps, frames, found, strict=True):
        assert torch.allclose(means, sampled(values, frame, area, (3, 3)), atol=0.03)


numbers = some.floats(0, 25)


@settings(max_examples=50)
@given(numbers, numbers, numbers, numbers, some.integers(1, 9), some.integers(1, 9))
def test_means_stay_within_the_map_and_a_constant_stays_itself(left, top, right, bottom, rows, columns):
    frames = [on(left, top, 60 - right, 40 - bottom if bottom < 12 else 40), WHOLE]
    if frames[0].box[3] - top < 1:
        return
    values = draw(rows, columns, seed=rows)
    first, second = on_common_grid([values, torch.full((4, 4), 2.5)], frames)
    assert first.shape == second.shape
    assert torch.allclose(second, torch.full_like(second, 2.5))
    assert float(values.min()) - 1e-9 <= float(first.min())
    assert float(first.max()) <= float(values.max()) + 1e-9


def test_maps_of_two_photos_are_refused():
    with pytest.raises(PixelsError, match="different photos"):
        on_common_grid([draw(2, 2), draw(2, 2)], [WHOLE, Geometry.whole((60, 40))])


def test_a_map_that_is_constant_but_for_the_rounding_of_its_means_orders_nothing():
    for value in (0.1, -0.7, 1e-30, 3e30):
        found = on_common_grid([torch.full((14, 14), value), draw(9, 9)], [WHOLE, WHOLE])
        assert len(found[0].unique()) == 1
        assert float(found[0][0, 0]) == pytest.approx(value, rel=1e-6)
        assert rank_correlation(*found).isnan()


def test_equal_means_stay_equal_also_where_evidence_cancels():
    stripes = 0.1 * (-1.0) ** torch.arange(42).expand(14, 42)  # each of 7 cells across covers 6 of them
    found = on_common_grid([stripes, draw(9, 7)], [WHOLE, WHOLE])
    assert found[0].count_nonzero() == 0
    steps = torch.tensor([1.0, 1 / 8192, 0.1, -0.3]).repeat_interleave(4).expand(14, 16)
    found = on_common_grid([steps, draw(9, 4)], [WHOLE, WHOLE])
    assert [len(column.unique()) for column in found[0].T] == [1, 1, 1, 1]


def test_plateaus_of_half_precision_maps_keep_their_ties():
    for odd in range(1, 100, 2):  # odd / 8192 lies between two steps of 1e-12 exactly
        half = torch.full((14, 14), odd / 8192)
        half[0] = 1.0
        found = on_common_grid([half, draw(9, 9)], [WHOLE, WHOLE])[0]
        assert len(found[1:].unique()) == 1


def test_each_map_is_rounded_by_its_own_largest_value():
    small = draw(14, 14)
    alone = on_common_grid([small, draw(9, 9)], [WHOLE, WHOLE])[0]
    beside = on_common_grid([torch.stack([small, 1e20 * draw(14, 14, seed=2)]), draw(9, 9)], [WHOLE, WHOLE])[0][0]
    assert beside.equal(alone)
    assert len(alone.unique()) == alone.numel()
