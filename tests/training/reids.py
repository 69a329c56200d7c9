"""Trainings for re-identification in one process and in two. A program: a folder, where each leaves what it came to."""

import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from forked import train_each
from persons import recipe_of, sightings, start

from regard.training.reid.fit import fit_reid

CASES = [("persons", 1), ("persons", 2), ("persons again", 2)]


def train(folder, _):
    """What one process's training comes to; of three persons in a step the second process has one alone."""
    trained = fit_reid(start(), sightings(), recipe=recipe_of(epochs=1), run=folder / "run")
    return trained.classifier.network, [asdict(trained.found), asdict(trained.before)]


if __name__ == "__main__":
    train_each(train, CASES, sys.argv[1])
