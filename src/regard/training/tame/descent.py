"""The optimizers of a trained attention."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import nn

from regard.training.tame.mask_training import Trainee
from regard.training.tame.recipe import Recipe

SCALAR_RATE = 0.05
"""Largest rate of single numbers, whatever the weights' is: the area's multiplier, and the one bias of tied rows, which
sets the size of all masks, must go some units within a training."""


def optimizer_of(module: Trainee, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW, over groups that differ in rate and weight decay.

    Biases (of convolutions, norms and the last layer) never decay and have `bias_rate` times the rate; the weights of
    norms decay under SGD, as published, and not under AdamW; single numbers have a rate of their own.

    Args:
        module: what is trained.
        recipe: optimizer, rate, weight decay, rate of biases.
    """
    norms = {id(part.weight) for part in module.modules() if isinstance(part, nn.BatchNorm2d)}
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in module.named_parameters():
        if parameter.dim() == 0:
            kind = SCALAR_RATE, 0.0, True
        elif name.endswith("bias"):
            kind = recipe.bias_rate * recipe.rate, 0.0, False
        elif id(parameter) in norms and recipe.optimizer == "adamw":
            kind = recipe.rate, 0.0, False
        else:
            kind = recipe.rate, recipe.weight_decay, False
        groups[kind].append(parameter)
    listed = [
        {"params": each, "lr": rate, "weight_decay": decay, "rate_of_its_own": own}
        for (rate, decay, own), each in groups.items()
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(listed, lr=recipe.rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(listed, lr=recipe.rate)
