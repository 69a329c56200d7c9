"""Trainings of tiny networks with a pooling: networks, plans, tasks."""

import torch
from torch import nn

from regard.training.brnpa.plan import Plan
from regard.training.brnpa.recipe import BRNPARecipe
from regard.training.embeddings import fingerprint
from regard.training.parts import Part

from ..explainers.networks import classifier_of, cnn, loud
from .pictures import COLOURS, pictures

NAMES = sorted(COLOURS)
PHOTOS, LABELS = pictures(8)


def normed(seed=0):
    """A backbone with batch norm, dropout and a stride, which training mode would change."""
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.2)]
    layers += [nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    layers += [nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.ReLU()]
    return loud(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)), seed)


def start(network=None):
    return classifier_of(network or cnn(), name="tiny")


def recipe_of(**changed):
    """Plain and quick."""
    return BRNPARecipe(**{"epochs": 2, "batch": 6, "rate": 3e-3, "head_rate": 1.0} | changed)


def part_of(photos=PHOTOS, labels=LABELS):
    return Part(tuple(photos), tuple(map(fingerprint, photos)), tuple(NAMES.index(label) for label in labels))


def plan_of(recipe=None, network=None, teacher=None, seed=0):
    return Plan.of(start(network), teacher, NAMES, recipe or recipe_of(), seed)


def gradients(task, accumulate=1):
    """Those of the first step on all examples."""
    from regard.training.steps import Settings, Steps

    optimizer = torch.optim.SGD(task.module.parameters(), lr=0.1)
    found = Steps(task, optimizer, Settings(1, task.examples, accumulate)).gradients(0)
    return {name: weight.grad.clone() for name, weight in task.module.named_parameters()}, found
