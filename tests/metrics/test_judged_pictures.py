"""What is judged belongs together, or is refused in words; the network is left as it was."""

import gc

import pytest
import torch

import regard
from regard.errors import MetricError, NotFiniteError, PixelsError
from regard.fills import Colour
from regard.metrics.curves import curves

from ..explainers.networks import classifier_of, cnn, pixels_of
from .replicas import (
    drawn_maps,
    equal_curves,
    given,
)


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
