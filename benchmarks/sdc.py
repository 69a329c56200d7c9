"""What an exam costs: seeds trained together, mosaics put together when they are asked for, and their memory.

    python benchmarks/sdc.py [--quick] [--write docs/benchmarks/sdc.md] [--part seeds | mosaics | memory]

Median of nine rounds; a round times every row once, one after the other, so that a busy machine slows all rows alike.

Seeds: ten, batch 250, Adam, the figures of both sets after every epoch, float32, no early stop. "one by one" is the
same call for each seed alone, "× one by one" is to it in the same round. "difference" is the largest of any figure in
any epoch of any seed between the two, trained in float64 so that it is no rounding that grew; more than 1e-6 ends the
program. Budget: ≤ 0.6. Models with convolutions are trained one by one in any case.

D1 misses its budget on the processor of the page. A step of one of its seeds reads 2,250 segments with 2,650 weights
each, forward and backward 36 million operations, and makes activations of a megabyte: about a millisecond of its 2.7 is
arithmetic and memory, which stacking cannot save; what it saves is the rest, the calls. Smaller models gain more.

Mosaics: batches of 250 in a random order, put together from items by index. "× held" is to batches of as many mosaics
that are all held as float32. Memory: a process of its own reads a file of random pictures, as many as CIFAR-10 or the
library's part of it has, makes 30,000 mosaics of 9 to learn from and 10,000 to be examined with, and reads all of them
once, or examines a linear model with the 10,000. "above imports" is the most that the process ever had resident,
without what it had before the file. Budget of both: ≤ 400 MB. Held as float32, the 30,000 alone were
30,000 · 9 · 3 · 32 · 32 · 4 bytes, 3,318 MB, and the 10,000 a third of it.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import head, options, page, ratio, rounds, timed

from regard.attention.selective import SelectiveModel
from regard.attention.selective_networks import classifier_called, focus_called
from regard.exams.sdc import Mosaics, SelectiveTask, examine, task_called
from regard.exams.sdc.sitting import outcome_columns
from regard.training.selective.fit import TrainedSeed, fit_selective
from regard.training.selective.recipe import Phase, SelectiveRecipe

NETWORKS = {
    "d1": ("mlp-50-50", "mlp-50"),
    "d2": ("mlp-50", "mlp-50"),
    "boxes-2": ("linear", "linear"),
}
"""Focus and classifier: A_1, A_2_1, and those of the boxes."""
SEEDS, EPOCHS, BATCH, BUDGET = 10, 5, 250, 0.6
TOGETHER, ALONE = "together", "one by one"
ALLOWED = 1e-6
SEED_HEADS = (
    "task",
    "focus, classifier",
    "seeds",
    "one by one s",
    "together s",
    "× one by one",
    "budget",
    "difference",
)

MOSAICS = {"d1, 9": ("d1", 9), "cifar-10, 9": ("cifar-10", 9), "cifar-10, 50": ("cifar-10", 50)}
READ = 4000
LAZY, HELD = "by index", "held"
MOSAIC_HEADS = ("segments", "mosaics a second, by index", "held", "× held")

PICTURES = {"the library's part": (10_000, 1000), "all of CIFAR-10": (50_000, 10_000)}
"""To learn from and to be examined with."""
MEGABYTES = 400
USES = ("read", "examined")
MEMORY_HEADS = ("pictures", "number", "mosaics", "use", "above imports MB", "budget")


def trained(task: SelectiveTask, seeds: Sequence[int], epochs: int, type_: torch.dtype) -> tuple[TrainedSeed, ...]:
    focus, classifier = NETWORKS[task.name]

    def build(seed: int) -> SelectiveModel:
        parts = focus_called(focus, task.shape, seed), classifier_called(classifier, task.shape, len(task.labels), seed)
        return SelectiveModel(*parts).to(type_)

    recipe = SelectiveRecipe(phases=(Phase(epochs),), batch=BATCH, stop=None)
    return fit_selective(build, task.train, task.test, seeds, recipe, judged=outcome_columns)


def difference(task: SelectiveTask, seeds: Sequence[int], epochs: int) -> float:
    """The largest between curves of seeds together and of each alone, in float64."""
    together = trained(task, seeds, epochs, torch.float64)
    alone = [trained(task, [seed], epochs, torch.float64)[0] for seed in seeds]
    return max(
        abs(here[name] - there[name])
        for one, other in zip(together, alone, strict=True)
        for here, there in zip(one.epochs, other.epochs, strict=True)
        for name in here
    )


def seeds_of(name: str, asked: argparse.Namespace) -> list[str]:
    """The row of a task."""
    task, epochs = task_called(name), 1 if asked.quick else EPOCHS
    seeds = range(3 if asked.quick else SEEDS)
    found = difference(task, seeds, epochs)
    if found > ALLOWED:
        raise SystemExit(f"{name}: curves together and alone differ by {found:.2g}")
    works: dict[str, Callable[[], object]] = {
        ALONE: lambda: [trained(task, [seed], epochs, torch.float32) for seed in seeds],
        TOGETHER: lambda: trained(task, seeds, epochs, torch.float32),
    }
    times = timed(works, asked.device, *rounds(asked.quick))
    cells = [name, ", ".join(NETWORKS[name]), f"{len(seeds)}"]
    cells += [f"{statistics.median(times[what]):.2f}" for what in (ALONE, TOGETHER)]
    return row([*cells, f"{ratio(times, TOGETHER, ALONE):.2f}", f"{BUDGET}", f"{found:.1g}"])


def mosaics_of(name: str, segments: int, folder: Path, quick: bool) -> Mosaics:
    settings = {"train": 500 if quick else READ, "test": 1, "segments": segments}
    path = written(folder, *PICTURES["the library's part"]) if name == "cifar-10" else None
    return task_called(name, path, **settings).train


def reading_of(which: str, asked: argparse.Namespace) -> list[str]:
    """The row of a form of mosaics."""
    with tempfile.TemporaryDirectory() as folder:
        mosaics = mosaics_of(*MOSAICS[which], Path(folder), asked.quick)
    held = mosaics[:].segments
    order = torch.randperm(len(mosaics), generator=torch.Generator().manual_seed(0)).split(BATCH)
    if not all(torch.equal(mosaics[rows].segments, held[rows]) for rows in order):
        raise SystemExit(f"{which}: mosaics by index are not those that are held")

    works: dict[str, Callable[[], object]] = {
        LAZY: lambda: sum(len(mosaics[rows].segments) for rows in order),
        HELD: lambda: sum(len(held[rows]) for rows in order),
    }
    times = timed(works, asked.device, *rounds(asked.quick))
    speeds = [f"{len(mosaics) / statistics.median(times[what]):,.0f}" for what in (LAZY, HELD)]
    return row([which, *speeds, f"{ratio(times, LAZY, HELD):.2f}"])


def memory_of(which: str, use: str, asked: argparse.Namespace) -> list[str]:
    """The row of so many pictures and what is done with them, measured by a process of its own."""
    train, test = (500, 100) if asked.quick else PICTURES[which]
    with tempfile.TemporaryDirectory() as folder:
        call = [sys.executable, __file__, "--file", str(written(Path(folder), train, test)), "--use", use]
        said = subprocess.run(call, check=True, capture_output=True, text=True).stdout
    before, most = map(float, said.split())
    return row([which, f"{train + test:,}", "30,000 + 10,000", use, f"{most - before:.0f}", f"{MEGABYTES}"])


def use_all(path: Path, use: str) -> None:
    """What the process of its own does: print the megabytes resident before, and the most ever."""
    before = most_resident()
    task = task_called("cifar-10", path, train=30_000, test=10_000)
    if use == "examined":
        parts = focus_called("linear", task.shape, 0), classifier_called("linear", task.shape, len(task.labels), 0)
        examine(SelectiveModel(*parts), task)
    else:
        for mosaics in (task.train, task.test):
            for rows in torch.arange(len(mosaics)).split(BATCH):
                mosaics[rows]
    print(before, most_resident())


def most_resident() -> float:
    """Megabytes, of this process since it began; `getrusage` would count what started it."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6


