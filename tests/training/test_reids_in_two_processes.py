"""`fit_reid` in two processes: triplets and neck see halves of a step, the same halves whenever there are two."""

import pytest
from safetensors.torch import load_file

from .forked import run_program
from .tasks import bits_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("reids")
    run_program("reids.py", place)
    return place


def weights(folder, case, rank=0):
    return load_file(folder / case / f"weights-{rank}.safetensors")


def test_both_processes_end_with_the_same_bits_and_figures_also_where_one_was_idle(folder):
    assert bits_of(weights(folder, "two", 0)) == bits_of(weights(folder, "two", 1))
    told = [(folder / "two" / f"told-{rank}.txt").read_text() for rank in range(2)]
    assert told[0] == told[1]


def test_with_as_many_processes_it_is_the_same_training_and_with_others_another(folder):
    assert bits_of(weights(folder, "two")) == bits_of(weights(folder, "two again"))
    one, two = weights(folder, "one"), weights(folder, "two")
    assert max(float((value - two[name]).abs().max()) for name, value in one.items()) > 1e-4
