"""`fit_reid` in two processes: triplets and neck see halves of a step, the same halves whenever there are two."""

import pytest

from .outcomes import outcomes_of


@pytest.fixture(scope="module")
def came(tmp_path_factory):
    return outcomes_of("reids.py", tmp_path_factory.mktemp("reids"))


def test_both_processes_end_with_the_same_bits_and_figures_also_where_one_has_nobody_to_compare(came):
    came.check_alike("persons")


def test_with_as_many_processes_it_is_the_same_training_and_with_others_another(came):
    assert came.bits("persons", 2) == came.bits("persons again", 2)
    assert came.apart("persons") > 1e-4
