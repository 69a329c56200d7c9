"""Trainings of TAME in one process and in two. A program: a folder, where each process leaves what it came to."""

import itertools
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))

from forked import train_each

import regard
from regard.training import Recipe, fit_tame

RECIPES = {
    "l-cam": {
        "variant": "l-cam",
        "start": "head",
        "area_target": 0.3,
        "mask": "ranked",
        "optimizer": "sgd",
        "bias_rate": 2.0,
    },
    "no-skip-no-norm": {
        "variant": "no-skip-no-norm",
        "maps": "negatives",
        "negatives": 2,
        "smoothing": 1,
        "augmentation": "flip",
    },
    "tame": {"variant": "tame"},
}
USUAL = {
    "count": 2,
    "smoothing": 0,
    "start": "drawn",
    "mask": "soft",
    "maps": "own",
    "area_target": None,
    "rate": 1e-2,
    "augmentation": "none",
    "batch": 5,
    "epochs": 2,
}


def classifier():
    """A small network whose answers to the photos differ."""
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).eval()
    draw = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        weight.data = torch.randn(weight.shape, generator=draw) * 1.5 / max(1, weight[0].numel()) ** 0.5
    subject = regard.Classifier(network, regard.Preparation(size=32, mean=(0.5,) * 3, std=(0.5,) * 3))
    with torch.no_grad():
        network[-1].bias -= subject(subject.prepare(photos())).mean(dim=0)
    return subject


def photos():
    """Twenty-three of coarse noise: steps, and halves of steps, of unequal sizes."""
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (6, 6, 3), np.uint8).repeat(6, 0).repeat(6, 1) for _ in range(23)]


def train(folder, name):
    """What one process's training comes to: weights, card, and the classes that the photos were taken for."""
    recipe = Recipe(**USUAL | RECIPES[name])
    subject = classifier()
    before = subject.hash
    parts = 2 if recipe.variant == "no-skip-no-norm" else 1
    tame = fit_tame(subject, photos(), recipe=recipe, held_out=0.3, seed=1, run=folder / "run", accumulate=parts)
    assert subject.hash == before
    card = tame.trained.card
    told = {"figures": dict(card.figures), "training": dict(card.training), "photos_of_class": card.photos_of_class}
    return tame.trained.attention, told


if __name__ == "__main__":
    train_each(train, (*itertools.product(RECIPES, (1, 2)), ("tame again", 2)), sys.argv[1])
