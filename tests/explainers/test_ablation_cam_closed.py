"""Ablation-CAM without passes: taken where every channel is pooled by itself, and nowhere else."""

import pytest
import torch
from torch import nn

import regard

from .networks import CLASSES, classifier_of, loud, pixels_of, same
from .test_ablation_cam import ablated


class Pooled(nn.Module):
    """A pool of its own kind, what follows it, and a linear head."""

    def __init__(self, pool, then, head=None):
        super().__init__()
        self.features, self.then, self.pool = nn.Conv2d(3, 6, 3, padding=1, stride=4), then, pool
        self.head = nn.Linear(6, CLASSES) if head is None else head

    def forward(self, pixels):
        return self.head(self.then(self.pool(self.features(pixels).relu())))


def normed():
    norm = nn.BatchNorm1d(6)
    norm.running_mean.fill_(0.5)
    return norm


POOLS = {
    "mean": (lambda grid: grid.mean((2, 3)), nn.Identity(), True),
    "largest": (lambda grid: grid.amax((2, 3)), nn.Identity(), True),
    "root mean cube": (lambda grid: grid.pow(3).mean((2, 3)).pow(1 / 3), nn.Identity(), True),
    "mean, then relu": (lambda grid: grid.mean((2, 3)), nn.ReLU(), True),
    "mean, then batch norm": (lambda grid: grid.mean((2, 3)), normed(), False),
    "mean, then layer norm": (lambda grid: grid.mean((2, 3)), nn.LayerNorm(6), False),
    "mean, then sigmoid": (lambda grid: grid.mean((2, 3)), nn.Sigmoid(), False),
    "mean, then a linear layer": (lambda grid: grid.mean((2, 3)), nn.Linear(6, 6), False),
    "mean, neighbours swapped": (lambda grid: grid.mean((2, 3)).roll(1, 1), nn.Identity(), False),
    "mean, all by their sum": (lambda grid: nn.functional.normalize(grid.mean((2, 3)), p=1), nn.Identity(), False),
}


@pytest.mark.parametrize("name", POOLS)
def test_the_closed_form_is_taken_only_where_channels_are_pooled_by_themselves(name):
    pool, then, closed = POOLS[name]
    network = loud(Pooled(pool, then))
    layer = "features"
    ablation, pixels = regard.AblationCAM(classifier_of(network), layer=layer), pixels_of(2)
    assert ablation.closed == closed
    for target in range(CLASSES):
        same(ablation(pixels, target).maps[:, 0], ablated(network, pixels, layer, target, torch.relu), 2e-4)


class Plus(nn.Module):
    """A pooled channel that is not zero where its feature map is."""

    def __init__(self, channel):
        super().__init__()
        self.register_buffer("more", nn.functional.one_hot(torch.tensor(channel), 6).float())

    def forward(self, pooled):
        return pooled + self.more


@pytest.mark.parametrize("channel", range(6))
def test_one_channel_that_does_not_go_with_its_map_is_enough_to_see(channel):
    network = loud(Pooled(lambda grid: grid.mean((2, 3)), Plus(channel)))
    ablation, pixels = regard.AblationCAM(classifier_of(network), layer="features"), pixels_of(1)
    assert not ablation.closed
    same(ablation(pixels, 0).maps[:, 0], ablated(network, pixels, "features", 0, torch.relu), 2e-4)


def test_weights_that_change_are_seen():
    network, pixels = loud(Pooled(lambda grid: grid.mean((2, 3)), normed())), pixels_of(2)
    ablation = regard.AblationCAM(classifier_of(network), layer="features")
    assert not ablation.closed
    with torch.no_grad():
        network.then.running_mean.zero_()
        network.then.bias.zero_()
    same(ablation(pixels, 1).maps[:, 0], ablated(network, pixels, "features", 1, torch.relu), 1e-4)
    assert ablation.closed


class Bright(nn.Module):
    """Adds what is brighter than noise of mean zero ever is, over the whole grid, to every pooled channel."""

    def forward(self, grid):
        pooled = grid.mean((2, 3))
        return pooled + (grid.mean((1, 2, 3)) - 0.5).relu()[:, None]


def test_what_only_bright_pictures_show_is_seen():
    """Channels meet where the picture is bright: noise alone would prove a closed form that is none."""
    network = loud(Pooled(Bright(), nn.Identity()))
    with torch.no_grad():
        network.features.weight.fill_(1 / 27)
        network.features.bias.zero_()
    ablation, pixels = regard.AblationCAM(classifier_of(network), layer="features"), pixels_of(2) + 1
    assert not ablation.closed
    same(ablation(pixels, 0).maps[:, 0], ablated(network, pixels, "features", 0, torch.relu), 2e-4)
