"""What a method is said to cost."""

import pytest
import torch

from regard.evaluate.cost import Cost, measured
from regard.models import passes

CPU = torch.device("cpu")


def test_passes_and_time_are_shared_by_the_photos_and_the_peak_is_not():
    shared = Cost(forwards=8, backwards=4, seconds=2.0, megabytes=100.0).each(4)
    assert shared == {"forwards": 2, "backwards": 1, "milliseconds": 500, "megabytes": 100}


def test_passes_of_the_block_are_counted():
    with measured(CPU) as cost:
        passes.count(forwards=3, backwards=2)
    assert (cost.forwards, cost.backwards) == (3, 2)


def held_at_once():
    kept = torch.ones(2**20)
    torch.ones(2**19)
    return kept + 1


def test_on_a_processor_the_peak_is_what_tensors_held_at_once():
    for _ in range(2):
        with measured(CPU, memory=True) as cost:
            held_at_once()
        assert cost.megabytes == pytest.approx(8, abs=0.01)
        assert cost.seconds > 0


def test_the_profiler_writes_nothing_to_the_terminal(capfd):
    with measured(CPU, memory=True):
        held_at_once()
    assert capfd.readouterr() == ("", "")


def test_memory_is_measured_only_where_it_is_asked_for():
    with measured(CPU) as cost:
        held_at_once()
    assert cost.megabytes is None


def test_the_memory_of_a_gpu_is_its_peak_above_what_was_held(monkeypatch):
    calls = []
    for name, bytes_of in {"memory_allocated": 2**20, "max_memory_allocated": 7 * 2**19}.items():
        monkeypatch.setattr(torch.cuda, name, lambda _, found=bytes_of: found)
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda _, name=name: calls.append(name))
    with measured(torch.device("cuda"), memory=True) as cost:
        assert calls == ["reset_peak_memory_stats", "synchronize"]
    assert cost.megabytes == pytest.approx(2.5)
    assert calls[2:] == ["synchronize"]
