"""Trainings of TAME in one process and in two. A program: a folder, where each process leaves what it came to.

Every process is forked here, where no thread runs yet, so that torch and accelerate are imported once.
"""

import importlib
import json
import os
import socket
import sys
import traceback
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

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
AGAIN = "tame again"


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


def train(folder, name, rank):
    """What one process's training comes to: weights, card, and the classes that the photos were taken for."""
    recipe = Recipe(**USUAL | RECIPES[name.removesuffix(" again")])
    subject = classifier()
    before = subject.hash
    parts = 2 if recipe.variant == "no-skip-no-norm" else 1
    tame = fit_tame(subject, photos(), recipe=recipe, held_out=0.3, seed=1, run=folder / "run", accumulate=parts)
    assert subject.hash == before
    save_file(tame.trained.attention.state_dict(), folder / f"weights-{rank}.safetensors")
    card = tame.trained.card
    told = {
        "figures": dict(card.figures),
        "training": dict(card.training),
        "photos_of_class": card.photos_of_class,
    }
    (folder / f"told-{rank}.json").write_text(json.dumps(told))


def forked(folder, name, rank, surroundings):
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.environ.update(surroundings)
        train(folder, name, rank)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def started(folder, name, count):
    """Train in so many processes; an error in any ends this one."""
    folder.mkdir(parents=True)
    meeting = {}
    if count > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        meeting |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "GLOO_SOCKET_IFNAME": "lo"}
    places = [{**meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)} if meeting else {} for rank in range(count)]
    processes = [forked(folder, name, rank, place) for rank, place in enumerate(places)]
    ends = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
    assert not any(ends), f"{name} in {count}: {ends}"


def main(folder):
    torch.set_num_threads(1)
    for late in ("accelerate.utils", "torch._dynamo"):  # which each of them would import for itself
        importlib.import_module(late)
    for name in RECIPES:
        for count in (1, 2):
            started(folder / f"{name}, {count}", name, count)
    started(folder / f"{AGAIN}, 2", AGAIN, 2)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
