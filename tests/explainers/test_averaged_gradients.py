"""Integrated gradients and SmoothGrad: replicas in plain loops, captum itself, and what captum must not do."""

import importlib.util

import numpy as np
import pytest
import torch
from torch import nn

import regard
from regard.compat import import_optional
from regard.errors import MissingDependencyError, UnsupportedError
from regard.fills import Blur, Colour
from regard.images import seed_of
from regard.models import passes

from .networks import CLASSES, classifier_of, cnn, loud, pixels_of, same, vit

captum = import_optional("captum.attr", "baselines")


def gradient_at(network, picture, score):
    leaf = picture.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(score(network(leaf.clone())[0]), leaf)
    return gradient[0]


def integrated(network, picture, baseline, score, steps):
    """The sum over nodes of Gauss and Legendre, moved from [-1, 1] to [0, 1], one pass each."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    total = torch.zeros(picture.shape[1:])
    for node, weight in zip(nodes, weights, strict=True):
        point = baseline + (node + 1) / 2 * (picture - baseline)
        total += weight / 2 * gradient_at(network, point.float(), score)
    return (total * (picture - baseline)[0]).sum(0)


def smoothed(network, picture, score, samples, seed):
    """One draw and one pass a sample."""
    draws = torch.Generator().manual_seed(seed_of(picture[0], seed))
    spread = 0.15 * float(picture.max() - picture.min())
    total = torch.zeros(picture.shape[1:])
    for _ in range(samples):
        noise = torch.randn(picture.shape[1:], generator=draws)
        total += gradient_at(network, picture + spread * noise, score) / samples
    return total.mean(0)


ASKED = [1, regard.Probability(2), regard.Difference(0, 3)]
SCORES = [lambda logits: logits[1], lambda logits: logits.softmax(0)[2], lambda logits: logits[0] - logits[3]]


@pytest.mark.parametrize("make", [vit, cnn])
def test_integrated_gradients_are_the_loop_over_the_path(make):
    network, pixels = make(), pixels_of(2)
    explanation = regard.IntegratedGradients(classifier_of(network), steps=7)(pixels, ASKED)
    for image in range(2):
        picture = pixels[image : image + 1]
        for target, score in enumerate(SCORES):
            expected = integrated(network, picture, torch.zeros_like(picture), score, 7)
            same(explanation.maps[image, target], expected)
    assert (explanation.forwards, explanation.backwards) == (2 * (7 + 2), 2 * 7 * 3)


@pytest.mark.parametrize("make", [vit, cnn])
def test_smooth_grad_is_the_loop_over_samples(make):
    network, pixels = make(), pixels_of(2)
    explanation = regard.SmoothGrad(classifier_of(network), samples=6, seed=3)(pixels, ASKED)
    for image in range(2):
        for target, score in enumerate(SCORES):
            expected = smoothed(network, pixels[image : image + 1], score, 6, 3)
            same(explanation.maps[image, target], expected, 1e-4)  # a small probability is rounded
    assert (explanation.forwards, explanation.backwards) == (2 * (6 + 1), 2 * 6 * 3)


def test_integrated_gradients_are_those_of_captum_on_the_network_itself():
    network, pixels = vit(), pixels_of(2)
    maps = regard.IntegratedGradients(classifier_of(network))(pixels, [0, 4]).maps
    for place, target in enumerate((0, 4)):
        same(maps[:, place], captum.IntegratedGradients(network).attribute(pixels, target=target).float().sum(1))


@pytest.mark.parametrize("fill", [Colour.of((0, 0, 0), (0.5,) * 3, (0.5,) * 3), Blur(2.0)], ids=["black", "blur"])
def test_a_baseline_is_what_a_fill_leaves_where_nothing_is_kept(fill):
    network, pixels = vit(), pixels_of(1)
    maps = regard.IntegratedGradients(classifier_of(network), steps=5, baseline=fill)(pixels, 1).maps
    same(maps[0, 0], integrated(network, pixels, fill.background(pixels), SCORES[0], 5))


def test_integrated_gradients_are_complete_given_enough_steps_and_say_where_they_are_not():
    network, pixels = vit(), pixels_of(2)
    classifier = classifier_of(network)
    fine = regard.IntegratedGradients(classifier, steps=200)(pixels, [0, 1])
    with torch.no_grad():
        difference = (network(pixels) - network(torch.zeros_like(pixels)))[:, :2]
    assert torch.allclose(fine.maps.sum((2, 3)), difference, rtol=1e-3, atol=1e-3)
    assert fine.notes == ()
    coarse = regard.IntegratedGradients(classifier, steps=1)
    assert "1 steps are too few" in coarse(pixels, [0, 1]).notes[0]
    assert not any("too few" in note for note in coarse(torch.zeros_like(pixels), [0, 1]).notes)


def test_a_linear_network_needs_one_step():
    network = loud(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, CLASSES)))
    pixels = pixels_of(1)
    explanation = regard.IntegratedGradients(classifier_of(network), steps=1)(pixels, 2)
    same(explanation.maps[0, 0], (network[1].weight[2].view(3, 32, 32) * pixels[0]).sum(0))
    assert explanation.notes == ()


@pytest.mark.parametrize("explainer", [regard.IntegratedGradients, regard.SmoothGrad])
def test_a_predicted_class_stays_that_of_the_whole_picture(explainer):
    network, pixels = vit(), pixels_of(6)
    classifier = classifier_of(network)
    with torch.no_grad():
        own = network(pixels).argmax(1)
        elsewhere = network(torch.zeros_like(pixels)).argmax(1), network(1.15 * pixels).argmax(1)
    assert (own != elsewhere[0]).any()
    assert len(own.unique()) > 1
    maps = explainer(classifier)(pixels, regard.Predicted()).maps
    for image, target in enumerate(own.tolist()):
        assert maps[image].equal(explainer(classifier)(pixels[image : image + 1], target).maps[0])


@pytest.mark.parametrize("explainer", [regard.IntegratedGradients, regard.SmoothGrad])
@pytest.mark.parametrize("held", [1, 7])
def test_maps_do_not_depend_on_how_many_pictures_a_pass_holds(explainer, held, monkeypatch):
    explain, pixels = explainer(classifier_of(cnn())), pixels_of(2, size=(23, 37))
    whole = explain(pixels, [0, 1])
    monkeypatch.setattr(passes, "chunk_size", lambda *_, **__: held)
    parts = explain(pixels, [0, 1])
    same(parts.maps, whole.maps, 1e-5)
    assert (parts.forwards, parts.backwards) == (whole.forwards, whole.backwards)


@pytest.mark.parametrize("explainer", [regard.IntegratedGradients, regard.SmoothGrad])
def test_passes_that_do_not_fit_are_made_smaller(explainer, monkeypatch):
    classifier = classifier_of(cnn())
    expected = explainer(classifier)(pixels_of(), [0, 1]).maps
    own, largest = type(classifier).forward, []

    def forward(self, pixels):
        if len(pixels) > 4:
            raise torch.OutOfMemoryError("out of memory")
        largest.append(len(pixels))
        return own(self, pixels)

    monkeypatch.setattr(type(classifier), "forward", forward)
    same(explainer(classifier)(pixels_of(), [0, 1]).maps, expected)
    assert max(largest) == 4


def test_noise_belongs_to_the_picture_and_the_seed():
    classifier, pixels = classifier_of(vit()), pixels_of(3)
    explain = regard.SmoothGrad(classifier, samples=4)
    before = torch.get_rng_state()
    maps = explain(pixels, 0).maps
    assert torch.get_rng_state().equal(before)
    torch.manual_seed(99)
    assert explain(pixels.flip(0), 0).maps.flip(0).equal(maps)
    other = regard.SmoothGrad(classifier, samples=4, seed=1)(pixels, 0).maps
    assert not torch.allclose(other, maps, rtol=1e-2)


def test_a_picture_of_one_colour_has_no_noise():
    classifier, pixels = classifier_of(vit()), torch.full((1, 3, 32, 32), 0.25)
    maps = regard.SmoothGrad(classifier, samples=3)(pixels, 0).maps
    same(maps[0, 0], gradient_at(classifier.network, pixels, lambda logits: logits[0]).mean(0))


class FailsLate(nn.Module):
    """A network that fails in its third pass, after drawing."""

    def __init__(self):
        super().__init__()
        self.inner, self.left = cnn(), None

    def forward(self, pixels):
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                torch.rand(3)
                raise KeyError("broken")
        return self.inner(pixels)


@pytest.mark.parametrize(
    "mode", [torch.enable_grad, torch.no_grad, torch.inference_mode], ids=lambda mode: mode.__name__
)
@pytest.mark.parametrize("explainer", [regard.IntegratedGradients, regard.SmoothGrad])
def test_nothing_is_left_after_a_failure_on_the_way(explainer, mode, monkeypatch):
    network = FailsLate()
    explain, pixels = explainer(classifier_of(network)), pixels_of(1)
    explain(pixels, 0)
    monkeypatch.setattr(passes, "chunk_size", lambda *_, **__: 5)
    network.train()
    first, second, *_ = network.parameters()
    first.requires_grad_(False)
    second.grad = torch.ones_like(second)
    network.left = 3
    before = torch.get_rng_state()
    with mode():
        with pytest.raises(KeyError):
            explain(pixels, 0)
        assert torch.is_inference_mode_enabled() == (mode is torch.inference_mode)
        assert torch.is_grad_enabled() == (mode is torch.enable_grad)
    assert torch.get_rng_state().equal(before)
    assert all(module.training for module in network.modules())
    assert [parameter.requires_grad for parameter in network.parameters()][:2] == [False, True]
    assert second.grad.equal(torch.ones_like(second))
    assert [parameter.grad is None for parameter in network.parameters()].count(False) == 1
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())
    assert not pixels.requires_grad
    assert torch.normal(0.0, torch.zeros(2)).equal(torch.zeros(2))


@pytest.mark.parametrize(
    ("explainer", "settings", "said"),
    [
        (regard.IntegratedGradients, {"steps": 0}, "steps are a positive"),
        (regard.IntegratedGradients, {"steps": 2.5}, "steps are a positive"),
        (regard.IntegratedGradients, {"steps": True}, "steps are a positive"),
        (regard.IntegratedGradients, {"baseline": "black"}, "baseline is a fill"),
        (regard.SmoothGrad, {"samples": -1}, "samples are a positive"),
        (regard.SmoothGrad, {"seed": 2**63}, "64 bits"),
        (regard.SmoothGrad, {"seed": None}, "64 bits"),
    ],
)
def test_settings_that_mean_nothing_are_refused(explainer, settings, said):
    with pytest.raises(UnsupportedError, match=said):
        explainer(classifier_of(cnn()), **settings)


@pytest.mark.parametrize("explainer", [regard.IntegratedGradients, regard.SmoothGrad])
def test_without_captum_the_error_says_what_to_install(explainer, monkeypatch):
    own = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "captum" else own(name, *rest))
    with pytest.raises(MissingDependencyError, match="captum") as error:
        explainer(classifier_of(cnn()))
    assert "regard[baselines]" in str(error.value)
