"""CDAM against the network's own forward, full-graph autograd, and captum's layer gradient.

    python benchmarks/cdam.py [--write docs/benchmarks/cdam.md] [--device cuda]

Batch 8, median of nine rounds; a round times every row once, one after the other, so that a busy machine
slows all rows alike. Ratios are to the network's own forward of the same round and precision.
Peers go back through the network once a class, so that a thousand classes cost them a hundred times ten.
Budgets: one class ≤ 1.0 forward, 1,000 classes ≤ 1.6, with logits and attention map.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from measuring import seconds, where

import regard
from regard.compat import import_optional

MODELS = ("vit_small_patch16_224", "vit_base_patch16_224")
CLASSES = (1, 10, 1000)
BATCH, ROUNDS = 8, 9
LONG_ROUNDS = 1
"""Rounds that also time ten classes of what goes back through the whole network once a class."""
BUDGETS = {1: 1.0, 1000: 1.6}

Row = tuple[str, Callable[[], object]]


def asked(count: int) -> str:
    return f"CDAM, {count} class" if count == 1 else f"CDAM, {count} classes"


def full_graph(classifier: regard.Classifier, pixels: torch.Tensor, target: int) -> torch.Tensor:
    """The official way: hook norm1, differentiate through the whole network to the pixels."""
    kept: list[torch.Tensor] = []
    layer = classifier.network.get_submodule(f"{classifier.tokens.blocks[-1]}.norm1")
    handle = layer.register_forward_hook(lambda _, __, output: kept.append(output))
    try:
        with torch.enable_grad():
            logits = classifier.forward(pixels.clone().requires_grad_())
            (gradient,) = torch.autograd.grad(logits[:, target].sum(), kept)
    finally:
        handle.remove()
    return (kept[0] * gradient).sum(-1)[:, 1:]


def rows(classifier: regard.Classifier, pixels: torch.Tensor) -> tuple[list[Row], list[Row]]:
    """What every round times, and what only the last ones do."""
    captum = import_optional("captum.attr", "baselines")
    layer = classifier.network.get_submodule(f"{classifier.tokens.blocks[-1]}.norm1")
    gradient = captum.LayerGradientXActivation(classifier.forward, layer)
    cdam = regard.CDAM(classifier)
    autograd = regard.CDAM(classifier, form="autograd")
    found: list[Row] = [("forward", lambda: classifier.forward(pixels))]
    found += [(asked(count), lambda count=count: cdam(pixels, list(range(count)))) for count in CLASSES]
    found += [
        ("CDAM by autograd over the last block, 1 class", lambda: autograd(pixels, [0])),
        ("CDAM by autograd over the last block, 10 classes", lambda: autograd(pixels, list(range(10)))),
        ("full-graph autograd, 1 class", lambda: full_graph(classifier, pixels, 0)),
        ("captum LayerGradientXActivation, 1 class", lambda: gradient.attribute(pixels, target=0)),
    ]
    return found, [
        ("full-graph autograd, 10 classes", lambda: [full_graph(classifier, pixels, target) for target in range(10)]),
        (
            "captum LayerGradientXActivation, 10 classes",
            lambda: [gradient.attribute(pixels, target=target) for target in range(10)],
        ),
    ]


def measure(name: str, precision: str, device: torch.device) -> list[tuple[str, float, float]]:
    """Per row: what, median milliseconds, median ratio to the forward of its round."""
    classifier = regard.load(f"timm:{name}", pretrained=False, precision=precision, device=device)
    for parameter in classifier.network.parameters():
        parameter.requires_grad_(False)
    height, width = classifier.preparation.frame
    generator = torch.Generator().manual_seed(0)
    pixels = classifier.prepare(torch.randn(BATCH, 3, height, width, generator=generator))
    listed, long = rows(classifier, pixels)
    times: dict[str, list[float]] = {what: [] for what, _ in [*listed, *long]}
    with torch.no_grad():
        for turn in range(ROUNDS + 2):
            for what, work in [*listed, *(long if turn >= ROUNDS + 2 - LONG_ROUNDS else [])]:
                spent = seconds(work, device)
                if turn >= 2:
                    times[what].append(spent)
    own = times["forward"]
    return [
        (
            what,
            statistics.median(spent) * 1e3,
            statistics.median(s / f for s, f in zip(spent, own[-len(spent) :], strict=True)),
        )
        for what, spent in times.items()
    ]


def table(device: torch.device) -> str:
    lines = ["# CDAM: cost", "", *(__doc__ or "").strip().splitlines()[4:], ""]
    lines += [f"{where(device)}, torch {torch.__version__}.", ""]
    lines += [
        "| network | precision | work | median ms | × forward | budget |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in MODELS:
        for precision in ("float32", "bfloat16"):
            for what, milliseconds, ratio in measure(name, precision, device):
                budget = next((f"{limit}" for count, limit in BUDGETS.items() if what == asked(count)), "")
                lines.append(f"| {name} | {precision} | {what} | {milliseconds:.1f} | {ratio:.2f} | {budget} |")
                print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="file for the table")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    arguments = parser.parse_args()
    text = table(arguments.device)
    if arguments.write:
        arguments.write.parent.mkdir(parents=True, exist_ok=True)
        arguments.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
