"""The loss of a phase, from what a selective model says."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from regard.attention.selective import Prediction, Selected, SelectiveModel
from regard.attention.selective_losses import (
    focus_loss,
    hard_loss,
    marginal_loss,
    posterior_loss,
    regularised,
    sampled_loss,
    segment_losses,
)
from regard.errors import UnsupportedError
from regard.training.selective.recipe import Paradigm, SelectiveRecipe


def asked_for(paradigm: Paradigm) -> Prediction:
    """What a model must answer to learn by a paradigm: for the average, or for each segment."""
    return "aggregate" if paradigm in ("soft", "supervised") else "mixture"


def objective(
    model: SelectiveModel,
    found: Selected,
    labels: Tensor,
    positions: Tensor,
    draws: Tensor | None,
    recipe: SelectiveRecipe,
    epoch: int,
) -> Tensor:
    """What is made smaller, of each example (n,).

    Args:
        model: whose weights have logarithms.
        found: its answer, as `asked_for`.
        labels: y (n,).
        positions: j* (n,), which "supervised" alone looks at.
        draws: (n, samples) from U[0, 1), of "sampled" alone.
        recipe: with the phase, and k, of the epoch.
        epoch: counted from 1.
    """
    paradigm, share = recipe.phase(epoch).paradigm, recipe.share(epoch)
    if paradigm == "soft" and share == 0:
        return functional.cross_entropy(found.logits, labels, reduction="none")
    log_weights = model.log_weights(found.scores, found.weights)
    return regularised(_losses(paradigm, found, log_weights, labels, positions, draws, recipe), log_weights, share)


def _losses(
    paradigm: Paradigm,
    found: Selected,
    log_weights: Tensor,
    labels: Tensor,
    positions: Tensor,
    draws: Tensor | None,
    recipe: SelectiveRecipe,
) -> Tensor:
    if found.segment_logits is None:
        soft = functional.cross_entropy(found.logits, labels, reduction="none")
        return soft + focus_loss(found.scores, positions) if paradigm == "supervised" else soft
    each = segment_losses(found.segment_logits, labels)
    if paradigm == "hard":
        return hard_loss(found.weights, each)
    if paradigm == "marginal":
        return marginal_loss(log_weights, each)
    if paradigm == "posterior":
        return posterior_loss(log_weights, each)
    if draws is None:
        raise UnsupportedError("a sampled loss needs draws")
    return sampled_loss(log_weights, each, draws, recipe.baseline)
