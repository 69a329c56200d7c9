"""Remove and debias (ROAD): curves whose removed pixels are painted in (papers/tame.md, check 36)."""

import pytest
import torch

from regard.fills import Inpaint
from regard.metrics.curves import curves

from ..explainers.networks import classifier_of, cnn, pixels_of
from .replicas import all_close, drawn_maps, given, slow_ranking, summing

PUBLISHED = {10: 5_018, 20: 10_036, 30: 15_053, 40: 20_071, 50: 25_088, 70: 35_126, 90: 45_162}
"""Pixels of 224² that percentiles of a map without ties remove, as measured with the published code."""


def test_with_nothing_removed_every_answer_is_the_clean_one():
    """Noise on what is painted in does not touch what is kept."""
    network, pixels = cnn(), pixels_of(4)
    classifier = classifier_of(network)
    likeliest = network(pixels).argmax(1)
    found = curves(
        classifier,
        pixels,
        given(classifier, pixels, drawn_maps(4, 5, (7, 7)), list(range(5))),
        fill=Inpaint(noise=0.5),
        steps=4,
    )
    whole = torch.stack([found.deletion[..., 0], found.insertion[..., -1]])
    assert whole.argmax(-1).equal(likeliest.expand(2, -1))
    all_close(whole[0], network(pixels).softmax(1).detach())


@pytest.mark.parametrize("colour", [(0.0, 0.0, 0.0), (0.25, -1.5, 2.0)], ids=str)
@pytest.mark.parametrize("removed", [0.1, 0.5, 0.9])
def test_a_picture_of_one_colour_is_painted_in_as_it_was(colour, removed):
    pixels = torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 24, 20).clone()
    kept = (torch.rand(1, 1, 24, 20, generator=torch.Generator().manual_seed(4)) >= removed).float()
    torch.testing.assert_close(Inpaint(noise=0.0)(pixels, kept), pixels, rtol=1e-6, atol=0)
    assert not Inpaint()(pixels, kept).equal(pixels)


def test_least_relevant_first_is_most_relevant_first_of_the_opposite_map():
    """Of a map without ties, whose values have exact differences from one."""
    classifier, pixels = classifier_of(cnn()), pixels_of(2)
    maps = drawn_maps(2, 1, (32, 32)).flatten(2).argsort().view(2, 1, 32, 32) / 1024
    first, opposite = (
        curves(classifier, pixels, given(classifier, pixels, each), fill=Inpaint(noise=0.0), steps=10)
        for each in (maps, 1 - maps)
    )
    all_close(opposite.deletion, first.least_first)
    assert not torch.allclose(opposite.deletion, first.deletion, rtol=0.01)


def test_as_many_pixels_are_removed_as_published_to_a_few():
    """Exact shares; the published percentiles lie between two pixels."""
    classifier, pixels = summing(224), torch.full((1, 3, 224, 224), 0.5)
    found = curves(classifier, pixels, given(classifier, pixels, drawn_maps(1, 1, (224, 224))), steps=10)
    removed = [found.places - count for count in reversed(found.counts.tolist())]
    assert removed[::10] == [0, 50_176]
    for percent, published in PUBLISHED.items():
        assert removed[percent // 10] == round(50_176 * percent / 100)
        assert abs(removed[percent // 10] - published) <= 4


def test_the_most_relevant_half_is_what_is_painted_in():
    """From its surroundings alone: what the removed pixels were does not matter."""
    network, (picture,) = cnn(), pixels_of(1, (8, 8))
    classifier, maps = classifier_of(network, 8), drawn_maps(1, 1, (8, 8))
    order = slow_ranking(maps.flatten().tolist(), picture)
    kept = torch.ones(64)
    kept[order[:32]] = 0
    expected = Inpaint(noise=0.0)(picture[None], kept.view(1, 1, 8, 8))
    found = curves(
        classifier,
        picture[None],
        given(classifier, picture[None], maps),
        fill=Inpaint(noise=0.0),
        steps=2,
        level="grid",
    )
    all_close(found.deletion[0, 0, 1], network(expected).softmax(1)[0, 0].detach())
