"""`fit_tame` in two processes comes to what it comes to in one, figures included, where no batch is seen whole."""

import json

import pytest
from safetensors.torch import load_file

from regard.runs import read_run

from .forked import run_program
from .tasks import bits_of

ALIKE = ["l-cam", "no-skip-no-norm"]
"""Without batch norm every loss is its picture's own."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("tames")
    run_program("tames.py", place)
    return place


def weights(folder, case, rank=0):
    return load_file(folder / case / f"weights-{rank}.safetensors")


def told(folder, case, rank=0):
    return json.loads((folder / case / f"told-{rank}.json").read_text())


def farthest(one, other):
    return max(float((value - other[name]).abs().max()) for name, value in one.items())


@pytest.mark.parametrize("name", ALIKE)
def test_two_processes_give_the_attention_of_one(name, folder):
    alone = weights(folder, f"{name}, 1")
    for rank in range(2):
        assert farthest(alone, weights(folder, f"{name}, 2", rank)) < 1e-5


@pytest.mark.parametrize("name", ALIKE)
def test_and_its_figures_choice_and_card(name, folder):
    alone = told(folder, f"{name}, 1")
    assert len(alone["figures"]) == 5
    assert alone["training"].pop("processes") == 1
    for rank in range(2):
        both = told(folder, f"{name}, 2", rank)
        assert both["training"].pop("processes") == 2
        assert both["figures"] == pytest.approx(alone["figures"], abs=1e-5)
        assert both["training"] == alone["training"]
        assert both["photos_of_class"] == alone["photos_of_class"]


@pytest.mark.parametrize("name", ALIKE)
def test_and_its_run(name, folder):
    """Epochs' rows, and losses step by step; one process writes."""
    one, two = (read_run(folder / f"{name}, {count}" / "run") for count in (1, 2))
    for row, other in zip(one.rows, two.rows, strict=True):
        assert row.keys() == other.keys()
        for key, value in row.items():
            if isinstance(value, float):
                assert other[key] == pytest.approx(value, abs=1e-5)
            elif not key.startswith("configuration"):  # a training is gone on with by as many as began it
                assert other[key] == value
    lines = [
        [json.loads(line) for line in (folder / f"{name}, {count}" / "run" / "log.jsonl").read_text().splitlines()]
        for count in (1, 2)
    ]
    one, two = ([line["means"] for line in each if line["event"] == "step"] for each in lines)
    assert one
    for means, other in zip(one, two, strict=True):
        assert other == pytest.approx(means, abs=1e-5)
    assert [line["processes"] for each in lines for line in each if line["event"] == "training"] == [1, 2]


@pytest.mark.parametrize("name", [*ALIKE, "tame"])
def test_both_processes_end_with_the_same_bits(name, folder):
    assert bits_of(weights(folder, f"{name}, 2", 0)) == bits_of(weights(folder, f"{name}, 2", 1))
    assert told(folder, f"{name}, 2", 0) == told(folder, f"{name}, 2", 1)


def test_with_batch_norm_halves_of_a_step_are_not_the_whole_and_give_the_same_bits_again(folder):
    """Which also shows that steps are cut."""
    assert farthest(weights(folder, "tame, 1"), weights(folder, "tame, 2")) > 1e-4
    assert bits_of(weights(folder, "tame, 2")) == bits_of(weights(folder, "tame again, 2"))
