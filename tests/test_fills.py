import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regard.errors import PixelsError
from regard.fills import Blur, Colour, Inpaint, Mean, Noise

FILLS = [Mean(), Colour((0.5, -1.0, 2.0)), Blur(1.5), Noise(), Inpaint()]
each_fill = pytest.mark.parametrize("fill", FILLS, ids=lambda fill: fill.name)


def draw(seed=0, count=3, height=9, width=11):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(count, 3, height, width, generator=generator)
    return pixels, (torch.rand(count, 1, height, width, generator=generator) > 0.4).float()


def solved_densely(image, holes):
    """Every removed pixel is the weighted mean of the neighbours it has: one dense system, one channel at a time."""
    channels, height, width = image.shape
    number = {place: row for row, place in enumerate(zip(*np.nonzero(holes), strict=True))}
    matrix, right = np.zeros((len(number), len(number))), np.zeros((len(number), channels))
    for (y, x), row in number.items():
        neighbours = {
            (y + down, x + across): 1 / 6 if 0 in (down, across) else 1 / 12
            for down in (-1, 0, 1)
            for across in (-1, 0, 1)
            if (down, across) != (0, 0) and 0 <= y + down < height and 0 <= x + across < width
        }
        total = sum(neighbours.values())
        matrix[row, row] = 1
        for place, weight in neighbours.items():
            if place in number:
                matrix[row, number[place]] -= weight / total
            else:
                right[row] += weight / total * image[(slice(None), *place)]
    solution = image.copy()
    for place, values in zip(number, np.linalg.solve(matrix, right), strict=True):
        solution[(slice(None), *place)] = values
    return solution


def blurred_by_hand(channel, sigma):
    radius = math.ceil(3 * sigma)
    weights = [math.exp(-(distance**2) / (2 * sigma**2)) for distance in range(-radius, radius + 1)]
    height, width = channel.shape

    def mirrored(place, length):
        while length > 1 and not 0 <= place < length:
            place = -place if place < 0 else 2 * (length - 1) - place
        return place if length > 1 else 0

    result = np.zeros_like(channel, dtype=np.float64)
    for y in range(height):
        for x in range(width):
            for i, down in enumerate(weights):
                for j, across in enumerate(weights):
                    there = channel[mirrored(y + i - radius, height), mirrored(x + j - radius, width)]
                    result[y, x] += down * across * there
    return result / sum(weights) ** 2


def test_mean_fills_with_each_image_s_own_colour():
    pixels = torch.tensor([[[[1.0, 3.0]], [[0.0, 0.0]], [[-2.0, 4.0]]], [[[5.0, 5.0]], [[1.0, 2.0]], [[0.0, 1.0]]]])
    filled = Mean()(pixels, torch.tensor([[[[1.0, 0.0]]]]))
    assert filled[:, :, 0, 1].tolist() == [[2.0, 0.0, 1.0], [5.0, 1.5, 0.5]]
    assert filled[:, :, 0, 0].equal(pixels[:, :, 0, 0])


def test_a_colour_is_given_in_prepared_units():
    black = Colour.of((0, 0, 0), mean=(0.5, 0.25, 0.4), std=(0.25, 0.5, 0.2))
    assert black.prepared == pytest.approx((-2.0, -0.5, -2.0))
    assert Colour.of((0.5, 0.25, 0.4), (0.5, 0.25, 0.4), (1, 2, 3)).prepared == (0, 0, 0)
    pixels, kept = draw()
    assert (black(pixels, kept * 0) == pixels.new_tensor(black.prepared).view(1, 3, 1, 1)).all()


