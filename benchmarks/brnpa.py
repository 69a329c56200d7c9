"""What BR-NPA costs: its pooling by itself and beside a backbone, a finer grid, and the memory of a training step.

    python benchmarks/brnpa.py [--quick] [--write docs/benchmarks/brnpa.md] [--form NAME | --network NAME | --training]

Three representatives, median of nine rounds; a round times every row once, one after the other, so that a busy machine
slows all rows alike. "MiB" is the most that tensors held at once, above what was held before the call.

Pooling, batch 8, float32: features are those behind a ReLU, the gradient is that of the vectors. `representatives`
chooses without a graph, then pools all ranks at once. "rounds" is the published order in a batch: unit vectors, then in
each round one einsum for the similarities, one for the vector, what is left kept in the graph. "pictures" is that, one
picture after the other. "× representatives" is to the first row of the same round.

Forward, without gradients: "backbone" runs up to the last features, whose grid is the network's own or has two or about
four times its places a side; `representatives` pools those features alone; "classifier" is a `BRNPAClassifier`, so
backbone, representatives, head. "× own grid" is to the backbone on its own grid, "× backbone" to the one on the same
grid, both of the same round and precision. ResNet-50 has random weights. Budget of the classifier on a finer grid:
≤ 1.03 of its backbone. Where the table says "emulated", the processor has no bfloat16 units, and rounds are three.

Above the budget are classifiers in bfloat16: the backbone takes half of its time there, the pooling, which sums in
float32, as long as before (on EfficientNet-Lite0's 14×14 places 3.4 of 185 ms become 3.6 of 79), and the classifier
turns pixels into bfloat16 first, which "backbone" is given. Of ViT-S on 56×56 places the pooling is 0.001 of a forward:
what more its classifier takes in float32 is the spread of forwards of five seconds.

Training: a step of 16 photos of EfficientNet-Lite0 with gradients to all weights and AdamW, float32; on a finer grid
from a teacher on the own one. "parts" are what `--accumulate` cuts a step into.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from measuring import bfloat16_units, head, options, page, peak, ratio, rounds, timed
from torch import Tensor

import regard
from regard.attention.representative import representative_pooling
from regard.models.classifier import Precision
from regard.training.brnpa.plan import Plan
from regard.training.brnpa.recipe import BRNPARecipe
from regard.training.embeddings import fingerprint
from regard.training.parts import Part
from regard.training.steps import Steps

FORMS = {
    "maps 14×14×1280": (1280, 14, 14),
    "maps 28×28×1280": (1280, 28, 28),
    "maps 56×56×2048": (2048, 56, 56),
    "tokens 196×384": (196, 384),
    "tokens 1024×384": (1024, 384),
}
BATCH, COUNT = 8, 3
"""Pictures, and representatives of each."""
OWN = "representatives"
HEADS = ("features", "work", "forward ms", f"× {OWN}", "MiB", "and back ms", f"× {OWN}", "MiB")

LITE = "regard:efficientnet-lite0"
GRIDS = (None, (1,), (1, 1))
"""Strides of a convolutional network: its own, and for two and four times the places a side."""
NETWORKS: Mapping[str, tuple[int, tuple[int | tuple[int, ...] | None, ...]]] = {
    LITE: (8, GRIDS),
    "torchvision:resnet50": (8, GRIDS),
    "regard:vit-small": (2, (None, 7, 4)),
}
"""Pictures, few where 3136 tokens meet each other; and strides."""
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
LABELS = [f"class {number}" for number in range(10)]
BACKBONE, CLASSIFIER = "backbone", "classifier"
BUDGET = 1.03
FORWARD_HEADS = (
    "network",
    "pictures",
    "precision",
    "grid",
    "work",
    "median ms",
    "× own grid",
    "× backbone",
    "budget",
    "MiB",
)

LEARNT, PARTS = 16, (1, 2, 4)
"""Photos of a training step, and parts that it is cut into."""
TRAINING_HEADS = ("grid", "parts", "MiB", "× 1 part", "× own grid")

Pool = Callable[[Tensor], Tensor]


def in_one_piece(features: Tensor) -> Tensor:
    return representative_pooling(features, COUNT).vectors


def in_rounds(features: Tensor) -> Tensor:
    """The published order: (B, K, C)."""
    places = features.flatten(2).transpose(1, 2) if features.dim() == 4 else features
    norms = torch.einsum("bpc,bpc->bp", places, places).sqrt() + 1e-5
    units, left, vectors = places / norms[..., None], norms, []
    for _ in range(COUNT):
        taken = units.gather(1, left.argmax(dim=1)[:, None, None].expand(-1, 1, places.shape[2]))[:, 0]
        alike = torch.einsum("bpc,bc->bp", units, taken)
        vectors.append(torch.einsum("bp,bpc->bc", alike / alike.sum(dim=1, keepdim=True), places))
        left = (1 - alike) * left
    return torch.stack(vectors, dim=1)


def by_picture(features: Tensor) -> Tensor:
    return torch.cat([in_rounds(one[None]) for one in features])


WAYS: dict[str, Pool] = {OWN: in_one_piece, "rounds": in_rounds, "pictures": by_picture}


def features_of(form: tuple[int, ...], pictures: int, device: torch.device) -> Tensor:
    drawn = torch.randn(pictures, *form, generator=torch.Generator().manual_seed(0))
    return drawn.relu_().to(device)


@torch.no_grad()
def forward(pool: Pool, features: Tensor) -> Tensor:
    return pool(features)


def and_back(pool: Pool, features: Tensor) -> Tensor:
    """The gradient of Σ v²."""
    leaf = features.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(pool(leaf).square().sum(), leaf)
    return gradient


PASSES = {"forward": forward, "and back": and_back}


def check_equal(features: Tensor) -> None:
    """Refuse to compare what does not compute the same; sums of 1e-5 that norms differ by are not seen."""
    for work in PASSES.values():
        expected = work(in_rounds, features)
        for what, pool in WAYS.items():
            if float((work(pool, features) - expected).abs().max()) > 1e-4 * float(expected.abs().max()):
                raise SystemExit(f"{what}: the sides do not compute the same")


def table_of(name: str, device: torch.device, quick: bool) -> list[str]:
    """Rows of one form of features."""
    features = features_of(FORMS[name], 2 if quick else BATCH, device)
    check_equal(features)
    works = {
        f"{way} {what}": partial(work, pool, features) for way, work in PASSES.items() for what, pool in WAYS.items()
    }
    times, lines = timed(works, device, *rounds(quick)), []
    for what in WAYS:
        cells = [name, what]
        for way in PASSES:
            own = f"{way} {what}"
            cells += [f"{statistics.median(times[own]) * 1e3:.1f}", f"{ratio(times, own, f'{way} {OWN}'):.2f}"]
            cells += [f"{peak(works[own], device):.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return lines


def loaded(name: str, device: torch.device, precision: Precision = "float32") -> regard.Classifier:
    drawn = {"pretrained": False} if name.startswith("torchvision:") else {}
    return regard.load(name, device=device, precision=precision, **drawn)


def sides(grid: tuple[int, int]) -> str:
    return "×".join(map(str, grid))


def forwards_of(name: str, device: torch.device, quick: bool) -> list[str]:
    """Rows of a network, in each precision."""
    return [line for precision in PRECISIONS for line in forwards_in(name, precision, device, quick)]


@torch.no_grad()
def forwards_in(name: str, precision: Precision, device: torch.device, quick: bool) -> list[str]:
    """Rows of a network in a precision: three of each grid."""
    pictures, strides = (1, NETWORKS[name][1][:2]) if quick else NETWORKS[name]
    bare = loaded(name, device, precision)
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randn(pictures, 3, *bare.preparation.frame, generator=draw).to(device)
    works: dict[tuple[str, str], Callable[[], object]] = {}
    for each in strides:
        classifier = regard.BRNPAClassifier(bare, LABELS, count=COUNT, strides=each)
        works |= {(sides(classifier.grid), what): work for what, work in forwards(classifier, pixels).items()}
    own = next(grid for grid, _ in works)
    emulated = precision == "bfloat16" and not bfloat16_units(device)
    turns = rounds(quick) if quick or not emulated else (3, 1)
    times = timed({f"{grid} {what}": work for (grid, what), work in works.items()}, device, *turns)
    said = f"{precision}, emulated" if emulated else precision
    lines = []
    for (grid, what), work in works.items():
        key, finer = f"{grid} {what}", grid != own
        cells = [name.partition(":")[2], f"{pictures}", said, grid, what, f"{statistics.median(times[key]) * 1e3:.1f}"]
        cells += [f"{ratio(times, key, f'{own} {BACKBONE}'):.2f}", f"{ratio(times, key, f'{grid} {BACKBONE}'):.3f}"]
        cells += [f"{BUDGET}" if finer and what == CLASSIFIER else "", f"{peak(work, device):.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return lines


def forwards(classifier: regard.BRNPAClassifier, pixels: Tensor) -> dict[str, Callable[[], Tensor]]:
    """What is timed of a classifier, none of it with gradients."""
    network = classifier.network
    given = pixels.to(next(network.parameters()).dtype)
    features = network.read(given)
    return {
        BACKBONE: lambda: network.read(given),
        OWN: lambda: network.pooling(features).vectors,
        CLASSIFIER: lambda: classifier.forward(pixels),
    }


def training(device: torch.device, quick: bool) -> list[str]:
    """Rows of the own grid and of two finer ones."""
    lines, first = head(TRAINING_HEADS), 0.0
    start = loaded(LITE, device)
    teacher = regard.BRNPAClassifier(start, LABELS)
    for strides in GRIDS[: 2 if quick else 3]:
        recipe = BRNPARecipe(strides=strides, batch=LEARNT)
        plan = Plan.of(start, None if strides is None else teacher, LABELS, recipe, 0)
        whole = 0.0
        for parts in PARTS[: 2 if quick else 3]:
            found = peak(step_of(plan, parts, 4 if quick else LEARNT), device)
            whole, first = whole or found, first or found
            cells = [sides(plan.classifier.grid), f"{parts}", f"{found:.0f}"]
            lines.append(f"| {' | '.join([*cells, f'{found / whole:.2f}', f'{found / first:.2f}'])} |")
            print(lines[-1], flush=True)
    return lines


def step_of(plan: Plan, parts: int, count: int) -> Callable[[], object]:
    """One step of a training, the first done before: from then on AdamW holds its moments."""
    random = np.random.default_rng(0)
    photos = tuple(random.integers(0, 256, (256, 256, 3), np.uint8) for _ in range(count))
    part = Part(photos, tuple(map(fingerprint, photos)), tuple(number % len(LABELS) for number in range(count)))
    task, optimizer = plan.task(part), plan.optimizer()
    steps = Steps(task, optimizer, plan.settings(parts))

    def step() -> None:
        steps.gradients(0)
        optimizer.step()
        optimizer.zero_grad()  # at the end: a peak is counted from what is held between two steps

    step()
    return step


def main() -> None:
    parser = options(__doc__, "one or two pictures, two grids")
    parser.add_argument("--form", choices=FORMS, help="only these features' rows, printed")
    parser.add_argument("--network", choices=NETWORKS, help="only this network's rows, printed")
    parser.add_argument("--training", action="store_true", help="only the training's table, printed")
    asked = parser.parse_args()
    how = asked.device, asked.quick
    if asked.form:
        table_of(asked.form, *how)
    elif asked.network:
        forwards_of(asked.network, *how)
    elif asked.training:
        training(*how)
    else:
        pooling = [lambda: ["## Pooling", "", *head(HEADS)], *(partial(table_of, name, *how) for name in FORMS)]
        forward = [partial(forwards_of, name, *how) for name in NETWORKS]
        between = ["", "## Forward", "", *head(FORWARD_HEADS)]
        last = [lambda: ["", "## Training", ""], partial(training, *how)]
        page("BR-NPA: cost", __doc__, asked, [*pooling, lambda: between, *forward, *last])


if __name__ == "__main__":
    main()
