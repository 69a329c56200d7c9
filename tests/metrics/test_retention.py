"""Average Drop, Increase in Confidence and Gain on the published toy; the soft masks, and why not to rank by them."""

import math

import pytest
import torch
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays
from torch import nn

import regard
from regard.errors import MetricError
from regard.fills import Colour
from regard.metrics.curves import curves
from regard.metrics.retention import PAPER, average_drop, average_gain, increase_in_confidence, softly_retained
from regard.models import passes

from ..explainers.networks import classifier_of, cnn, pixels_of, same, vit
from .replicas import drawn_maps, given, slow_enlarged, slow_ranking

WHOLE, PART = torch.tensor([0.8, 0.5, 0.2]), torch.tensor([0.4, 0.6, 0.2])
probabilities = arrays.arrays("float32", 8, elements=some.floats(0, 1, width=32)).map(torch.from_numpy)


class BlackSums(nn.Module):
    """Two logits: the sum of what is brighter than black, and 0."""

    def forward(self, pixels):
        bright = (pixels + 1).sum(dim=(1, 2, 3))
        return torch.stack([bright, torch.zeros_like(bright)], dim=1)


def test_the_published_toy():
    """(.8 − .4) / .8, 0, 0 → 16.667 %; only .6 > .5 → 33.333 %; (.6 − .5) / (1 − .5) of three."""
    assert 100 * float(average_drop(WHOLE, PART).mean()) == pytest.approx(50 / 3, abs=1e-5)
    assert 100 * float(increase_in_confidence(WHOLE, PART).mean()) == pytest.approx(100 / 3)
    assert average_gain(WHOLE, PART).tolist() == pytest.approx([0, 0.2, 0], abs=1e-6)


def test_nothing_is_lost_or_gained_where_nothing_changes():
    for measure in (average_drop, increase_in_confidence, average_gain):
        assert measure(WHOLE, WHOLE).tolist() == [0, 0, 0]


@drawn(probabilities, probabilities)
@settings(max_examples=60)
def test_all_three_lie_between_zero_and_one_and_none_both_loses_and_gains(whole, part):
    drop, rise, gain = (measure(whole, part) for measure in (average_drop, increase_in_confidence, average_gain))
    for values in (drop, rise, gain):
        assert values.dtype is torch.float64
        sound = values[~values.isnan()]
        assert bool(((sound >= 0) & (sound <= 1)).all())
    for y, o, lost, risen, gained in zip(*(v.tolist() for v in (whole, part, drop, rise, gain)), strict=True):
        assert math.isnan(lost) if y == 0 else lost == pytest.approx(max(0, y - o) / y)
        assert math.isnan(gained) if y == 1 else gained == pytest.approx(max(0, o - y) / (1 - y))
        assert risen == (o > y)
        assert not (lost > 0 and gained > 0)


def test_the_smallest_gain_counts_and_equality_does_not():
    whole = torch.tensor([0.5, 0.5, 1.0])
    above = torch.nextafter(whole, torch.ones(3))
    assert increase_in_confidence(whole, above).tolist() == [1, 1, 0]
    assert increase_in_confidence(whole, whole).tolist() == [0, 0, 0]


class OneLogit(nn.Module):
    """16 and the mean of the picture as a logit, against 0."""

    def forward(self, pixels):
        mean = 16 + pixels.mean(dim=(1, 2, 3))
        return torch.stack([mean, torch.zeros_like(mean)], dim=1)


@pytest.mark.parametrize("outputs", ["softmax", "sigmoid"])
def test_what_a_near_certain_photo_gains_is_no_rounding(outputs):
    """Logits 16 → 17 against 0: (O − Y) / (1 − Y) = 1 − (1 + e¹⁶) / (1 + e¹⁷) ≈ 1 − 1/e; in float32 it is 1."""
    classifier = classifier_of(OneLogit(), 8, outputs=outputs)
    pixels = torch.ones(1, 3, 8, 8)
    pixels[..., 4:, :] = -1
    maps = torch.zeros(1, 1, 8, 8)
    maps[..., :4, :] = 1
    read = curves(classifier, pixels, given(classifier, pixels, maps), fill=Colour((1.0,) * 3), steps=2)
    assert read.clean.dtype is read.retained[0.5].dtype is torch.float64
    expected = 1 - (1 + math.exp(16)) / (1 + math.exp(17))
    assert float(average_gain(read.clean, read.retained[0.5])) == pytest.approx(expected, rel=1e-6)
    assert softly_retained(classifier, pixels, given(classifier, pixels, maps)).clean.dtype is torch.float64


