"""Trainings of BR-NPA in one process and in two. A program: a folder, where each process leaves what it came to."""

import itertools
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from forked import train_each
from tames import classifier, photos

from regard.training import BRNPARecipe, fit_brnpa

RECIPES = {
    "alone": {"auxiliary": ((1,), (2, 3))},
    "taught": {"strides": (1,), "share": 0.7},
    "batch norm": {"pooling": "bilinear"},
}
LABELS = [*["ant", "bee", "cat"] * 7, "ant", "bee"]


def train(folder, name):
    """What one process's training comes to."""
    usual = {"batch": 5, "epochs": 2, "rate": 1e-2, "head_rate": 1.0}
    teacher = None
    if name == "taught":
        teacher = fit_brnpa(classifier(), photos(), LABELS, recipe=BRNPARecipe(**usual)).classifier
    recipe = BRNPARecipe(**usual | RECIPES[name])
    trained = fit_brnpa(classifier(), photos(), LABELS, teacher=teacher, recipe=recipe, run=folder / "run")
    return trained.classifier.network, [asdict(trained.worth), trained.training["epoch_chosen"]]


if __name__ == "__main__":
    train_each(train, itertools.product(RECIPES, (1, 2)), sys.argv[1])
