"""`fit_few_shot` in two processes comes to what it comes to in one, where an episode sees no other."""

import pytest

from .outcomes import outcomes_of

ALIKE = ["alone", "taught", "cross attention"]
"""Without batch norm in training every loss is its episode's own."""


@pytest.fixture(scope="module")
def came(tmp_path_factory):
    return outcomes_of("fewshots.py", tmp_path_factory.mktemp("fewshots"))


@pytest.mark.parametrize("name", ALIKE)
def test_two_processes_give_the_network_and_the_figures_of_one(name, came):
    assert came.apart(name) < 1e-5
    (worth, epochs, chosen), (other_worth, other_epochs, other_chosen) = (came.told(name, count) for count in (1, 2))
    assert (other_worth, other_chosen) == (worth, chosen)
    assert len(epochs) == 3
    for figures, others in zip(epochs, other_epochs, strict=True):
        assert others == pytest.approx(figures, abs=1e-5)


@pytest.mark.parametrize("name", [*ALIKE, "batch norm"])
def test_both_processes_end_with_the_same_bits_and_figures(name, came):
    came.check_alike(name)


def test_batch_norm_sees_halves_of_a_step_the_same_ones_each_time(came):
    """Which also shows that steps are cut."""
    assert came.apart("batch norm") > 1e-4
    assert came.bits("batch norm", 2) == came.bits("batch norm again", 2)
