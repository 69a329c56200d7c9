"""Every method for transformers, judged on the same photos: correctness, compactness, class sensitivity.

    python benchmarks/judged.py ../shared/data --write docs/judged.md

`regard:vit-small` on validation photos of the Imagenette sample. A photo counts if it is classified rightly; the map
is that of the predicted class. All intervals: 95 %, bootstrap over photos.

Correctness: patches are removed most important first (MIF) and least important first (LIF), in sixteenths, ties by
place; the area is the mean over the unit interval of the class's probability under LIF minus that under MIF, by the
trapezoid rule. Removal by token dropping, and by filling with the mean colour or with a blur. Compactness: share of
patches with |map| ≤ t · max|map|, for several t, and the Gini index of |map|. Class sensitivity: rank correlation of
the maps of the likeliest class with those of the second and of the least likely class; 1 tells no classes apart.
Randomised head: rank correlation with the map of the same class once the head's weights are shuffled; 1 means that
the map does not hang on the head. Pixel maps are averaged over patches. Methods of a hundred passes a photo, and
fills, take fewer photos.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from two_photos import interval, read_rows

import regard
from regard.explainers.registry import choose
from regard.fills import Blur, Colour
from regard.metrics.rank_correlation import rank_correlation
from regard.metrics.sparsity import compactness, gini
from regard.models import dropping, passes

THRESHOLDS = (0.005, 0.02, 0.05, 0.1, 0.2)
STEPS, BATCH = 16, 16
EVERY, SLOW, FILLED = 4, 3, 4
"""Every so-manieth photo is judged; of those of slow methods, and under fills."""
METHODS: dict[str, tuple[str, dict[str, object], bool]] = {
    "CDAM": ("cdam", {}, False),
    "Smooth CDAM": ("smooth-cdam", {}, False),
    "Integrated CDAM, complete": ("integrated-cdam", {}, False),
    "Integrated CDAM as published": ("paper-integrated-cdam", {}, False),
    "last-block ablation": ("last-block-ablation", {}, False),
    "token ablation, 2×2, a quarter refined": ("token-ablation", {"group": 2, "refine": 0.25}, True),
    "relevance propagation": ("relevance", {}, False),
    "partial relevance": ("partial-relevance", {}, False),
    "Grad-CAM on attention": ("attention-grad-cam", {}, False),
    "gradient at the last attention": ("token-gradient", {}, False),
    "input × gradient, pixels": ("input-gradient", {}, False),
    "input × gradient, first tokens": ("input-gradient", {"at": "tokens"}, False),
    "integrated gradients": ("integrated-gradients", {}, True),
    "SmoothGrad": ("smooth-grad", {}, True),
    "attention map": ("attention", {}, False),
    "rollout": ("rollout", {}, False),
    "random (control)": ("random", {}, False),
    "centre (control)": ("centre", {}, False),
}


def by_patch(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Maps (B, T, …) → (B, T, h, w) on the grid of patches, averaged over each."""
    return torch.nn.functional.adaptive_avg_pool2d(maps, grid)


