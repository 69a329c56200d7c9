"""Ablation-CAM where an activation follows the layer: what the network does not read is not on the map."""

import pytest
import torch
from torch import nn

import regard
from regard.compat import import_optional

from .networks import CLASSES, classifier_of, loud, pixels_of, same
from .test_ablation_cam import ALL, ablated


class Rectified(nn.Module):
    """Features whose norm comes before a functional ReLU, as in torchvision's DenseNet."""

    def __init__(self, activation):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1, stride=4), nn.BatchNorm2d(6))
        self.activation, self.head = activation, nn.Linear(6, CLASSES)

    def forward(self, pixels):
        return self.head(self.activation(self.features(pixels)).mean((2, 3)))


def test_places_that_a_relu_shuts_off_are_zero_on_the_map():
    """The left half of the picture is dark, every feature is far below zero there, and the answer is the right's."""
    network, pixels = loud(Rectified(torch.relu)), pixels_of(2)
    with torch.no_grad():
        network.features[0].weight.abs_()
    pixels[..., :16] = pixels[..., :16] / 2 - 4
    changed = pixels.clone()
    changed[..., :12] -= 5
    assert torch.equal(network(changed), network(pixels))  # it cannot matter
    ablation = regard.AblationCAM(classifier_of(network), layer="features")
    assert ablation.rectified
    assert ablation.closed
    maps = ablation(pixels, ALL).maps
    assert (maps[..., :4] == 0).all()
    assert (maps[..., 4:] > 0).any()
    for target in ALL:
        same(maps[:, target], ablated(network, pixels, "features", target, torch.relu), 2e-4)


@pytest.mark.parametrize(
    "activation",
    [nn.GELU(), nn.LeakyReLU(0.05), torch.abs, lambda grid: torch.where(grid.mean() > 0.9, grid, grid.relu())],
    ids=["gelu", "leaky", "size", "open to bright pictures"],
)
def test_features_that_are_read_below_zero_too_count_by_their_size(activation):
    network, pixels = loud(Rectified(activation)), pixels_of(1) + 1
    if not isinstance(activation, nn.Module):
        with torch.no_grad():
            network.features[0].weight.abs_()
            network.features[0].weight.mul_(3)
    ablation = regard.AblationCAM(classifier_of(network), layer="features")
    assert not ablation.rectified
    for target in ALL:
        same(ablation(pixels, target).maps[:, 0], ablated(network, pixels, "features", target), 2e-4)


def test_torchvision_s_densenet_is_read_after_its_relu():
    densenet = import_optional("torchvision.models", "torchvision").DenseNet
    network = densenet(8, (2, 2), num_init_features=8, num_classes=CLASSES).eval()
    ablation = regard.AblationCAM(classifier_of(network))
    assert ablation.settings["layer"] == "features"
    assert ablation.rectified
    assert ablation.closed
