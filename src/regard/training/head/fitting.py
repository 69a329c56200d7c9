"""Fits of a head on embeddings that are scaled: logistic regression, ridge regression, a small network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from regard.labels import Outputs
from regard.models.head import HeadForm, Kind

PENALTIES = (1.0, 0.1, 0.01, 0.001, 0.0001, 0.00001)
"""λ that a linear head chooses from, the strongest first: of equal ones the strongest is taken."""

LEARNING_RATE, WEIGHT_DECAY, MINIBATCH = 1e-3, 1e-2, 128
"""Of AdamW for the small network."""
EPOCHS, PATIENCE = 200, 20
"""The small network's longest training, and for how many epochs it may fail to improve."""


Loss = Callable[[Tensor, Tensor], Tensor]
"""Of answers and targets, the mean over photos."""


@dataclass(frozen=True)
class Examples:
    """What is learnt from.

    Attributes:
        embeddings: scaled, float64 (n, D).
        targets: class indices (n,) for "softmax"; 0 and 1, float64 (n, C), for "sigmoid"; scaled measurements,
            float64 (n, C), for "scalar".
        outputs: what the head's output means.
    """

    embeddings: Tensor
    targets: Tensor
    outputs: Outputs

    def __getitem__(self, which: Tensor) -> Examples:
        return replace(self, embeddings=self.embeddings[which], targets=self.targets[which])


def fit(form: HeadForm, examples: Examples, inner: Tensor, seed: int) -> tuple[nn.Module, dict[str, Any]]:
    """A head of the form, float64, and what was chosen for it on the photos marked `inner` (n,); then fitted on all.

    "linear": λ of `PENALTIES`, by the loss that is fitted, on the inner photos. "mlp": the number of epochs, likewise.
    """
    apart, kept = examples[~inner], examples[inner]
    with torch.random.fork_rng(devices=[]):
        if form.kind == "linear":
            loss = _loss("linear", examples.outputs)
            losses = [_mean_loss(loss, linear(form, apart, penalty), kept) for penalty in PENALTIES]
            penalty = PENALTIES[losses.index(min(losses))]
            return linear(form, examples, penalty), {"penalty": penalty}
        epochs = _best_epoch(form, apart, kept, seed)
        *_, head = network(form, examples, epochs, seed)
        return head.double(), {"epochs": epochs}


def linear(form: HeadForm, examples: Examples, penalty: float) -> nn.Module:
    """The linear head that minimises mean loss + λ/2 · ‖W‖², float64; the bias is free.

    Logistic regression by L-BFGS on all photos at once, from zero; of measurements ridge regression, solved, its loss
    ½ ‖y − W x − b‖² and its bias the one that takes the means to each other.
    """
    head = HeadForm("linear", form.width, form.classes).build().double()
    assert isinstance(head, nn.Linear)
    if examples.outputs == "scalar":
        _solve_ridge(head, examples, penalty)
        return head
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimiser = torch.optim.LBFGS(
        head.parameters(),
        max_iter=500,
        history_size=20,
        tolerance_grad=1e-8,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )
    loss = _loss("linear", examples.outputs)

    def objective() -> Tensor:
        optimiser.zero_grad()
        value = loss(head(examples.embeddings), examples.targets) + penalty / 2 * head.weight.square().sum()
        value.backward()
        return value

    optimiser.step(objective)
    return head


def _solve_ridge(head: nn.Linear, examples: Examples, penalty: float) -> None:
    means = examples.embeddings.mean(dim=0), examples.targets.mean(dim=0)
    read, answers = examples.embeddings - means[0], examples.targets - means[1]
    gram = read.T @ read / len(read) + penalty * torch.eye(head.in_features, dtype=read.dtype)
    weight = torch.linalg.solve(gram, read.T @ answers / len(read)).T
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(means[1] - weight @ means[0])


def network(form: HeadForm, examples: Examples, epochs: int, seed: int) -> Iterator[nn.Module]:
    """The small network after each epoch of AdamW, in float32; measurements by Huber's loss.

    Weights at the start and the order of photos are drawn from the seed.
    """
    torch.default_generator.manual_seed(seed)
    head = form.build()
    order = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(head.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    read, loss = examples.embeddings.float(), _loss("mlp", examples.outputs)
    targets = examples.targets if examples.outputs == "softmax" else examples.targets.float()
    for _ in range(epochs):
        for batch in torch.randperm(len(read), generator=order).split(MINIBATCH):
            optimiser.zero_grad()
            loss(head(read[batch]), targets[batch]).backward()
            optimiser.step()
        yield head


def _best_epoch(form: HeadForm, examples: Examples, kept: Examples, seed: int) -> int:
    loss = _loss("mlp", examples.outputs)
    best, least = 0, float("inf")
    for epoch, head in enumerate(network(form, examples, EPOCHS, seed), start=1):
        score = _mean_loss(loss, head, kept)
        if score < least:
            best, least = epoch, score
        if epoch - best >= PATIENCE:
            break
    return best


def _mean_loss(loss: Loss, head: nn.Module, kept: Examples) -> float:
    with torch.no_grad():
        answer = head(kept.embeddings.to(next(head.parameters()).dtype)).double()
        return float(loss(answer, kept.targets))


def _loss(kind: Kind, outputs: Outputs) -> Loss:
    """What a head is fitted and chosen by."""
    if outputs == "softmax":
        return functional.cross_entropy
    if outputs == "sigmoid":
        return functional.binary_cross_entropy_with_logits
    return functional.mse_loss if kind == "linear" else functional.huber_loss
