"""Tables of maps, of benchmarks/study_brnpa.py: what their removal does, how sparse they are, other methods'."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from study_brnpa_cases import ON_VIT, STUDENT, TEACHER, Study
from study_brnpa_crossed import as_difference, crossed, in_numbers, line, relative, right, table, values_of
from study_brnpa_measures import (
    AGAIN,
    OTHERS,
    beside,
    blurred,
    by_cells,
    called,
    coarsened,
    judged_by,
    of_ranks,
    sparse,
)

from regard.statistics import ALPHA, WelchDifference, holm, welch

RANKS = (1, "mean")


def removal(study: Study) -> list[str]:
    """Claim (c): areas under curves, divided by the clean probability, of photos that both networks get right."""
    columns = ["networks", "each map judged by", "map", "photos", *_compared("deletion"), *_compared("insertion")]
    lines = _removal(study, "EfficientNet-Lite0", TEACHER, STUDENT)
    lines += _removal(study, "ViT-S", ON_VIT[TEACHER], ON_VIT[STUDENT])
    return table("(c) Removal and return, divided by the clean probability", columns, lines)


def _removal(study: Study, networks: str, teacher: str, student: str) -> list[str]:
    both = np.where(values_of(study, teacher, right) * values_of(study, student, right) == 1, 1.0, np.nan)
    judges = {
        "its own network": (teacher, student),
        "the teacher": (teacher, teacher),
        "the student": (student, student),
        "the other network": (student, teacher),
    }
    lines = []
    for (name, (of_teacher, of_student)), rank in itertools.product(judges.items(), RANKS):
        cells: list[str] = []
        for figure in ("deletion", "insertion"):
            low, high = (
                both * values_of(study, judged_by(judge, of_ranks(case, rank)), relative(figure))
                for case, judge in ((teacher, of_teacher), (student, of_student))
            )
            found = crossed(high - low)
            cells += [in_numbers(crossed(low)), in_numbers(crossed(high)), as_difference(found)]
        if found.photos:
            lines.append(line(networks, name, called(rank), found.photos, *cells))
    return lines


def fineness(study: Study) -> list[str]:
    """Why (c) comes out as it does: the student's own maps, and the same with only the teacher's places, or moved."""
    columns = ["map", "its maps", "photos", "seeds"]
    columns += [f"{figure}{words}" for figure in ("deletion", "insertion") for words in ("", ", its own less it")]
    lines = []
    for rank in RANKS:
        own = of_ranks(STUDENT, rank)
        for words, name in {
            "as they are": own,
            "in cells of 7×7": coarsened(rank),
            "half a cell back": beside(rank, back=True),
            "half a cell on": beside(rank, back=False),
        }.items():
            cells: list[str] = []
            for figure in ("deletion", "insertion"):
                usual, found = (values_of(study, judged_by(STUDENT, each), relative(figure)) for each in (own, name))
                cells += [in_numbers(crossed(found)), "" if name == own else as_difference(crossed(usual - found))]
            if cells[0]:
                lines.append(line(called(rank), words, crossed(found).photos, crossed(found).seeds, *cells))
    return table("(c) The student's maps, with fewer places, or moved, judged by the student", columns, lines)


def whole_cells(study: Study) -> list[str]:
    """Claim (c) once more, where a place is taken away whole, so that a coarse map is not smoothed before."""
    columns = ["map", "photos", "seeds", *_compared("deletion"), *_compared("insertion")]
    lines = []
    for rank in RANKS:
        cells: list[str] = []
        for figure in ("deletion", "insertion"):
            low, high = (
                values_of(study, judged_by(STUDENT, by_cells(case, rank)), relative(figure))
                for case in (TEACHER, STUDENT)
            )
            found = crossed(high - low)
            cells += [in_numbers(crossed(low)), in_numbers(crossed(high)), as_difference(found)]
        if found.photos:
            lines.append(line(called(rank), found.photos, found.seeds, *cells))
    return table("(c) Whole places taken away, judged by the student", columns, lines)


def sparsity(study: Study) -> list[str]:
    columns = ["map", "measure", "grid of the student's", "photos", *_compared("")]
    lines = []
    for rank, measure, grid in itertools.product(RANKS, ("1/ρ", "Gini"), ("own", "7×7")):
        name = sparse(called(rank), measure, grid)
        low, high = (
            values_of(study, f"ranks of {case}", lambda row, name=name: row["sparsity"][name])
            for case in (TEACHER, STUDENT)
        )
        found = crossed(high - low)
        if found.photos:
            said = in_numbers(crossed(low)), in_numbers(crossed(high)), as_difference(found)
            lines.append(line(called(rank), measure, grid, found.photos, *said))
    return table("(c) Sparsity, higher is sparser", columns, lines)


def other_methods(study: Study) -> list[str]:
    """Claim (e)."""
    own = [judged_by(STUDENT, of_ranks(STUDENT, rank)) for rank in RANKS]
    columns = ["map", "of, and judged by", "photos"]
    for figure in ("deletion", "insertion", "average drop 50 %"):
        columns += [figure, "rank 1 less it", "mean of ranks less it"]
    lines = []
    for name, judge in _methods():
        cells = []
        for get in (relative("deletion"), relative("insertion"), lambda row: row["drop"]):
            found = values_of(study, judged_by(judge, name), get)
            cells.append(in_numbers(crossed(found)))
            cells += [
                "" if judged_by(judge, name) == one else as_difference(crossed(values_of(study, one, get) - found))
                for one in own
            ]
        if cells[0]:
            lines.append(line(name, judge, crossed(found).photos, *cells))
    return table("(e) Other methods", columns, lines)


def with_a_blur(study: Study) -> list[str]:
    """Claims (c) and (e) once more: the same maps, photos and network, black or a blur where pixels are taken away."""
    columns = ["map", "photos", "seeds"]
    for figure, fill in itertools.product(("deletion", "insertion"), ("black", "blur")):
        columns += [f"{figure}, {fill}", "rank 1 less it"]
    own, lines = of_ranks(STUDENT, 1), []
    for name in (method.name for method in AGAIN):
        found = crossed(values_of(study, judged_by(STUDENT, blurred(name)), relative("deletion")))
        cells: list[str] = []
        for figure in ("deletion", "insertion"):
            pairs = zip(_black_and_blur(study, name, figure), _black_and_blur(study, own, figure), strict=True)
            for shown, first in pairs:
                cells += [in_numbers(crossed(shown)), "" if name == own else as_difference(crossed(first - shown))]
        if found.photos:
            lines.append(line(name, found.photos, found.seeds, *cells))
    return table("(e) Black, or a blur, judged by the student", columns, lines)


def _black_and_blur(study: Study, name: str, figure: str) -> tuple[np.ndarray, np.ndarray]:
    """A map's figure with either, (seeds, photos), of what was judged with both."""
    black, blur = (values_of(study, judged_by(STUDENT, each), relative(figure)) for each in (name, blurred(name)))
    return np.where(np.isnan(blur), np.nan, black), blur


