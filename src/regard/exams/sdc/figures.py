"""Figures of an examination, and of a model of the plane: what is drawn by `exam_drawing` and `mosaic_drawing`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure

from regard.attention.selective import SelectiveModel
from regard.errors import UnsupportedError
from regard.exam_drawing import draw_largest_weights, draw_regions
from regard.exams.sdc.answers import asking, given
from regard.exams.sdc.diagnosis import part_of
from regard.exams.sdc.outcomes import OUTCOMES
from regard.exams.sdc.task import SelectiveTask
from regard.exams.sdc.weight_figures import largest_weights
from regard.mosaic_drawing import COLUMNS, DrawnMosaic, draw_examination, draw_mosaics

if TYPE_CHECKING:
    from regard.exams.sdc.examine import Examination

_BINS = 20
_MOST_POINTS = 1500
"""Of a task, in a figure of regions: an even choice of more."""


def examination_figure(examination: Examination) -> Figure:
    """The one picture of an examination; see `regard.exams.sdc.Examination.figure`."""
    found = [[*islice(_drawn(examination, number), COLUMNS)] for number in range(len(OUTCOMES))]
    shown = [mosaics[0] for mosaics in found if mosaics]
    more = [mosaic for mosaics in found for mosaic in mosaics[1:]]
    return draw_examination(
        f"{_title(examination)} · {examination.diagnosis.mode}",
        str(examination.diagnosis),
        {name: examination.figures[name] for name in OUTCOMES},
        _counts(examination),
        [*shown, *more][:COLUMNS],
    )


def weight_figure(examination: Examination) -> Figure:
    """Histograms of the largest weight by outcome."""
    return draw_largest_weights(_counts(examination), _title(examination))


def mosaic_figure(examination: Examination, each: int = COLUMNS) -> Figure:
    """The first mosaics of every outcome that occurs, a row an outcome, with their attention.

    Args:
        examination: of which.
        each: mosaics of an outcome.

    Raises:
        UnsupportedError: no mosaics are asked for.
    """
    if type(each) is not int or each < 1:
        raise UnsupportedError("mosaics are counted from 1", came=repr(each))
    rows = [[*islice(_drawn(examination, number), each)] for number in range(len(OUTCOMES))]
    return draw_mosaics([row for row in rows if row], _title(examination))


def region_figure(model: SelectiveModel, task: SelectiveTask, split: str = "test") -> Figure:
    """Where a model of the plane gives which label, and where its focus looks, with the segments of a task.

    A label is what the model says of a mosaic of that one segment; where raw segments are averaged (layer 0) it is as
    well what it says of an average that falls there.

    Args:
        model: in which nothing is left.
        task: of points of the plane.
        split: whose segments.

    Raises:
        UnsupportedError: other segments, or a model that has no scores.
    """
    items = part_of(task, split).items
    if task.shape != (2,) or not isinstance(model, SelectiveModel):
        raise UnsupportedError(
            "regions are drawn of a SelectiveModel and points of the plane",
            came=f"{type(model).__name__}, segments {task.shape}",
            expected="d1 or boxes",
        )
    chosen = torch.arange(0, len(items.classes), -(-len(items.classes) // _MOST_POINTS))
    with asking(model):
        return draw_regions(
            items.taken(chosen),
            items.labels[chosen],
            task.labels,
            lambda points: model(given(model, points)[:, None]).logits,
            lambda points: model.read(given(model, points)[:, None])[0][:, 0],
            f"{task.name} · {split}",
        )


def _title(examination: Examination) -> str:
    found = examination.figures
    return (
        f"{examination.task} · {examination.split} · {len(examination.answers)} mosaics · "
        f"{found['accuracy']:.1f} % right, focus right in {found['focus-accuracy']:.1f} %"
    )


def _counts(examination: Examination) -> torch.Tensor:
    own = examination.answers
    return largest_weights(own.weights, examination.outcomes, own.mask, _BINS)


def _drawn(examination: Examination, outcome: int) -> Iterator[DrawnMosaic]:
    """Mosaics of an outcome in their order; where ties are shared, those that are of it most."""
    own = examination.answers
    for number in (examination.outcomes.argmax(dim=1) == outcome).nonzero()[:, 0].tolist():
        one = examination.mosaics[number : number + 1]
        there = slice(None) if one.mask is None else one.mask[0].cpu()
        label, said = (examination.labels[int(of[number])] for of in (own.label, own.logits.argmax(dim=1)))
        yield DrawnMosaic(
            one.segments[0].cpu()[there],
            own.weights[number][there].float(),
            int(own.position[number]),
            OUTCOMES[outcome],
            f"{label}" if label == said else f"{label}, said {said}",
        )
