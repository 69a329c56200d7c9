"""Trainings for re-identification in one process and in two. A program: a folder, where each leaves what it came to."""

import sys
from functools import partial
from pathlib import Path

from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent))

from forked import ends_of, prepare
from persons import recipe_of, sightings, start

from regard.training.reid.fit import fit_reid

COUNTS = {"one": 1, "two": 2, "two again": 2}


def train(folder, rank):
    """What one process's training comes to; three persons in steps of two, so that one step leaves a process idle."""
    trained = fit_reid(start(), sightings(), recipe=recipe_of(epochs=1), run=folder / "run")
    weights = {name: value.contiguous() for name, value in trained.classifier.network.state_dict().items()}
    save_file(weights, folder / f"weights-{rank}.safetensors")
    (folder / f"told-{rank}.txt").write_text(repr((trained.found, trained.before)))


def main(folder):
    prepare()
    for name, count in COUNTS.items():
        place = folder / name
        place.mkdir()
        ends = ends_of(partial(train, place), count)
        assert not any(ends), f"{name}: {ends}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
