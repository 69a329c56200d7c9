"""Small pictures of persons, by what they wear, as cameras in other light see them; and trainings on them."""

import numpy as np
from torch import nn

import regard
from regard.training.embeddings import fingerprint
from regard.training.parts import Part
from regard.training.reid.plan import ReidPlan
from regard.training.reid.recipe import ReidRecipe
from regard.training.reid.sightings import Sighting, of_use

WEAR = {
    "ann": ((220, 60, 60), (60, 60, 220)),
    "bob": ((60, 200, 60), (200, 200, 60)),
    "cid": ((60, 60, 220), (220, 60, 60)),
    "dot": ((200, 60, 200), (60, 200, 200)),
    "eve": ((60, 200, 200), (60, 200, 60)),
    "fay": ((200, 200, 60), (200, 60, 200)),
}
LEARNT = ("ann", "bob", "cid")


def picture(person, camera, seed):
    """uint8 (40, 20, 3): two colours under noise; by camera 1 in a light that makes persons look alike."""
    upper, lower = WEAR[person]
    noise = np.random.default_rng(seed).integers(-60, 60, (40, 20, 3))
    clothes = np.repeat(np.array([[upper], [lower]]), 20, axis=0) * (1, 1 - 0.6 * camera, 1 - 0.3 * camera)
    return np.clip(clothes + noise, 0, 255).astype(np.uint8)


def sightings(each=3):
    """Of every person `each` by either camera: half of them learnt, the others looked for from camera 0 in both."""
    found = []
    for number, person in enumerate(WEAR):
        for camera in range(2):
            for place in range(each):
                use = "train" if person in LEARNT else "query" if camera == place == 0 else "gallery"
                seed = 100 * number + 10 * camera + place
                found.append(Sighting(picture(person, camera, seed), person, str(camera), use))
    return found


def start(norm=False):
    """A network with random weights; with `norm`, batch norm in it."""
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6) if norm else nn.Identity(), nn.ReLU()]
    layers += [nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).eval()
    draw = np.random.default_rng(0)
    for weight in network.parameters():
        weight.data = weight.data.new_tensor(draw.normal(size=weight.shape) * 1.5 / max(1, weight[0].numel()) ** 0.5)
    preparation = regard.Preparation(size=(32, 16), mean=(0.5,) * 3, std=(0.5,) * 3, fit="squash", crop=1.0)
    return regard.Classifier(network, preparation, name="tiny")


def recipe_of(**changed):
    """Plain and quick."""
    usual = {"count": 2, "epochs": 2, "batch": 2, "photos": 3, "rate": 3e-3, "head_rate": 1.0}
    return ReidRecipe(**usual | changed)


def plan_of(recipe=None, teacher=None, seed=0, begun=None):
    return ReidPlan.of(begun or start(), teacher, LEARNT, recipe or recipe_of(), seed)


def part():
    """The photos of three persons that are learnt."""
    learnt = of_use(sightings(), "train")
    marks = tuple(fingerprint(each.photo) for each in learnt)
    return Part(tuple(each.photo for each in learnt), marks, tuple(LEARNT.index(each.identity) for each in learnt))
