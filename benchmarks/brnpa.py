"""What BR-NPA's pooling costs: in one piece, round by round as it is published, and picture by picture.

    python benchmarks/brnpa.py [--quick] [--write docs/benchmarks/brnpa.md] [--form NAME]

Batch 8, float32, three representatives, median of nine rounds; a round times every row once, one after the other, so
that a busy machine slows all rows alike. Features are those behind a ReLU, the gradient is that of the vectors.
`representatives` chooses without a graph, then pools all ranks at once. "rounds" is the published order in a batch:
unit vectors, then in each round one einsum for the similarities, one for the vector, what is left kept in the graph.
"pictures" is that, one picture after the other. "× representatives" is to the first row of the same round. "MiB" is
the most that tensors held at once, above what was held before the call, the gradient included.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from measuring import peak, seconds, where
from torch import Tensor

from regard.attention.representative import representative_pooling

FORMS = {
    "maps 14×14×1280": (1280, 14, 14),
    "maps 28×28×1280": (1280, 28, 28),
    "maps 56×56×2048": (2048, 56, 56),
    "tokens 196×384": (196, 384),
    "tokens 1024×384": (1024, 384),
}
BATCH, COUNT, ROUNDS, WARM = 8, 3, 9, 2
"""Pictures, representatives, rounds that count, and those before."""
OWN = "representatives"
HEADS = ("features", "work", "forward ms", f"× {OWN}", "MiB", "and back ms", f"× {OWN}", "MiB")

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


def check_equal(features: Tensor) -> None:
    """Refuse to compare what does not compute the same; sums of 1e-5 that norms differ by are not seen."""
    for work in (forward, and_back):
        expected = work(in_rounds, features)
        for what, pool in WAYS.items():
            if float((work(pool, features) - expected).abs().max()) > 1e-4 * float(expected.abs().max()):
                raise SystemExit(f"{what}: the sides do not compute the same")


def table_of(name: str, device: torch.device, quick: bool) -> list[str]:
    """Rows of one form of features."""
    features = features_of(FORMS[name], 2 if quick else BATCH, device)
    check_equal(features)
    works = [{what: partial(work, pool, features) for what, pool in WAYS.items()} for work in (forward, and_back)]
    times: list[dict[str, list[float]]] = [{what: [] for what in WAYS} for _ in works]
    for turn in range(1 if quick else WARM + ROUNDS):
        for work, kept in zip(works, times, strict=True):
            for what, call in work.items():
                spent = seconds(call, device)
                if quick or turn >= WARM:
                    kept[what].append(spent)
    lines = []
    for what in WAYS:
        cells = [name, what]
        for work, kept in zip(works, times, strict=True):
            ratios = [own / first for own, first in zip(kept[what], kept[OWN], strict=True)]
            cells += [f"{statistics.median(kept[what]) * 1e3:.1f}", f"{statistics.median(ratios):.2f}"]
            cells += [f"{peak(work[what], device):.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return lines


def page(device: torch.device, quick: bool, write: Path | None) -> None:
    lines = ["# BR-NPA: cost", "", *(__doc__ or "").strip().splitlines()[4:], ""]
    lines += [f"{where(device)}, torch {torch.__version__}.", ""]
    lines += ["Not measured yet: two pictures and one round, so that times mean nothing.", ""] if quick else []
    lines += ["## Pooling", "", f"| {' | '.join(HEADS)} |", f"|{' --- |' * len(HEADS)}"]
    for name in FORMS:
        lines += table_of(name, device, quick)
        if write:
            write.parent.mkdir(parents=True, exist_ok=True)
            write.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="file for the table")
    parser.add_argument("--quick", action="store_true", help="two pictures, one round: whether it works")
    parser.add_argument("--form", choices=FORMS, help="only these features' rows, printed")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    arguments = parser.parse_args()
    if arguments.form:
        table_of(arguments.form, arguments.device, arguments.quick)
    else:
        page(arguments.device, arguments.quick, arguments.write)


if __name__ == "__main__":
    main()
