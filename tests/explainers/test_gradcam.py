"""Grad-CAM is the paper's formula: a plain replica, captum's, values worked by hand."""

import pytest
import torch
from torch import nn

import regard
from regard.compat import import_optional
from regard.errors import LayerError, UnsupportedError

from .networks import CLASSES, classifier_of, cnn, pixels_of, same, vit

ALL = list(range(CLASSES))


def replica(network, pixels, layer, target):
    """One image and one channel after the other, the network cut in two at a layer's output."""
    before, after = network[: layer + 1], network[layer + 1 :]
    maps = []
    for image in pixels:
        features = before(image[None]).detach().requires_grad_()
        after(features.clone())[0, target].backward()
        weighed = [features.grad[0, k].mean() * features[0, k].detach() for k in range(features.shape[1])]
        maps.append(sum(weighed).clamp(min=0))
    return torch.stack(maps)


@pytest.mark.parametrize("layer", [0, 3, 4, 5])
def test_maps_are_the_plain_loop_over_images_and_channels(layer):
    network, pixels = cnn(), pixels_of(3)
    maps = regard.GradCAM(classifier_of(network), layer=str(layer))(pixels, ALL).maps
    for target in ALL:
        same(maps[:, target], replica(network, pixels, layer, target))
    assert maps.max() > 0


def test_the_last_layer_that_keeps_a_grid_is_chosen():
    explainer = regard.GradCAM(classifier_of(cnn()))
    assert explainer.layer == "5"
    assert explainer(pixels_of(), 0).settings == {"layer": "5"}


def test_maps_are_captum_s():
    captum = import_optional("captum.attr", "baselines")
    network, pixels = cnn(), pixels_of(3)
    maps = regard.GradCAM(classifier_of(network), layer="4")(pixels, 2).maps
    expected = captum.LayerGradCam(network, network[4]).attribute(pixels.clone(), 2, relu_attributions=True)
    same(maps, expected.detach())


def test_two_channels_give_the_values_worked_by_hand():
    """A₁ = p and A₂ = −p; the logit is 2 mean A₁ + mean A₂, so α = ½ and ¼, and L = relu(p/2 − p/4)."""
    spread = nn.Conv2d(1, 2, 1, bias=False)
    head = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        spread.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
        head.weight.copy_(torch.tensor([[2.0, 1.0]]))
    network = nn.Sequential(spread, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    preparation = regard.Preparation(size=2, mean=(0.5,), std=(0.1,))
    classifier = regard.Classifier(network, preparation, outputs="scalar")
    pixels = torch.tensor([[1.0, 2.0], [-3.0, 4.0]]).view(1, 1, 2, 2)
    maps = regard.GradCAM(classifier)(pixels, 0).maps
    assert maps.view(2, 2).tolist() == [[0.25, 0.5], [0.0, 1.0]]


def test_a_map_without_evidence_is_zero_and_not_nan():
    network = cnn()
    with torch.no_grad():
        network[-1].weight[1] = -network[-1].weight[1].abs()
    explanation = regard.GradCAM(classifier_of(network))(pixels_of(), 1)
    assert (explanation.maps == 0).all()


def test_a_transformer_is_refused_with_what_to_use():
    with pytest.raises(UnsupportedError, match="no convolutional feature map") as refusal:
        regard.GradCAM(classifier_of(vit()))
    assert "CDAM" in refusal.value.remedy


def test_a_layer_without_a_grid_is_refused_with_those_that_have_one():
    with pytest.raises(LayerError, match="'8' does not give one feature map") as refusal:
        regard.GradCAM(classifier_of(cnn()), layer="8")
    assert "5" in refusal.value.expected
    with pytest.raises(LayerError, match="no layer 'features'"):
        regard.GradCAM(classifier_of(cnn()), layer="features")


@pytest.mark.parametrize("name", ["resnet10t", "test_efficientnet", "convnext_atto"])
def test_maps_of_timm_s_networks_are_captum_s_at_the_layer_that_was_chosen(name):
    captum, timm = import_optional("captum.attr", "baselines"), import_optional("timm", "timm")
    network = timm.create_model(name, pretrained=False, num_classes=CLASSES).eval()
    explainer, pixels = regard.GradCAM(classifier_of(network, size=64)), pixels_of(2, (64, 64))
    maps = explainer(pixels, 1).maps
    gradcam = captum.LayerGradCam(network, network.get_submodule(explainer.layer))
    assert maps.shape == (2, 1, 2, 2)
    same(maps, gradcam.attribute(pixels.clone(), 1, relu_attributions=True).detach(), 1e-4)
