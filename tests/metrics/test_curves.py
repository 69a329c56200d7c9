"""Deletion and insertion: worked by hand on a sum of pixels, and against plain loops with one picture a pass."""

import math
from dataclasses import replace

import pytest
import torch

import regard
from regard.errors import MetricError
from regard.fills import Blur, Colour, Inpaint, Mean, Noise
from regard.metrics.common_grid import enlarged
from regard.metrics.curves import curves as curves_of
from regard.metrics.retention import softly_retained
from regard.models import passes

from ..explainers.networks import classifier_of, cnn, mlp_head, pixels_of, vit
from .replicas import (
    ZERO,
    all_close,
    drawn_maps,
    equal_curves,
    given,
    picture_of,
    slow_counts,
    slow_curves,
    slow_ranking,
    summing,
)


def curves(*given, fill=ZERO, **settings):
    """Curves whose removed pixels are zero, so that they add nothing to a sum, if no other fill is said."""
    return curves_of(*given, fill=fill, **settings)


FILLS = [Mean(), Colour((0.5, -1.0, 2.0)), Blur(2.0), Noise(), Inpaint()]
SUMS = [[1.0, 0.5], [-0.25, 2.0]]
ORDER = [[0.1, 0.3], [-2.0, 0.2]]
"""The most relevant place first: 0.5, then 2, then 1, then −0.25."""


def softmax_of(network):
    def value(picture, _):
        with torch.no_grad():
            odds = network(picture)[0].double().exp()
        return odds / odds.sum()

    return value


def test_curves_of_a_sum_on_two_by_two_places_are_the_sums_worked_by_hand():
    classifier, picture = summing(2), picture_of(SUMS)
    found = curves(classifier, picture, given(classifier, picture, [[ORDER]]), steps=4)
    assert found.counts.tolist() == [0, 1, 2, 3, 4]
    assert found.insertion[0, 0].tolist() == [0.0, 0.5, 2.5, 3.5, 3.25]
    assert found.deletion[0, 0].tolist() == [3.25, 2.75, 0.75, -0.25, 0.0]
    assert found.least_first[0, 0].tolist() == [3.25, 3.5, 2.5, 0.5, 0.0]
    assert (float(found.clean), float(found.empty)) == (3.25, 0.0)
    assert float(found.area("insertion")) == (0.0 / 2 + 0.5 + 2.5 + 3.5 + 3.25 / 2) / 4 == 2.03125
    assert float(found.area("deletion")) == (3.25 / 2 + 2.75 + 0.75 - 0.25 + 0.0 / 2) / 4 == 1.21875
    assert float(found.area("least_first")) == 2.03125
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
    assert float(found.area("insertion")) == pytest.approx(inserted, abs=1e-15)
    assert float(found.area("deletion")) == pytest.approx(deleted, abs=1e-15)


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


@pytest.mark.parametrize("grid", [(56, 56), (7, 7), (9, 10)], ids=["56×56", "7×7", "non-dividing"])
def test_grids_of_students_teachers_and_of_no_whole_cells_lose_every_pixel_in_the_end(grid):
    """papers/brnpa.md, check 26: a pass for each step of both curves, and the last mask removes all."""
    classifier, frame = summing(112), (112, 112)
    picture = torch.randn(1, 3, *frame, generator=torch.Generator().manual_seed(0))
    maps = drawn_maps(1, 1, grid)
    expected = slow_curves(lambda shown, _: shown.double().sum()[None], picture, maps, ZERO, 4, "grid")
    explanation = given(classifier, picture, maps)
    for level in ("grid", "pixel"):
        with passes.counted() as counted:
            found = curves(classifier, picture, explanation, steps=4, level=level)
        assert found.counts.tolist() == slow_counts(math.prod(grid if level == "grid" else frame), 4)
        assert float(found.deletion[0, 0, -1]) == float(found.insertion[0, 0, 0]) == 0
        assert float(found.deletion[0, 0, 0]) == pytest.approx(float(picture.double().sum()), rel=1e-5)
        assert counted.forwards == 2 * 4 + 1  # that many for both curves, and one for a share that no step meets
        if level == "grid":
            all_close(found.deletion, expected["deletion"])


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


