"""Trainings of tiny attentions: photos, plans, tasks, and a plain loop over a task."""

import numpy as np
import torch
from torch import nn

from regard.training.tame.descent import optimizer_of
from regard.training.tame.plan import Plan
from regard.training.tame.recipe import Recipe
from regard.training.tame.surveyed import surveyed

from ..explainers.networks import classifier_of, cnn, loud

SIDE = 32


def photos_of(count, seed=0):
    """uint8 (36, 36, 3): coarse noise, another one each."""
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, (6, 6, 3), np.uint8).repeat(6, 0).repeat(6, 1) for _ in range(count)]


def normed(seed=0):
    """A network with batch norm and dropout, which training mode would change, and answers that differ."""
    layers = [
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1),
    ]
    layers += [nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)]
    return loud(nn.Sequential(*layers), seed)


def tiny(network=None, **settings):
    """A classifier whose answers to the photos are not all the same class."""
    subject = classifier_of(network or cnn(), **settings)
    layer = subject.head_module()
    with torch.no_grad():
        pixels = subject.prepare(photos_of(64, seed=9))
        logits = subject(pixels)
        layer.bias -= logits.mean(dim=0)
    return subject


def recipe_of(**changed):
    """Plain and quick."""
    usual = {
        "variant": "tame",
        "count": 2,
        "smoothing": 0,
        "area_target": None,
        "start": "drawn",
        "mask": "soft",
        "maps": "own",
        "augmentation": "none",
        "batch": 4,
        "epochs": 2,
    }
    return Recipe(**usual | changed)


def task_of(recipe, photos, subject=None, fill=None, seed=0):
    """The task of a training on all of the photos."""
    from regard.training.embeddings import fingerprint

    subject = subject or tiny()
    plan = Plan.of(subject, recipe, fill, seed)
    known, _ = surveyed(subject, photos, [fingerprint(photo) for photo in photos], lambda _, parts: parts)
    return plan.task(known)


def descended(task, steps):
    """Plain steps over all examples at a constant rate; the components' means of every step, and the loss's."""
    optimizer = optimizer_of(task.module, task.recipe)
    batch, seen = task.batch(range(task.examples), 0), []
    for _ in range(steps):
        losses, components = task.losses(batch)
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.step()
        seen.append({name: float(values.detach().mean()) for name, values in {**components, "loss": losses}.items()})
    return seen
