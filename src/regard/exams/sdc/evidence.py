"""The numbers by which a mode of error is told from the others (papers: SDC, sections 5 and 7)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from regard.exams.sdc.answers import Answers
from regard.exams.sdc.interventions import Interventions
from regard.exams.sdc.outcomes import Ties, by_class, in_per_cent, outcomes
from regard.training.selective.figures import SUPPORT

HARD = 1 - 1e-6
"""From this largest weight on, in every mosaic, a selection is hard: what is left is rounding of float32."""


@dataclass(frozen=True)
class Coded:
    """The label for which the focus does most of its looking elsewhere.

    Attributes:
        label: its name.
        of_all: share of all FFPT that is this label's.
        elsewhere: share of this label's right answers that were given with the focus elsewhere.
        focus: how often the focus is on the foreground for this label.
        others_focus: the same, the mean over the other labels.
        kept: how many of this label's FFPT are right with all weight on the focused background, too: that background
            means this label. None without interventions.
        rival: how many of them are then given that other label which is given most.
        zeroed: how many of them are right without the foreground's weight: what all background means. None likewise.
    """

    label: str
    of_all: float
    elsewhere: float
    focus: float
    others_focus: float
    kept: float | None
    rival: float | None
    zeroed: float | None


@dataclass(frozen=True)
class Evidence:
    """All in per cent but `support`; None where there is nothing to tell it from, NaN where no mosaic tells it.

    Attributes:
        examples: mosaics that the numbers are of.
        chance: accuracy of always the same answer.
        accuracy, FTPT, FFPT: of the model as it is.
        train, test: its accuracy on both parts of the task.
        train_elsewhere: share of its right answers on what was learnt from that were given with the focus elsewhere.
        right_elsewhere: how often it is right where the focus is elsewhere.
        foreground_last: how often no segment has less weight than the foreground; of equal ones each its share.
        lean: how far the weights lean on one segment, mean (m max α − 1) / (m − 1): 0 with all alike, 100 where one has
            all. If the others share alike, the average is that much of the focus and else that of equal weights.
        support: mean number of weights above 0.01.
        coded: None where no answer is FFPT.
        hard: FFPT of a hard selection: of the model's own weights where they are hard, else with all weight on the
            focus; None where they are soft and nothing can be intervened in.
        bound: what that can be at most, see `hard_bound`.
        one_hot, drawn, alike, without_foreground: accuracy after that intervention, see `Interventions`.
        follows: how often the answer is the label of another foreground put there, with the weights held.
    """

    examples: int
    chance: float
    accuracy: float
    FTPT: float
    FFPT: float
    train: float
    test: float
    train_elsewhere: float
    right_elsewhere: float
    foreground_last: float
    lean: float
    support: float
    coded: Coded | None
    hard: float | None
    bound: float
    one_hot: float | None = None
    drawn: float | None = None
    alike: float | None = None
    without_foreground: float | None = None
    follows: float | None = None

    @property
    def leaks(self) -> bool:
        """Whether a hard selection is right too often while it looks elsewhere: then something else tells the label."""
        return self.hard is not None and self.hard > self.bound

    @property
    def elsewhere(self) -> float:
        """Share of the right answers that were given with the focus elsewhere."""
        return looking_elsewhere({"FFPT": self.FFPT, "accuracy": self.accuracy})

    def left(self, accuracy: float | None) -> float | None:
        """How much of what the model knows beyond chance is left with this accuracy."""
        if accuracy is None or self.accuracy <= self.chance:
            return None
        return 100 * (accuracy - self.chance) / (self.accuracy - self.chance)

    def words(self) -> dict[str, Any]:
        """JSON values; NaN is None."""
        found: dict[str, Any] = json_values(asdict(self))
        return found


def evidence_of(
    own: Answers,
    changed: Interventions | None,
    train: Mapping[str, float],
    test: Mapping[str, float],
    labels: Sequence[str],
    ties: Ties,
    seed: int,
) -> Evidence:
    """The numbers of some answers.

    Args:
        own: what the model says.
        changed: what it says after interventions, if it can be asked.
        train: its outcomes on what was learnt from, see `in_per_cent`.
        test: and on the test.
        labels: their names.
        ties: see `regard.exams.sdc.outcomes`.
        seed: of lots among ties.
    """
    each = outcomes(own.weights, own.logits, own.label, own.position, own.mask, ties, seed)
    means = in_per_cent(each)
    elsewhere = 100 - means["focus-accuracy"]
    weights = own.weights.double()
    return Evidence(
        examples=len(own),
        chance=100 * _largest_share(own.label),
        accuracy=means["accuracy"],
        FTPT=means["FTPT"],
        FFPT=means["FFPT"],
        train=train["accuracy"],
        test=test["accuracy"],
        train_elsewhere=looking_elsewhere(train),
        right_elsewhere=100 * means["FFPT"] / elsewhere if elsewhere > 0 else math.nan,
        foreground_last=100 * _foreground_last(weights, own),
        lean=100 * _lean(weights, own.classes >= 0),
        support=float((weights > SUPPORT).sum(dim=1).double().mean()),
        coded=_coded(each, changed, own, labels),
        hard=_hard(each, changed, own),
        bound=hard_bound(own.label),
        one_hot=None if changed is None else _accuracy(changed.one_hot),
        drawn=None if changed is None else _accuracy(changed.drawn),
        alike=None if changed is None else _accuracy(changed.alike),
        without_foreground=None if changed is None else _accuracy(changed.without_foreground),
        follows=None if changed is None or changed.swapped is None else _accuracy(changed.swapped),
    )


def looking_elsewhere(means: Mapping[str, float]) -> float:
    """Share of right answers, in per cent, that were given with the focus elsewhere; NaN without any."""
    return 100 * means["FFPT"] / means["accuracy"] if means["accuracy"] else math.nan


def hard_bound(label: Tensor) -> float:
    """FFPT in per cent that no hard selection exceeds, but once in a thousand samples.

    Segments that are scored each by itself, of which one alone is answered about, before a background that knows no
    label: the same background wins whatever the label is, and is told the same answer, so FFPT ≤ 1/C (papers: SDC,
    section 5.1). On a sample the largest share of a label stands for 1/C, with three standard errors.
    """
    share = _largest_share(label)
    return 100 * min(1.0, share + 3 * math.sqrt(share * (1 - share) / len(label)))


def json_values(value: Any) -> Any:
    """The same with None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {str(key): json_values(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_values(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _accuracy(each: Tensor) -> float:
    return in_per_cent(each)["accuracy"] if len(each) else math.nan


def _largest_share(label: Tensor) -> float:
    return float(label.bincount().max()) / len(label)


def _foreground_last(weights: Tensor, own: Answers) -> float:
    """The share of mosaics in which the foreground has the least weight, fractional among equals."""
    there = own.classes >= 0
    several = there.sum(dim=1) > 1
    if not bool(several.any()):
        return math.nan
    least = weights == weights.where(there, torch.inf).amin(dim=1, keepdim=True)
    least &= there
    shares = (least.double() / least.sum(dim=1, keepdim=True)).gather(1, own.position[:, None])[:, 0]
    return float(shares[several].mean())


def _lean(weights: Tensor, there: Tensor) -> float:
    counts = there.sum(dim=1)
    several = counts > 1
    if not bool(several.any()):
        return math.nan
    each = (counts * weights.amax(dim=1) - 1) / (counts - 1)
    return float(each[several].mean())


def _coded(each: Tensor, changed: Interventions | None, own: Answers, labels: Sequence[str]) -> Coded | None:
    elsewhere = each.new_zeros(len(labels)).index_add_(0, own.label, each[:, 1])
    if not float(elsewhere.sum()):
        return None
    number = int(elsewhere.argmax())
    table = by_class(each, own.label, len(labels))
    focused = table[:, 0] + table[:, 2]
    others = focused[[place for place in range(len(labels)) if place != number]]
    kept = rival = zeroed = None
    if changed is not None:
        weights = each[:, 1] * (own.label == number)
        said = 100 * weights @ changed.said / elsewhere[number]
        kept, rival = float(said[number]), max((*said[:number].tolist(), *said[number + 1 :].tolist()), default=0.0)
        several = (own.classes >= 0).sum(dim=1) > 1  # of FFPT all: a segment alone is the focus
        right = changed.without_foreground[:, :2].sum(dim=1)
        zeroed = 100 * float(weights[several] @ right / elsewhere[number])
    return Coded(
        label=labels[number],
        of_all=100 * float(elsewhere[number] / elsewhere.sum()),
        elsewhere=100 * float(table[number, 1] / (table[number, 0] + table[number, 1])),
        focus=float(focused[number]),
        others_focus=float(others.nanmean()) if len(others) else math.nan,
        kept=kept,
        rival=rival,
        zeroed=zeroed,
    )


def _hard(each: Tensor, changed: Interventions | None, own: Answers) -> float | None:
    if bool((own.weights.amax(dim=1) >= HARD).all()):
        return in_per_cent(each)["FFPT"]
    return None if changed is None else in_per_cent(changed.one_hot)["FFPT"]