def removal_orders(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Most and least important first, (B, patches) each, from scores (B, patches); ties by place."""
    return scores.argsort(dim=1, descending=True, stable=True), scores.argsort(dim=1, stable=True)


Probabilities = Callable[[Tensor, list[Tensor]], Tensor]


def areas(orders: tuple[Tensor, Tensor], chances: Probabilities) -> np.ndarray:
    """LIF − MIF area of each photo, from the class's probability once patches (per job) are removed from a photo."""
    images, patches = orders[0].shape
    counts = [round(step * patches / STEPS) for step in range(STEPS + 1)]
    owners = torch.arange(images).repeat_interleave(len(counts))
    curves = []
    for order in orders:
        removed = [order[image, :count] for image in range(images) for count in counts]
        curves.append(chances(owners, removed).view(images, len(counts)))
    most, least = curves
    return torch.trapezoid(least - most, dx=1 / STEPS, dim=1).numpy()


def of_class(logits: Tensor, owners: Tensor, classes: Tensor) -> Tensor:
    return logits.softmax(1).gather(1, classes[owners][:, None])[:, 0]


def by_dropping(classifier: regard.Classifier, pixels: Tensor, classes: Tensor) -> Probabilities:
    everything = torch.arange(classifier.tokens.patches(pixels))

    def chances(owners: Tensor, removed: list[Tensor]) -> Tensor:
        kept = [everything[~torch.isin(everything, gone)] for gone in removed]
        return of_class(dropping.dropped(classifier, pixels, owners, kept), owners, classes)

    return chances


def by_filling(
    classifier: regard.Classifier, pixels: Tensor, classes: Tensor, fill: regard.fills.Fill
) -> Probabilities:
    grid, frame = classifier.tokens.grid(pixels), pixels.shape[2:]

    def chances(owners: Tensor, removed: list[Tensor]) -> Tensor:
        def masks(numbers: Tensor) -> Tensor:
            kept = torch.ones(len(numbers), grid[0] * grid[1])
            for row, number in enumerate(numbers.tolist()):
                kept[row, removed[number]] = 0
            return torch.nn.functional.interpolate(kept.view(-1, 1, *grid), tuple(frame))

        return of_class(passes.masked(classifier, pixels, owners, masks, fill), owners, classes)

    return chances


def shuffled_head(classifier: regard.Classifier) -> regard.Classifier:
    """The same classifier, each class's weights shuffled."""
    network = copy.deepcopy(classifier.network)
    weight = network.get_classifier().weight
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for row in weight:
            row.copy_(row[torch.randperm(len(row), generator=draw)])
    return regard.Classifier(network, classifier.preparation, labels=classifier.labels, name="head shuffled")


def gated(data: Path, every: int) -> tuple[regard.Classifier, Tensor, Tensor, int]:
    """Classifier, pixels and logits of the photos that count, and of how many."""
    classifier = regard.load("regard:vit-small")
    rows = [row for row in read_rows(data / "imagenette-224") if row["split"] == "val"][::every]
    pixels = classifier.prepare([data / "imagenette-224" / row["file"] for row in rows])
    with torch.no_grad():
        logits = torch.cat([classifier(part) for part in pixels.split(BATCH)])
    right = logits.argmax(1) == torch.tensor([int(row["label"]) for row in rows])
    chosen = right.nonzero()[:, 0]
    return classifier, pixels[chosen.tolist()], logits[chosen], len(rows)


def judge(
    classifier: regard.Classifier, randomised: regard.Classifier, pixels: Tensor, logits: Tensor, name: str
) -> dict[str, np.ndarray]:
    """All numbers of one method, per photo."""
    method, settings, slow = METHODS[name]
    part = slice(None, None, SLOW if slow else 1)
    pixels, logits = pixels[part], logits[part]
    order = logits.argsort(dim=1, descending=True)
    classes = order[:, 0]
    asked = regard.PerImage(order[:, [0, 1, -1]])
    explainer = choose(classifier, method, **settings)
    again = choose(randomised, method, **settings)
    grid = classifier.tokens.grid(pixels)
    maps = by_patch(explainer(pixels, asked).maps, grid)
    other = by_patch(again(pixels, regard.PerImage(classes)).maps, grid)
    first = maps[:, 0]
    orders = removal_orders(first.flatten(1))
    found = {f"compactness {t}": compactness(first, t).numpy() for t in THRESHOLDS}
    found["Gini"] = gini(first).numpy()
    for what, values in (("second", maps[:, 1]), ("least", maps[:, 2]), ("head", other[:, 0])):
        found[what] = rank_correlation(first, values).numpy()
    found["dropping"] = areas(orders, by_dropping(classifier, pixels, classes))
    few = slice(None, None, 1 if slow else FILLED)
    orders = (orders[0][few], orders[1][few])
    fills = {"mean colour": Colour((0.0, 0.0, 0.0)), "blur": Blur()}
    for what, fill in fills.items():
        found[what] = areas(orders, by_filling(classifier, pixels[few], classes[few], fill))
    return found


def shown(values: np.ndarray) -> str:
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return "–"
    low, high = interval(known)
    return f"{known.mean():.2f} [{low:.2f}, {high:.2f}]"


def tables(found: dict[str, dict[str, np.ndarray]], counted: int, photos: int) -> str:
    lines = ["# Methods for transformers, judged", "", *(__doc__ or "").strip().splitlines()[4:], ""]
    lines += [f"{counted} of {photos} photos count.", ""]
    parts = {
        "Correctness: LIF − MIF area of the probability; higher is better": ["dropping", "mean colour", "blur"],
        "Compactness: higher is more compact": [*(f"compactness {t}" for t in THRESHOLDS), "Gini"],
        "Class sensitivity and randomised head: rank correlations; lower is better": ["second", "least", "head"],
    }
    for title, columns in parts.items():
        first = next(iter(columns))
        lines += [f"## {title}", "", f"| method | photos | {' | '.join(columns)} |"]
        lines += ["| --- | --- |" + " --- |" * len(columns)]
        for name, numbers in found.items():
            cells = " | ".join(shown(numbers[column]) for column in columns)
            lines.append(f"| {name} | {len(numbers[first])} | {cells} |")
        lines.append("")
    lines.append(f"Fills: {len(found['CDAM']['blur'])} photos. Made by `python benchmarks/judged.py DATA --write …`.")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "data", type=Path, nargs="?", default=Path("../shared/data"), help="folder that holds imagenette-224"
    )
    parser.add_argument("--write", type=Path, help="file for the tables")
    parser.add_argument("--every", type=int, default=EVERY, help="judge every so-manieth photo")
    arguments = parser.parse_args()
    classifier, pixels, logits, photos = gated(arguments.data, arguments.every)
    randomised = shuffled_head(classifier)
    found: dict[str, dict[str, np.ndarray]] = {}
    for name in METHODS:
        found[name] = judge(classifier, randomised, pixels, logits, name)
        print(name, {what: round(float(np.nanmean(values)), 3) for what, values in found[name].items()}, flush=True)
        if arguments.write and "CDAM" in found:
            arguments.write.write_text(tables(found, len(pixels), photos), encoding="utf-8")


if __name__ == "__main__":
    main()
