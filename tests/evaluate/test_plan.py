from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.evaluate.gate import COUNTED, Answered, answered
from regard.evaluate.judge import Entrant, Protocol, judge
from regard.evaluate.known_photo import KnownPhoto
from regard.evaluate.plan import planned, spread
from regard.explainers.registry import find
from regard.fills import Mean
from regard.metrics.of_methods import Randomisation
from regard.metrics.registry import find as find_metric
from regard.models import passes

from .pictures import photos_in, tiny_cnn, tiny_vit


def test_eight_items_are_spread_by_halves_quarters_and_eighths():
    assert spread(range(8)) == [0, 4, 2, 6, 1, 5, 3, 7]


@given(count=st.integers(0, 200))
def test_spreading_keeps_every_item_once(count):
    assert sorted(spread(range(count))) == list(range(count))


@given(count=st.integers(2, 300), share=st.floats(0.05, 1))
def test_every_beginning_leaves_no_gap_much_larger_than_even_steps_would(count, share):
    first = max(2, round(share * count))
    places = sorted(spread(range(count))[:first])
    gaps = [after - before for before, after in zip([*places, count], [*places[1:], count], strict=False)]
    assert max(gaps) <= 4 * count / first


@dataclass
class Stand:
    forwards_each: int
    classifier: object
    keeps_all: bool = False


def entrant(name, forwards, classifier):
    return Entrant(name, None, Stand(forwards, classifier))


def protocol(*names, steps=4):
    return Protocol(tuple(find_metric(name)() for name in names), Mean(), steps, "pixel", 0)


def test_slow_methods_take_the_first_of_the_photos_that_all_take():
    fast, slow = planned(
        [entrant("fast", 50, tiny_cnn()), entrant("slow", 51, tiny_cnn())], range(100), protocol("gini"), 30, 10
    )
    assert len(fast.photos) == 100
    assert slow.photos == fast.photos[:30]
    assert (fast.again, slow.again) == (10, 2)


def test_slow_methods_are_asked_again_of_other_targets_alone():
    measured = protocol("class-sensitivity", "max-sensitivity", "randomisation")
    fast, slow = planned([entrant("fast", 9, tiny_cnn()), entrant("slow", 99, tiny_cnn())], range(50), measured, 30, 10)
    assert fast.needs == {"several targets", "method"}
    assert slow.needs == {"several targets"}
    assert slow.forwards == 30 * 99 + 2 * 99


def test_no_more_photos_are_asked_again_than_there_are():
    (plan,) = planned([entrant("fast", 1, tiny_cnn())], range(3), protocol("gini"), 60, 20)
    assert plan.again == 3


@pytest.mark.parametrize(("make", "curves"), [(tiny_cnn, 2 * 4 + 1), (tiny_vit, 2 * 4 + 1 + 4)], ids=["cnn", "vit"])
def test_passes_are_those_of_the_map_the_curves_and_the_asking_again(make, curves):
    measured = protocol("deletion", "token-fidelity", "class-sensitivity", "max-sensitivity", "randomisation")
    (plan,) = planned([entrant("method", 3, make())], range(8), measured, 60, 2)
    assert plan.forwards == 8 * (3 + curves) + 2 * 3 * (1 + 11 + 2)


@pytest.mark.parametrize("name", ["attention", "random", "token-ablation"])
def test_the_passes_announced_are_about_those_that_are_spent(name, tmp_path):
    classifier = tiny_vit()
    photos = [
        answer
        for answer in answered(classifier, [KnownPhoto(path) for path in photos_in(tmp_path, 4)])
        if answer.status == COUNTED
    ]
    measured = protocol("deletion", "insertion", "average-drop", "gini")
    made = Entrant(name, find(name), find(name)(classifier))
    (plan,) = planned([made], photos, measured, 60, 2)
    with passes.counted() as spent:
        judge(made, photos, measured)
    assert spent.forwards == pytest.approx(plan.forwards, rel=0.25)


def test_passes_of_filled_pictures_take_their_own_time():
    (plan,) = planned([entrant("method", 3, tiny_cnn())], range(8), protocol("deletion", "gini"), 60, 2)
    assert (plan.forwards, plan.filled) == (8 * (3 + 9), 8 * 9)
    assert plan.seconds(0.5, 10.0) == 8 * 3 * 0.5 + 8 * 9 * 10.0
    (bare,) = planned([entrant("method", 3, tiny_cnn())], range(8), protocol("gini"), 60, 2)
    assert (bare.forwards, bare.filled) == (24, 0)


def test_a_cascade_asks_for_a_map_of_every_copy():
    measured = Protocol((Randomisation("cascade"),), Mean(), 4, "pixel", 0)
    (plan,) = planned([entrant("method", 1, tiny_cnn())], range(8), measured, 60, 2)
    assert plan.forwards == 8 + 2 * (1 + 3)  # two convolutions and the head


def test_what_is_done_leaves_a_plan_and_its_passes():
    answers = [Answered(KnownPhoto(Path(f"{place}.png")), None, 0, 0, 0, None, COUNTED) for place in range(8)]
    measured = protocol("deletion", "class-sensitivity")
    (plan,) = planned([entrant("method", 3, tiny_cnn())], answers, measured, 60, 3)
    assert [one.photo.path.name for one in plan.photos[:3]] == ["0.png", "4.png", "2.png"]
    left = plan.without({"4.png", "7.png", "another.png"})
    assert [one.photo.path.name for one in left.photos] == [f"{place}.png" for place in (0, 2, 6, 1, 5, 3)]
    assert (left.again, left.forwards, left.filled) == (2, 6 * (3 + 9) + 2 * 3, 6 * 9)
    assert plan.without(()) == plan
