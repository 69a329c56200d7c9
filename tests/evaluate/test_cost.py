"""What a method is said to cost."""

from pathlib import Path

import pytest
import torch

from regard.evaluate.cost import Cost, measured
from regard.models import passes

CPU = torch.device("cpu")
PIECES, SIZE = 800, 100_000
"""Pieces of memory, and bytes of each: small enough that the C library keeps them for the next one who asks."""


def use():
    """Take and free memory, but for the last piece, above which alone freed memory goes back by itself."""
    return [torch.ones(SIZE // 4) for _ in range(PIECES)][-1]


def test_passes_and_time_are_shared_by_the_photos_and_the_peak_is_not():
    shared = Cost(forwards=8, backwards=4, seconds=2.0, megabytes=100.0).each(4)
    assert shared == {"forwards": 2, "backwards": 1, "milliseconds": 500, "megabytes": 100}


def test_passes_of_the_block_are_counted():
    with measured(CPU) as cost:
        passes.count(forwards=3, backwards=2)
    assert (cost.forwards, cost.backwards) == (3, 2)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell peaks of memory")
def test_a_block_that_takes_what_another_has_freed_shows_its_memory_too():
    held, peaks = [use()], []
    for _ in range(3):
        with measured(CPU) as cost:
            held.append(use())
        peaks.append(cost.megabytes)
    if None in peaks:
        pytest.skip("peaks of memory cannot be reset here")
    assert min(peaks) > 0.8 * PIECES * SIZE / 2**20
