"""The example of an attention of one's own runs, learns, and is examined with interventions."""

import importlib.util
from pathlib import Path

import pytest

from regard.exams.sdc import examine, task_called


@pytest.fixture(scope="module")
def example():
    file = Path(__file__).parents[3] / "examples" / "own_attention.py"
    spec = importlib.util.spec_from_file_location("own_attention", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_runs_and_prints_its_examination(example, capsys):
    found = example.main(steps=3)
    assert found.diagnosis.evidence.one_hot is not None  # its with_weights gives its own answers
    assert str(found) in capsys.readouterr().out


def test_it_reads_ragged_mosaics_and_learns(example):
    task = task_called("d1", segments=(1, 4), train=500, test=200)
    first, later = (
        examine(model, task, with_weights=model.with_weights).figures["accuracy"]
        for model in (example.trained(task, steps) for steps in (1, 120))
    )
    assert later > first + 10
