"""Deletion and insertion: worked by hand on a sum of pixels, against plain loops, and what must change nothing."""

import gc
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays

import regard
from regard.errors import MetricError, NotFiniteError, PixelsError
from regard.fills import Blur, Colour, Inpaint, Mean, Noise
from regard.metrics.common_grid import enlarged
from regard.metrics.curves import curves
from regard.models import passes

from ..explainers.networks import classifier_of, cnn, mlp_head, pixels_of, same, vit
from .replicas import drawn_maps, given, picture_of, slow_curves, slow_enlarged, slow_ranking, summing

FILLS = [Mean(), Colour((0.5, -1.0, 2.0)), Blur(2.0), Noise(), Inpaint()]
SUMS = [[1.0, 0.5], [-0.25, 2.0]]
ORDER = [[0.1, 0.3], [-2.0, 0.2]]
"""The most relevant place first: 0.5, then 2, then 1, then −0.25."""


def softmax_of(network):
    def value(picture, _):
        with torch.no_grad():
            return network(picture)[0].double().exp() / network(picture)[0].double().exp().sum()

    return value


def all_close(found, expected, tolerance=1e-4):
    """To a share of each value: probabilities may be small."""
    assert found.shape == expected.shape
    torch.testing.assert_close(found.double(), expected.double(), atol=tolerance / 1000, rtol=tolerance)
    return True


def equal_curves(one, other, tolerance=1e-6):
    assert one.counts.equal(other.counts)
    for name in ("insertion", "deletion"):
        all_close(getattr(one, name), getattr(other, name), tolerance)
    assert one.retained.keys() == other.retained.keys()
    return all(all_close(one.retained[share], other.retained[share], tolerance) for share in one.retained)


def test_curves_of_a_sum_on_two_by_two_places_are_the_sums_worked_by_hand():
    classifier, picture = summing(2), picture_of(SUMS)
    found = curves(classifier, picture, given(classifier, picture, [[ORDER]]), steps=4)
    assert found.counts.tolist() == [0, 1, 2, 3, 4]
    assert found.insertion[0, 0].tolist() == [0.0, 0.5, 2.5, 3.5, 3.25]
    assert found.deletion[0, 0].tolist() == [3.25, 2.75, 0.75, -0.25, 0.0]
    assert found.least_first[0, 0].tolist() == [3.25, 3.5, 2.5, 0.5, 0.0]
    assert (float(found.clean), float(found.empty)) == (3.25, 0.0)
    assert float(found.area(found.insertion)) == (0.0 / 2 + 0.5 + 2.5 + 3.5 + 3.25 / 2) / 4 == 2.03125
    assert float(found.area(found.deletion)) == (3.25 / 2 + 2.75 + 0.75 - 0.25 + 0.0 / 2) / 4 == 1.21875
    assert float(found.area(found.least_first)) == 2.03125
    assert {share: float(value) for share, value in found.retained.items()} == {0.5: 2.5, 0.15: 0.5}


def test_curves_of_a_sum_over_unequal_steps_are_the_sums_worked_by_hand():
    """16 places in 3 steps: 0, 5⅓ → 5, 10⅔ → 11 and all 16; place p, in row-major order, adds 2^−p."""
    values = [2.0**-place for place in range(16)]
    rows = [values[start : start + 4] for start in (0, 4, 8, 12)]
    classifier, picture = summing(4), picture_of(rows)
    found = curves(classifier, picture, given(classifier, picture, [[rows]]), steps=3)
    assert found.counts.tolist() == [0, 5, 11, 16]
    assert found.steps == 3
    first_five, first_eleven, everything = 2 - 2**-4, 2 - 2**-10, 2 - 2**-15
    assert found.insertion[0, 0].tolist() == [0.0, first_five, first_eleven, everything]
    assert found.deletion[0, 0].tolist() == [everything, everything - first_five, everything - first_eleven, 0.0]
    inserted = (5 * first_five + 6 * (first_five + first_eleven) + 5 * (first_eleven + everything)) / 32
    left = (everything - first_five, everything - first_eleven)
    deleted = (5 * (everything + left[0]) + 6 * sum(left) + 5 * left[1]) / 32
    assert float(found.area(found.insertion)) == pytest.approx(inserted, abs=1e-15)
    assert float(found.area(found.deletion)) == pytest.approx(deleted, abs=1e-15)


