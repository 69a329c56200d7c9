"""The four outcomes: is the focus true, is the prediction true (papers: SDC, section 1.3).

|                    | predicted right | predicted wrong |
| ------------------ | --------------- | --------------- |
| foreground focused | FTPT            | FTPF            |
| another segment    | FFPT            | FFPF            |

**Ties.** The focus is the largest weight and the prediction the largest logit; where several are equal to the last bit,
someone has to choose. "fractional", the default, gives each of them an equal share, which is what a fair lot gives on
average: weights that are all alike find the foreground with 1/m wherever it stands, and logits that are all alike are
right with 1/C. "first", which the original tables had, takes the lowest index: then such weights find the foreground as
often as it stands first, and a skewed position passes for a good focus. "random" draws one; "strict" takes none.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from regard.errors import MetricError, NotFiniteError
from regard.exams.sdc.items import generator

Ties = Literal["fractional", "first", "random", "strict"]
OUTCOMES = ("FTPT", "FFPT", "FTPF", "FFPF")

SLACK = 1e-4
"""How far rounding may move a number of float32, as a share of the largest: sums of some thousand terms differ by a few
1e-6 with the size of a batch. Of coarser types it is two of their steps."""


def outcomes(
    weights: Tensor,
    logits: Tensor,
    label: Tensor,
    position: Tensor,
    mask: Tensor | None = None,
    ties: Ties = "fractional",
    seed: int = 0,
) -> Tensor:
    """How far each example is of each of the four outcomes.

        FTPT = F P,   FFPT = (1 − F) P,   FTPF = F (1 − P),   FFPF = (1 − F)(1 − P)

    with F the share of the focus that lies on the foreground and P that of the prediction on the label: 0 or 1, but
    where ties are shared.

    Args:
        weights: (n, m), of each segment; rows add up to one.
        logits: (n, C).
        label: (n,) integers.
        position: (n,) integers, j*.
        mask: (n, m) bool, False where there is no segment.
        ties: see above.
        seed: of the lots of "random", which are drawn in the order of the examples.

    Returns:
        (n, 4) float64 in the order of `OUTCOMES`; rows add up to one.

    Raises:
        MetricError: forms or types that do not fit, weights that are none, no such label, position or policy.
        NotFiniteError: NaN or infinity in weights, NaN or +∞ in logits.
    """
    focus = _share_of(focus_shares(weights, mask, ties, seed), position, "position", mask)
    prediction = _share_of(prediction_shares(logits, len(weights), ties, seed), label, "label")
    columns = (focus * prediction, (1 - focus) * prediction, focus * (1 - prediction), (1 - focus) * (1 - prediction))
    return torch.stack(columns, dim=1)


def outcome_columns(
    weights: Tensor, logits: Tensor, label: Tensor, position: Tensor, mask: Tensor | None
) -> dict[str, Tensor]:
    """`outcomes` by name, as a training has its further figures: `regard.training.selective.figures.Judged`."""
    return dict(zip(OUTCOMES, outcomes(weights, logits, label, position, mask).unbind(dim=1), strict=True))


def in_per_cent(each: Tensor) -> dict[str, float]:
    """Means over examples of their outcomes (n, 4), in per cent, and what follows from them.

    accuracy = FTPT + FFPT,     focus accuracy = FTPT + FTPF
    """
    means = dict(zip(OUTCOMES, each.mean(dim=0).mul(100).tolist(), strict=True))
    return {
        **means,
        "accuracy": means["FTPT"] + means["FFPT"],
        "focus-accuracy": means["FTPT"] + means["FTPF"],
    }


def by_class(each: Tensor, label: Tensor, classes: int) -> Tensor:
    """The outcomes (n, 4) in per cent for each label: (C, 4), float64, NaN for a label that does not occur.

    A class-coded focus (EM-A) is seen here: FFPT is all of one class and nothing of the others.

    Raises:
        MetricError: no labels, or others.
    """
    if not len(label) or not 0 <= int(label.min()) <= int(label.max()) < classes:
        raise MetricError("there is no such label", expected=f"0 to {classes - 1}")
    counts = label.bincount(minlength=classes)
    sums = each.new_zeros(classes, each.shape[1]).index_add_(0, label.long(), each)
    return 100 * sums / counts[:, None]


def background_to_class(
    weights: Tensor,
    segment_logits: Tensor,
    classes: Tensor,
    position: Tensor,
    mask: Tensor | None = None,
    ties: Ties = "fractional",
    seed: int = 0,
    count: int | None = None,
) -> Tensor:
    """What is said of the background on which the focus lies.

    Args:
        weights: (n, m).
        segment_logits: (n, m, C), what the classifier says of each segment alone; or
            `logits[:, None].expand(-1, m, -1)`, what the whole model says while it focuses there.
        classes: (n, m), the class of each segment.
        position: (n,), j*.
        mask: (n, m) bool.
        ties: as in `outcomes`, also among the logits.
        seed: as in `outcomes`.
        count: K, classes there are. Default: as many as the largest of `classes` asks for.

    Returns:
        (K, C) float64: how many examples focus on a background segment of class k and are told c by it. Background
        that is always told the same c is what codes c (EM-A).

    Raises:
        MetricError: as `outcomes`.
        NotFiniteError: as `outcomes`.
    """
    if segment_logits.dim() != 3 or segment_logits.shape[:2] != weights.shape or classes.shape != weights.shape:
        raise MetricError(
            "every segment has logits and a class",
            came=f"{tuple(segment_logits.shape)} and {tuple(classes.shape)} for weights {tuple(weights.shape)}",
        )
    focus = focus_shares(weights, mask, ties, seed)
    _share_of(focus, position, "position", mask)
    focus = focus.scatter(1, position.long()[:, None], 0).flatten()
    answers = prediction_shares(segment_logits.flatten(0, 1), len(focus), ties, seed) * focus[:, None]
    kinds = classes.flatten().long().clamp(min=0)
    rows = int(kinds.max()) + 1
    if count is not None and count < rows:
        raise MetricError("there are more classes than rows", came=f"class {rows - 1}", expected=f"below {count}")
    return answers.new_zeros(count or rows, answers.shape[1]).index_add_(0, kinds, answers)


def focus_shares(weights: Tensor, mask: Tensor | None = None, ties: Ties = "fractional", seed: int = 0) -> Tensor:
    """The share of each segment in the focus, (n, m) float64: one on the largest weight where there is one largest."""
    return _shares_of_largest(checked_weights(weights, mask), ties, generator(seed, "focus"))


def checked_weights(weights: Tensor, mask: Tensor | None = None) -> Tensor:
    """The weights (n, m), float64.

    Raises:
        MetricError: no examples, another form or type, less than 0, a sum that is not one, weight on no segment.
        NotFiniteError: NaN or infinity.
    """
    if weights.dim() != 2 or 0 in weights.shape or not weights.is_floating_point():
        raise MetricError(
            "weights are numbers of examples and segments",
            came=f"{weights.dtype} {tuple(weights.shape)}",
            expected="(n, m), none of them 0",
        )
    if mask is not None and (mask.shape != weights.shape or mask.dtype != torch.bool):
        raise MetricError("a mask says of every segment whether it is there", came=f"{mask.dtype} {tuple(mask.shape)}")
    values = weights.detach().double()
    _refuse(~values.isfinite(), "a weight is NaN or infinity", values, NotFiniteError)
    _refuse(values < 0, "a weight is below zero", values)
    sums, slack = values.sum(dim=1), slack_of(weights)
    far = (sums - 1).abs()
    if float(far.max()) > slack:
        raise MetricError(
            "weights do not add up to one",
            came=f"sums from {float(sums.min()):.6g} to {float(sums.max()):.6g}, farthest in example {far.argmax()}",
            expected=f"1 ± {slack:.2g}",
        )
    if mask is not None:
        _refuse(~mask & (values != 0), "there is weight where there is no segment", values)
    return values


def slack_of(values: Tensor) -> float:
    """How far rounding may move a number of this type, as a share of the largest."""
    return max(SLACK, 2 * torch.finfo(values.dtype).eps)


def prediction_shares(logits: Tensor, count: int, ties: Ties = "fractional", seed: int = 0) -> Tensor:
    """The share of each label in the prediction, (n, C) float64: one on the largest logit where there is one largest.

    Args and errors: as `outcomes`; `count` is n.
    """
    if logits.dim() != 2 or len(logits) != count or logits.shape[1] == 0 or not logits.is_floating_point():
        raise MetricError(
            "every example has a number for each label",
            came=f"{logits.dtype} {tuple(logits.shape)}",
            expected=f"({count}, C)",
        )
    values = logits.detach().double()
    _refuse(values.isnan() | (values == math.inf), "a logit is NaN or infinity", values, NotFiniteError)
    return _shares_of_largest(values, ties, generator(seed, "prediction"))


def _shares_of_largest(values: Tensor, ties: Ties, lots: torch.Generator) -> Tensor:
    largest = values == values.amax(dim=1, keepdim=True)
    count = largest.sum(dim=1, keepdim=True)
    if ties == "fractional":
        return largest.double() / count
    if ties == "strict":
        return (largest & (count == 1)).double()
    if ties == "first":
        order = largest.double()
    elif ties == "random":
        order = torch.rand(values.shape, dtype=torch.float64, generator=lots).to(values).masked_fill(~largest, -1)
    else:
        raise MetricError("there is no such way with ties", came=repr(ties), expected=", ".join(get_args(Ties)))
    return torch.zeros_like(values).scatter_(1, order.argmax(dim=1, keepdim=True), 1)


def _share_of(shares: Tensor, place: Tensor, name: str, mask: Tensor | None = None) -> Tensor:
    """The share (n,) of the one that is right."""
    if place.shape != shares.shape[:1] or place.dtype not in (torch.int64, torch.int32, torch.int16):
        raise MetricError(
            f"every example has a {name}",
            came=f"{place.dtype} {tuple(place.shape)}",
            expected=f"integers ({len(shares)},)",
        )
    place = place.long()
    if int(place.min()) < 0 or int(place.max()) >= shares.shape[1]:
        raise MetricError(
            f"there is no such {name}",
            came=f"{int(place.min())} to {int(place.max())}",
            expected=f"0 to {shares.shape[1] - 1}",
        )
    if mask is not None and not bool(mask.gather(1, place[:, None]).all()):
        raise MetricError(f"there is no segment at a {name}", remedy="the mask is True where a segment is")
    return shares.gather(1, place[:, None])[:, 0]


def _refuse(
    wrong: Tensor, problem: str, values: Tensor, error: type[MetricError | NotFiniteError] = MetricError
) -> None:
    if bool(wrong.any()):
        row, column = wrong.nonzero()[0].tolist()
        raise error(problem, came=f"{values[row].tolist()} in example {row}, place {column}"[:300])
