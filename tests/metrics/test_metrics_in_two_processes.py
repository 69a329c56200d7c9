"""Two processes give the rows and the mean of one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from regard.metrics.of_curves import AverageDrop, Deletion

from .two_processes import PARTS, measured

EMPTY = "nothing for anyone"
MIXED = "different fills"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What both processes found, by their rank."""
    folder = tmp_path_factory.mktemp("processes")
    program = Path(__file__).with_name("two_processes.py")
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    ended = subprocess.run([sys.executable, program, folder], capture_output=True, text=True, env=settings, timeout=240)
    assert ended.returncode == 0, ended.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def same_rows(rows, others):
    """Equal in all fields and in order; NaN equals NaN."""
    return json.dumps(rows) == json.dumps(others)


@pytest.mark.parametrize("name", [name for name in PARTS if name not in (EMPTY, MIXED)])
@pytest.mark.parametrize(("place", "kind"), [(0, Deletion), (1, AverageDrop)], ids=["deletion", "average-drop"])
def test_each_process_has_the_rows_and_the_mean_of_one(found, name, place, kind):
    alone = measured(kind, [list(range(6))])
    for rank, results in enumerate(found):
        result = results[name][place]
        assert same_rows(result["rows"], alone.rows())
        assert result["mean"] == pytest.approx(float(alone.compute()), abs=1e-14)
        assert result["own"] == 2 * sum(map(len, PARTS[name][rank]))  # gathered for the answer, then its own again
        assert all(row["nan_count"] == 1 for row in result["rows"])


def test_nothing_measured_by_anyone_is_said_by_both(found):
    for results in found:
        assert all("measured nothing" in result["refused"] for result in results[EMPTY])


def test_processes_that_measured_in_different_ways_are_refused_by_both(found):
    for results in found:
        assert all("another way" in result["refused"] for result in results[MIXED])
