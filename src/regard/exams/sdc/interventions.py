"""What becomes of the answers when someone else chooses the weights, or the foreground (papers: SDC, section 7)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from regard.attention.selective import SelectiveModel, averaged, chosen, mixed
from regard.errors import MetricError
from regard.exams.sdc.answers import Answers, Model, asking, called, check_logits, given, in_batches
from regard.exams.sdc.items import generator, whole
from regard.exams.sdc.outcomes import Ties, focus_shares, outcomes, prediction_shares, slack_of
from regard.exams.sdc.task import Examples, Mosaics

WithWeights = Callable[..., Tensor]
"""segments (n, m, …), weights (n, m), and a mask (n, m) where mosaics are ragged → logits (n, C): what the model would
say if these were its weights."""


@dataclass(frozen=True, eq=False)
class Interventions:
    """The outcomes (n, 4) of the same mosaics after an intervention each; all else is as the model had it.

    Attributes:
        one_hot: the focus gets all weight; of equal weights one is drawn.
        drawn: weights are drawn, all points of the simplex alike likely.
        alike: all weights are the same.
        without_foreground: the foreground's weight goes to the others in their proportions, or equally where they have
            none; only of mosaics that have others, so perhaps of none.
        swapped: the foreground is another item, of another class, and the weights are held; "predicted right" is that
            other class. None where there is only one.
        said: (n, C) the share of each label in what is predicted with all weight on the focus.
    """

    one_hot: Tensor
    drawn: Tensor
    alike: Tensor
    without_foreground: Tensor
    swapped: Tensor | None
    said: Tensor


def with_weights_of(model: Model) -> WithWeights | None:
    """How a model answers with weights that it is given; None for one of which that is not known."""
    return partial(_answered, model) if isinstance(model, SelectiveModel) else None


def intervene(
    model: Model, with_weights: WithWeights, mosaics: Mosaics, own: Answers, batch: int, ties: Ties, seed: int
) -> Interventions:
    """Intervene in a model's answers.

    Cost: five forwards of every mosaic.

    Args:
        model: as of `regard.exams.sdc.answers.ask`.
        with_weights: its answers to other weights.
        mosaics: those of which `own` are the first ones.
        own: what it says by itself.
        batch: mosaics asked about at once.
        ties: see `regard.exams.sdc.outcomes`.
        seed: of what is drawn.

    Raises:
        MetricError: answers of another form, or to the model's own weights others than its own.
        NotFiniteError: NaN or +∞ among the logits.
    """
    count, labels = own.logits.shape
    changed = {
        "one_hot": focus_shares(own.weights, own.mask, "random", seed),
        "drawn": _drawn(own, seed),
        "alike": (there := (own.classes >= 0).double()) / there.sum(dim=1, keepdim=True),
        "without_foreground": _without_foreground(own),
        "swapped": own.weights,
    }
    other, item = _others(mosaics, own, seed)

    def asked(rows: slice) -> dict[str, Tensor]:
        found, answers = mosaics[rows], {}
        for name, weights in changed.items():
            if name == "swapped":
                place = torch.arange(len(found.position)), found.position.cpu()
                found.segments[place] = mosaics.items.taken(item[rows].to(found.segments.device))
            answers[name] = _weighed(model, with_weights, found, weights[rows], labels)
        return answers

    with asking(model):
        _check_own(model, with_weights, mosaics, own)
        parts = in_batches(count, batch, asked)
    logits = {name: torch.cat([part[name] for part in parts]) for name in changed}
    each = {
        name: outcomes(
            changed[name],
            logits[name],
            other if name == "swapped" else own.label,
            own.position,
            own.mask,
            ties,
            seed,
        )
        for name in changed
    }
    return Interventions(
        one_hot=each["one_hot"],
        drawn=each["drawn"],
        alike=each["alike"],
        without_foreground=each["without_foreground"][(own.classes >= 0).sum(dim=1) > 1],
        swapped=each["swapped"] if labels > 1 else None,
        said=prediction_shares(logits["one_hot"], count, ties, seed),
    )


def _answered(model: SelectiveModel, segments: Tensor, weights: Tensor, mask: Tensor | None = None) -> Tensor:
    """What a selective model says with given weights."""
    _, features = model.read(segments, mask)
    if model.prediction == "mixture":
        answers: Tensor = model.classifier(features.flatten(0, 1))
        return mixed(answers.unflatten(0, weights.shape), weights.log())
    logits: Tensor = model.classifier((averaged if model.prediction == "aggregate" else chosen)(weights, features))
    return logits


def _weighed(model: Model, with_weights: WithWeights, found: Examples, weights: Tensor, labels: int) -> Tensor:
    mask = None if found.mask is None else given(model, found.mask)
    logits = called("with_weights", with_weights, given(model, found.segments), given(model, weights), mask)
    return check_logits("with_weights", logits, len(weights), labels)


def _check_own(model: Model, with_weights: WithWeights, mosaics: Mosaics, own: Answers) -> None:
    few = own.first(16)
    logits = _weighed(model, with_weights, mosaics[: len(few)], few.weights, few.logits.shape[1])
    near = torch.isclose(logits.double(), few.logits.double(), rtol=0, atol=_largest(few.logits) * slack_of(few.logits))
    if not bool(near.all()):
        row = int((~near).nonzero()[0, 0])
        raise MetricError(
            "with_weights does not give the model's own answers to its own weights",
            came=f"example {row}: {logits[row].tolist()}"[:300],
            expected=f"{few.logits[row].tolist()}"[:300],
        )


def _largest(values: Tensor) -> float:
    return float(values.where(values.isfinite(), 0).abs().max())


def _drawn(own: Answers, seed: int) -> Tensor:
    """Weights of a flat Dirichlet distribution over the segments that are there."""
    uniform = torch.rand(own.classes.shape, dtype=torch.float64, generator=generator(seed, "drawn weights"))
    amounts = (-torch.log1p(-uniform)).masked_fill(own.classes < 0, 0)
    return amounts / amounts.sum(dim=1, keepdim=True)


def _without_foreground(own: Answers) -> Tensor:
    """A mosaic without others keeps its weights."""
    place = own.position[:, None]
    there = (own.classes >= 0).double()
    others, weights = there.scatter(1, place, 0), own.weights.double()
    left = weights.scatter(1, place, 0)
    left = left.where(left.sum(dim=1, keepdim=True) > 0, others)
    return (left / left.sum(dim=1, keepdim=True)).where(others.sum(dim=1, keepdim=True) > 0, weights)


def _others(mosaics: Mosaics, own: Answers, seed: int) -> tuple[Tensor, Tensor]:
    """For each mosaic another label than its foreground's, all alike often, and an item of it: (n,) and (n,)."""
    items = mosaics.items
    foreground = torch.tensor(items.foreground)
    uniform = torch.rand(2, len(own), dtype=torch.float64, generator=generator(seed, "swapped"))
    kinds = own.classes.gather(1, own.position[:, None])
    now = (kinds == foreground).long().argmax(dim=1)
    other = (now + 1 + whole(uniform[0], max(1, len(foreground) - 1))) % len(foreground)
    return other, items.drawn(foreground[other], uniform[1])
