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
        return importlib.import_module("study_brnpa_tasks_table"), importlib.import_module("tasks_side_by_side")
    finally:
        sys.path.remove(benchmarks)


def test_a_mean_over_seeds_and_episodes_has_the_interval_of_a_plain_loop(study):
    table, _ = study
    values = np.random.default_rng(3).normal(size=(3, 20)) + np.array([[0.0], [1.0], [4.0]])
    found = table.mean_of(values)
    draw, means = np.random.default_rng(5), []
    for _ in range(4000):
        rows = [values[draw.integers(3)] for _ in range(3)]
        means.append(np.mean([row[draw.integers(20)] for row in rows for _ in range(20)]))
    assert found.value == pytest.approx(values.mean())
    assert [found.low, found.high] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.15)


def test_photos_of_a_person_are_drawn_together(study):
    table, _ = study
    persons, values = ["a"] * 8 + ["b"] * 8, [[0.0] * 8 + [1.0] * 8]
    together = table.mean_of(values, persons, shared=True)
    assert (together.low, together.high) == (0.0, 1.0)  # a quarter of all draws holds one person alone
    apart = table.mean_of(values, shared=True)
    assert apart.low > 0.2
    assert apart.high < 0.8


def test_a_person_with_more_photos_counts_for_more_of_them(study):
    table, _ = study
    found = table.mean_of([[1.0, 0.0, 0.0, 0.0]], ["a", "b", "b", "b"], shared=True)
    assert found.value == 0.25
    assert (found.low, found.high) == (0.0, 1.0)


def test_the_same_queries_in_all_seeds_are_drawn_once(study):
    table, _ = study
    values = np.tile([0.0, 1.0] * 10, (3, 1))
    shared, own = table.mean_of(values, shared=True), table.mean_of(values)
    assert shared.high - shared.low == pytest.approx((own.high - own.low) * 3**0.5, rel=0.15)


def test_differences_are_of_the_seeds_that_both_have(study):
    table, _ = study
    found = table.difference({0: [1.0, 2.0], 2: [9.0, 9.0]}, {0: [0.5, 1.5], 1: [7.0, 7.0]})
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)
    assert table.difference({0: [1.0]}, {1: [1.0]}) is None


def test_pairs_of_networks_are_named_by_their_tasks_in_either_order(study):
    _, side = study
    assert side.pair_of("br-npa on re-id-2.safetensors | br-npa on few-shot-0.safetensors") == "few-shot and re-id"
    assert side.pair_of("br-npa on few-shot-0.safetensors | br-npa on re-id-2.safetensors") == "few-shot and re-id"
    assert side.pair_of("grad-cam on re-id-0.safetensors | grad-cam on re-id-1.safetensors") == "re-id, two seeds"


def test_a_photo_counts_with_the_mean_of_its_pairs(study):
    _, side = study
    found = side.by_photo([("x", "b", 1.0), ("x", "a", 0.2), ("x", "b", 0.0), ("x", "a", None)])
    assert found == {"x": [0.2, 0.5]}
