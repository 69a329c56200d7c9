"""Sittings: every cell and seed as rows; stopped and gone on with, they come to the same numbers."""

import os
import signal
import subprocess
import sys

import pytest
import torch

from regard.exams.sdc import OUTCOMES
from regard.exams.sdc.cell import Cell
from regard.exams.sdc.grid import around
from regard.exams.sdc.sitting import EPOCH, SEED, configuration, groups, kept_model, left, sit, tasks_of
from regard.runs import Run

SEEDS = (0, 1, 2)
SMALL = Cell("boxes-2", train=40, test=30, focus="mlp-4", classifier="linear", epochs=3, rate=1e-2, batch=20, stop=None)
GRID = around("", SMALL, 3, [{"weights": "gumbel"}, {"focus_begins": "told", "paradigm": "marginal"}])


@pytest.fixture(scope="module")
def tasks():
    return tasks_of(GRID, None)


def opened(folder, tasks):
    return Run.open(folder, "exam sdc", configuration(GRID, tasks, SEEDS))


def all_of(folder, tasks, most=None):
    run = opened(folder, tasks)
    for group in left(run, [*groups(GRID, tasks, SEEDS)])[:most]:
        sit(run, group, keep=group.seeds[0] == 0)
    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tasks):
    return all_of(tmp_path_factory.mktemp("whole") / "run", tasks)


def test_seeds_are_trained_together_unless_their_models_draw(tasks):
    found = [(group.name, group.seeds) for group in groups(GRID, tasks, SEEDS)]
    drawn = [("gumbel", (seed,)) for seed in SEEDS]
    assert found == [("default", SEEDS), *drawn, ("marginal, focus told", SEEDS)]
    assert sum(group.work for group in groups(GRID, tasks, SEEDS)) == 3 * 3 * 3 * 40 * 2


def test_every_seed_has_a_row_and_one_for_each_epoch(whole):
    rows = whole.rows()
    assert sum(row["kind"] == SEED for row in rows) == 9
    assert sum(row["kind"] == EPOCH for row in rows) == 9 * 4
    for row in rows:
        for part in ("train", "test"):
            assert sum(row[f"{part} {name}"] for name in OUTCOMES) == pytest.approx(1)
            if row["kind"] == SEED:
                right = row[f"{part} FTPT"] + row[f"{part} FFPT"]
                assert row[f"{part} accuracy"] == pytest.approx(right)


def test_last_and_best_figures_are_those_of_the_curve(whole):
    rows = whole.rows()
    for row in (row for row in rows if row["kind"] == SEED):
        curve = [
            other
            for other in rows
            if other["kind"] == EPOCH and (other["method"], other["seed"]) == (row["method"], row["seed"])
        ]
        curve.sort(key=lambda other: other["epoch"])
        least = min(other["train loss"] for other in curve)
        assert row["epoch"] == 3
        assert row["test FTPT"] == curve[3]["test FTPT"]
        assert row["begins focus"] == curve[0]["test FTPT"] + curve[0]["test FTPF"]
        assert row["best train loss"] == least == curve[row["best epoch"]]["train loss"]
        assert row["best test FTPT"] == curve[row["best epoch"]]["test FTPT"]
        assert row["mode"]
        assert row["because"]


def test_two_sittings_are_equal(whole, tasks, tmp_path):
    assert all_of(tmp_path / "run", tasks).rows() == whole.rows()


@pytest.mark.parametrize("done", [2])
def test_one_that_was_stopped_goes_on_to_the_same_numbers(done, whole, tasks, tmp_path):
    all_of(tmp_path / "run", tasks, done)
    begun = opened(tmp_path / "run", tasks)
    assert len(left(begun, [*groups(GRID, tasks, SEEDS)])) == 5 - done
    assert all_of(tmp_path / "run", tasks).rows() == whole.rows()
    assert left(begun, [*groups(GRID, tasks, SEEDS)]) == []


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.exams.sdc.test_sitting import GRID, all_of, tasks_of
replace, count = os.replace, 0
def killed_in_time(*arguments, **settings):
    global count
    count += 1
    if count == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(*arguments, **settings)
os.replace = killed_in_time
all_of(Path(sys.argv[1]), tasks_of(GRID, None))
"""


def test_one_that_was_killed_as_it_wrote_goes_on_to_the_same_numbers(whole, tasks, tmp_path, request):
    """Moment 1 writes the configuration, 2 the first model, 3 its rows, 4 the model of the next cell, 5 its rows."""
    folder, root = tmp_path / "run", str(request.config.rootpath)
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), root, "5"],
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == -signal.SIGKILL
    assert {row["method"] for row in opened(folder, tasks).rows()} == {"default"}
    assert all_of(folder, tasks).rows() == whole.rows()


def test_the_kept_model_answers_as_its_last_epoch_says(whole, tasks):
    for name, cell in GRID.cells.items():
        task = tasks[cell]
        model = kept_model(whole.folder, name, cell, task, 0)
        found = task.test[:]
        with torch.no_grad():
            answer = model(found.segments)
        (row,) = [row for row in whole.rows() if row["kind"] == SEED and (row["method"], row["seed"]) == (name, 0)]
        right = (answer.logits.argmax(dim=1) == found.label).float().mean()
        assert float(right) == pytest.approx(row["test accuracy"], abs=1e-6)


def test_other_items_are_another_question(tasks):
    asked = configuration(GRID, tasks, SEEDS)
    other = around("", Cell(**SMALL.words() | {"test": 31}), 3, [])
    assert asked["items"]["default"] == asked["items"]["gumbel"]
    assert configuration(other, tasks_of(other, None), SEEDS)["items"]["default"] != asked["items"]["default"]
