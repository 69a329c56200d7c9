"""What the benchmarks measure with: rounds of works side by side, ratios within a round, the memory of tensors."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping

import torch

from regard.evaluate.cost import measured

Work = Mapping[str, Callable[[], object]]
Times = dict[str, list[float]]


def seconds(work: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def timed(work: Work, device: torch.device, rounds: int, warm: int = 1) -> Times:
    """Seconds of each work, round by round, the works of a round one after the other; first `warm` rounds unkept."""
    times: Times = {what: [] for what in work}
    for turn in range(warm + rounds):
        for what, call in work.items():
            spent = seconds(call, device)
            if turn >= warm:
                times[what].append(spent)
    return times


def ratio(times: Times, what: str, to: str) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(times[what], times[to], strict=True))


def peak(call: Callable[[], object], device: torch.device) -> float:
    """MiB that tensors take at most in a call."""
    with measured(device, memory=True) as cost:
        call()
    assert cost.megabytes is not None
    return cost.megabytes


def where(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    units = "with" if torch.cpu._is_avx512_bf16_supported() else "without"
    return f"{platform.machine()} processor {units} bfloat16 units, {torch.get_num_threads()} threads"
