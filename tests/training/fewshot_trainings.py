"""Few-shot trainings of tiny networks on small pictures of many classes."""

import numpy as np
import torch
from torch import nn

from regard.training.brnpa.augmentation import NONE
from regard.training.brnpa.plan import Plan
from regard.training.embeddings import fingerprint
from regard.training.few_shot.recipe import FewShotRecipe
from regard.training.few_shot.task import FewShot, Learner
from regard.training.parts import Part

from ..explainers.networks import classifier_of, cnn, loud

CLASSES, EACH = 10, 5
NAMES = [f"kind {index}" for index in range(CLASSES)]


def picture(index, seed):
    """uint8 (24, 24, 3): a bar of a colour at a place of its class, under noise."""
    shown = np.random.default_rng(1000 * index + seed).integers(0, 60, (24, 24, 3))
    place = 2 * index
    shown[place : place + 4] += np.array([180 * (index % 2), 180 * (index % 3 == 0), 90 + 9 * index])
    return np.clip(shown, 0, 255).astype(np.uint8)


PHOTOS = [picture(index, seed) for seed in range(EACH) for index in range(CLASSES)]
LABELS = [NAMES[index] for _ in range(EACH) for index in range(CLASSES)]
HELD_OUT = [label in NAMES[7:] for label in LABELS]


def signed(seed=4):
    """A backbone with last features of either sign, some of them opposite to each other."""
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1)]
    return loud(nn.Sequential(*layers, nn.LeakyReLU(0.1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)), seed)


def start(network=None):
    return classifier_of(network or cnn(), size=16, name="tiny")


def recipe_of(**changed):
    """Plain and quick."""
    usual = {"ways": 3, "shots": 1, "queries": 2, "episodes": 3, "epochs": 2, "chosen_by": 4, "examined": 12}
    return FewShotRecipe(**{**usual, "rate": 3e-3, "batch": 2, "augmentation": NONE} | changed)


def part_of(kinds=range(CLASSES)):
    """Photos of some classes, which are counted from 0, in the order of their content."""
    names = [NAMES[kind] for kind in kinds]
    places = [place for place, label in enumerate(LABELS) if label in names]
    places = sorted(places, key=lambda place: fingerprint(PHOTOS[place]))
    photos = tuple(PHOTOS[place] for place in places)
    return Part(photos, tuple(map(fingerprint, photos)), tuple(names.index(LABELS[place]) for place in places))


def classifier_with(recipe=None, network=None, seed=0):
    return Plan.of(start(network), None, NAMES, recipe or recipe_of(), seed).classifier


def task_of(recipe=None, network=None, teacher=None, seed=0):
    recipe = recipe or recipe_of()
    subject = classifier_with(recipe, network, seed)
    return FewShot(Learner(subject.network, subject.head, recipe), teacher, part_of(), subject, recipe, seed, NAMES)


def gradients(task, accumulate=1):
    """Those of the first step on all episodes."""
    from regard.training.steps import Settings, Steps

    optimizer = torch.optim.SGD(task.module.parameters(), lr=0.1)
    found = Steps(task, optimizer, Settings(1, task.examples, accumulate)).gradients(0)
    return {name: weight.grad.clone() for name, weight in task.module.named_parameters()}, found
