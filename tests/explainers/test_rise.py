"""RISE: masks against interpolate-and-crop, sums against the plain loop; papers/tame.md, check 37."""

import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import regard
from regard.errors import TargetError, UnsupportedError
from regard.explainers.rise import Masks, enlarging
from regard.fills import Blur, Colour, Inpaint
from regard.models import passes

from .networks import CLASSES, classifier_of, cnn, loud, pixels_of, same, vit

ALL = list(range(CLASSES))


def drawn(samples, cells, frame, seed=0):
    generator = torch.Generator().manual_seed(seed)
    bands = [enlarging(cells, side) for side in frame]
    shifts = [torch.randint(len(band), (samples,), generator=generator) for band in bands]
    grids = (torch.rand(samples, cells, cells, generator=generator) < 0.5).float()
    return Masks(grids, torch.stack(shifts, dim=1), *bands)


def enlarged_and_cut(masks, frame):
    """The paper's section 3.2 word by word, one mask after the other."""
    cells = masks.grids.shape[1]
    steps = [-(-side // cells) for side in frame]
    whole = []
    for grid, (down, across) in zip(masks.grids, masks.shifts.tolist(), strict=True):
        size = tuple((cells + 1) * step for step in steps)
        large = functional.interpolate(grid[None, None].double(), size, mode="bilinear", align_corners=False)
        whole.append(large[0, :, down : down + frame[0], across : across + frame[1]])
    return torch.stack(whole)


@given(
    st.integers(2, 9), st.tuples(st.integers(9, 40), st.integers(9, 40)), st.integers(1, 6), st.integers(0, 2**31 - 1)
)
def test_masks_are_interpolated_and_cut(cells, frame, samples, seed):
    masks = drawn(samples, cells, frame, seed)
    expected = enlarged_and_cut(masks, frame)
    assert float((masks.made(torch.arange(samples)) - expected).abs().max()) <= 1e-6


def test_masks_of_the_paper_s_size_are_interpolated_and_cut():
    masks = drawn(20, 7, (224, 224))
    expected = enlarged_and_cut(masks, (224, 224))
    assert float((masks.made(torch.arange(20)) - expected).abs().max()) <= 1e-6


@given(st.integers(2, 7), st.tuples(st.integers(8, 30), st.integers(8, 30)), st.integers(0, 2**31 - 1))
def test_weighted_sums_are_those_of_the_masks(cells, frame, seed):
    masks = drawn(40, cells, frame, seed)
    scores = torch.randn(40, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = torch.zeros(3, *frame, dtype=torch.float64)
    for number, mask in enumerate(enlarged_and_cut(masks, frame)):
        for target in range(3):
            expected[target] += scores[number, target] * mask[0]
    same(masks.weighted(scores), expected, 1e-6)


def test_every_pixel_of_every_shift_is_a_mean_of_cells_so_that_a_mask_has_the_mean_p():
    for cells, length in ((7, 224), (7, 30), (2, 9), (5, 5)):
        bands = enlarging(cells, length)
        assert bands.shape == (-(-length // cells), length, cells)
        assert torch.allclose(bands.sum(2), torch.ones(bands.shape[:2]), atol=1e-6)


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
def test_masks_keep_the_share_that_was_asked(kept):
    masks = regard.RISE(classifier_of(cnn()), samples=4000, kept=kept)._drawn(pixels_of(1)[0])
    assert float(masks.made(torch.arange(4000)).mean()) == pytest.approx(kept, abs=0.01)
    assert {tuple(shift) for shift in masks.shifts.tolist()} == {
        (down, across) for down in range(5) for across in range(5)
    }


def plain(network, rise, pixels, target):
    """The paper's equation 6 without the mean value, one mask after the other."""
    maps = []
    for picture in pixels:
        masks = enlarged_and_cut(rise._drawn(picture), tuple(picture.shape[1:])).float()
        total = torch.zeros(picture.shape[1:])
        chances = [network((picture * mask)[None]).softmax(1)[0, target].detach() for mask in masks]
        for chance, mask in zip(chances, masks, strict=True):
            total += (chance - sum(chances) / len(chances)) * mask[0]
        maps.append(total / (len(masks) * rise.kept))
    return torch.stack(maps)


@pytest.mark.parametrize("make", [cnn, vit])
def test_the_map_is_the_loop_over_masks(make):
    network, pixels = make(), pixels_of(2)
    rise = regard.RISE(classifier_of(network), samples=30, cells=4, kept=0.4)
    explanation = rise(pixels, ALL)
    for target in ALL:
        same(explanation.maps[:, target], plain(network, rise, pixels, target))
    assert explanation.forwards == 2 * rise.forwards_each == 2 * 31


def test_frames_need_not_be_square():
    network, pixels = cnn(), pixels_of(2, (24, 40))
    rise = regard.RISE(classifier_of(network, (24, 40)), samples=20, cells=5)
    same(rise(pixels, 1).maps[:, 0], plain(network, rise, pixels, 1))


class Constant(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("logits", torch.tensor([0.0, 2.0, 1.0]))

    def forward(self, pixels):
        return self.logits.expand(len(pixels), -1)


def test_a_constant_classifier_has_a_map_of_zeros_instead_of_the_noise_of_the_masks():
    explanation = regard.RISE(classifier_of(Constant()), samples=50)(pixels_of(2), 1)
    assert float(explanation.maps.abs().max()) < 1e-6


def test_a_constant_added_to_the_target_changes_nothing():
    rise, pixels = regard.RISE(classifier_of(cnn()), samples=20), pixels_of(2)
    plain, raised = (regard.Score(lambda logits, more=more: logits[:, 0].tanh() + more) for more in (0, 1))
    same(rise(pixels, raised).maps, rise(pixels, plain).maps, 1e-4)


def test_the_paper_s_map_is_this_one_and_the_mean_value_times_the_masks_mean():
    rise, (picture,) = regard.RISE(classifier_of(cnn()), samples=40), pixels_of(1)
    masks = enlarged_and_cut(rise._drawn(picture), (32, 32)).float()
    chances = torch.stack([cnn()((picture * mask)[None]).softmax(1)[0, 1].detach() for mask in masks])
    paper = (chances[:, None, None] * masks[:, 0]).sum(0) / (40 * 0.5)
    same(rise(picture[None], 1).maps[0, 0], paper - chances.mean() * masks[:, 0].mean(0) / 0.5, 1e-4)


class OnePixel(nn.Module):
    def forward(self, pixels):
        return pixels[:, :1, 12, 20]


def test_a_classifier_of_one_pixel_is_found_out():
    pixels = pixels_of(1).abs()
    maps = regard.RISE(classifier_of(OnePixel(), outputs="scalar"), samples=2000)(pixels, 0).maps[0, 0]
    row, column = divmod(int(maps.argmax()), 32)
    assert (row, column) == (12, 20)
    assert float(maps.max()) > 1.3 * float(maps[:, :8].max())


def test_of_classes_the_probability_counts_and_of_other_targets_their_own_value():
    pixels = pixels_of(2)
    for outputs in ("softmax", "sigmoid"):
        rise = regard.RISE(classifier_of(cnn(), outputs=outputs), samples=10)
        assert rise(pixels, 2).maps.equal(rise(pixels, regard.Probability(2)).maps)
        logit = rise(pixels, regard.Score(lambda logits: logits[:, 2])).maps
        assert not torch.allclose(rise(pixels, 2).maps, logit, rtol=0.1)
    measuring = regard.RISE(classifier_of(cnn(), outputs="scalar"), samples=10)
    assert measuring(pixels, 2).maps.equal(logit)


def test_a_predicted_class_stays_that_of_the_whole_picture():
    classifier, pixels = classifier_of(cnn(1)), pixels_of(4)
    rise = regard.RISE(classifier, samples=20)
    likeliest = classifier(pixels).argmax(1)
    masks = [rise._drawn(picture).made(torch.arange(20)) for picture in pixels]
    seen = torch.cat([classifier(picture * own).argmax(1) for picture, own in zip(pixels, masks, strict=True)])
    assert not seen.equal(likeliest.repeat_interleave(20))
    assert rise(pixels, regard.Predicted()).maps.equal(rise(pixels, regard.PerImage(likeliest)).maps)


def test_chunks_of_another_size_give_the_same_map_and_hold_no_more_masks_than_a_pass(monkeypatch):
    classifier, pixels, sizes = classifier_of(cnn()), pixels_of(3), []
    made = Masks.made
    monkeypatch.setattr(Masks, "made", lambda self, numbers: (sizes.append(len(numbers)), made(self, numbers))[1])
    rise = regard.RISE(classifier, samples=25)
    maps = []
    for size in (1, 7, 64):
        passes.remember_chunk(classifier, pixels[:1], size)
        maps.append(rise(pixels, [0, 1]).maps)
        assert max(sizes) <= size
        sizes.clear()
    same(maps[1], maps[0])
    same(maps[2], maps[0])


def test_masks_belong_to_the_picture_and_the_seed():
    classifier, pixels = classifier_of(cnn()), pixels_of(3)
    maps = regard.RISE(classifier, samples=9)(pixels, 0).maps
    assert regard.RISE(classifier, samples=9)(pixels[[2, 0, 2]], 0).maps.equal(maps[[2, 0, 2]])
    assert not regard.RISE(classifier, samples=9, seed=1)(pixels, 0).maps.equal(maps)
    assert not maps[0].equal(maps[1])


@pytest.mark.parametrize("fill", [Colour((0.5, -1.0, 2.0)), Blur(2.0), Inpaint()], ids=lambda fill: fill.name)
def test_masked_pixels_become_the_fill(fill):
    network, pixels = cnn(), pixels_of(2)
    rise = regard.RISE(classifier_of(network), samples=6, fill=fill)
    found = rise(pixels, 1)
    expected = []
    for image in range(2):
        masks = rise._drawn(pixels[image]).made(torch.arange(6))
        chances = [network(fill(pixels[image : image + 1], mask[None])).softmax(1)[0, 1].detach() for mask in masks]
        mean = sum(chances) / 6
        expected.append(sum((chance - mean) * mask[0] for chance, mask in zip(chances, masks, strict=True)) / 3)
    same(found.maps[:, 0], torch.stack(expected))
    assert found.settings["fill"] == repr(fill)


def test_concepts_are_answered_by_the_embedding_where_there_is_no_head():
    backbone = loud(nn.Sequential(*list(cnn())[:-1], nn.Identity()))
    classifier = classifier_of(backbone, outputs="embedding")
    concept = regard.Concept.from_images(classifier, pixels_of(2, seed=5), "horn")
    rise, pixels = regard.RISE(classifier, samples=8), pixels_of(1)
    masks = rise._drawn(pixels[0]).made(torch.arange(8))
    values = (backbone(pixels * masks) * concept.direction).sum(1).detach()
    same(rise(pixels, concept).maps[0, 0], ((values - values.mean())[:, None, None] * masks[:, 0]).sum(0) / 4)
    with pytest.raises(TargetError, match="no head"):
        rise(pixels, 0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"samples": 0}, "positive whole number"),
        ({"samples": 10.0}, "positive whole number"),
        ({"samples": True}, "positive whole number"),
        ({"cells": 1}, "from 2 to 32"),
        ({"cells": 33}, "from 2 to 32"),
        ({"cells": 7.5}, "from 2 to 32"),
        ({"kept": 0}, "above 0, below 1"),
        ({"kept": 1.0}, "above 0, below 1"),
        ({"kept": float("nan")}, "above 0, below 1"),
        ({"kept": "half"}, "above 0, below 1"),
        ({"seed": 0.5}, "seed is a whole number"),
        ({"fill": 0}, "become a fill"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused_in_words(wrong, said):
    with pytest.raises(UnsupportedError, match=said):
        regard.RISE(classifier_of(cnn()), **wrong)