@pytest.mark.parametrize(
    ("side", "steps", "counts"),
    [
        (2, 1, [0, 4]),
        (2, 3, [0, 1, 3, 4]),  # 4/3, 8/3
        (2, 5, [0, 1, 2, 3, 4]),  # 0.8, 1.6, 2.4, 3.2: more steps than places
        (2, 8, [0, 1, 2, 3, 4]),  # halves go up: 0.5 → 1, 1.5 → 2, 2.5 → 3, 3.5 → 4
        (2, 1000, [0, 1, 2, 3, 4]),
        (4, 32, list(range(17))),
        (4, 3, [0, 5, 11, 16]),
        (3, 2, [0, 5, 9]),  # 4.5 → 5
        (3, 4, [0, 2, 5, 7, 9]),  # 2.25, 4.5, 6.75
        (1, 1, [0, 1]),
        (1, 32, [0, 1]),
    ],
)
def test_steps_are_exact_counts_and_never_more_than_places(side, steps, counts):
    """A map finer than its steps, coarser than them, and of one place: no peer's error at 14×14 and 20 steps."""
    classifier, picture = summing(side), picture_of([[0.5] * side] * side)
    explanation = given(classifier, picture, drawn_maps(1, 1, (side, side)))
    found = curves(classifier, picture, explanation, steps=steps, level="grid")
    assert found.counts.tolist() == counts
    assert found.insertion[0, 0].tolist() == [0.5 * count for count in counts]
    assert found.deletion[0, 0].tolist() == [0.5 * count for count in reversed(counts)]
    assert found.places == side * side
    assert found.steps == len(counts) - 1


def test_steps_of_a_picture_of_usual_size_are_exact():
    classifier, picture = summing(224), torch.full((1, 3, 224, 224), 1 / 3)
    found = curves(classifier, picture, given(classifier, picture, drawn_maps(1, 1, (14, 14))), steps=3)
    assert found.counts.tolist() == [0, 16_725, 33_451, 50_176]  # 16,725⅓ and 33,450⅔
    all_close(found.insertion[0, 0], found.counts, 1e-4)
    assert float(found.retained[0.5]) == pytest.approx(25_088, rel=1e-5)
    assert float(found.retained[0.15]) == pytest.approx(7_526, rel=1e-5)


def test_ties_follow_the_stated_order():
    classifier, picture = summing(4), picture_of([[float(4 * row + column) for column in range(4)] for row in range(4)])
    picture = picture / 16
    explanation = given(classifier, picture, torch.zeros(1, 1, 4, 4))
    order = slow_ranking([0.0] * 16, picture[0])
    expected = [sum(order[:count]) / 16 for count in range(17)]
    found = curves(classifier, picture, explanation, steps=16)
    assert found.insertion[0, 0].tolist() == expected
    assert found.ties == regard.metrics.ranking.TIES
    another = curves(classifier, picture, explanation, steps=16, seed=1)
    assert another.insertion[0, 0].tolist() == [
        sum(slow_ranking([0.0] * 16, picture[0], 1)[:n]) / 16 for n in range(17)
    ]
    assert not another.insertion.equal(found.insertion)


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
    areas = torch.cat([each.area(each.insertion) for each in found])
    assert abs(float(areas.mean()) - float(picture.sum()) / 2) < 3 * float(areas.std()) / 60**0.5


MAKERS = {"cnn": cnn, "vit": vit, "frame that is not square": lambda: vit(img_size=(32, 24))}


