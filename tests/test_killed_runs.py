"""Runs whose process is killed, at every step and at any moment."""

import signal
import subprocess
import sys

import pytest

from regard.errors import RunError
from regard.runs import Run, read_run

WRITER = """
import os, shutil, signal, sys
from pathlib import Path
from regard.runs import Run

moment = int(sys.argv[2])
replace, remove, count = os.replace, shutil.rmtree, 0

def killed_in_time(act):
    def do(*arguments, **settings):
        global count
        count += 1
        if count == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return act(*arguments, **settings)
    return do

os.replace, shutil.rmtree = killed_in_time(replace), killed_in_time(remove)
run = Run.open(Path(sys.argv[1]), "explain", {"a": 1})
for part in range(int(sys.argv[3])):
    run.write_rows([{"image": f"{part:04d}", "method": "cdam", "target": t, "part": part} for t in ("ant", "bee")])
    print(part, flush=True)
run.finish()
"""
COMPLETE = ["configuration.json", "index.csv", "log.jsonl", "manifest.json", "rows.parquet"]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


def writer(folder, moment, parts):
    arguments = [sys.executable, "-c", WRITER, str(folder), str(moment), str(parts)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def check_and_finish(folder, written):
    """Whatever was said to be written is there, once and whole; the run can be taken up and finished."""
    run = Run.open(folder, "explain", {"a": 1})
    parts = [found["part"] for found in run.rows()]
    assert parts == [part for part in range(len(parts) // 2) for _ in range(2)]
    assert written <= len(parts) // 2 <= written + 1
    run.write_rows([{"image": "next", "method": "cdam", "target": "ant", "part": -1}])
    run.finish()
    assert [found["part"] for found in read_run(folder).rows] == [*parts, -1]
    assert sorted(path.name for path in folder.iterdir()) == COMPLETE


@pytest.mark.parametrize("moment", range(1, 7), ids=["asked", "part 1", "part 2", "rows", "index", "manifest"])
def test_a_process_killed_at_any_step_loses_nothing_it_had_written(moment, folder):
    process = writer(folder, moment, parts=2)
    said = process.communicate()[0].split()
    assert process.returncode == -signal.SIGKILL
    check_and_finish(folder, len(said))


def test_a_process_killed_while_tidying_up_has_finished(folder):
    process = writer(folder, 7, parts=2)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert [found["part"] for found in read_run(folder).rows] == [0, 0, 1, 1]
    with pytest.raises(RunError, match="finished run"):
        Run.open(folder, "explain", {"a": 1})


@pytest.mark.parametrize("after", [1, 7, 40])
def test_a_process_killed_from_outside_in_the_midst_of_writing_loses_nothing(after, folder):
    process = writer(folder, 0, parts=10**6)
    said = [process.stdout.readline() for _ in range(after)]
    process.kill()
    said += process.communicate()[0].splitlines(keepends=True)
    assert process.returncode == -signal.SIGKILL
    check_and_finish(folder, sum(line.endswith("\n") for line in said))
