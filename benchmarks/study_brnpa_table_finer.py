"""The table of a finer grid without training, of benchmarks/study_brnpa.py: does size, or a curve's steps, matter?"""

from __future__ import annotations

import numpy as np
from study_brnpa_boxes import AREA, BOXED, FINER, FINER_GRID, GRIDS, OWN_GRID, STEPS, WITHIN
from study_brnpa_cases import Study
from study_brnpa_crossed import Row, as_difference, crossed, in_numbers, in_percent, in_points, line, table
from study_brnpa_dilation import ANSWERS, OWN, SHOWN

SIZES = {"all": (0.0, 1.0), "under a quarter": (0.0, 0.25), "a quarter to a half": (0.25, 0.5), "more": (0.5, 1.0)}
"""Of the frame's area, the share in boxes: above the first, up to the second."""
FIGURES = (*(f"{name}, {steps} steps" for steps in STEPS for name in ("deletion", "insertion")), "inside")


def finer_grid(study: Study) -> list[str]:
    """Why (c) comes out as it does: nothing but the grid differs, and photos are told apart by what they show."""
    columns = ["boxes' share of the frame", "photos", "figure", OWN_GRID, *(f"{grid} less" for grid in GRIDS[1:])]
    row = study.done(BOXED, FINER, 0)
    lines = []
    for name, (low, high) in SIZES.items() if row is not None else ():
        area = np.array(row[AREA])
        taken = (area > low) & (area <= high)
        for figure in FIGURES:
            own, *others = (_some(row, f"{figure}, {grid}", taken) for grid in GRIDS)
            found = crossed(own)
            less = (as_difference(crossed(other - own)) for other in others)
            lines.append(line(name, found.photos, figure, in_numbers(found), *less))
        within = crossed(_some(row, WITHIN, taken))
        lines.append(line(name, within.photos, f"{WITHIN}, of {FINER_GRID}", "", in_numbers(within), "", ""))
    return table("(c) A finer grid without training", columns, lines)


def untrained(study: Study) -> list[str]:
    """Why grids are dilated by default where there are depthwise convolutions."""
    row = study.done(SHOWN, ANSWERS, 0) or {}
    lines = []
    for name in (*([OWN] if row else []), *(each for each in row if each not in (OWN, "seconds"))):
        right, own = (np.array(row[each])[None] for each in (name, OWN))
        found = crossed(right)
        lines.append(
            line(name, found.photos, in_percent(found), in_points(crossed(right - own)) if name != OWN else "")
        )
    return table("A finer grid without training", ["grid", "photos", "right, %", f"less {OWN}, points"], lines)


def _some(row: Row, what: str, taken: np.ndarray) -> np.ndarray:
    """(1, photos)."""
    return np.array(row[what], dtype=float)[None, taken]
