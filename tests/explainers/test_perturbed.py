"""What the methods that change pictures or features have in common."""

import pytest
import torch

import regard
from regard.errors import NotFiniteError, TargetError
from regard.models import passes

from .networks import classifier_of, cnn, pixels_of, same, vit

METHODS = {
    "rise": lambda classifier: regard.RISE(classifier, samples=5),
    "occlusion": lambda classifier: regard.Occlusion(classifier, window=16),
    "score-cam": regard.ScoreCAM,
    "ablation-cam": regard.AblationCAM,
}
each_method = pytest.mark.parametrize("name", METHODS)


@each_method
@pytest.mark.parametrize("make", [cnn, vit])
def test_nan_in_a_picture_is_refused_or_skipped_and_reaches_no_other(name, make):
    explainer, pixels = METHODS[name](classifier_of(make())), pixels_of(3)
    clean = explainer(pixels, [0, 1]).maps
    pixels[1, 2, 5, 7] = float("nan")
    with pytest.raises(NotFiniteError, match="image 1, channel 2, row 5, column 7"):
        explainer(pixels, [0, 1])
    for rule in ("skip", "propagate"):
        explanation = explainer(pixels, [0, 1], on_nan=rule)
        assert explanation.not_finite == (1,)
        same(explanation.maps[[0, 2]], clean[[0, 2]], 1e-4)


@each_method
def test_a_target_that_is_not_there_is_refused_before_a_pass(name):
    explainer = METHODS[name](classifier_of(cnn()))
    with passes.counted() as spent, pytest.raises(TargetError, match="0 to 4"):
        explainer(pixels_of(), 5)
    assert spent.forwards == 0


@each_method
def test_pictures_in_another_order_give_their_maps_in_that_order(name):
    explainer, pixels = METHODS[name](classifier_of(cnn())), pixels_of(4)
    maps = explainer(pixels, regard.PerImage([0, 1, 2, 3])).maps
    turned = explainer(pixels[[2, 0, 3, 1]], regard.PerImage([2, 0, 3, 1])).maps
    same(turned, maps[[2, 0, 3, 1]], 1e-4)


@each_method
def test_a_chunk_that_memory_does_not_hold_is_halved(name, monkeypatch):
    network, pixels = cnn(), pixels_of(3)
    classifier = classifier_of(network)
    expected = METHODS[name](classifier_of(cnn()))(pixels, 0).maps
    explainer, pool = METHODS[name](classifier), network[7].forward

    def scarce(given):
        if len(given) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return pool(given)

    monkeypatch.setattr(network[7], "forward", scarce)
    same(explainer(pixels, 0).maps, expected, 1e-4)