def test_a_function_of_the_logits_is_asked_in_their_own_precision():
    weights = torch.tensor([1.0, 2.0])
    classifier, pixels = classifier_of(OneLogit(), 8), pixels_of(1, (8, 8))
    asked = regard.Score(lambda logits: logits @ weights)
    read = curves(
        classifier, pixels, given(classifier, pixels, drawn_maps(1, 1, (4, 4)), asked), targets=asked, steps=2
    )
    assert read.clean.dtype is torch.float64
    assert float(read.clean) == pytest.approx(16 + float(pixels.mean()), abs=1e-5)


def test_what_has_no_value_is_nan():
    nan, nothing, everything = torch.tensor([math.nan]), torch.zeros(1), torch.ones(1)
    assert average_drop(nothing, everything).isnan().all()
    assert average_gain(everything, nothing).isnan().all()
    for measure in (average_drop, increase_in_confidence, average_gain):
        assert measure(nan, WHOLE[:1]).isnan().all()
        assert measure(WHOLE[:1], nan).isnan().all()


@pytest.mark.parametrize("measure", [average_drop, increase_in_confidence, average_gain])
@pytest.mark.parametrize("value", [-0.1, 1.5, -math.inf], ids=str)
def test_values_that_are_no_probabilities_are_refused(measure, value):
    with pytest.raises(MetricError, match="probability"):
        measure(torch.tensor([0.5, value]), torch.tensor([0.5, 0.5]))
    with pytest.raises(MetricError, match="probability"):
        measure(torch.tensor([0.5, 0.5]), torch.tensor([0.5, value]))


def soft_by_hand(network, picture, one, target, count):
    """The picture on black, weighed by its map (h, w), min-max, where it is among the `count` first places."""
    size = tuple(picture.shape[1:])
    values = torch.tensor(slow_enlarged(one.tolist(), size), dtype=torch.float64)
    spread = float(values.max() - values.min())
    soft = (values - values.min()) / spread if spread else torch.zeros_like(values)
    kept = torch.zeros(values.numel(), dtype=torch.float64)
    order = slow_ranking(values.flatten().tolist(), picture)[:count]
    kept[order] = soft.flatten()[order]
    colours = (picture.double() * 0.5 + 0.5) * kept.view(size)  # N(m · x): black is 0 before mean and std
    with torch.no_grad():
        return network(((colours - 0.5) / 0.5)[None].float())[0].double().softmax(0)[target]


@pytest.mark.parametrize("make", [cnn, vit])
def test_soft_retention_is_a_loop_with_the_published_masks(make):
    network = make()
    classifier, pixels = classifier_of(network), pixels_of(2)
    maps = drawn_maps(2, 2, (4, 4))
    found = softly_retained(classifier, pixels, given(classifier, pixels, maps, [1, 3]))
    for share, count in ((1.0, 1024), (0.5, 512), (0.15, 154)):  # ⌈0.15 · 1024⌉ = ⌈153.6⌉
        for image in range(2):
            for place, target in enumerate([1, 3]):
                expected = soft_by_hand(network, pixels[image], maps[image, place], target, count)
                assert float(found.retained[share][image, place]) == pytest.approx(float(expected), rel=1e-4)
    same(found.clean, classifier(pixels).softmax(1)[:, [1, 3]])
    assert found.fill == "Colour(prepared=(-1.0, -1.0, -1.0))"


