"""Tiny classifiers, photos of noise, and what is known about them."""

import numpy as np
from PIL import Image

from ..explainers.networks import classifier_of, cnn, vit

LABELS = ["ant", "bee", "cat", "dog", "elk"]


def photos_in(folder, count, seed=0):
    """`count` photos of 40×32 pixels of coarse noise, n00.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    paths = [folder / f"n{number:02d}.png" for number in range(count)]
    for path in paths:
        coarse = random.integers(0, 256, (5, 4, 3), np.uint8)
        Image.fromarray(coarse).resize((32, 40), Image.Resampling.NEAREST).save(path)
    return paths


def tiny_vit(**settings):
    return classifier_of(vit(), labels=LABELS, name="vit", **settings)


def tiny_cnn(**settings):
    return classifier_of(cnn(), labels=LABELS, name="cnn", **settings)