def written(folder: Path, train: int, test: int) -> Path:
    """A file as that of CIFAR-10, of random pictures: their number and size are all that counts."""
    random = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for part, count in (("train", train), ("test", test)):
        arrays[f"x_{part}"] = random.integers(0, 256, (count, 32, 32, 3), np.uint8)
        arrays[f"y_{part}"] = np.arange(count) % 10
    np.savez(folder / "pictures.npz", **arrays)
    return folder / "pictures.npz"


def row(cells: Sequence[str]) -> list[str]:
    line = f"| {' | '.join(cells)} |"
    print(line, flush=True)
    return [line]


def main() -> None:
    parser = options(__doc__, "one epoch, three seeds, few mosaics")
    parser.add_argument("--part", choices=("seeds", "mosaics", "memory"), help="only this table's rows, printed")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--use", choices=USES, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.file:
        use_all(asked.file, asked.use)
        return
    parts = {
        "seeds": [partial(seeds_of, name, asked) for name in NETWORKS],
        "mosaics": [partial(reading_of, which, asked) for which in MOSAICS],
        "memory": [partial(memory_of, which, use, asked) for use in USES for which in PICTURES],
    }
    if asked.part:
        for part in parts[asked.part]:
            part()
        return
    heads = {"seeds": SEED_HEADS, "mosaics": MOSAIC_HEADS, "memory": MEMORY_HEADS}
    tables = [part for name, columns in heads.items() for part in (partial(begun, name, columns), *parts[name])]
    page("The exam: cost", __doc__, asked, tables)


def begun(name: str, columns: Sequence[str]) -> list[str]:
    """How a table begins."""
    between = [] if columns is SEED_HEADS else [""]
    return [*between, f"## {name.title()}", "", *head(columns)]


if __name__ == "__main__":
    main()
