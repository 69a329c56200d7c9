"""Small pictures whose classes a head on any backbone can learn: by their colour."""

import numpy as np
from PIL import Image

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}


def picture(colour, seed):
    """uint8 (40, 40, 3): a colour under noise, another one for every seed."""
    noise = np.random.default_rng(seed).integers(-40, 40, (40, 40, 3))
    return np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)


def pictures(each=6):
    """(pictures, names of their classes), of every colour `each`, in turns."""
    names = [name for _ in range(each) for name in COLOURS]
    return [picture(name, seed) for seed, name in enumerate(names)], names


def write_folder(folder, each=6):
    """A folder of class folders with PNGs."""
    for seed, (array, name) in enumerate(zip(*pictures(each), strict=True)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(folder / name / f"{seed}.png")
    return folder