def significance(study: Study) -> list[str]:
    """Claim (e) as it was published: of every two methods the difference of means over photos, by Welch's test.

    Of the photos that both have; a photo's number is its mean over seeds. What is marked stays below the level when all
    pairs of the table are counted (Holm).
    """
    lines, get = [], relative("deletion")
    found = {name: _over_seeds(values_of(study, judged_by(judge, name), get)) for name, judge in _methods()}
    known = {name: values for name, values in found.items() if not np.isnan(values).all()}
    tested = {pair: _tested(*(known[name] for name in pair)) for pair in itertools.combinations(known, 2)}
    adjusted = dict(zip(tested, holm([test.p_value for test, _ in tested.values()]), strict=True))
    said = {}
    for (one, other), (test, photos) in tested.items():
        mark = " ●" if adjusted[one, other] < ALPHA else ""
        said[one, other] = f"{test.mean:+.3f}{mark} ({photos})" if photos else ""
        said[other, one] = f"{-test.mean:+.3f}{mark} ({photos})" if photos else ""
    lines += [line(row, *(said.get((row, column), "") for column in known)) for row in known]
    return table("(e) Deletion of the row's map less the column's, Welch's test", ["map", *known], lines)


def _over_seeds(values: np.ndarray) -> np.ndarray:
    """The mean of each photo's numbers (seeds, photos), NaN where it has none."""
    known = ~np.isnan(values)
    counts = known.sum(axis=0)
    return np.where(counts > 0, np.where(known, values, 0).sum(axis=0) / np.maximum(counts, 1), np.nan)


def _tested(values: np.ndarray, against: np.ndarray) -> tuple[WelchDifference, int]:
    """The test, and how many photos both have."""
    both = ~np.isnan(values - against)
    return welch(values[both].tolist(), against[both].tolist()), int(both.sum())


def _methods() -> Iterator[tuple[str, str]]:
    """Name and judge of all rows of claim (e)."""
    yield from ((of_ranks(STUDENT, rank), STUDENT) for rank in RANKS)
    yield from ((method.name, method.judge) for method in OTHERS)


def _compared(figure: str) -> list[str]:
    return [f"{figure} {words}".strip() for words in ("teacher's", "student's", "student's less")]
