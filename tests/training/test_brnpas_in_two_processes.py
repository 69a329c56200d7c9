"""`fit_brnpa` in two processes comes to what it comes to in one, where no batch is seen whole."""

import pytest

from regard.runs import read_run

from .outcomes import outcomes_of

ALIKE = ["alone", "taught"]
"""Without batch norm in training every loss is its picture's own."""


@pytest.fixture(scope="module")
def came(tmp_path_factory):
    return outcomes_of("brnpas.py", tmp_path_factory.mktemp("brnpas"))


@pytest.mark.parametrize("name", ALIKE)
def test_two_processes_give_the_network_and_the_figures_of_one(name, came):
    assert came.apart(name) < 1e-5
    assert came.told(name, 2) == came.told(name, 1)
    one, two = (read_run(came.run(name, count)).rows for count in (1, 2))
    for row, other in zip(one, two, strict=True):
        assert other["cross_entropy"] == pytest.approx(row["cross_entropy"], abs=1e-5)


@pytest.mark.parametrize("name", [*ALIKE, "batch norm"])
def test_both_processes_end_with_the_same_bits_and_figures(name, came):
    came.check_alike(name)


def test_batch_norm_of_a_pooling_sees_halves_of_a_step(came):
    """Which also shows that steps are cut."""
    assert came.apart("batch norm") > 1e-4
