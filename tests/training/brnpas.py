"""Trainings of BR-NPA in one process and in two. A program: a folder, where each process leaves what it came to."""

import itertools
import sys
from functools import partial
from pathlib import Path

from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent))

from forked import ends_of, prepare
from tames import classifier, photos

from regard.training import BRNPARecipe, fit_brnpa

RECIPES = {
    "alone": {"auxiliary": ((1,), (2, 3))},
    "taught": {"strides": (1,), "share": 0.7},
    "batch norm": {"pooling": "bilinear"},
}
LABELS = [*["ant", "bee", "cat"] * 7, "ant", "bee"]


def train(folder, name, rank):
    """What one process's training comes to."""
    usual = {"batch": 5, "epochs": 2, "rate": 1e-2, "head_rate": 1.0}
    teacher = None
    if name == "taught":
        teacher = fit_brnpa(classifier(), photos(), LABELS, recipe=BRNPARecipe(**usual)).classifier
    recipe = BRNPARecipe(**usual | RECIPES[name])
    trained = fit_brnpa(classifier(), photos(), LABELS, teacher=teacher, recipe=recipe, run=folder / "run")
    save_file(_plain(trained.classifier.network), folder / f"weights-{rank}.safetensors")
    (folder / f"told-{rank}.txt").write_text(repr((trained.worth, trained.training["epoch_chosen"])))


def _plain(network):
    """Its weights as a file takes them, not with channels last."""
    return {name: value.contiguous() for name, value in network.state_dict().items()}


def main(folder):
    prepare()
    for name, count in itertools.product(RECIPES, (1, 2)):
        place = folder / f"{name}, {count}"
        place.mkdir()
        ends = ends_of(partial(train, place, name), count)
        assert not any(ends), f"{name} in {count}: {ends}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