def test_soft_retention_shows_exactly_as_many_places_as_published():
    """25,088 and 7,527 of 50,176, also of a map of two values, where quantiles keep 25,088 for either."""
    counts = []

    class Counting(nn.Module):
        def forward(self, pixels):
            counts.extend((pixels > -1).any(dim=1).flatten(1).sum(1).tolist())
            return pixels.mean(dim=(2, 3))

    classifier = classifier_of(Counting(), 224)
    pixels = torch.full((1, 3, 224, 224), 0.5)
    pixels[:, 0] = -0.5
    half = torch.ones(1, 1, 224, 224)
    half[..., 112:, :] = 0.5
    for maps in (drawn_maps(1, 1, (224, 224)), half):
        explanation = given(classifier, pixels, maps)
        counts.clear()
        softly_retained(classifier, pixels, explanation)
        shown = [count for count in counts if count != 50_176]
        if maps is half:
            assert shown == [25_088, 25_088, 7_527]  # of all places half are weighed with 0
        else:
            assert shown[-2:] == [25_088, 7_527]
            assert set(counts) <= {50_176, 50_175, 25_088, 7_527}  # the least place is weighed with 0


@pytest.mark.parametrize("value", [0.0, 0.1, -1 / 3, 1.0, 1e30])
def test_a_constant_map_shows_nothing(value):
    classifier, pixels = classifier_of(cnn()), pixels_of(2)
    black = classifier(torch.full((2, 3, 32, 32), -1.0)).softmax(1)[:, [0]].detach()
    found = softly_retained(classifier, pixels, given(classifier, pixels, torch.full((2, 1, 7, 7), value)))
    for share in PAPER:
        same(found.retained[share], black)


def test_soft_retention_reads_maps_where_they_lie():
    frame = (36, 44)
    network = vit(img_size=frame)
    classifier, pixels = classifier_of(network, frame), pixels_of(1, frame)
    explanation = regard.CDAM(classifier)(pixels, 2)
    values = torch.tensor(slow_enlarged(explanation.maps[0, 0].tolist(), (32, 40)), dtype=torch.float64)
    soft = torch.zeros(frame, dtype=torch.float64)
    soft[:32, :40] = (values - values.min()) / (values.max() - values.min())
    with torch.no_grad():
        expected = network(((pixels.double() + 1) * soft - 1).float()).double().softmax(1)[:, [2]]
    found = softly_retained(classifier, pixels, explanation)
    torch.testing.assert_close(found.retained[1.0].double(), expected, rtol=1e-4, atol=1e-8)


def test_soft_retention_costs_three_passes_a_target_and_one_where_targets_share_a_map():
    classifier, pixels = classifier_of(cnn()), pixels_of(2)
    for explanation, each in (
        (given(classifier, pixels, drawn_maps(2, 2, (7, 7)), [0, 1]), 1 + 2 * 3),
        (regard.Centre(classifier)(pixels, [0, 1]), 1 + 3),
    ):
        with passes.counted() as spent:
            softly_retained(classifier, pixels, explanation)
        assert (spent.forwards, spent.backwards) == (2 * each, 0)


def test_a_soft_mask_rewards_what_a_binary_one_does_not():
    """Why binary retention ranks: one place far below the others turns them all towards 1, so that hardly a pixel is
    masked. The order of what is shown stays the same.
    """
    classifier = classifier_of(BlackSums(), 8)
    pixels = torch.full((1, 3, 8, 8), -0.99)
    pixels[:, :, :4] = -0.98
    maps = drawn_maps(1, 1, (8, 8)).abs()
    sunk = maps.clone()
    sunk.flatten()[maps.flatten().argmin()] = -1000.0
    plain, flattered = (given(classifier, pixels, each) for each in (maps, sunk))
    soft, easier = (softly_retained(classifier, pixels, each) for each in (plain, flattered))
    for share in (1.0, 0.5):
        loss, less = (average_drop(each.clean, each.retained[share]) for each in (soft, easier))
        assert float(less) < float(loss) - 0.05
    assert float(average_drop(easier.clean, easier.retained[1.0])) < 0.02
    hard, same_hard = (curves(classifier, pixels, each, level="grid") for each in (plain, flattered))
    assert all(hard.retained[share].equal(same_hard.retained[share]) for share in (0.5, 0.15))


