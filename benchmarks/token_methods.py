"""What the methods for vision transformers cost beside the ways they replace.

    python benchmarks/token_methods.py --write docs/benchmarks/token_methods.md

Times are medians of rounds in one run; ratios are taken within a round, and only ratios mean something. Token
ablation is compared with captum's FeatureAblation on the same patches, one picture, one target (of 10 targets
regard takes all from the same passes; captum runs again for each). Smooth CDAM of 50 samples is compared with 50
passes through the whole network and back, of which five are timed. The rows of relevance propagation are compared
with the product of whole matrices, from the same weights and gradients.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

import torch
from cdam import full_graph
from measuring import Work, ratio, timed, where

import regard
from regard.compat import import_optional

MODEL = "vit_small_patch16_224"
ROUNDS = 5
FAMILIES = {
    "class token (ViT-S/16)": ("timm:vit_small_patch16_224", {}),
    "averaged patches (ViT-S/16)": ("timm:vit_small_patch16_224", {"global_pool": "avg", "class_token": False}),
    "attention pool (SigLIP B/16)": ("timm:vit_base_patch16_siglip_224", {}),
    "rotary positions (DINOv3 S/16)": ("timm:vit_small_patch16_dinov3", {"img_size": 224, "global_pool": "token"}),
}
CAPTUM = "captum in float32, 1 target"


def classifier_of(precision: str, device: torch.device, name: str = f"timm:{MODEL}", **arguments: object):
    classifier = regard.load(name, pretrained=False, precision=precision, device=device, **arguments)
    classifier.network.requires_grad_(False)
    return classifier


def pixels_of(classifier: regard.Classifier, images: int) -> torch.Tensor:
    height, width = classifier.preparation.frame
    draw = torch.Generator().manual_seed(0)
    return classifier.prepare(torch.randn(images, 3, height, width, generator=draw))


def ablation(device: torch.device) -> list[str]:
    lines = ["| precision | work | median s | captum ÷ regard | budget |", "| --- | --- | --- | --- | --- |"]
    for precision, budget in (("float32", 3), ("bfloat16", 10)):
        work = ablation_work(precision, device)
        times = timed(work, device, 3)
        for what in work:
            against = ratio(times, CAPTUM, what) * (10 if "10 targets" in what else 1)
            wanted = f"{budget}" if what == "regard, 1 target" else ""
            lines.append(f"| {precision} | {what} | {statistics.median(times[what]):.2f} | {against:.1f} | {wanted} |")
            print(lines[-1], flush=True)
    return [
        *lines,
        "",
        "Why one target is not three times faster: both take 196 passes of a ViT-S/16, 1.8 TFLOP, one token or one",
        "patch of pixels less in each, and nothing in them is shared but the cut into patches (1 %). What differs",
        "is the size of chunks. The budget is met where more than two targets are asked, since all come from the same",
        "passes, or nearly where groups are refined. bfloat16 pays on processors with units for it; without them it is",
        "emulated.",
    ]


def ablation_work(precision: str, device: torch.device) -> Work:
    """One picture; captum in float32 beside either precision of regard, a pass a patch as it does by default."""
    captum = import_optional("captum.attr", "baselines")
    classifier, exact = classifier_of(precision, device), classifier_of("float32", device)
    pixels = pixels_of(classifier, 1)
    height, width = classifier.tokens.grid(pixels)
    patches = torch.arange(height * width, device=device).view(1, 1, height, width)
    features = patches.repeat_interleave(16, 2).repeat_interleave(16, 3)
    peer, plain = captum.FeatureAblation(exact.forward), pixels.as_subclass(torch.Tensor)
    own, coarse = regard.TokenAblation(classifier), regard.TokenAblation(classifier, group=2, refine=0.25)

    def by_captum(**settings: int) -> torch.Tensor:
        with torch.no_grad():
            return peer.attribute(plain, target=0, feature_mask=features, **settings)

    return {
        "regard, 1 target": lambda: own(pixels, 0),
        "regard, 10 targets": lambda: own(pixels, list(range(10))),
        "regard, coarse to fine (2×2, a quarter refined), 1 target": lambda: coarse(pixels, 0),
        CAPTUM: by_captum,
        f"{CAPTUM}, 16 patches a pass": lambda: by_captum(perturbations_per_eval=16),
    }


def averages(device: torch.device) -> list[str]:
    lines = ["| work, ViT-S/16 float32, batch 8, one class | median s | × forward |", "| --- | --- | --- |"]
    classifier = classifier_of("float32", device)
    pixels, few = pixels_of(classifier, 8), 5
    work: Work = {
        "forward": lambda: classifier.forward(pixels),
        "CDAM": lambda: cdam(pixels, 0),
        "Smooth CDAM, 50 samples": lambda: smooth(pixels, 0),
        "Smooth CDAM, 50 samples, by autograd over the last block": lambda: by_autograd(pixels, 0),
        "Integrated CDAM, 50 steps": lambda: integrated(pixels, 0),
        f"{few} passes through the whole network and back": lambda: [
            full_graph(classifier, pixels, 0) for _ in range(few)
        ],
    }
    cdam, integrated = regard.CDAM(classifier), regard.IntegratedCDAM(classifier)
    smooth, by_autograd = regard.SmoothCDAM(classifier), regard.SmoothCDAM(classifier, form="autograd")
    with torch.no_grad():
        times = timed(work, device, 3)
    for what, spent in times.items():
        lines.append(f"| {what} | {statistics.median(spent):.2f} | {ratio(times, what, 'forward'):.2f} |")
        print(lines[-1], flush=True)
    full = 50 / few * ratio(times, f"{few} passes through the whole network and back", "Smooth CDAM, 50 samples")
    lines += ["", f"Fifty whole passes ÷ Smooth CDAM of 50 samples: {full:.0f}."]
    return lines


def relevance(device: torch.device) -> list[str]:
    """L = 12 blocks, H = 6 heads; N = 197 (224 pixels, patch 16) and 785 (patch 8)."""
    lines = ["| tokens | row recursion ms | matrix products ms | ratio |", "| --- | --- | --- | --- |"]
    for count in (197, 785):
        draw = torch.Generator().manual_seed(0)
        blocks = [torch.rand(count, count, generator=draw).to(device) / count for _ in range(12)]

        def by_rows(blocks: list[torch.Tensor] = blocks, count: int = count) -> torch.Tensor:
            row = torch.eye(count, device=device)[:1]
            for matrix in reversed(blocks):
                row = row + row @ matrix
            return row

        def by_matrices(blocks: list[torch.Tensor] = blocks, count: int = count) -> torch.Tensor:
            whole = torch.eye(count, device=device)
            for matrix in blocks:
                whole = whole + matrix @ whole
            return whole[:1]

        assert torch.allclose(by_rows(), by_matrices(), rtol=1e-3, atol=1e-5)
        times = timed({"rows": by_rows, "matrices": by_matrices}, device, 9)
        rows, matrices = (1e3 * statistics.median(times[what]) for what in ("rows", "matrices"))
        lines.append(f"| {count} | {rows:.2f} | {matrices:.2f} | {ratio(times, 'matrices', 'rows'):.0f} |")
        print(lines[-1], flush=True)
    return lines


def families(device: torch.device) -> list[str]:
    lines = ["| head, float32, batch 8 | form | CDAM, 1 class, × forward | 10 classes |", "| --- | --- | --- | --- |"]
    for what, (name, arguments) in FAMILIES.items():
        classifier = classifier_of("float32", device, name, **arguments)
        pixels, cdam = pixels_of(classifier, 8), regard.CDAM(classifier)
        asked = {count: list(range(count)) for count in (1, 10)}
        if classifier.class_count is None:
            asked = {count: [regard.Similarity(torch.randn(classifier.width))] * count for count in (1, 10)}
        work: Work = {
            "forward": lambda classifier=classifier, pixels=pixels: classifier.forward(pixels),
            "1": lambda cdam=cdam, pixels=pixels, asked=asked: cdam(pixels, asked[1]),
            "10": lambda cdam=cdam, pixels=pixels, asked=asked: cdam(pixels, asked[10]),
        }
        with torch.no_grad():
            times = timed(work, device, ROUNDS)
        one, ten = (ratio(times, count, "forward") for count in ("1", "10"))
        lines.append(f"| {what} | {cdam.settings['form']} | {one:.2f} | {ten:.2f} |")
        print(lines[-1], flush=True)
    return lines


def peak(name: str, classes: int, device: torch.device) -> float:
    """MiB above rest that a forward of 8 pictures takes at most, or CDAM of so many classes, in this process."""
    classifier = classifier_of("float32", device, f"timm:{name}")
    pixels, cdam = pixels_of(classifier, 8), regard.CDAM(classifier)
    cdam(pixels[:1], 0)
    rest = _highest(device, reset=True)
    with torch.no_grad():
        cdam(pixels, list(range(classes))) if classes else classifier.forward(pixels)
    return _highest(device) - rest


def _highest(device: torch.device, reset: bool = False) -> float:
    """MiB that this process has held at most since the last reset; Linux tells of the CPU's memory."""
    if device.type == "cuda":
        if reset:
            torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.max_memory_allocated(device) / 2**20
    if reset:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 2**10


