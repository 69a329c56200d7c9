"""Curves by dropping tokens: against the network's own parts run on the tokens that stay, one by one."""

import math
from fractions import Fraction

import pytest
import torch

import regard
from regard.errors import MetricError, UnsupportedError
from regard.metrics.common_grid import on_grid
from regard.metrics.curves import DROPPING, curves, token_curves
from regard.models import passes

from ..explainers.networks import classifier_of, cnn, pixels_of, same, vision_transformer, vit
from .replicas import drawn_maps, given, slow_counts, slow_ranking

HEADS = {
    "class token": {},
    "registers": {"reg_tokens": 4},
    "attention pooling": {"class_token": False, "global_pool": "map"},
    "averaged": {"class_token": False, "global_pool": "avg"},
    "averaged beside a class token": {"global_pool": "avg"},
}


def by_hand(network, picture, kept, targets):
    """Probabilities of one picture (1, 3, H, W) from these patches alone."""
    with torch.no_grad():
        entering = network.norm_pre(network._pos_embed(network.patch_embed(picture)))[0]
        prefix = network.num_prefix_tokens
        tokens = [entering[place] for place in range(prefix)] + [entering[prefix + patch] for patch in kept]
        answer = network.forward_head(network.norm(network.blocks(torch.stack(tokens)[None])))[0]
    return answer.double().softmax(0)[targets]


def slow_token_curves(network, pixels, maps, targets, steps, least):
    """Insertion and deletion (B, T, S+1) of maps (B, T, h, w) on the patches' own grid."""
    insertion, deletion = [], []
    for picture, several in zip(pixels, maps, strict=True):
        for place, one in enumerate(several):
            order = slow_ranking(one.flatten().tolist(), picture)
            counts = slow_counts(len(order), steps, least)
            first = [by_hand(network, picture[None], order[:count], targets)[place] for count in counts]
            last = [by_hand(network, picture[None], order[len(order) - n :], targets)[place] for n in reversed(counts)]
            insertion.append(torch.stack(first))
            deletion.append(torch.stack(last))
    return [torch.stack(values).unflatten(0, maps.shape[:2]) for values in (insertion, deletion)]


def slow_means(one, size, reach=(1, 1)):
    """Means of a map (h, w) over the cells of another grid, over a share of its frame: overlaps cell by cell."""

    def overlaps(count, own, share):
        for cell in range(count):
            start, end = Fraction(cell) * share / count, Fraction(cell + 1) * share / count
            yield [
                float(max(Fraction(0), min(end, Fraction(k + 1, own)) - max(start, Fraction(k, own))))
                for k in range(own)
            ]

    rows = []
    for down in overlaps(size[0], one.shape[0], Fraction(reach[0])):
        line = []
        for across in overlaps(size[1], one.shape[1], Fraction(reach[1])):
            weights = torch.tensor(down)[:, None] * torch.tensor(across)
            line.append(float((weights.double() * one.double()).sum() / weights.double().sum()))
        rows.append(line)
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("steps", [4, 5, 100])
@pytest.mark.parametrize("head", HEADS)
def test_token_curves_are_those_of_the_tokens_that_stay(head, steps):
    network = vit(**HEADS[head])
    classifier, pixels = classifier_of(network), pixels_of(2)
    maps = drawn_maps(2, 2, (4, 4))
    least = 0 if head in ("class token", "registers") else 1
    found = token_curves(classifier, pixels, given(classifier, pixels, maps, [3, 1]), steps=steps)
    insertion, deletion = slow_token_curves(network, pixels, maps, [3, 1], steps, least)
    assert found.counts.tolist() == slow_counts(16, steps, least)
    torch.testing.assert_close(found.insertion.double(), insertion, atol=1e-7, rtol=1e-4)
    torch.testing.assert_close(found.deletion.double(), deletion, atol=1e-7, rtol=1e-4)
    for share, count in ((0.5, 8), (0.15, 2)):
        order = slow_ranking(maps[1, 0].flatten().tolist(), pixels[1])
        expected = by_hand(network, pixels[[1]], order[:count], [3])
        assert float(found.retained[share][1, 0]) == pytest.approx(float(expected), rel=1e-4)
    assert (found.level, found.fill, found.places) == ("token", DROPPING, 16)


