"""Few-shot trainings in one process and in two. A program: a folder, where each process leaves what it came to."""

import itertools
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from forked import train_each
from persons import start
from tames import classifier, photos

from regard.training.few_shot.fit import fit_few_shot
from regard.training.few_shot.recipe import FewShotRecipe

RECIPES = {
    "alone": {"auxiliary": ((1,), (2, 3))},
    "taught": {"strides": (1,), "share": 0.7},
    "cross attention": {"pooling": "mean", "comparison": "cross-attention"},
    "batch norm": {},
}
KINDS = [f"kind {number % 8}" for number in range(23)]
USUAL = {"ways": 2, "queries": 1, "episodes": 5, "batch": 3, "epochs": 2, "rate": 1e-2, "chosen_by": 4, "examined": 9}
SETTINGS = {"held_out": 0.25, "choosing": 0.4, "seed": 2}


def train(folder, name):
    """What one process's training comes to; five episodes in steps of three, so that one has one more to do."""
    begun, teacher = start(norm=True) if name == "batch norm" else classifier(), None
    if name == "taught":
        taught = fit_few_shot(begun, photos(), KINDS, recipe=FewShotRecipe(**USUAL), **SETTINGS)
        teacher = taught.classifier
    recipe = FewShotRecipe(**USUAL | RECIPES[name])
    trained = fit_few_shot(begun, photos(), KINDS, teacher=teacher, recipe=recipe, run=folder / "run", **SETTINGS)
    return trained.classifier.network, [asdict(trained.worth), trained.epochs, trained.training["epoch_chosen"]]


if __name__ == "__main__":
    train_each(train, (*itertools.product(RECIPES, (1, 2)), ("batch norm again", 2)), sys.argv[1])
