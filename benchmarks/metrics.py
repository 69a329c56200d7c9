"""Curves and perturbation methods: regard beside the peers that compute the same.

    .venv-bench/bin/python benchmarks/metrics.py [--quick] [--write docs/benchmarks/metrics.md]

All sides of a table run in one process, one after the other in every round, on the same network (`regard.load`'s, in
float32, convolutions channels last; peers get the module itself), the same photos, order, fill, steps, layer, windows
and target. "× regard" is a side's time divided by regard's of the same round, the median over rounds: above 1, regard
is faster. Only these ratios mean something. "pictures" are all that went through the network. "difference" is the
largest from regard's values, "correlation" Pearson's. "MiB" is the peak of a process of its own for each side, above
what it holds once the network has answered one picture. Chunks: regard's come from its memory budget; torch-cam takes
32, pytorch-grad-cam 16 (Score-CAM) and 32 (Ablation-CAM), its defaults; Quantus as many as there are photos; captum
so many times the windows a pass.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import peers_curves
import peers_maps
import torch
from measuring import seconds, where
from peers_curves import NETWORKS, Sides
from torch import Tensor

PEERS = ("quantus", "torchcam", "grad-cam", "captum")
CPU = torch.device("cpu")
REAL, RANDOM, TRANSFORMER = NETWORKS


@dataclass(frozen=True)
class Contest:
    """What is timed side by side.

    Attributes:
        title: of its table.
        sides: makes them, for so many photos.
        photos: how many.
        rounds: how many, after one that warms up and gives the values.
        budgets: by side, what "× regard" should be.
        notes: what stands below the table.
        memory: whether peaks are measured, too.
    """

    title: str
    sides: Callable[[int], Sides]
    photos: int
    rounds: int
    budgets: dict[str, str]
    notes: str = ""
    memory: bool = True


CURVES_BUDGETS = {"as many forwards, in regard's chunks": "≥ 0.91", "Quantus, once for each curve": "≥ 3"}
CURVES_NOTE = """
The budget of 1.1 forwards is 0.91 the other way round. Values agree on the same order, which is given as a map of
ranks, so that no rule of ties matters. Quantus sorts the channels of a pixel apart, so its order names them one after
the other. All need a forward for each point of each curve, and on a CPU the network is nearly all of the time: three
times faster than Quantus in float32 would need a third of the passes, which no exact curve has. What regard saves is
the sort of channels, the copies, and the comparison of every picture with the original at every step; against
torch-cam what large chunks cost the caches. At its default of one feature a step Quantus would take 172,800 passes a
photo and curve at this frame, 150,528 at 224 pixels.
"""
ROAD_NOTE = """
Most and least relevant first, nine levels, no noise, so that values can be equal. Nearly all of the time are the sparse
systems, one for each picture, level and order. pytorch-grad-cam writes each into a matrix of lists, about half of its
time, which regard saves; the rest is the factorisation by SuperLU on either side, for which regard says that the
matrix is symmetric.
"""
SCORE_NOTE = """
Both pass every different masked picture through the network; regard leaves out channels that are constant, as dead
ones are, and takes equal ones once: its factor is the share of channels that are left. Correlation instead of
equality, since pytorch-grad-cam enlarges masks with their corners aligned, regard by cells, as everything else here.
It keeps all masked pictures at once, B × C × 3 × H × W numbers: of a ResNet-50's last layer 1.2 GB a photo.
"""
ABLATION_NOTE = """
Behind the layer are a pool and a linear head, so that regard needs no pass of any channel: the closed form.
pytorch-grad-cam runs the whole network for each. Its weights are differences of float32 logits that agree in most
digits; a loop in float64 agrees with regard to 1e-6 (random ResNet-18), and with pytorch-grad-cam to 5e-3.
"""
OCCLUSION_NOTE = """
One pass a window on either side; what differs is the size of chunks, and that regard makes no copy for each channel.
"""
RISE_NOTE = """
The second loop is the older way, by scikit-image. A mask is 200 kB; regard's product takes about as long as writing
them does.
"""
CONTESTS = {
    "exact": Contest(
        "A network that adds up whole numbers: curves are equal, not near",
        peers_curves.exact,
        photos=3,
        rounds=0,
        budgets={},
        memory=False,
    ),
    "curves": Contest(
        f"Insertion and deletion, 30 steps, 240 pixels, {REAL}",
        partial(peers_curves.both, REAL),
        photos=4,
        rounds=5,
        budgets=CURVES_BUDGETS,
        notes=CURVES_NOTE,
    ),
    "curves-random": Contest(
        f"Insertion and deletion, 30 steps, 240 pixels, {RANDOM}",
        partial(peers_curves.both, RANDOM),
        photos=4,
        rounds=3,
        budgets=CURVES_BUDGETS,
        memory=False,
    ),
    "road": Contest(
        f"ROAD, {REAL}, 240 pixels",
        partial(peers_curves.road, REAL),
        photos=1,
        rounds=3,
        budgets={"pytorch-grad-cam": "≥ 5"},
        notes=ROAD_NOTE,
    ),
    "score-cam": Contest(
        f"Score-CAM, {REAL}, 1,280 channels",
        partial(peers_maps.score_cam, REAL),
        photos=1,
        rounds=3,
        budgets={"pytorch-grad-cam": "≥ 3; MiB ≥ 4 ×"},
        notes=SCORE_NOTE,
    ),
    "score-cam-random": Contest(
        f"Score-CAM, {RANDOM}, 512 channels",
        partial(peers_maps.score_cam, RANDOM),
        photos=1,
        rounds=3,
        budgets={"pytorch-grad-cam": "≥ 3"},
        memory=False,
    ),
    "ablation-cam": Contest(
        f"Ablation-CAM, {REAL}, 1,280 channels",
        partial(peers_maps.ablation_cam, REAL),
        photos=1,
        rounds=3,
        budgets={"pytorch-grad-cam": "≥ 100; MiB ≥ 4 ×"},
        notes=ABLATION_NOTE,
    ),
    "occlusion": Contest(
        f"Occlusion, {REAL}, windows of 32 pixels, 16 apart",
        partial(peers_maps.occlusion, REAL),
        photos=2,
        rounds=3,
        budgets={},
        notes=OCCLUSION_NOTE,
    ),
    "rise-masks": Contest(
        "1,000 masks of RISE, 224 pixels, no network",
        lambda _: peers_maps.rise_masks(),
        photos=0,
        rounds=9,
        budgets={"interpolate and crop, a mask at a time": "≥ 10"},
        notes=RISE_NOTE,
        memory=False,
    ),
}
HALF_TITLE = "bfloat16: how far areas move"
HALF_NOTE = f"""
Largest |ΔAUC| of a photo to float32, {peers_curves.HALF_STEPS} steps, same order and classes; allowed where it is at
most 0.005. Softmax and sums are in float32 either way. That curves are ten times faster than Quantus where bfloat16
is allowed cannot be shown on a processor without units for it.
"""


def table(name: str, contest: Contest, quick: bool) -> list[str]:
    """Values and passes from a first call, then times, then peaks."""
    photos = min(1, contest.photos) if quick else contest.photos
    sides = contest.sides(photos)
    values, pictures = zip(*(counted(work) for work in sides.values()), strict=True)
    times = {side: [] for side in sides}
    for _ in range(0 if quick else contest.rounds):
        for side, work in sides.items():
            times[side].append(seconds(work, CPU))
    heads = ["", "pictures", "median s", "× regard", "budget", "difference", "correlation", "MiB"]
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for side, found, passed in zip(sides, values, pictures, strict=True):
        spent = times[side]
        cells = [side, f"{passed:,}" if photos else ""]
        cells += [f"{statistics.median(spent):.3g}", f"{ratio(spent, times['regard']):.2f}"] if spent else ["", ""]
        cells += [contest.budgets.get(side, ""), *agreement(found, values[0])]
        cells += [f"{separate_peak(name, side, photos):.0f}" if contest.memory else ""]
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
        if name == "exact" and agreement(found, values[0])[0] not in ("", "0"):
            sys.exit(f"{side} does not answer the same question: the fill, the order or the steps differ")
    of = f"Photos: {photos}. Rounds: {0 if quick else contest.rounds}."
    return [*lines, "", *([of, ""] if photos else []), *contest.notes.strip().splitlines()]


def ratio(spent: list[float], by_regard: list[float]) -> float:
    return statistics.median(side / own for side, own in zip(spent, by_regard, strict=True))


def counted(work: Callable[[], Tensor | None]) -> tuple[Tensor | None, int]:
    """What a side returns, and how many pictures any network took in meanwhile, whoever called it."""
    taken = 0

    def count(module: torch.nn.Module, given: tuple[object, ...]) -> None:
        nonlocal taken
        if isinstance(module, FIRST_LAYERS) and isinstance(given[0], Tensor) and given[0].shape[1] == 3:
            taken += len(given[0])

    handle = torch.nn.modules.module.register_module_forward_pre_hook(count)
    try:
        return work(), taken
    finally:
        handle.remove()


FIRST_LAYERS = (torch.nn.Conv2d, peers_curves.Weighted)
"""What takes colours in."""


def agreement(found: Tensor | None, expected: Tensor | None) -> tuple[str, str]:
    if found is None or expected is None or found is expected:
        return "", ""
    there = ~found.isnan()
    found, expected = found[there].double(), expected[there].double()
    return f"{float((found - expected).abs().max()):.1g}", f"{peers_maps.correlation(found, expected):.6f}"


def separate_peak(name: str, side: str, photos: int) -> float:
    command = [sys.executable, __file__, "--peak", name, side, str(photos)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def peak(name: str, side: str, photos: int) -> float:
    """MiB above rest that one side takes at most in this process; Linux tells."""
    work = CONTESTS[name].sides(photos)[side]
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    rest = _highest()
    work()
    return _highest() - rest


def _highest() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 2**10


def half_precision(quick: bool) -> list[str]:
    lines = ["| network | bfloat16 | insertion | deletion |", "| --- | --- | --- | --- |"]
    for network, names in {REAL: peers_curves.PHOTOS, TRANSFORMER: peers_curves.CHURCHES}.items():
        paths = peers_curves.photos(1 if quick else 4, names)
        for way, areas in peers_curves.half_precision(network, paths).items():
            insertion, deletion = areas.amax(dim=0).tolist()
            lines.append(f"| {network} | {way} | {insertion:.4f} | {deletion:.4f} |")
            print(lines[-1], flush=True)
    return [*lines, "", *HALF_NOTE.strip().splitlines()]


def page(quick: bool, write: Path | None) -> None:
    versions = ", ".join(f"{peer} {metadata.version(peer)}" for peer in PEERS)
    lines = ["# Curves and perturbation methods: cost", "", *(__doc__ or "").strip().splitlines()[4:], ""]
    lines += [f"{where(CPU)}, torch {torch.__version__}, {versions}.", ""]
    parts = {contest.title: partial(table, name, contest, quick) for name, contest in CONTESTS.items()}
    for title, part in {**parts, HALF_TITLE: partial(half_precision, quick)}.items():
        print(f"## {title}", flush=True)
        lines += [f"## {title}", "", *part(), ""]
        if write:
            write.write_text("\n".join(lines), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="file for the tables")
    parser.add_argument("--quick", action="store_true", help="one photo and no timing: values, passes and peaks")
    parser.add_argument("--part", choices=[*CONTESTS], help="only this table, printed")
    parser.add_argument("--peak", nargs=3, metavar=("PART", "SIDE", "PHOTOS"), help="print one side's peak and leave")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module="quantus")
    if arguments.peak:
        name, side, photos = arguments.peak
        print(peak(name, side, int(photos)))
    elif arguments.part:
        table(arguments.part, CONTESTS[arguments.part], arguments.quick)
    else:
        page(arguments.quick, arguments.write)


if __name__ == "__main__":
    main()
