"""What the tables of benchmarks/study_brnpa_tasks.py say of seeds, episodes and photos together."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def study():
    benchmarks = str(Path(__file__).parent.parent / "benchmarks")
    sys.path.insert(0, benchmarks)
    try:
        names = ("study_brnpa_tasks_table", "tasks_side_by_side", "tasks_overlap")
        return [importlib.import_module(name) for name in names]
    finally:
        sys.path.remove(benchmarks)


def test_a_mean_over_seeds_and_episodes_has_the_interval_of_a_plain_loop(study):
    table, *_ = study
    values = np.random.default_rng(3).normal(size=(3, 20)) + np.array([[0.0], [1.0], [4.0]])
    found = table.mean_of(values)
    draw, means = np.random.default_rng(5), []
    for _ in range(4000):
        rows = [values[draw.integers(3)] for _ in range(3)]
        means.append(np.mean([row[draw.integers(20)] for row in rows for _ in range(20)]))
    assert found.value == pytest.approx(values.mean())
    assert [found.low, found.high] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.15)


def test_photos_of_a_person_are_drawn_together(study):
    table, *_ = study
    persons, values = ["a"] * 8 + ["b"] * 8, [[0.0] * 8 + [1.0] * 8]
    together = table.mean_of(values, persons, shared=True)
    assert (together.low, together.high) == (0.0, 1.0)  # a quarter of all draws holds one person alone
    apart = table.mean_of(values, shared=True)
    assert apart.low > 0.2
    assert apart.high < 0.8


def test_a_person_with_more_photos_counts_for_more_of_them(study):
    table, *_ = study
    found = table.mean_of([[1.0, 0.0, 0.0, 0.0]], ["a", "b", "b", "b"], shared=True)
    assert found.value == 0.25
    assert (found.low, found.high) == (0.0, 1.0)


def test_the_same_queries_in_all_seeds_are_drawn_once(study):
    table, *_ = study
    values = np.tile([0.0, 1.0] * 10, (3, 1))
    shared, own = table.mean_of(values, shared=True), table.mean_of(values)
    assert shared.high - shared.low == pytest.approx((own.high - own.low) * 3**0.5, rel=0.15)


def test_differences_are_of_the_seeds_that_both_have(study):
    table, *_ = study
    found = table.difference({0: [1.0, 2.0], 2: [9.0, 9.0]}, {0: [0.5, 1.5], 1: [7.0, 7.0]})
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)
    assert table.difference({0: [1.0]}, {1: [1.0]}) is None


def test_networks_of_a_pair_are_named_in_the_order_of_the_alphabet(study):
    *_, alike = study
    contenders = ["br-npa on re-id-2.safetensors", "br-npa on few-shot-0.safetensors"]
    assert alike.pair_of(" | ".join(contenders)) == "few-shot-0 | re-id-2"
    assert alike.pair_of(" | ".join(contenders[::-1])) == "few-shot-0 | re-id-2"


def test_two_tasks_overlap_is_held_against_that_of_two_seeds_of_each(study):
    *_, alike = study
    found = {"few-0 | few-1": [0.8, 0.6], "re-0 | re-1": [0.4, 0.6]}
    found |= {f"few-{one} | re-{other}": [0.1 + one, 0.3 + other] for one in (0, 1) for other in (0, 1)}
    said = alike.overlaps(found)
    assert {what: mean.value for what, mean in said.items()} == pytest.approx(
        {"few, two seeds": 0.7, "re, two seeds": 0.5, "few and re": 0.7, "few and re, less two seeds": 0.1}
    )
    assert said["few, two seeds"].low == pytest.approx(0.6)  # one pair of networks: photos alone are drawn
    assert said["few, two seeds"].high == pytest.approx(0.8)


def test_overlaps_have_the_interval_of_a_plain_loop(study):
    *_, alike = study
    random = np.random.default_rng(2)
    worth = {f"{task}-{seed}": random.normal(size=6) for task in ("a", "b") for seed in range(3)}
    names = sorted(worth)
    found = {
        f"{one} | {other}": (worth[one] + 2 * worth[other]).tolist()
        for place, one in enumerate(names)
        for other in names[place + 1 :]
    }
    draw, means = np.random.default_rng(7), []

    def mean(first, second, pairs, photos):
        taken = [found[" | ".join(sorted((f"{first}-{i}", f"{second}-{j}")))] for i, j in pairs]
        return np.mean([np.array(each)[photos].mean() for each in taken])

    for _ in range(4000):
        one, other, photos = draw.integers(3, size=3), draw.integers(3, size=3), draw.integers(6, size=6)
        own = [[(i, j) for i in drawn for j in drawn if i != j] for drawn in (one, other)]
        if all(own):
            apart = mean("a", "b", [(i, j) for i in one for j in other], photos)
            means.append(apart - (mean("a", "a", own[0], photos) + mean("b", "b", own[1], photos)) / 2)
    said = alike.overlaps(found)["a and b, less two seeds"]
    assert [said.low, said.high] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.15)


def test_a_photo_counts_with_the_mean_of_its_pairs(study):
    _, side, _ = study
    found = side.by_photo([("x", "b", 1.0), ("x", "a", 0.2), ("x", "b", 0.0), ("x", "a", None)])
    assert found == {"x": [0.2, 0.5]}
