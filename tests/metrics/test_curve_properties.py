"""What must change no curve: batch, order, chunks, constants, scales; and what every curve costs."""

import pytest
import torch
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays

import regard
from regard.fills import Inpaint, Mean, Noise
from regard.metrics.common_grid import enlarged
from regard.metrics.curves import curves as curves_of
from regard.models import passes

from ..explainers.networks import classifier_of, cnn, pixels_of, same, vit
from .replicas import ZERO, drawn_maps, equal_curves, given, picture_of, slow_enlarged, summing


def curves(*given, fill=ZERO, **settings):
    """Curves whose removed pixels are zero, so that they add nothing to a sum, if no other fill is said."""
    return curves_of(*given, fill=fill, **settings)


def test_a_constant_map_is_a_random_order_whatever_its_value_and_grid():
    """Enlarged, too: a constant that interpolation cannot keep would be ordered by rounding."""
    classifier, pixels = classifier_of(cnn()), pixels_of(2)
    expected = curves(classifier, pixels, given(classifier, pixels, torch.zeros(2, 1, 32, 32)), steps=4)
    for value, size in ((0.1, (7, 7)), (-1 / 3, (14, 14)), (1e30, (5, 3)), (0.0, (1, 1))):
        constant = given(classifier, pixels, torch.full((2, 1, *size), value))
        assert equal_curves(curves(classifier, pixels, constant, steps=4), expected, 0)


def test_a_constant_map_scores_as_random_orders_do_on_average():
    classifier, picture = summing(8), picture_of(drawn_maps(1, 1, (8, 8), seed=4)[0, 0].tolist())
    flat = given(classifier, picture, torch.ones(1, 1, 8, 8))
    found = [curves(classifier, picture, flat, steps=64, seed=seed) for seed in range(60)]
    areas = torch.cat([each.area("insertion") for each in found])
    assert abs(float(areas.mean()) - float(picture.sum()) / 2) < 3 * float(areas.std()) / 60**0.5


def test_a_batch_is_a_loop_and_its_order_nothing():
    classifier, pixels = classifier_of(cnn()), pixels_of(4)
    maps = drawn_maps(4, 2, (7, 7))
    maps[:, :, ::2] = maps[:, :, ::2].clamp(min=0)
    for fill in (Mean(), Noise(), Inpaint()):
        together = curves(classifier, pixels, given(classifier, pixels, maps, [1, 2]), fill=fill, steps=5)
        order = [2, 0, 3, 1]
        other = given(classifier, pixels[order], maps[order], [1, 2])
        permuted = curves(classifier, pixels[order], other, fill=fill, steps=5)
        for name in ("insertion", "deletion"):
            same(getattr(permuted, name), getattr(together, name)[order])
        for image in range(4):
            alone = given(classifier, pixels[[image]], maps[[image]], [1, 2])
            single = curves(classifier, pixels[[image]], alone, fill=fill, steps=5)
            same(single.insertion, together.insertion[[image]])
            same(single.deletion, together.deletion[[image]])


@drawn(some.permutations(range(3)), some.integers(0, 100), some.sampled_from(["pixel", "grid"]))
@settings(max_examples=8)
def test_in_any_order_and_alone_a_picture_has_the_same_curves_where_holes_are_painted_in(order, seed, level):
    classifier, pixels, maps = classifier_of(cnn()), pixels_of(3, (16, 16), seed), drawn_maps(3, 1, (4, 4), seed)
    settled = {"fill": Inpaint(), "steps": 3, "level": level}
    together = curves(classifier, pixels, given(classifier, pixels, maps), **settled)
    permuted = curves(classifier, pixels[order], given(classifier, pixels[order], maps[order]), **settled)
    for name in ("insertion", "deletion"):
        same(getattr(permuted, name), getattr(together, name)[order])
    one = order[0]
    alone = curves(classifier, pixels[[one]], given(classifier, pixels[[one]], maps[[one]]), **settled)
    same(alone.insertion, together.insertion[[one]])
    same(alone.deletion, together.deletion[[one]])


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_chunks_change_nothing(size):
    pixels, maps = pixels_of(3), drawn_maps(3, 2, (7, 7))
    whole, cut = classifier_of(cnn()), classifier_of(cnn())
    passes.remember_chunk(cut, pixels[:1], size)
    one, other = (curves(each, pixels, given(each, pixels, maps, [1, 2]), steps=6) for each in (whole, cut))
    same(other.insertion, one.insertion)
    same(other.deletion, one.deletion)


def test_targets_asked_together_are_targets_asked_alone():
    classifier, pixels = classifier_of(vit()), pixels_of(2)
    maps = drawn_maps(2, 3, (4, 4))
    together = curves(classifier, pixels, given(classifier, pixels, maps, [4, 0, 2]), steps=4)
    for place, target in enumerate([4, 0, 2]):
        alone = curves(classifier, pixels, given(classifier, pixels, maps[:, [place]], target), steps=4)
        same(alone.insertion[:, 0], together.insertion[:, place])
        same(alone.deletion[:, 0], together.deletion[:, place])


