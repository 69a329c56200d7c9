"""What a method costs: passes, time and memory, measured."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from regard.models import passes

_RESET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass
class Cost:
    """Filled in when the block ends.

    Attributes:
        forwards: forward passes, in images.
        backwards: backward passes, in images times targets.
        seconds: of wall time.
        megabytes: the peak above what was held before, in MiB: of the GPU's memory, else of the process; of the block
            as a whole, since a method works in chunks, so that it does not grow with the photos. None where the system
            does not tell.
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
def measured(device: torch.device) -> Iterator[Cost]:
    """Measure the block."""
    cost = Cost()
    before = _begin(device)
    start = time.perf_counter()
    with passes.counted() as spent:
        yield cost
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    cost.seconds = time.perf_counter() - start
    cost.forwards, cost.backwards = spent.forwards, spent.backwards
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _kilobytes("VmHWM")
    if before is not None and peak is not None:
        cost.megabytes = max(0, peak - before) / (2**20 if device.type == "cuda" else 2**10)


def _begin(device: torch.device) -> int | None:
    """Forget earlier peaks; what is held now.

    On a CPU what was freed goes back to the system first: the next block would take it again without a trace.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    _give_back()
    try:
        _RESET.write_text("5", encoding="ascii")
    except OSError:
        return None
    return _kilobytes("VmRSS")


def _give_back() -> None:
    """Hand freed memory back to the system, where the C library is glibc; others have no such call."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return


def _kilobytes(name: str) -> int | None:
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith(name + ":")), None)
