import math

import pytest

from regard.evaluate.standing import standing
from regard.metrics.of_curves import AverageDrop, Insertion
from regard.metrics.of_maps import RankCorrelation
from regard.statistics import holm, paired


def values(**methods):
    return {name: {f"p{place:02d}": value for place, value in enumerate(several)} for name, several in methods.items()}


CONTROLS = ("random", "ones")
LOW = [0.1, 0.2, 0.3, 0.1, 0.2, 0.15, 0.2, 0.2]
HIGH = [0.4, 0.5, 0.7, 0.6, 0.5, 0.4, 0.6, 0.5]
LIKE_LOW = [0.2, 0.1, 0.3, 0.2, 0.1, 0.2, 0.2, 0.2]


def test_the_best_has_the_best_mean_and_what_chance_cannot_tell_from_it_is_like_it():
    found = standing(AverageDrop(), values(a=LOW, b=HIGH, c=LIKE_LOW), CONTROLS, 0, compared=True)
    assert found.best == {"a"}
    assert found.like_best == {"c"}
    pairs = {(one.first, one.second): one for one in found.differences}
    assert pairs.keys() == {("a", "b"), ("a", "c")}
    raw = [paired(LOW, HIGH, 0).p_value, paired(LOW, LIKE_LOW, 0).p_value]
    assert [one.adjusted for one in pairs.values()] == list(holm(raw))
    assert pairs["a", "b"].found.mean == pytest.approx(sum(LOW) / 8 - sum(HIGH) / 8)


def test_the_direction_is_the_metric_s():
    assert standing(Insertion(), values(a=LOW, b=HIGH), CONTROLS, 0, compared=True).best == {"b"}
    assert standing(RankCorrelation(), values(a=LOW, b=HIGH), CONTROLS, 0, compared=True).best == set()


def test_controls_are_never_the_best_and_every_method_is_compared_with_random():
    found = standing(AverageDrop(), values(a=LOW, random=HIGH, ones=[0.0] * 8, b=HIGH), CONTROLS, 0, compared=True)
    assert found.best == {"a"}
    assert found.like_chance == {"b"}
    assert len(found.differences) == 3 + 2


def test_equal_means_are_all_the_best():
    assert standing(AverageDrop(), values(a=LOW, b=LOW, c=HIGH), CONTROLS, 0, compared=True).best == {"a", "b"}


def test_methods_are_compared_on_the_photos_that_all_of_them_have():
    """On its own three photos `slow` has 0.1 and `fast` 0.05; over all eight `fast` has far more."""
    every = values(fast=[0.05] * 3 + [0.9] * 5, slow=[0.1] * 3)
    found = standing(AverageDrop(), every, CONTROLS, 0, compared=True)
    assert found.photos == 3
    assert found.cells["fast"].mean == pytest.approx(0.05)
    assert found.cells["slow"].mean == pytest.approx(0.1)


@pytest.mark.parametrize(("photos", "told"), [(5, False), (6, True)])
def test_nothing_is_marked_where_no_difference_could_be_told(photos, told):
    """One pair: 2^(1 − n) is 1/16 for five photos and 1/32 for six."""
    found = standing(AverageDrop(), values(a=LOW[:photos], b=HIGH[:photos]), CONTROLS, 0, compared=True)
    assert bool(found.differences) is told
    assert bool(found.best) is told
    assert found.cells["a"].mean < found.cells["b"].mean


def test_networks_that_differ_are_not_compared():
    found = standing(AverageDrop(), values(a=LOW, b=HIGH), CONTROLS, 0, compared=False)
    assert (found.best, found.differences) == (frozenset(), ())


def test_a_method_that_was_not_asked_has_no_cell_and_takes_no_photos_from_the_others():
    found = standing(AverageDrop(), values(a=LOW, b=HIGH, never=[]), CONTROLS, 0, compared=True)
    assert found.photos == 8
    assert "never" not in found.cells


def test_values_that_are_missing_are_counted_and_pairs_leave_them_out():
    found = standing(AverageDrop(), values(a=[math.nan, *LOW[1:]], b=HIGH), CONTROLS, 0, compared=True)
    assert (found.cells["a"].photos, found.cells["a"].missing) == (7, 1)
    assert found.differences[0].found.photos == 7


def test_a_method_without_any_value_is_neither_the_best_nor_compared():
    found = standing(AverageDrop(), values(a=[math.nan] * 8, b=HIGH, c=LOW), CONTROLS, 0, compared=True)
    assert found.best == {"c"}
    assert all("a" not in (one.first, one.second) for one in found.differences)


def test_nothing_stands_nowhere():
    found = standing(AverageDrop(), {}, CONTROLS, 0, compared=True)
    assert (found.photos, found.cells, found.best) == (0, {}, frozenset())