def test_clamping_evidence_against_changes_the_soft_score_and_not_the_binary_one():
    classifier, pixels = classifier_of(cnn()), pixels_of(2)
    maps = drawn_maps(2, 1, (8, 8)) + 0.8  # more than half are evidence for
    signed, clamped = (given(classifier, pixels, each) for each in (maps, maps.clamp(min=0)))
    hard, same_hard = (curves(classifier, pixels, each, steps=4, level="grid") for each in (signed, clamped))
    soft, other_soft = (softly_retained(classifier, pixels, each) for each in (signed, clamped))
    for share in (0.5, 0.15):
        assert hard.retained[share].equal(same_hard.retained[share])
        assert not torch.allclose(soft.retained[share], other_soft.retained[share], rtol=0.05)


@pytest.mark.parametrize(("factor", "constant"), [(4.0, 0.0), (0.03, 0.0), (7.5, -3.1), (1e4, 1e4)], ids=str)
def test_a_positive_factor_and_a_constant_leave_the_soft_mask_alone(factor, constant):
    classifier, pixels = classifier_of(cnn()), pixels_of(2)
    maps = drawn_maps(2, 1, (8, 8)).mul(64).round().div(64)
    plain, other = (
        softly_retained(classifier, pixels, given(classifier, pixels, each))
        for each in (maps, factor * maps + constant)
    )
    for share in PAPER:
        same(other.retained[share], plain.retained[share], 1e-3)
    opposite = softly_retained(classifier, pixels, given(classifier, pixels, -maps))
    assert not torch.allclose(opposite.retained[1.0], plain.retained[1.0], rtol=0.05)


def test_a_map_is_the_mask_s_logit_so_that_at_half_the_same_places_are_shown_and_weigh_otherwise():
    """σ keeps the order and not the values: min-max of c and of σ(c)."""
    classifier, pixels = classifier_of(cnn()), pixels_of(2)
    maps = 3 * drawn_maps(2, 1, (8, 8))
    both = [given(classifier, pixels, each) for each in (maps, maps.sigmoid())]
    hard, same_hard = (curves(classifier, pixels, each, steps=4, level="grid") for each in both)
    soft, other_soft = (softly_retained(classifier, pixels, each) for each in both)
    for share in (0.5, 0.15):
        assert hard.retained[share].equal(same_hard.retained[share])
    assert not torch.allclose(soft.retained[1.0], other_soft.retained[1.0], rtol=0.05)


def test_a_constant_added_everywhere_changes_neither():
    """Min-max forgets it: black is black wherever the map is least."""
    classifier, pixels = classifier_of(cnn()), pixels_of(2)
    maps = drawn_maps(2, 1, (8, 8)).mul(64).round().div(64)
    plain, raised = (given(classifier, pixels, each) for each in (maps, maps + 4))
    hard, same_hard = (curves(classifier, pixels, each, steps=4, level="grid") for each in (plain, raised))
    soft, same_soft = (softly_retained(classifier, pixels, each) for each in (plain, raised))
    for share in (0.5, 0.15):
        assert hard.retained[share].equal(same_hard.retained[share])
        same(soft.retained[share], same_soft.retained[share])


def test_a_soft_map_that_is_one_almost_everywhere_loses_nothing():
    """Whatever the picture shows: at 100 % the all-ones map but one place is the best of all."""
    classifier, pixels = classifier_of(cnn()), pixels_of(2)
    maps = torch.ones(2, 1, 32, 32)
    maps[..., 0, 0] = 0.0
    found = softly_retained(classifier, pixels, given(classifier, pixels, maps))
    assert float(average_drop(found.clean, found.retained[1.0]).max()) < 0.02
    assert float(average_drop(found.clean, found.retained[0.5]).max()) > 0.02


def test_everything_shown_as_it_is_loses_nothing():
    classifier, pixels = classifier_of(cnn()), pixels_of(3)
    found = curves(classifier, pixels, given(classifier, pixels, drawn_maps(3, 1, (7, 7))), steps=4)
    everything = found.insertion[..., -1]
    assert average_drop(found.clean, everything).tolist() == [[0.0]] * 3
    assert increase_in_confidence(found.clean, everything).tolist() == [[0.0]] * 3


def test_maps_of_another_classifier_are_refused():
    classifier, pixels = classifier_of(cnn()), pixels_of(1)
    with pytest.raises(MetricError, match="another classifier"):
        softly_retained(classifier_of(cnn(seed=2)), pixels, given(classifier, pixels, drawn_maps(1, 1, (7, 7))))