@pytest.mark.parametrize(
    ("targets", "steps", "side", "level", "each"),
    [
        (1, 4, 8, "grid", 2 * 4 + 1),  # 16, 32, 48 of 64 places; the half is met, 9.6 → 10 is not
        (1, 20, 10, "grid", 2 * 20),  # 5, 10, … of 100: 50 and 15 are both met
        (3, 20, 10, "grid", 2 + 3 * 2 * 19),
        (3, 4, 8, "pixel", 2 + 3 * (2 * 3 + 1)),
        (1, 3, 8, "grid", 2 * 3 + 2),  # 21 and 43 of 64: neither is met
        (1, 1, 8, "grid", 2 + 2),
        (1, 32, 2, "grid", 2 * 4),  # as many steps as places
    ],
)
def test_passes_are_counted_exactly(targets, steps, side, level, each):
    classifier, pixels = classifier_of(cnn()), pixels_of(2)
    explanation = given(classifier, pixels, drawn_maps(2, targets, (side, side)), list(range(targets)))
    with passes.counted() as spent:
        curves(classifier, pixels, explanation, steps=steps, level=level)
    assert (spent.forwards, spent.backwards) == (2 * each, 0)


def test_a_method_that_tells_no_targets_apart_pays_for_one():
    classifier, pixels = classifier_of(cnn()), pixels_of(2)
    explanation = regard.Centre(classifier)(pixels, [0, 1, 2])
    with passes.counted() as spent:
        curves(classifier, pixels, explanation, steps=4, level="grid")
    assert spent.forwards == 2 * (2 * 4 + 1)  # 14×14 places: 98 are met, 29.4 → 29 are not


whole_maps = arrays.arrays("float32", (1, 1, 4, 4), elements=some.integers(-4, 4)).map(torch.from_numpy)
SUMMING, DRAWN = summing(8), picture_of(drawn_maps(1, 1, (8, 8), seed=9)[0, 0].tolist())


@drawn(whole_maps, some.integers(-32, 32), some.sampled_from([0.5, 2.0, 4.0]), some.sampled_from(["pixel", "grid"]))
@settings(max_examples=25)
def test_a_constant_and_a_positive_scale_change_no_curve(maps, constant, scale, level):
    expected = curves(SUMMING, DRAWN, given(SUMMING, DRAWN, maps), steps=8, level=level)
    for changed in (maps + constant, maps * scale):
        found = curves(SUMMING, DRAWN, given(SUMMING, DRAWN, changed), steps=8, level=level)
        assert equal_curves(found, expected, 0)


@drawn(whole_maps)
@settings(max_examples=15)
def test_a_monotone_transform_changes_no_curve_of_a_grid(maps):
    expected = curves(SUMMING, DRAWN, given(SUMMING, DRAWN, maps), steps=8, level="grid")
    for changed in (maps.exp(), maps.pow(3), maps.atan()):
        found = curves(SUMMING, DRAWN, given(SUMMING, DRAWN, changed), steps=8, level="grid")
        assert equal_curves(found, expected, 0)


def test_a_monotone_transform_that_is_not_affine_changes_curves_of_pixels_since_maps_are_enlarged_first():
    maps = drawn_maps(1, 1, (4, 4))
    plain, cubed = (curves(SUMMING, DRAWN, given(SUMMING, DRAWN, each), steps=8) for each in (maps, maps.pow(3)))
    assert not torch.allclose(plain.insertion, cubed.insertion, atol=1e-2)


@drawn(whole_maps)
@settings(max_examples=25)
def test_the_order_of_the_sums_themselves_is_the_best_and_its_reverse_the_worst(maps):
    """On a sum every other order inserts less and deletes more, at every point."""
    sums = DRAWN.sum(1, keepdim=True)
    best, worst, any_order = (
        curves(SUMMING, DRAWN, given(SUMMING, DRAWN, each), steps=8) for each in (sums, -sums, maps)
    )
    assert bool((worst.insertion - 1e-4 <= any_order.insertion).all())
    assert bool((any_order.insertion <= best.insertion + 1e-4).all())
    assert bool((best.deletion - 1e-4 <= any_order.deletion).all())


def test_the_clamped_map_shows_what_the_signed_one_does_down_to_its_zeros():
    """Where evidence against ties at zero, the most relevant places are still the same."""
    maps = drawn_maps(1, 1, (8, 8))
    positive = int((maps > 0).sum())
    signed, clamped = (
        curves(SUMMING, DRAWN, given(SUMMING, DRAWN, each), steps=64, level="grid")
        for each in (maps, maps.clamp(min=0))
    )
    assert signed.insertion[..., : positive + 1].equal(clamped.insertion[..., : positive + 1])
    assert not signed.insertion.equal(clamped.insertion)


@pytest.mark.parametrize(("size", "frame"), [((3, 4), (9, 10)), ((1, 1), (4, 5)), ((7, 5), (7, 5)), ((9, 8), (5, 3))])
def test_maps_are_enlarged_as_a_loop_and_torch_do(size, frame):
    maps = drawn_maps(1, 2, size)
    expected = torch.nn.functional.interpolate(maps, frame, mode="bilinear", align_corners=False)
    torch.testing.assert_close(enlarged(maps, frame), expected, atol=2e-6, rtol=0)
    for one, found in zip(maps[0], enlarged(maps, frame)[0], strict=True):
        torch.testing.assert_close(found, torch.tensor(slow_enlarged(one.tolist(), frame)), atol=1e-6, rtol=0)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.7, -2.37, 1e-30, 3e30])
def test_flat_parts_of_an_enlarged_map_stay_flat_to_the_last_bit(value):
    maps = torch.full((1, 1, 14, 7), value)
    assert enlarged(maps, (50, 33)).unique().tolist() == maps.unique().tolist()
    maps[..., 8:, :] = 5.0
    assert (enlarged(maps, (70, 7))[..., :30, :] == value).all()