def test_a_colour_of_too_few_channels_is_refused():
    with pytest.raises(PixelsError, match="per channel"):
        Colour((0.0,))(*draw())
    with pytest.raises(PixelsError, match="per channel"):
        Colour.of((0, 0), (0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize(("sigma", "height", "width"), [(0.6, 7, 5), (1.5, 6, 8), (2.0, 3, 1)])
def test_blur_equals_a_loop_with_mirrored_edges(sigma, height, width):
    pixels, _ = draw(count=2, height=height, width=width)
    found = Blur(sigma).background(pixels)
    for image, blurred in zip(pixels, found, strict=True):
        for channel, values in zip(image, blurred, strict=True):
            np.testing.assert_allclose(values.numpy(), blurred_by_hand(channel.numpy(), sigma), atol=2e-6)


def test_blur_leaves_an_even_picture_even():
    even = torch.full((1, 3, 6, 6), 1.75)
    torch.testing.assert_close(Blur(10.0).background(even), even)


@pytest.mark.parametrize("sigma", [0, -1, float("nan")])
def test_a_blur_without_width_is_refused(sigma):
    with pytest.raises(PixelsError, match="positive"):
        Blur(sigma)


def test_noise_has_each_image_s_own_mean_and_deviation():
    pixels, _ = draw(count=2, height=80, width=80)
    pixels = pixels * torch.tensor([0.1, 1.0, 3.0]).view(1, 3, 1, 1) + torch.tensor([5.0, -2.0]).view(2, 1, 1, 1)
    noise = Noise().background(pixels)
    torch.testing.assert_close(noise.mean((2, 3)), pixels.mean((2, 3)), atol=0.15, rtol=0)
    torch.testing.assert_close(noise.std((2, 3)), pixels.std((2, 3)), atol=0, rtol=0.05)
    assert np.corrcoef(noise.flatten(), torch.flatten(noise.roll(1, 0)))[0, 1] < 1
    assert not torch.allclose(noise[0, 0] - noise[0, 0].mean(), (noise[0, 1] - noise[0, 1].mean()) / 10)


@pytest.mark.parametrize("fill", [Noise, Inpaint])
def test_a_seed_repeats_its_draw_and_another_gives_another(fill):
    pixels, kept = draw()
    assert fill(seed=3)(pixels, kept).equal(fill(seed=3)(pixels, kept))
    assert not fill(seed=3)(pixels, kept).equal(fill(seed=4)(pixels, kept))


@given(st.integers(0, 10_000), st.integers(2, 8), st.integers(2, 8), st.floats(0.1, 0.95))
def test_inpainting_solves_the_dense_system(seed, height, width, share):
    generator = np.random.default_rng(seed)
    image, holes = generator.normal(size=(3, height, width)), generator.random((height, width)) < share
    holes[generator.integers(height), generator.integers(width)] = False
    kept = torch.from_numpy(~holes)[None, None].float()
    found = Inpaint(noise=0.0)(torch.from_numpy(image)[None], kept)[0].numpy()
    np.testing.assert_allclose(found, solved_densely(image, holes), atol=1e-9)


def test_inpainting_a_ramp_gives_the_ramp_back():
    ramp = (torch.arange(9.0)[:, None] + 2 * torch.arange(9.0)[None]).expand(1, 3, 9, 9)
    kept = torch.ones(1, 1, 9, 9)
    kept[..., 2:7, 3:8] = 0
    torch.testing.assert_close(Inpaint(noise=0.0)(ramp, kept), ramp)


def test_a_hole_in_the_corner_is_the_weighted_mean_of_its_three_neighbours():
    image = torch.zeros(1, 3, 2, 2)
    image[..., 0, 1], image[..., 1, 0], image[..., 1, 1] = 6.0, 12.0, 5.0
    kept = torch.tensor([[[[0.0, 1.0], [1.0, 1.0]]]])
    expected = (6 / 6 + 12 / 6 + 5 / 12) / (1 / 6 + 1 / 6 + 1 / 12)
    assert Inpaint(noise=0.0)(image, kept)[0, :, 0, 0].tolist() == pytest.approx([expected] * 3)


def test_inpainting_noise_has_the_deviation_asked_for():
    pixels, kept = draw(count=1, height=60, width=60)
    difference = Inpaint(noise=0.2)(pixels, kept) - Inpaint(noise=0.0)(pixels, kept)
    assert float(difference[(kept == 0).expand_as(difference)].std()) == pytest.approx(0.2, rel=0.05)


def test_inpainting_with_nothing_kept_is_the_mean_colour():
    pixels, kept = draw()
    assert Inpaint()(pixels, kept * 0).equal(Mean().background(pixels))


@each_fill
def test_kept_pixels_stay_bit_for_bit(fill):
    pixels, kept = draw()
    stays = kept.bool().expand_as(pixels)
    filled = fill(pixels, kept)
    assert filled[stays].equal(pixels[stays])
    assert not filled[~stays].equal(pixels[~stays])
    assert fill(pixels, torch.ones_like(kept)).equal(pixels)


@each_fill
def test_nothing_kept_is_the_background(fill):
    pixels, kept = draw()
    assert fill(pixels, kept * 0).equal(fill.background(pixels))


@each_fill
def test_a_background_that_is_known_gives_the_same_as_one_made_anew(fill):
    pixels, kept = draw()
    assert fill(pixels, kept, fill.background(pixels)).equal(fill(pixels, kept))
    chosen = [2, 0, 2]
    assert fill(pixels[chosen], kept, fill.background(pixels)[chosen]).equal(fill(pixels[chosen], kept))


@pytest.mark.parametrize("fill", FILLS[:-1], ids=lambda fill: fill.name)
def test_a_background_that_is_given_is_the_one_that_is_used(fill):
    pixels, kept = draw()
    other = torch.full_like(pixels, 7.25)
    assert fill(pixels, kept, other).equal(torch.where(kept.bool(), pixels, other))


@each_fill
def test_a_known_background_does_not_excuse_a_mask_that_does_not_fit(fill):
    pixels, kept = draw()
    with pytest.raises(PixelsError, match="does not fit"):
        fill(pixels, kept[:, :, 1:], fill.background(pixels))


@each_fill
def test_the_pixels_given_are_not_changed(fill):
    pixels, kept = draw()
    before = pixels.clone()
    fill(pixels, kept)
    assert pixels.equal(before)


@each_fill
def test_an_image_is_filled_alike_alone_and_among_others(fill):
    pixels, kept = draw()
    together = fill(pixels, kept)
    for place in range(3):
        alone = fill(pixels[place : place + 1], kept[place : place + 1])[0]
        torch.testing.assert_close(together[place], alone, atol=1e-6, rtol=0)
    mixed = fill(pixels[[2, 0]], kept[[2, 0]])
    torch.testing.assert_close(mixed, together[[2, 0]], atol=1e-6, rtol=0)


@each_fill
def test_one_mask_serves_all_images_and_may_be_boolean(fill):
    pixels, kept = draw()
    one = kept[:1]
    assert fill(pixels, one).equal(fill(pixels, one.expand(3, -1, -1, -1)))
    assert fill(pixels, one.bool()).equal(fill(pixels, one))


@pytest.mark.parametrize("fill", FILLS[:-1], ids=lambda fill: fill.name)
def test_a_mask_between_zero_and_one_blends(fill):
    pixels, kept = draw()
    expected = 0.25 * pixels + 0.75 * fill.background(pixels)
    torch.testing.assert_close(fill(pixels, torch.full_like(kept, 0.25)), expected)


@each_fill
@pytest.mark.parametrize(
    "shape", [(9, 11), (3, 9, 11), (3, 3, 9, 11), (2, 1, 9, 11), (3, 1, 11, 9), (3, 1, 1, 1)], ids=str
)
def test_a_mask_that_does_not_fit_is_refused(fill, shape):
    with pytest.raises(PixelsError, match="does not fit") as refusal:
        fill(draw()[0], torch.ones(shape))
    assert refusal.value.came == str(shape)
    assert refusal.value.expected == "(3 or 1, 1, 9, 11)"


@each_fill
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_the_precision_of_the_pixels_is_kept(fill, dtype):
    pixels, kept = draw()
    filled = fill(pixels.to(dtype), kept)
    assert filled.dtype is dtype
    assert filled.isfinite().all()


@each_fill
def test_the_gradient_of_kept_pixels_reaches_them(fill):
    pixels, kept = draw()
    pixels.requires_grad_()
    fill(pixels, kept)[kept.bool().expand_as(pixels)].sum().backward()
    assert pixels.grad.equal(kept.expand_as(pixels))


@pytest.mark.parametrize("fill", FILLS[:-1], ids=lambda fill: fill.name)
def test_the_gradient_reaches_a_soft_mask(fill):
    pixels, kept = draw()
    kept = (kept * 0.5).requires_grad_()
    fill(pixels, kept).sum().backward()
    expected = (pixels - fill.background(pixels)).sum(dim=1, keepdim=True)
    torch.testing.assert_close(kept.grad, expected, atol=1e-5, rtol=1e-5)


def test_the_gradient_of_the_mean_is_spread_evenly():
    pixels, kept = draw(count=1)
    pixels.requires_grad_()
    Mean()(pixels, kept * 0)[0, 1, 0, 0].backward()
    expected = torch.zeros_like(pixels)
    expected[0, 1] = 1 / 99
    torch.testing.assert_close(pixels.grad, expected)
