"""`fit_brnpa` in two processes comes to what it comes to in one, where no batch is seen whole."""

import pytest
from safetensors.torch import load_file

from regard.runs import read_run

from .forked import run_program
from .tasks import bits_of

ALIKE = ["alone", "taught"]
"""Without batch norm in training every loss is its picture's own."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("brnpas")
    run_program("brnpas.py", place)
    return place


def weights(folder, case, rank=0):
    return load_file(folder / case / f"weights-{rank}.safetensors")


def told(folder, case, rank=0):
    return (folder / case / f"told-{rank}.txt").read_text()


def farthest(one, other):
    return max(float((value - other[name]).abs().max()) for name, value in one.items())


@pytest.mark.parametrize("name", ALIKE)
def test_two_processes_give_the_network_and_the_figures_of_one(name, folder):
    alone = weights(folder, f"{name}, 1")
    for rank in range(2):
        assert farthest(alone, weights(folder, f"{name}, 2", rank)) < 1e-5
        assert told(folder, f"{name}, 2", rank) == told(folder, f"{name}, 1")
    one, two = (read_run(folder / f"{name}, {count}" / "run").rows for count in (1, 2))
    for row, other in zip(one, two, strict=True):
        assert other["cross_entropy"] == pytest.approx(row["cross_entropy"], abs=1e-5)


@pytest.mark.parametrize("name", [*ALIKE, "batch norm"])
def test_both_processes_end_with_the_same_bits(name, folder):
    assert bits_of(weights(folder, f"{name}, 2", 0)) == bits_of(weights(folder, f"{name}, 2", 1))
    assert told(folder, f"{name}, 2", 0) == told(folder, f"{name}, 2", 1)


def test_batch_norm_of_a_pooling_sees_halves_of_a_step(folder):
    """Which also shows that steps are cut."""
    assert farthest(weights(folder, "batch norm, 1"), weights(folder, "batch norm, 2")) > 1e-4
