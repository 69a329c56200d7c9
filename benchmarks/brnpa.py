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

import statistics
from collections.abc import Callable
from functools import partial

import torch
from measuring import head, options, page, peak, ratio, rounds, timed
from torch import Tensor

from regard.attention.representative import representative_pooling

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


def main() -> None:
    parser = options(__doc__, "two pictures")
    parser.add_argument("--form", choices=FORMS, help="only these features' rows, printed")
    asked = parser.parse_args()
    if asked.form:
        table_of(asked.form, asked.device, asked.quick)
    else:
        tables = [partial(table_of, name, asked.device, asked.quick) for name in FORMS]
        page("BR-NPA: cost", __doc__, asked, [lambda: ["## Pooling", "", *head(HEADS)], *tables])


if __name__ == "__main__":
    main()