@pytest.mark.parametrize("fill", FILLS, ids=lambda fill: fill.name)
@pytest.mark.parametrize("level", ["pixel", "grid"])
@pytest.mark.parametrize("name", MAKERS)
def test_curves_are_those_of_a_loop_with_one_picture_a_pass(name, level, fill):
    network = MAKERS[name]()
    size = (32, 24) if "square" in name else (32, 32)
    classifier, pixels = classifier_of(network, size), pixels_of(2, size)
    maps = drawn_maps(2, 1, (5, 7) if name == "cnn" else (size[0] // 8, size[1] // 8))
    explanation = given(classifier, pixels, maps, regard.Predicted(2))
    chosen = [answers[0].index for answers in explanation.targets]
    value = softmax_of(network)
    expected = slow_curves(
        lambda picture, number: value(picture, number)[[chosen[number]]], pixels, maps, fill, 3, level
    )
    found = curves(classifier, pixels, explanation, fill=fill, steps=3, level=level)
    for end in ("insertion", "deletion"):
        all_close(getattr(found, end), expected[end])
    for share in (0.5, 0.15):
        all_close(found.retained[share], expected[share])
    assert (found.fill, found.level, found.precision) == (repr(fill), level, "float32")


@pytest.mark.parametrize("outputs", ["softmax", "sigmoid", "scalar"])
@pytest.mark.parametrize("targets", [[2], [0, 3], [4, 0, 2]], ids=str)
def test_values_are_probabilities_or_measurements_of_each_map_s_own_target(outputs, targets):
    network = cnn()
    classifier, pixels = classifier_of(network, outputs=outputs), pixels_of(2)
    maps = drawn_maps(2, len(targets), (6, 6))

    def value(picture, _):
        with torch.no_grad():
            logits = network(picture)[0].double()
        known = {"softmax": logits.softmax(0), "sigmoid": 1 / (1 + (-logits).exp()), "scalar": logits}[outputs]
        return known[targets]

    expected = slow_curves(value, pixels, maps, Colour((0.0,) * 3), 4, "grid")
    found = curves(classifier, pixels, given(classifier, pixels, maps, targets), steps=4, level="grid")
    for end in ("insertion", "deletion"):
        all_close(getattr(found, end), expected[end])


@pytest.mark.parametrize("targets", [[2], [0, 3, 1]], ids=str)
def test_a_map_of_all_targets_is_judged_by_each_of_them(targets):
    network = vit()
    classifier, pixels = classifier_of(network), pixels_of(2)
    explanation = regard.Centre(classifier)(pixels, targets)
    assert not explanation.per_target
    value = softmax_of(network)
    expected = slow_curves(
        lambda picture, number: value(picture, number)[targets], pixels, explanation.maps, Mean(), 4, "pixel"
    )
    found = curves(classifier, pixels, explanation, fill=Mean(), steps=4)
    for end in ("insertion", "deletion"):
        all_close(getattr(found, end), expected[end])


@pytest.mark.parametrize("level", ["pixel", "grid"])
@pytest.mark.parametrize("frame", [(36, 36), (44, 34)], ids=str)
def test_what_patches_do_not_reach_is_shown_and_removed_last(frame, level):
    network = vit(img_size=frame)
    classifier, pixels = classifier_of(network, frame), pixels_of(2, frame)
    explanation = regard.CDAM(classifier)(pixels, [1, 3])
    covered = (frame[0] // 8 * 8, frame[1] // 8 * 8)
    assert explanation.geometries[0].frame == covered
    value = softmax_of(network)
    expected = slow_curves(
        lambda picture, number: value(picture, number)[[1, 3]], pixels, explanation.maps, Mean(), 3, level, covered
    )
    found = curves(classifier, pixels, explanation, fill=Mean(), steps=3, level=level)
    for end in ("insertion", "deletion"):
        all_close(getattr(found, end), expected[end])
    all_close(found.retained[0.5], expected[0.5])


def test_a_difference_and_a_concept_are_judged_by_their_own_values():
    backbone, head = vit(num_classes=0), mlp_head()
    classifier, pixels = classifier_of(backbone, head=head), pixels_of(2)
    direction = torch.randn(classifier.width, generator=torch.Generator().manual_seed(0))
    concept = regard.Concept.from_embeddings(classifier, direction[None], "a direction", "dot")
    targets = [regard.Difference(1, 3), concept, regard.LogProbability(2)]
    maps = drawn_maps(2, 3, (4, 4))

    def value(picture, _):
        with torch.no_grad():
            embedding = backbone(picture)[0]
            logits = head(embedding).double()
        scaled = float(concept.scores(regard.targets.Output(None, embedding[None])))
        return torch.stack([logits[1] - logits[3], torch.tensor(scaled).double(), logits.log_softmax(0)[2]])

    expected = slow_curves(value, pixels, maps, Mean(), 4, "grid")
    explanation = given(classifier, pixels, maps, targets)
    found = curves(classifier, pixels, explanation, fill=Mean(), steps=4, level="grid", targets=targets)
    for end in ("insertion", "deletion"):
        all_close(getattr(found, end), expected[end])
    with pytest.raises(MetricError, match="no classes") as refusal:
        curves(classifier, pixels, explanation)
    assert "targets=" in refusal.value.remedy


def test_a_predicted_class_stays_that_of_the_whole_picture():
    classifier, pixels = classifier_of(cnn()), pixels_of(4)
    explanation = given(classifier, pixels, drawn_maps(4, 1, (8, 8)), regard.Predicted())
    chosen = [[answers[0].index] for answers in explanation.targets]
    asked = {
        "by the explanation": curves(classifier, pixels, explanation, steps=4),
        "by rank": curves(classifier, pixels, explanation, steps=4, targets=regard.Predicted()),
        "by index": curves(classifier, pixels, explanation, steps=4, targets=regard.PerImage(chosen)),
    }
    for found in asked.values():
        assert equal_curves(found, asked["by index"])
    likeliest = classifier(pixels).softmax(1).amax(1, keepdim=True)
    all_close(asked["by rank"].clean, likeliest)
    assert bool((asked["by rank"].deletion <= 1).all())
    assert bool((asked["by rank"].deletion >= 0).all())


@pytest.mark.parametrize("fill", FILLS, ids=lambda fill: fill.name)
def test_curves_begin_and_end_at_the_clean_and_the_empty_answer(fill):
    network = cnn()
    classifier, pixels = classifier_of(network), pixels_of(3)
    found = curves(classifier, pixels, given(classifier, pixels, drawn_maps(3, 2, (8, 8)), [0, 4]), fill=fill, steps=5)
    clean = network(pixels).softmax(1)[:, [0, 4]].detach()
    empty = network(torch.cat([fill.background(picture[None]) for picture in pixels])).softmax(1)[:, [0, 4]].detach()
    all_close(found.clean, clean)
    all_close(found.empty, empty)
    for end, value in ((found.deletion[..., 0], clean), (found.insertion[..., -1], clean)):
        all_close(end, value)
    for end, value in ((found.deletion[..., -1], empty), (found.insertion[..., 0], empty)):
        all_close(end, value)


def test_on_a_linear_model_insertion_is_the_reflection_of_deletion():
    """What is shown and what is left add up: insertion[k] + deletion[k] = clean + empty."""
    weights = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(2))
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 256, 1))
    network[1].weight.data.copy_(weights.flatten()[None])
    classifier, pixels = classifier_of(network, 16, outputs="scalar"), pixels_of(3, (16, 16))
    explanation = given(classifier, pixels, drawn_maps(3, 1, (5, 5)))
    for fill in FILLS[:4]:  # an inpainted hole depends on its own size
        found = curves(classifier, pixels, explanation, fill=fill, steps=8)
        ends = (found.clean + found.empty)[..., None].expand_as(found.insertion)
        all_close(found.insertion + found.deletion, ends, 1e-3)


