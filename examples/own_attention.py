"""An attention of one's own, examined: torch's MultiheadAttention pools segments by a learnt query.

python examples/own_attention.py
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from regard.exams.sdc import Examination, SelectiveTask, examine, task_called


class QueryPooling(nn.Module):
    """One learnt query asks all segments; what it is told is classified."""

    def __init__(self, shape: tuple[int, ...], labels: int, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Flatten(2), nn.LazyLinear(width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.query = nn.Parameter(torch.randn(1, 1, width) / width**0.5)
        self.attention = nn.MultiheadAttention(width, num_heads=1, batch_first=True)
        self.head = nn.Linear(width, labels)
        self.embed(torch.zeros(1, 1, *shape))

    def forward(self, segments: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Segments (n, m, …) → logits (n, C) and weights (n, m): all that an exam asks for."""
        features = self.embed(segments)
        query = self.query.expand(len(segments), -1, -1)
        pooled, weights = self.attention(query, features, features, None if mask is None else ~mask)
        return self.head(pooled[:, 0]), weights[:, 0]

    def with_weights(self, segments: Tensor, weights: Tensor, mask: Tensor | None = None) -> Tensor:
        """The logits if these were the weights: with it, the diagnosis can intervene."""
        own = self.attention
        rows = slice(2 * own.embed_dim, None)  # of queries, keys and values, the values
        values = functional.linear(self.embed(segments), own.in_proj_weight[rows], own.in_proj_bias[rows])
        return self.head(own.out_proj((weights[:, None] @ values)[:, 0]))


def trained(task: SelectiveTask, steps: int, seed: int = 0) -> QueryPooling:
    """Learn from labels alone; nobody says where to look."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = QueryPooling(task.shape, len(task.labels))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        some = task.train[torch.randint(len(task.train), (250,), generator=draw)]
        logits, _ = model(some.segments, some.mask)
        optimizer.zero_grad()
        functional.cross_entropy(logits, some.label).backward()
        optimizer.step()
    return model


def main(steps: int = 6000) -> Examination:
    """Train on D1, then see where it looks."""
    task = task_called("d1")
    model = trained(task, steps)
    examination = examine(model, task, with_weights=model.with_weights)
    print(examination)
    return examination


if __name__ == "__main__":
    main()
