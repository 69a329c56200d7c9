"""Area and variation of maps have the closed forms of the paper, and its sums over maps of a batch are one line."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regard.attention.map_losses import area, variation

AREA, VARIATION = 2, 0.01


def drawn(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def constant(value):
    return torch.full((28, 28), value)


def impulse(row, column):
    maps = torch.zeros(28, 28)
    maps[row, column] = 1
    return maps


def published(maps):
    """A and V of a set of maps (B, n, h, w), pixel by pixel in plain Python."""
    total = rough = 0.0
    for picture in maps.double().tolist():
        for one in picture:
            height, width = len(one), len(one[0])
            for row, column in itertools.product(range(height), range(width)):
                value = one[row][column]
                total += (value + 0.0005) ** 0.3
                if row:
                    rough += (value - one[row - 1][column]) ** 2
                if column:
                    rough += (value - one[row][column - 1]) ** 2
                for line in (row == 0, row == height - 1, column == 0, column == width - 1):
                    rough += 0.3 * value**2 * line
    return total / maps.numel(), rough / (2 * len(maps))


@pytest.mark.parametrize(("value", "expected"), [(0.0, 0.20451), (0.5, 1.62499), (1.0, 2.00030)])
def test_the_area_of_constant_maps(value, expected):
    assert AREA * float(area(constant(value))) == pytest.approx(expected, abs=1e-5)


CHECKERBOARD = (torch.arange(28)[:, None] + torch.arange(28)) % 2


@pytest.mark.parametrize(
    ("maps", "expected"),
    [
        (constant(0.5), 4.2),
        (constant(1.0), 16.8),
        (impulse(14, 14), 2.0),
        (impulse(0, 27), 1.3),
        (CHECKERBOARD.float(), 764.4),
    ],
    ids=["half", "one", "impulse", "corner", "checkerboard"],
)
def test_the_variation_of_maps_with_a_closed_form(maps, expected):
    assert float(variation(maps)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("shape", [(3, 2, 5, 4), (2, 2, 1, 3), (1, 4, 2, 2)], ids=str)
def test_means_and_sums_over_maps_are_the_published_terms_in_plain_loops(shape):
    maps = drawn(*shape)
    assert area(maps).shape == variation(maps).shape == shape[:2]
    a, v = published(maps)
    assert float(area(maps).mean()) == pytest.approx(a, rel=1e-6)
    assert float(variation(maps).sum(1).mean()) == pytest.approx(v, rel=1e-6)


def test_the_gradient_of_area_at_zero_is_finite():
    maps = torch.zeros(1, 1, requires_grad=True)
    area(maps).backward()
    assert float(maps.grad) == pytest.approx(61.353, abs=1e-3)


def test_what_a_map_costs_at_the_start_of_training():
    """About 0.5 everywhere: 2 A = 1.625 and 0.01 V = 0.042 for the own map, 1.34 for 32 maps of other labels."""
    own, across = constant(0.5).expand(32, 1, 28, 28), constant(0.5).expand(32, 32, 28, 28)
    assert AREA * float(area(across).mean()) == pytest.approx(1.625, abs=1e-3)
    assert VARIATION * float(variation(own).sum(1).mean()) == pytest.approx(0.042, abs=1e-6)
    assert VARIATION * float(variation(across).sum(1).mean()) == pytest.approx(1.344, abs=1e-6)


def terms(maps):
    return area(maps).mean(), variation(maps).sum(1).mean()


def test_across_the_batch_the_own_maps_weigh_less_in_area_and_the_same_in_variation():
    across = drawn(8, 8, 6, 6).double().requires_grad_()
    own = across.diagonal().permute(2, 0, 1)[:, None]
    (area_across, rough_across), (area_own, rough_own) = terms(across), terms(own)
    grads = [
        torch.autograd.grad(term, across, retain_graph=True)[0].diagonal()
        for term in (area_across, area_own, rough_across, rough_own)
    ]
    torch.testing.assert_close(grads[0] / grads[1], torch.full_like(grads[0], 0.125))
    assert grads[2].equal(grads[3])


def test_one_picture_repeated_has_its_own_area_and_as_many_times_its_own_variation():
    own = drawn(1, 1, 6, 6)
    (a, v), (area_across, rough_across) = terms(own), terms(own.expand(5, 5, 6, 6))
    torch.testing.assert_close(area_across, a)
    torch.testing.assert_close(rough_across, 5 * v)


def test_variation_of_a_translation_away_from_the_borders_is_unchanged():
    maps = torch.zeros(9, 9)
    maps[1:4, 2:5] = drawn(3, 3)
    torch.testing.assert_close(variation(maps.roll((4, 2), (0, 1))), variation(maps))
    assert not variation(maps.roll(-1, 0)).isclose(variation(maps))


@given(seed=st.integers(0, 999), factor=st.floats(0, 1))
def test_variation_grows_with_the_square_and_area_does_not_see_where_pixels_are(seed, factor):
    maps = drawn(2, 5, 4, seed=seed)
    torch.testing.assert_close(variation(factor * maps), factor**2 * variation(maps))
    order = torch.randperm(20, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(area(maps.flatten(1)[:, order].unflatten(1, (5, 4))), area(maps))
    torch.testing.assert_close(variation(maps.mT), variation(maps))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_terms_are_float32_also_under_autocast_and_do_not_overflow(dtype):
    maps = CHECKERBOARD.to(dtype).expand(32, 32, 28, 28)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        a, v = terms(maps)
    assert a.dtype is v.dtype is torch.float32
    assert float(v) == pytest.approx(32 * 764.4, rel=1e-5)
    exact = terms(drawn(4, 4, 28, 28))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = terms(drawn(4, 4, 28, 28).to(dtype))
    for one, other in zip(rounded, exact, strict=True):
        assert float(one) == pytest.approx(float(other), rel=1e-2)


def test_terms_are_exact_where_the_maps_are():
    assert area(drawn(3, 3).double()).dtype is variation(drawn(3, 3).double()).dtype is torch.float64
    assert torch.autograd.gradcheck(area, drawn(2, 3, 3).double().requires_grad_())
    assert torch.autograd.gradcheck(variation, drawn(2, 3, 3).double().requires_grad_())
