"""Attentions whose every weight counts, what they read, and their slow form."""

import numpy as np
import torch
from torch import nn

from regard.attention import FusionAttention

from ..explainers.networks import loud
from . import slow

CHANNELS, CLASSES, WIDTH, GRIDS = (3, 4, 5), 6, 7, ((6, 4), (3, 2), (5, 3))
VARIANTS = ["tame", "no-skip", "no-skip-no-norm", "sigmoid", "l-cam", "tied"]


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def head_of(classes=CLASSES, width=WIDTH):
    return drawn(classes, width, seed=9)


def attention(variant="tame", channels=CHANNELS, classes=CLASSES, **settings):
    """In eval mode, every weight and statistic of its own."""
    head = {"head": head_of(classes)} if variant == "tied" else {}
    made = loud(FusionAttention(channels, classes, variant, **head | settings))
    generator = torch.Generator().manual_seed(3)
    for norm in (module for module in made.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean.copy_(torch.randn(norm.num_features, generator=generator))
        norm.running_var.copy_(0.3 + torch.rand(norm.num_features, generator=generator))
    return made


def features_of(images=2, channels=CHANNELS, grids=GRIDS, seed=1):
    return [
        drawn(images, width, *grid, seed=seed + place)
        for place, (width, grid) in enumerate(zip(channels, grids, strict=False))
    ]


def classes_of(images=2, count=3, classes=CLASSES, seed=4):
    return torch.randint(classes, (images, count), generator=torch.Generator().manual_seed(seed))


def numbers(tensor):
    return tensor.detach().double().numpy()


def replica(made, features):
    """The slow form with the weights of a module."""
    branches = []
    for branch in made.branches:
        if isinstance(branch, nn.Identity):
            branches.append(None)
            continue
        weights = {"weight": numbers(branch.convolution.weight[:, :, 0, 0]), "bias": numbers(branch.convolution.bias)}
        if isinstance(branch.norm, nn.BatchNorm2d):
            parts = {"mean": "running_mean", "variance": "running_var", "weight": "weight", "bias": "bias"}
            weights["norm"] = {name: numbers(getattr(branch.norm, own)) for name, own in parts.items()}
        branches.append(weights)
    rows, biases = numbers(made.fuser.weight), numbers(made.fuser.bias)
    if made.variant == "tied":
        head = numbers(made.head)
        each = range(WIDTH)
        rows = np.array([[sum(one[d] * rows[d, k] for d in each) for k in range(rows.shape[1])] for one in head])
        biases = np.array([sum(one[d] * biases[d] for d in each) + made.bias.item() for one in head])
    grid = (5, 3) if made.variant == "l-cam" else (6, 4)
    given = [numbers(one) for one in features]
    maps = slow.class_maps(given, branches, rows, biases, grid, made.variant, made.training, made.smoothing)
    return torch.from_numpy(maps)