@pytest.mark.parametrize("level", ["pixel", "grid"])
def test_least_first_is_what_removing_the_least_relevant_places_gives(level):
    network = cnn()
    classifier, pixels = classifier_of(network), pixels_of(2)
    maps = drawn_maps(2, 1, (6, 5))
    found = curves(classifier, pixels, given(classifier, pixels, maps), fill=Mean(), steps=4, level=level)
    negated = curves(classifier, pixels, given(classifier, pixels, -maps), fill=Mean(), steps=4, level=level)
    all_close(negated.deletion[..., [0, -1]], found.least_first[..., [0, -1]])
    cells = maps if level == "grid" else enlarged(maps, (32, 32))
    for image, one in enumerate(cells[:, 0]):
        order = slow_ranking(one.flatten().tolist(), pixels[image])
        for point, count in enumerate(reversed(found.counts.tolist())):
            kept = torch.zeros(one.numel())
            kept[order[:count]] = 1.0  # the least relevant, at the end of the order, are gone
            mask = torch.nn.functional.interpolate(kept.view(1, 1, *one.shape), (32, 32), mode="nearest-exact")
            answer = network(Mean()(pixels[[image]], mask)).softmax(1)[0, 0].detach()
            assert float(found.least_first[image, 0, point]) == pytest.approx(float(answer), abs=1e-5)


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


def test_the_probability_is_float32_also_where_the_network_runs_in_half_precision():
    classifier, pixels = classifier_of(cnn(), precision="bfloat16"), pixels_of(2)
    plain = classifier_of(cnn())
    maps = drawn_maps(2, 1, (7, 7))
    found = curves(classifier, pixels, given(classifier, pixels, maps, 1), steps=4)
    expected = curves(plain, pixels, given(plain, pixels, maps, 1), steps=4)
    assert found.insertion.dtype is torch.float32
    assert found.precision == "bfloat16"
    all_close(found.insertion, expected.insertion, 0.1)
    assert len(found.insertion.to(torch.bfloat16).float().sub(found.insertion).nonzero())