@pytest.mark.parametrize("head", ["class token", "averaged"])
def test_the_ends_are_the_whole_picture_and_as_little_as_the_network_takes(head):
    network = vit(**HEADS[head])
    classifier, pixels = classifier_of(network), pixels_of(2)
    maps = drawn_maps(2, 1, (4, 4))
    found = token_curves(classifier, pixels, given(classifier, pixels, maps, 2), steps=4)
    for image, one in enumerate(maps[:, 0]):
        order = slow_ranking(one.flatten().tolist(), pixels[image])
        first, last = ([], []) if head == "class token" else (order[:1], order[-1:])
        for curve, kept in (
            (found.insertion, first),
            (found.least_first.flip(2), first),
            (found.deletion.flip(2), last),
        ):
            expected = by_hand(network, pixels[[image]], kept, [2])
            assert float(curve[image, 0, 0]) == pytest.approx(float(expected), rel=1e-4)
    same(found.clean, classifier(pixels).softmax(1)[:, [2]])
    same(found.insertion[..., -1], found.clean)


def test_a_curve_that_begins_with_one_token_is_stretched_over_the_interval():
    classifier, pixels = classifier_of(vit(**HEADS["averaged"])), pixels_of(1)
    found = token_curves(classifier, pixels, given(classifier, pixels, drawn_maps(1, 1, (4, 4))), steps=3)
    assert found.counts.tolist() == [1, 5, 11, 16]
    widths, values = [4 / 15, 6 / 15, 5 / 15], found.insertion[0, 0].double().tolist()
    by_hand = math.fsum(width * (values[k] + values[k + 1]) / 2 for k, width in enumerate(widths))
    assert float(found.area("insertion")) == pytest.approx(by_hand, abs=1e-12)
    values = found.deletion[0, 0].double().tolist()
    by_hand = math.fsum(width * (values[k] + values[k + 1]) / 2 for k, width in enumerate(reversed(widths)))
    assert float(found.area("deletion")) == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize("frame", [(16, 8), (8, 24), (16, 16)], ids=str)
