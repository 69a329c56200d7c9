"""What the benchmarks measure with, and how they write it down.

Rounds of works side by side, ratios within a round, the memory of tensors; options and pages of a program.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from regard.evaluate.cost import measured

Work = Mapping[str, Callable[[], object]]
Times = dict[str, list[float]]
ROUNDS, WARM = 9, 2
"""Rounds that count, and those before."""


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


def rounds(quick: bool) -> tuple[int, int]:
    """Those that are kept, and those before."""
    return (1, 0) if quick else (ROUNDS, WARM)


def ratio(times: Times, what: str, to: str) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(times[what], times[to], strict=True))


def peak(call: Callable[[], object], device: torch.device) -> float:
    """MiB that tensors take at most in a call."""
    with measured(device, memory=True) as cost:
        call()
    assert cost.megabytes is not None
    return cost.megabytes


def bfloat16_units(device: torch.device) -> bool:
    """Whether bfloat16 is computed as such; else it is emulated, which is slower than float32."""
    return device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()


def where(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    units = "with" if bfloat16_units(device) else "without"
    return f"{platform.machine()} processor {units} bfloat16 units, {torch.get_num_threads()} threads"


def options(about: str | None, quick: str) -> argparse.ArgumentParser:
    """What every program of a page can be asked; `quick` says what its short form does."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="file for the tables")
    parser.add_argument("--quick", action="store_true", help=f"{quick}, one round: whether it works")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    return parser


def head(columns: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]


def kept(value: float, budget: float) -> str:
    """The cell of a table that says whether a budget, of which less is better, is kept."""
    return "yes" if value <= budget else "**no**"


def page(title: str, about: str | None, asked: argparse.Namespace, parts: Iterable[Callable[[], list[str]]]) -> None:
    """What a program says of its tables, behind its usage, and their parts, which are written as they come."""
    lines = [f"# {title}", "", *(about or "").strip().splitlines()[4:], ""]
    lines += [f"{where(asked.device)}, torch {torch.__version__}.", ""]
    lines += ["Not measured yet: few pictures and one round, so that times mean nothing.", ""] if asked.quick else []
    for part in parts:
        lines += part()
        if asked.write:
            asked.write.parent.mkdir(parents=True, exist_ok=True)
            asked.write.write_text("\n".join(lines) + "\n", encoding="utf-8")


def put_behind(mark: str, text: str, page: Path) -> None:
    """Replace all that stands behind a mark of a page; the words before it stay."""
    words = page.read_text(encoding="utf-8").partition(mark)[0]
    page.write_text(f"{words}{mark}\n\n{text}", encoding="utf-8")


def shortened(value: Any) -> Any:
    """JSON values with numbers to five digits, which is more than any table has."""
    if isinstance(value, Mapping):
        return {name: shortened(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [shortened(each) for each in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
