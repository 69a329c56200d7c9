"""What a method costs: passes, time and memory, measured."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from regard.models import passes


@dataclass
class Cost:
    """Filled in when the block ends.

    Attributes:
        forwards: forward passes, in images.
        backwards: backward passes, in images times targets.
        seconds: of wall time.
        megabytes: the most that tensors held at once above what was held before, in MiB; None where it was not asked.
    """

    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0
    megabytes: float | None = None

    def each(self, photos: int) -> dict[str, float | None]:
        """What a row says of one of the photos of the block: its share, but the whole peak."""
        return {
            "forwards": self.forwards / photos,
            "backwards": self.backwards / photos,
            "milliseconds": 1000 * self.seconds / photos,
            "megabytes": self.megabytes,
        }


@contextmanager
def measured(device: torch.device, memory: bool = False) -> Iterator[Cost]:
    """Measure the block.

    Args:
        device: where it computes.
        memory: measure its peak, too. On a CPU torch's profiler notes every tensor, which takes about a sixth of the
            time more; the process's own size would not do, since what it takes from the system and gives back hangs on
            large pages and gaps, and differs by half from one process to the next.
    """
    cost = Cost()
    with passes.counted() as spent:
        if not memory:
            with _timed(device, cost):
                yield cost
        elif device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            held = torch.cuda.memory_allocated(device)
            with _timed(device, cost):
                yield cost
            cost.megabytes = (torch.cuda.max_memory_allocated(device) - held) / 2**20
        else:
            os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # else the profiler writes to the terminal
            with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen, _timed(device, cost):
                yield cost
            cost.megabytes = _peak(seen) / 2**20
    cost.forwards, cost.backwards = spent.forwards, spent.backwards


@contextmanager
def _timed(device: torch.device, cost: Cost) -> Iterator[None]:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    yield
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    cost.seconds = time.perf_counter() - start


def _peak(seen: profile) -> int:
    """The largest sum of what had been taken, less what had been given back, in bytes."""
    assert seen.profiler is not None
    assert seen.profiler.kineto_results is not None
    events: list[Any] = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    taken = (event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
    return max(accumulate(taken), default=0)
