"""`fit_tame` in two processes comes to what it comes to in one, figures included, where no batch is seen whole."""

import json

import pytest

from regard.runs import read_run

from .outcomes import outcomes_of

ALIKE = ["l-cam", "no-skip-no-norm"]
"""Without batch norm every loss is its picture's own."""


@pytest.fixture(scope="module")
def came(tmp_path_factory):
    return outcomes_of("tames.py", tmp_path_factory.mktemp("tames"))


@pytest.mark.parametrize("name", ALIKE)
def test_two_processes_give_the_attention_of_one(name, came):
    assert came.apart(name) < 1e-5


@pytest.mark.parametrize("name", ALIKE)
def test_and_its_figures_choice_and_card(name, came):
    alone = came.told(name, 1)
    assert len(alone["figures"]) == 5
    assert alone["training"].pop("processes") == 1
    for rank in range(2):
        both = came.told(name, 2, rank)
        assert both["training"].pop("processes") == 2
        assert both["figures"] == pytest.approx(alone["figures"], abs=1e-5)
        assert both["training"] == alone["training"]
        assert both["photos_of_class"] == alone["photos_of_class"]


@pytest.mark.parametrize("name", ALIKE)
def test_and_its_run(name, came):
    """Epochs' rows, and losses step by step; one process writes."""
    one, two = (read_run(came.run(name, count)) for count in (1, 2))
    for row, other in zip(one.rows, two.rows, strict=True):
        assert row.keys() == other.keys()
        for key, value in row.items():
            if isinstance(value, float):
                assert other[key] == pytest.approx(value, abs=1e-5)
            elif not key.startswith("configuration"):  # a training is gone on with by as many as began it
                assert other[key] == value
    lines = [
        [json.loads(line) for line in (came.run(name, count) / "log.jsonl").read_text().splitlines()]
        for count in (1, 2)
    ]
    one, two = ([line["means"] for line in each if line["event"] == "step"] for each in lines)
    assert one
    for means, other in zip(one, two, strict=True):
        assert other == pytest.approx(means, abs=1e-5)
    assert [line["processes"] for each in lines for line in each if line["event"] == "training"] == [1, 2]


@pytest.mark.parametrize("name", [*ALIKE, "tame"])
def test_both_processes_end_with_the_same_bits(name, came):
    came.check_alike(name)


def test_with_batch_norm_halves_of_a_step_are_not_the_whole_and_give_the_same_bits_again(came):
    """Which also shows that steps are cut."""
    assert came.apart("tame") > 1e-4
    assert came.bits("tame", 2) == came.bits("tame again", 2)
