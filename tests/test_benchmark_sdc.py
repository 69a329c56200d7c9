"""The benchmark of the exam measures what it says: equal curves, equal mosaics, a process of its own."""

import argparse
import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from regard.exams.sdc import task_called

FOLDER = Path(__file__).parent.parent / "benchmarks"
QUICK = argparse.Namespace(quick=True, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def benchmark():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "path", [str(FOLDER), *sys.path])
        specification = importlib.util.spec_from_file_location("sdc_benchmark", FOLDER / "sdc.py")
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        yield module


def cells(lines):
    (line,) = lines
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_curves_together_and_alone_are_compared_in_every_figure(benchmark, monkeypatch):
    task = task_called("boxes-2", train=60, test=40)
    assert benchmark.difference(task, range(3), 2) < benchmark.ALLOWED
    trained, calls = benchmark.trained, []

    def lying(*asked):
        calls.append(asked)
        found = trained(*asked)
        if len(calls) == 3:  # the second seed alone
            found[0].epochs[1]["test FFPT"] += 0.25
        return found

    monkeypatch.setattr(benchmark, "trained", lying)
    assert benchmark.difference(task, range(3), 2) == pytest.approx(0.25, abs=1e-6)


def test_a_row_has_a_cell_for_each_head(benchmark):
    read = cells(benchmark.reading_of("d1, 9", QUICK))
    assert len(read) == len(benchmark.MOSAIC_HEADS)
    remembered = [cells(benchmark.memory_of("the library's part", use, QUICK)) for use in benchmark.USES]
    assert {len(row) for row in remembered} == {len(benchmark.MEMORY_HEADS)}
    place = benchmark.MEMORY_HEADS.index("above imports MB")
    read, examined = (float(row[place]) for row in remembered)
    assert 0 < read < benchmark.MEGABYTES
    # what the allocator keeps varies by 250 MB; all mosaics at once would be 4,400
    assert 0 < examined < 2 * benchmark.MEGABYTES


def test_curves_that_differ_end_the_program(benchmark, monkeypatch):
    monkeypatch.setattr(benchmark, "difference", lambda *_: 1e-3)
    with pytest.raises(SystemExit, match="differ"):
        benchmark.seeds_of("boxes-2", QUICK)