def test_a_network_that_sees_beside_its_maps_is_shown_that_part_last_and_loses_it_last():
    """A map of the upper left 2×2 of 3×3 places; the five beside add 1 each."""
    classifier, picture = summing(3), torch.full((1, 3, 3, 3), 1 / 3)
    picture[0, 0, :2, :2] += torch.tensor(SUMS) - 1
    explanation = given(classifier, picture, [[ORDER]])
    part = (explanation.geometries[0].corner(2, 2),)
    explanation = replace(explanation, geometries=part, pictures=explanation.pictures[:, :2, :2])
    for level in ("pixel", "grid"):
        found = curves(classifier, picture, explanation, steps=4, level=level)
        assert found.insertion[0, 0].tolist() == pytest.approx([0, 0.5, 2.5, 3.5, 3.25 + 5], abs=1e-5)
        assert found.deletion[0, 0].tolist() == pytest.approx([8.25, 7.75, 5.75, 4.75, 0], abs=1e-5)
        assert float(found.retained[0.5]) == pytest.approx(2.5, abs=1e-5)
    soft = softly_retained(classifier, picture, explanation).retained[1.0]
    weights = [(value + 2) / 2.3 for row in ORDER for value in row]
    black = -3.0  # what a place of black sums to, in prepared units
    shown = [weight * (value - black) for weight, value in zip(weights, [v for row in SUMS for v in row], strict=True)]
    assert float(soft) == pytest.approx(9 * black + sum(shown), abs=1e-4)


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


def test_the_probability_is_float64_also_where_the_network_runs_in_half_precision():
    classifier, pixels = classifier_of(cnn(), precision="bfloat16"), pixels_of(2)
    plain = classifier_of(cnn())
    maps = drawn_maps(2, 1, (7, 7))
    found = curves(classifier, pixels, given(classifier, pixels, maps, 1), steps=4)
    expected = curves(plain, pixels, given(plain, pixels, maps, 1), steps=4)
    assert found.insertion.dtype is torch.float64
    assert found.precision == "bfloat16"
    all_close(found.insertion, expected.insertion, 0.1)
    assert len(found.insertion.float().double().sub(found.insertion).nonzero())


def test_areas_are_float64_and_of_the_unit_interval():
    classifier, pixels = classifier_of(cnn()), pixels_of(2)
    found = curves(classifier, pixels, given(classifier, pixels, drawn_maps(2, 2, (7, 7)), [0, 1]), steps=6)
    ones = replace(found, insertion=torch.ones_like(found.insertion), deletion=torch.ones_like(found.deletion))
    for area in (ones.area("insertion"), ones.area("deletion"), ones.area("least_first")):
        assert area.tolist() == [[1.0, 1.0]] * 2
    assert found.area("insertion").dtype is torch.float64
    assert found.area("insertion").shape == (2, 2)
    shares = [count / found.places for count in found.counts.tolist()]
    values = found.insertion[1, 0].tolist()
    by_hand = math.fsum((shares[k + 1] - shares[k]) * (values[k] + values[k + 1]) / 2 for k in range(len(shares) - 1))
    assert float(found.area("insertion")[1, 0]) == pytest.approx(by_hand, abs=1e-12)


def test_removed_pixels_are_black_if_nothing_is_said():
    """Black is (0 − 0.5) / 0.5 = −1 in prepared pixels: 12 values of −1 in an empty picture of 2×2 places."""
    classifier, picture = summing(2), picture_of(SUMS)
    explanation = given(classifier, picture, [[ORDER]])
    found = curves_of(classifier, picture, explanation, steps=4)
    black = curves(classifier, picture, explanation, steps=4, fill=Colour((-1.0, -1.0, -1.0)))
    assert equal_curves(found, black)
    assert float(found.empty) == -12.0
