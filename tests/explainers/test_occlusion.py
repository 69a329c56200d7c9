"""Occlusion: worked by hand on a classifier that sums pixels, and captum's."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import regard
from regard.compat import import_optional
from regard.errors import UnsupportedError
from regard.explainers.occlusion import Line
from regard.fills import Blur, Colour
from regard.models import passes

from .networks import CLASSES, classifier_of, cnn, pixels_of, same, vit

ALL = list(range(CLASSES))


class Total(nn.Module):
    def forward(self, pixels):
        return pixels.sum(dim=(1, 2, 3))[:, None]


def summing(side):
    preparation = regard.Preparation(size=side, mean=(0.5,), std=(0.001,))
    return regard.Classifier(Total(), preparation, outputs="scalar")


def counting(side):
    return (torch.arange(side * side) + 1.0).view(1, 1, side, side)


def test_windows_side_by_side_give_the_sums_worked_by_hand():
    maps = regard.Occlusion(summing(4), window=2)(counting(4), 0)
    assert regard.Occlusion(summing(4), window=2, stride=2)(counting(4), 0).maps.tolist() == [[[[14, 22], [46, 54]]]]
    assert maps.settings["stride"] == (1, 1)


def test_windows_that_overlap_are_averaged_as_worked_by_hand():
    """Windows of 2×2 hold 14, 18, 22 / 30, 34, 38 / 46, 50, 54; a corner has one, an edge two, the middle four."""
    maps = regard.Occlusion(summing(4), window=2, stride=1)(counting(4), 0).maps
    expected = [[14, 16, 20, 22], [22, 24, 28, 30], [38, 40, 44, 46], [46, 48, 52, 54]]
    assert maps.view(4, 4).tolist() == expected


def test_the_last_windows_are_cut_off_at_the_edge():
    """5 pixels, windows of 2, strides of 2: the third begins at 4 and holds one row or column."""
    explanation = regard.Occlusion(summing(5), window=2, stride=2)(counting(5), 0)
    sums = [
        [1 + 2 + 6 + 7, 3 + 4 + 8 + 9, 5 + 10],
        [11 + 12 + 16 + 17, 13 + 14 + 18 + 19, 15 + 20],
        [21 + 22, 23 + 24, 25],
    ]
    places = [0, 0, 1, 1, 2]
    assert explanation.maps.view(5, 5).tolist() == [[float(sums[row][column]) for column in places] for row in places]
    assert explanation.forwards == 1 + 9


def test_a_window_as_large_as_the_picture_gives_one_number():
    assert regard.Occlusion(summing(4), window=4, stride=4)(counting(4), 0).maps.tolist() == [[[[136.0]]]]


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**31 - 1))
def test_tiles_of_a_sum_add_up_to_what_the_whole_picture_gives(window, count, seed):
    side = max(2, window * count)
    pixels = 10 + torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(seed))
    maps = regard.Occlusion(summing(side), window=window, stride=window)(pixels, 0).to_pixels(mode="nearest")
    assert float(maps.sum()) / window**2 == pytest.approx(float(pixels.sum()), rel=1e-5)


WINDOWS = [
    ((32, 32), (8, 8), (4, 4)),
    ((32, 32), (7, 7), (3, 3)),
    ((32, 32), (5, 9), (5, 4)),
    ((32, 32), (30, 30), (29, 30)),
    ((24, 40), (6, 9), (4, 5)),
]


@pytest.mark.parametrize(("frame", "window", "stride"), WINDOWS, ids=str)
@pytest.mark.parametrize("colour", [0.0, 0.7])
def test_maps_are_captum_s(frame, window, stride, colour):
    captum = import_optional("captum.attr", "baselines")
    network, pixels = cnn(), pixels_of(2, frame)
    settings = {"window": window, "stride": stride, "fill": Colour((colour,) * 3)}
    explanation = regard.Occlusion(classifier_of(network, frame), **settings)(pixels, 2)
    expected = captum.Occlusion(network).attribute(
        pixels.clone(), (3, *window), (3, *stride), baselines=colour, target=2, perturbations_per_eval=16
    )
    same(explanation.to_pixels(mode="nearest")[:, 0], expected[:, 0], 1e-5)


@pytest.mark.parametrize(
    ("size", "network", "window", "grid"),
    [
        (224, None, 32, 14),
        (256, None, 32, 16),
        (300, None, 40, 15),
        (384, None, 48, 16),
        (299, None, 46, 13),
        (227, None, 32, 227),
        (32, None, 4, 16),
        (32, 8, 16, 4),
        (64, 4, 8, 16),
    ],
    ids=str,
)
def test_windows_are_about_a_seventh_of_the_frame_in_whole_patches_and_maps_as_coarse_as_is_exact(
    size, network, window, grid
):
    classifier = summing(size) if network is None else classifier_of(vit(img_size=size, patch_size=network), size)
    explainer = regard.Occlusion(classifier)
    assert explainer.settings["window"] == (window, window)
    line = Line(size, window, window // 2)
    assert size // line.cell == grid
    assert explainer.forwards_each == line.count**2 + 1


@given(st.integers(1, 60), st.data())
def test_windows_reach_both_ends_and_leave_no_gap(length, data):
    window = data.draw(st.integers(1, length))
    line = Line(length, window, data.draw(st.integers(1, window)))
    covered = line.covered()
    assert covered[0, 0]
    assert covered[-1, -1]
    assert covered.any(0).all()
    assert not covered[:-1, -1].any()
    averages = line.averages().repeat_interleave(line.cell, 0)
    assert averages.shape == (length, line.count)
    for pixel in range(length):
        count = int(covered[:, pixel].sum())
        assert averages[pixel].tolist() == pytest.approx([float(over) / count for over in covered[:, pixel]])


def test_every_target_is_read_from_the_same_passes():
    occlusion, pixels = regard.Occlusion(classifier_of(cnn()), window=16, stride=8), pixels_of(3)
    found = occlusion(pixels, ALL)
    assert found.forwards == 3 * occlusion.forwards_each == 3 * (1 + 9)
    for target in ALL:
        same(found.maps[:, target], occlusion(pixels, target).maps[:, 0])


def test_a_predicted_class_stays_that_of_the_whole_picture():
    classifier, pixels = classifier_of(cnn(4)), pixels_of(4)
    likeliest = classifier(pixels).argmax(1)
    hidden = pixels.clone()
    hidden[..., :24, :24] = 0
    assert not classifier(hidden).argmax(1).equal(likeliest)
    occlusion = regard.Occlusion(classifier, window=24, stride=8)
    assert occlusion(pixels, regard.Predicted()).maps.equal(occlusion(pixels, regard.PerImage(likeliest)).maps)


def test_chunks_of_another_size_give_the_same_map():
    classifier, pixels = classifier_of(cnn()), pixels_of(3)
    maps = []
    for size in (1, 7, 64):
        passes.remember_chunk(classifier, pixels[:1], size)
        maps.append(regard.Occlusion(classifier, window=8)(pixels, [0, 1]).maps)
    same(maps[1], maps[0], 2e-5)
    same(maps[2], maps[0], 2e-5)


def test_windows_show_the_fill():
    network, pixels, fill = cnn(), pixels_of(1), Blur(2.0)
    maps = regard.Occlusion(classifier_of(network), window=16, stride=16, fill=fill)(pixels, 0).maps[0, 0]
    for row in range(2):
        for column in range(2):
            kept = torch.ones(1, 1, 32, 32)
            kept[..., 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = 0
            lost = network(pixels)[0, 0] - network(fill(pixels, kept))[0, 0]
            assert float(maps[row, column]) == pytest.approx(lost.item(), abs=1e-5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"window": 0}, "positive whole numbers"),
        ({"window": (4, 4, 4)}, "positive whole numbers"),
        ({"window": 2.5}, "positive whole numbers"),
        ({"window": "large"}, "positive whole numbers"),
        ({"window": True}, "positive whole numbers"),
        ({"window": 33}, "larger than the frame"),
        ({"stride": -1}, "positive whole numbers"),
        ({"window": 4, "stride": 5}, "no window covers"),
        ({"fill": "black"}, "become a fill"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused_in_words(wrong, said):
    with pytest.raises(UnsupportedError, match=said):
        regard.Occlusion(classifier_of(cnn()), **wrong)
