"""Items for tasks, and files of them."""

import json

import numpy as np
import torch
from PIL import Image

from regard.exams.sdc import Items, task_called

POINTS = ("d1", "d2", "boxes-1", "boxes-2", "boxes-4", "singletons")


def counted(classes=7, each=5, foreground=(4, 1, 2), first=1):
    """Items whose only number, never zero, says which one it is."""
    values = torch.arange(first, first + classes * each, dtype=torch.float32)[:, None]
    kinds = torch.arange(classes, dtype=torch.int16).repeat(each)
    return Items(values, kinds, tuple("abcdefghij"[:classes]), tuple(foreground))


def pictures(count, seed, shape=(6, 6, 3)):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


def write_arrays(folder, shape=(6, 6, 3), classes=5, each=4, names=None, **others):
    """An npz of noise, like those of CIFAR-10."""
    kinds = np.arange(classes * each) % classes
    arrays = {f"y_{part}": kinds for part in ("train", "test")}
    arrays |= {f"x_{part}": pictures(len(kinds), seed, shape) for seed, part in enumerate(("train", "test"))}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "pictures.npz"
    np.savez(file, **arrays | others)
    if names is not None:
        (folder / "classes.json").write_text(json.dumps(names))
    return file


def write_photos(folder, classes=("ant", "bee", "cat", "dog"), each=4, size=(40, 24)):
    """A folder a class, each of PNGs of noise."""
    for kind, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            array = pictures(1, 1000 * kind + number, (size[1], size[0], 3))[0]
            Image.fromarray(array).save(folder / name / f"{number}.png")
    return folder


def task_of(name, folder, **settings):
    """A small task, also of those that need pictures."""
    if name in POINTS:
        return task_called(name, **settings)
    path = write_photos(folder / "photos") if name == "folder" else write_arrays(folder)
    return task_called(name, path, **{"train": 400, "test": 300} | settings)
