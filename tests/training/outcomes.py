"""What trainings in one process and in two came to, as their program left it; see `forked.train_each`."""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file

from .forked import run_program
from .tasks import bits_of


def outcomes_of(program, folder):
    """Those of a program of this folder, run on another one."""
    run_program(program, folder)
    return Outcomes(folder)


@dataclass(frozen=True)
class Outcomes:
    """Of every case, by name and number of processes, what each of these came to: weights, words, and the run."""

    folder: Path

    def weights(self, name, count, rank=0):
        return load_file(self.folder / f"{name}, {count}" / f"weights-{rank}.safetensors")

    def bits(self, name, count, rank=0):
        return bits_of(self.weights(name, count, rank))

    def told(self, name, count, rank=0):
        return json.loads((self.folder / f"{name}, {count}" / f"told-{rank}.json").read_text())

    def run(self, name, count):
        return self.folder / f"{name}, {count}" / "run"

    def apart(self, name):
        """The largest difference between weights of the training in one process and of that in two."""
        alone, both = self.weights(name, 1), [self.weights(name, 2, rank) for rank in range(2)]
        return max(float((value - each[key]).abs().max()) for each in both for key, value in alone.items())

    def check_alike(self, name):
        """Both processes end with the same bits and words."""
        assert self.bits(name, 2, 0) == self.bits(name, 2, 1)
        assert self.told(name, 2, 0) == self.told(name, 2, 1)
