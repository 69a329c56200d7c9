"""What weights over segments are like: how sharp, and how right they are to be so sure (papers: SDC, section 6.6)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from regard.errors import MetricError
from regard.exams.sdc.outcomes import Ties, checked_weights, in_per_cent, outcomes
from regard.training.selective.figures import SUPPORT


@dataclass(frozen=True)
class Calibration:
    """Whether the focus is right as often as its weight says.

    Attributes:
        counts: (bins,) examples whose largest weight lies in each equal part of [0, 1].
        weight: (bins,) the mean of their largest weights, NaN without examples.
        right: (bins,) the share of them whose focus is the foreground, NaN without examples.
    """

    counts: Tensor
    weight: Tensor
    right: Tensor

    @property
    def error(self) -> float:
        """Expected calibration error: Σ_b (n_b / n) |right_b − weight_b|, from 0 to 1."""
        gaps = (self.right - self.weight).abs().nan_to_num(0.0)
        return float((self.counts * gaps).sum() / self.counts.sum())


def figures(
    weights: Tensor,
    logits: Tensor,
    label: Tensor,
    position: Tensor,
    mask: Tensor | None = None,
    ties: Ties = "fractional",
    seed: int = 0,
) -> dict[str, float]:
    """All figures of some examples by name.

    FTPT, FFPT, FTPF, FFPF, accuracy and focus-accuracy, in per cent: `in_per_cent`. soft-FTPT, in per cent, is the FTPT
    of a focus that is drawn from the weights, mean α_j* P. And, in their own units:

        foreground-weight    mean α_j*
        margin               mean ( α_j* − max_{i ≠ j*} α_i ), from −1 to 1
        support              mean #{ i : α_i > 0.01 }, in segments
        simplex-distance     mean ‖ α − e_argmax ‖₂, 0 where one segment has all
        entropy              mean − Σ α_i log₂ α_i, in bits
        calibration-error    `Calibration.error`
        confident            share of examples with max α ≥ ½, in per cent

    Args and errors: as `outcomes`.
    """
    each = outcomes(weights, logits, label, position, mask, ties, seed)
    values = checked_weights(weights, mask)
    place = position.long()[:, None]
    foreground, largest = values.gather(1, place)[:, 0], values.amax(dim=1)
    others = values.scatter(1, place, 0).amax(dim=1)
    right = each[:, 0] + each[:, 1]
    squares = values.square().sum(dim=1) - largest.square() + (1 - largest).square()
    return {
        **in_per_cent(each),
        "soft-FTPT": 100 * float((foreground * right).mean()),
        "foreground-weight": float(foreground.mean()),
        "margin": float((foreground - others).mean()),
        "support": float((values > SUPPORT).sum(dim=1).double().mean()),
        "simplex-distance": float(squares.clamp(min=0).sqrt().mean()),
        "entropy": float(
            -(torch.special.xlogy(values, values).sum(dim=1)).mean() / torch.log(torch.tensor(2.0).double())
        ),
        "calibration-error": calibration(weights, each, mask).error,
        "confident": 100 * float((largest >= 0.5).double().mean()),
    }


def calibration(weights: Tensor, each: Tensor, mask: Tensor | None = None, bins: int = 10) -> Calibration:
    """How often the focus is right, by its weight. With "fractional" ties, weights all alike are calibrated: 1/m.

    Args:
        weights: (n, m).
        each: their outcomes, (n, 4).
        mask: (n, m) bool.
        bins: equal parts of [0, 1].
    """
    largest, place = _largest(weights, each, mask, bins)
    counts = place.bincount(minlength=bins).double()
    sums = each.new_zeros(2, bins).index_add_(1, place, torch.stack([largest, each[:, 0] + each[:, 2]]))
    return Calibration(counts, sums[0] / counts, sums[1] / counts)


def largest_weights(weights: Tensor, each: Tensor, mask: Tensor | None = None, bins: int = 2) -> Tensor:
    """How many examples of each outcome have their largest weight in which equal part of [0, 1].

    Args:
        weights: (n, m).
        each: their outcomes, (n, 4).
        mask: (n, m) bool.
        bins: with 2, the default, the counts of max α below ½ and from ½ on that the original tables have.

    Returns:
        (4, bins) float64: rows in the order of `OUTCOMES`; all adds up to n.
    """
    _, place = _largest(weights, each, mask, bins)
    return each.new_zeros(bins, 4).index_add_(0, place, each).T


def _largest(weights: Tensor, each: Tensor, mask: Tensor | None, bins: int) -> tuple[Tensor, Tensor]:
    """The largest weight of each example and the number of its bin."""
    if type(bins) is not int or bins < 1:
        raise MetricError("bins are counted from 1", came=repr(bins))
    largest = checked_weights(weights, mask).amax(dim=1)
    if each.shape != (len(largest), 4):
        raise MetricError(
            "every example has four outcomes", came=f"{tuple(each.shape)}", expected=f"({len(largest)}, 4)"
        )
    return largest, (largest * bins).long().clamp(max=bins - 1)