def test_an_averaged_head_of_few_patches_keeps_one_for_every_share(frame):
    network = vit(img_size=frame, **HEADS["averaged"])
    classifier, pixels = classifier_of(network, frame), pixels_of(2, frame)
    grid = (frame[0] // 8, frame[1] // 8)
    maps = drawn_maps(2, 1, grid)
    found = token_curves(classifier, pixels, given(classifier, pixels, maps))
    best = [slow_ranking(one.flatten().tolist(), pixels[k])[:1] for k, one in enumerate(maps[:, 0])]
    expected = [float(by_hand(network, pixels[[image]], kept, [0])) for image, kept in enumerate(best)]
    assert found.retained[0.15][:, 0].tolist() == pytest.approx(expected, rel=1e-4)


def test_a_network_of_one_patch_that_must_keep_it_is_refused():
    classifier, pixels = classifier_of(vit(img_size=8, **HEADS["averaged"]), 8), pixels_of(1, (8, 8))
    with pytest.raises(MetricError, match="one place"):
        token_curves(classifier, pixels, given(classifier, pixels, torch.zeros(1, 1, 1, 1)))


@pytest.mark.parametrize("size", [(8, 8), (5, 7), (3, 2), (32, 32)], ids=str)
def test_maps_of_other_grids_are_averaged_over_patches_by_area(size):
    classifier, pixels = classifier_of(vit()), pixels_of(2)
    maps = drawn_maps(2, 1, size)
    averaged = torch.stack([torch.stack([slow_means(one, (4, 4)) for one in several]) for several in maps])
    torch.testing.assert_close(on_grid(maps, (4, 4)), averaged, atol=1e-6, rtol=0)
    found = token_curves(classifier, pixels, given(classifier, pixels, maps), steps=4)
    expected = token_curves(classifier, pixels, given(classifier, pixels, averaged), steps=4)
    same(found.insertion, expected.insertion)
    same(found.deletion, expected.deletion)


def test_maps_of_a_frame_that_patches_do_not_fill_are_averaged_where_the_patches_lie():
    frame = (36, 44)
    network = vit(img_size=frame)
    classifier, pixels = classifier_of(network, frame), pixels_of(2, frame)
    explanation = regard.Edges(classifier)(pixels, 1)
    assert explanation.maps.shape[2:] == frame
    over = (Fraction(32, 36), Fraction(40, 44))
    patches = torch.stack([slow_means(one, (4, 5), over) for one in explanation.maps[:, 0]])[:, None]
    torch.testing.assert_close(on_grid(explanation.maps, (4, 5), tuple(map(float, over))), patches, atol=1e-5, rtol=0)
    by_pixels = torch.nn.functional.avg_pool2d(explanation.maps[:, :, :32, :40], 8)
    torch.testing.assert_close(patches.float(), by_pixels, atol=1e-5, rtol=0)
    insertion, deletion = slow_token_curves(network, pixels, patches, [1], 4, least=0)
    found = token_curves(classifier, pixels, explanation, steps=4)
    torch.testing.assert_close(found.insertion.double(), insertion, atol=1e-7, rtol=1e-4)
    torch.testing.assert_close(found.deletion.double(), deletion, atol=1e-7, rtol=1e-4)


def test_a_constant_map_of_any_grid_is_the_same_random_order():
    classifier, pixels = classifier_of(vit()), pixels_of(2)
    expected = token_curves(classifier, pixels, given(classifier, pixels, torch.zeros(2, 1, 4, 4)), steps=4)
    for size in ((7, 7), (5, 3), (14, 14)):
        found = token_curves(classifier, pixels, given(classifier, pixels, torch.full((2, 1, *size), 0.1)), steps=4)
        same(found.insertion, expected.insertion)


def test_a_batch_is_a_loop_and_chunks_and_order_are_nothing():
    classifier, pixels = classifier_of(vit()), pixels_of(3)
    maps = drawn_maps(3, 2, (4, 4))
    together = token_curves(classifier, pixels, given(classifier, pixels, maps, [0, 1]), steps=5)
    passes.remember_chunk(classifier, pixels[:1], 2)
    order = [2, 0, 1]
    permuted = token_curves(classifier, pixels[order], given(classifier, pixels[order], maps[order], [0, 1]), steps=5)
    same(permuted.insertion, together.insertion[order])
    same(permuted.deletion, together.deletion[order])
    for image in range(3):
        alone = given(classifier, pixels[[image]], maps[[image]], [0, 1])
        same(token_curves(classifier, pixels[[image]], alone, steps=5).deletion, together.deletion[[image]])


def test_a_method_that_tells_no_targets_apart_is_judged_by_each_target_in_the_same_passes():
    network = vit()
    classifier, pixels = classifier_of(network), pixels_of(2)
    explanation, alone = (regard.Centre(classifier)(pixels, targets) for targets in ([4, 0], 4))
    with passes.counted() as both:
        found = token_curves(classifier, pixels, explanation, steps=4)
    with passes.counted() as one:
        token_curves(classifier, pixels, alone, steps=4)
    assert both.forwards == one.forwards
    insertion, deletion = slow_token_curves(network, pixels, explanation.maps, [4, 0], 4, least=0)
    torch.testing.assert_close(found.insertion.double(), insertion, atol=1e-7, rtol=1e-4)
    torch.testing.assert_close(found.deletion.double(), deletion, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize(("head", "each"), [("class token", 1 + 3 + 2 * 7), ("averaged", 1 + 1 + 2 * 9)])
def test_passes_are_counted_exactly(head, each):
    """4, 8, 12 of 16 and the share that is not met, 2; where one stays, it is a job of both curves."""
    classifier, pixels = classifier_of(vit(**HEADS[head])), pixels_of(3)
    explanation = given(classifier, pixels, drawn_maps(3, 2, (4, 4)), [0, 1])
    with passes.counted() as spent:
        token_curves(classifier, pixels, explanation, steps=4)
    assert (spent.forwards, spent.backwards) == (3 * each, 0)


def test_a_network_without_tokens_is_refused():
    classifier, pixels = classifier_of(cnn()), pixels_of(1)
    with pytest.raises(MetricError, match="tokens to drop") as refusal:
        token_curves(classifier, pixels, given(classifier, pixels, drawn_maps(1, 1, (4, 4))))
    assert refusal.value.remedy == "use a fill"


def test_a_transformer_that_cannot_drop_tokens_is_refused():
    kind = vision_transformer.VisionTransformer

    class Reshaped(kind):
        def forward_head(self, tokens, *arguments, **named):
            return super().forward_head(tokens.reshape(len(tokens), 17, -1), *arguments, **named)

    classifier, pixels = classifier_of(vit(kind=Reshaped)), pixels_of(1)
    explanation = given(classifier, pixels, drawn_maps(1, 1, (4, 4)))
    with pytest.raises(UnsupportedError):
        token_curves(classifier, pixels, explanation)


def test_dropping_and_filling_do_not_give_the_same_curves():
    classifier, pixels = classifier_of(vit()), pixels_of(1)
    explanation = given(classifier, pixels, drawn_maps(1, 1, (4, 4)))
    dropped, filled = (make(classifier, pixels, explanation, steps=4) for make in (token_curves, curves))
    assert not torch.allclose(dropped.insertion[..., :-1], filled.insertion[..., :-1], rtol=0.1)
    assert dropped.fill != filled.fill
