"""What a page must know of regard itself: its colours, and the exams."""

from __future__ import annotations

import functools

import numpy as np
from matplotlib.colors import Colormap, to_rgb

from regard.drawing import SIGNED, UNSIGNED
from regard.rank_drawing import RANK_COLOURS
from regard.web import told
from regard.web.kinds.mosaic import EXAMS


@functools.cache
def about_colours() -> told.ColourFacts:
    """256 of each scale; those of ranks."""
    return told.ColourFacts(
        signed=_scale(SIGNED),
        unsigned=_scale(UNSIGNED),
        ranks=[[round(255 * part) for part in to_rgb(colour)] for colour in RANK_COLOURS.values()],
    )


def _scale(colours: Colormap) -> list[list[int]]:
    found: list[list[int]] = np.rint(colours(np.linspace(0, 1, 256))[:, :3] * 255).astype(int).tolist()
    return found


def exam_kinds() -> list[told.ExamKind]:
    """The exams that a model is trained for within seconds."""
    return [
        told.ExamKind(name=name, title=exam.title, summary=exam.summary, classes=exam.classes, segments=exam.segments)
        for name, exam in EXAMS.items()
    ]