def test_areas_are_float64_and_of_the_unit_interval():
    classifier, pixels = classifier_of(cnn()), pixels_of(2)
    found = curves(classifier, pixels, given(classifier, pixels, drawn_maps(2, 2, (7, 7)), [0, 1]), steps=6)
    ones = replace(found, insertion=torch.ones_like(found.insertion), deletion=torch.ones_like(found.deletion))
    for area in (ones.area(ones.insertion), ones.area(ones.deletion), ones.area(ones.least_first)):
        assert area.tolist() == [[1.0, 1.0]] * 2
    assert found.area(found.insertion).dtype is torch.float64
    assert found.area(found.insertion).shape == (2, 2)
    shares = [count / found.places for count in found.counts.tolist()]
    values = found.insertion[1, 0].tolist()
    by_hand = math.fsum((shares[k + 1] - shares[k]) * (values[k] + values[k + 1]) / 2 for k in range(len(shares) - 1))
    assert float(found.area(found.insertion)[1, 0]) == pytest.approx(by_hand, abs=1e-12)


def test_nothing_is_left_in_the_network_and_nothing_is_kept_of_it():
    network = cnn().train()
    classifier, pixels = classifier_of(network), pixels_of(2)
    explanation = given(classifier, pixels, drawn_maps(2, 1, (7, 7)))
    state, before = torch.get_rng_state(), pixels.clone()
    found = curves(classifier, pixels, explanation, steps=3)
    assert all(module.training for module in network.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert torch.get_rng_state().equal(state)
    assert torch.is_grad_enabled()
    assert pixels.equal(before)
    assert not found.insertion.requires_grad
    assert not any(isinstance(held, (torch.nn.Module, regard.Classifier)) for held in gc.get_referents(found.__dict__))
    with torch.inference_mode():
        assert equal_curves(curves(classifier, pixels, explanation, steps=3), found)


def test_what_does_not_belong_together_is_refused():
    classifier, pixels = classifier_of(cnn()), pixels_of(2)
    explanation = given(classifier, pixels, drawn_maps(2, 1, (7, 7)))
    with pytest.raises(MetricError, match="another classifier, or of other weights"):
        curves(classifier_of(cnn(seed=1)), pixels, explanation)
    with pytest.raises(MetricError, match="every picture has its maps"):
        curves(classifier, pixels[:1], explanation)
    with pytest.raises(MetricError, match="other pictures") as refusal:
        curves(classifier, pixels[[0, 0]], explanation)
    assert "image 1" in refusal.value.came
    with pytest.raises(MetricError, match="other pictures"):
        curves(classifier, pixels_of(2, (32, 24)), explanation)
    with pytest.raises(MetricError, match="every target has its map"):
        curves(classifier, pixels, explanation, targets=[0, 1])


def test_weights_that_changed_since_are_refused():
    network = cnn()
    classifier, pixels = classifier_of(network), pixels_of(2)
    explanation = given(classifier, pixels, drawn_maps(2, 1, (7, 7)))
    with torch.no_grad():
        network[0].weight.mul_(2)
    with pytest.raises(MetricError, match="other weights"):
        curves(classifier, pixels, explanation)


@pytest.mark.parametrize("steps", [0, -3, 2.0, True, "4", None], ids=repr)
def test_steps_that_are_no_number_of_steps_are_refused(steps):
    classifier, pixels = classifier_of(cnn()), pixels_of(1)
    with pytest.raises(MetricError, match="whole number of steps"):
        curves(classifier, pixels, given(classifier, pixels, drawn_maps(1, 1, (4, 4))), steps=steps)


@pytest.mark.parametrize("level", ["pixels", "token", None, 1], ids=repr)
def test_a_level_that_is_none_is_refused(level):
    classifier, pixels = classifier_of(cnn()), pixels_of(1)
    with pytest.raises(MetricError, match="no such level"):
        curves(classifier, pixels, given(classifier, pixels, drawn_maps(1, 1, (4, 4))), level=level)


def test_what_is_not_finite_is_refused_with_its_place():
    classifier, pixels = classifier_of(cnn()), pixels_of(2)
    maps = drawn_maps(2, 1, (7, 7))
    explanation = given(classifier, pixels, maps)
    broken = pixels.clone()
    broken[1, 0, 3, 3] = float("nan")
    with pytest.raises(NotFiniteError, match="image 1"):
        curves(classifier, broken, explanation)
    maps[1, 0, 2, 5] = float("nan")
    with pytest.raises(NotFiniteError, match="map that holds NaN"):
        curves(classifier, pixels, given(classifier, pixels, maps))


def test_a_fill_of_other_channels_and_pixels_not_prepared_are_refused():
    classifier, pixels = classifier_of(cnn()), pixels_of(1)
    explanation = given(classifier, pixels, drawn_maps(1, 1, (4, 4)))
    with pytest.raises(PixelsError, match="per channel"):
        curves(classifier, pixels, explanation, fill=Colour((0.0,)))
    with pytest.raises(PixelsError):
        curves(classifier, pixels[0], explanation)
