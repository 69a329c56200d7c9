"""Grad-CAM is the paper's formula: a plain replica, captum's, values worked by hand."""

import pytest
import torch
from torch import nn

import regard
from regard.compat import import_optional
from regard.errors import LayerError, UnsupportedError
from regard.explainers.explainer import Found

from ..models.test_convolutional import channels_last_after
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
    assert explainer.features.layer == "5"
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


def test_a_map_that_is_zero_everywhere_is_noted_with_image_target_and_reason():
    network = cnn()
    with torch.no_grad():
        network[-1].weight[1] = -network[-1].weight[1].abs()
        network[-1].weight[3] = network[-1].weight[3].abs()
    explain = regard.GradCAM(classifier_of(network, labels=["ant", "bee", "cat", "dog", "eel"]))
    notes = explain(pixels_of(2), [3, 1]).notes
    reason = "no cell speaks for the target at this layer"
    assert notes == (f"the map is zero everywhere for 'bee' in image 0, 'bee' in image 1: {reason}",)
    assert explain(pixels_of(2), 3).notes == ()


def test_images_of_notes_are_counted_over_all_chunks():
    network = cnn()
    with torch.no_grad():
        network[-1].weight[1] = -network[-1].weight[1].abs()
    classifier = classifier_of(network)
    pixels = pixels_of(3)
    regard.models.passes.remember_chunk(classifier, pixels[:1], 2)
    notes = regard.GradCAM(classifier)(pixels, 1).notes
    assert ["image 0, 'class 1' in image 1:" in note for note in notes] == [True, False]
    assert "'class 1' in image 2:" in notes[1]


class Blind(regard.Explainer):
    name, summary = "blind", "nothing"

    def _explain(self, pixels, question):
        maps = torch.zeros(len(pixels), 1, 2, 2)
        maps[0, 0, 0, 0], maps[1, 0, 0, 0] = -1, torch.nan
        return Found(maps, None)


def test_any_method_notes_zeros_and_neither_evidence_against_nor_nan_is_one():
    notes = Blind(classifier_of(cnn()))(pixels_of(3), 0, on_nan="propagate").notes
    assert notes == (
        "the map is zero everywhere for 'class 0' in image 2: nothing was found in the picture that moves the target",
    )


@pytest.mark.parametrize(
    "make",
    [vit, lambda: vit(reg_tokens=4), lambda: vit(class_token=False, global_pool="avg")],
    ids=["class token", "registers", "averaged"],
)
def test_maps_of_transformers_are_the_plain_loop_over_tokens_and_channels(make):
    network, pixels = make(), pixels_of(3)
    prefix = network.num_prefix_tokens
    maps = regard.GradCAM(classifier_of(network))(pixels, ALL).maps
    kept = []
    handle = network.blocks[1].norm1.register_forward_hook(lambda _, __, output: kept.append(output))
    for image in range(3):
        for target in ALL:
            kept.clear()
            score = network(pixels[image : image + 1])[0, target]
            (gradient,) = torch.autograd.grad(score, kept[0])
            tokens, weights = kept[0][0, prefix:].detach(), gradient[0, prefix:].mean(dim=0)
            expected = [[float((weights * tokens[4 * row + column]).sum()) for column in range(4)] for row in range(4)]
            same(maps[image, target], torch.tensor(expected).clamp(min=0))
    handle.remove()
    assert maps.max() > 0


def test_a_grid_with_channels_last_gives_the_maps_of_channels_first():
    network = channels_last_after()
    maps = regard.GradCAM(classifier_of(network))(pixels_of(), ALL).maps
    first = nn.Sequential(network.stem, nn.Conv2d(24, 24, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), network.head)
    with torch.no_grad():
        first[1].weight.copy_(network.mix.weight[:, :, None, None])
        first[1].bias.copy_(network.mix.bias)
    expected = regard.GradCAM(classifier_of(first), layer="1")(pixels_of(), ALL).maps
    assert same(maps, expected)
    assert maps.max() > 0


def test_a_network_with_neither_grid_nor_tokens_is_refused_with_the_reason():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, CLASSES))
    with pytest.raises(UnsupportedError, match="no convolutional feature map") as refusal:
        regard.GradCAM(classifier_of(network))
    assert "tokens=" in refusal.value.remedy


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
    gradcam = captum.LayerGradCam(network, network.get_submodule(explainer.features.layer))
    assert maps.shape == (2, 1, 2, 2)
    same(maps, gradcam.attribute(pixels.clone(), 1, relu_attributions=True).detach(), 1e-4)