def memory(device: torch.device) -> list[str]:
    lines = ["| network, batch 8 | work | MiB above rest | of these the maps |", "| --- | --- | --- | --- |"]
    for name in ("vit_small_patch16_224", "vit_base_patch16_224"):
        for classes in (0, 1, 1000):
            command = [sys.executable, __file__, "--peak", name, str(classes), "--device", str(device)]
            found = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
            what = "a forward" if classes == 0 else f"CDAM, {classes} class{'es' if classes > 1 else ''}"
            lines.append(f"| {name} | {what} | {found:.0f} | {8 * classes * 196 * 4 / 2**20:.1f} |")
            print(lines[-1], flush=True)
    return lines


PARTS = {
    "Token ablation": ablation,
    "Averages of CDAM": averages,
    "Relevance propagation": relevance,
    "CDAM by kind of head": families,
    "Peak memory of CDAM": memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="file for the tables")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--part", choices=[*PARTS], help="only this table, printed")
    parser.add_argument("--peak", nargs=2, metavar=("NETWORK", "CLASSES"), help="print one process's peak and leave")
    arguments = parser.parse_args()
    if arguments.peak:
        print(peak(arguments.peak[0], int(arguments.peak[1]), arguments.device))
        return
    if arguments.part:
        PARTS[arguments.part](arguments.device)
        return
    lines = ["# Methods for transformers: cost", "", *(__doc__ or "").strip().splitlines()[4:], ""]
    lines += [f"{where(arguments.device)}, torch {torch.__version__}.", ""]
    for title, part in PARTS.items():
        print(f"## {title}", flush=True)
        lines += [f"## {title}", "", *part(arguments.device), ""]
        if arguments.write:
            arguments.write.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
