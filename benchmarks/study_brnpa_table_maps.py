"""Tables of maps, of benchmarks/study_brnpa.py: what their removal does, how sparse they are, other methods'."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from study_brnpa_cases import STUDENT, TEACHER, Study
from study_brnpa_crossed import Get, as_difference, crossed, in_numbers, line, right, table, values_of
from study_brnpa_measures import OTHERS, called, coarsened, judged_by, of_ranks, sparse

from regard.statistics import ALPHA, WelchDifference, welch

RANKS = (1, "mean")


def removal(study: Study) -> list[str]:
    """Claim (c): areas under curves, divided by the clean probability, of photos that both networks get right."""
    both = np.where(values_of(study, TEACHER, right) * values_of(study, STUDENT, right) == 1, 1.0, np.nan)
    judges = {
        "its own network": (TEACHER, STUDENT),
        "the teacher": (TEACHER, TEACHER),
        "the student": (STUDENT, STUDENT),
        "the other network": (STUDENT, TEACHER),
    }
    columns = ["each map judged by", "map", "photos", *_compared("deletion"), *_compared("insertion")]
    lines = []
    for (name, (of_teacher, of_student)), rank in itertools.product(judges.items(), RANKS):
        cells: list[str] = []
        for figure in ("deletion", "insertion"):
            low, high = (
                both * values_of(study, judged_by(judge, of_ranks(case, rank)), _relative(figure))
                for case, judge in ((TEACHER, of_teacher), (STUDENT, of_student))
            )
            found = crossed(high - low)
            cells += [in_numbers(crossed(low)), in_numbers(crossed(high)), as_difference(found)]
        if found.photos:
            lines.append(line(name, called(rank), found.photos, *cells))
    return table("(c) Removal and return, divided by the clean probability", columns, lines)


def fineness(study: Study) -> list[str]:
    """Why (c) comes out as it does: the student's own maps, and the same with only the teacher's places."""
    columns = ["map", "photos", "seeds"]
    columns += [f"{figure} {words}" for figure in ("deletion", "insertion") for words in ("14×14", "7×7", "14×14 less")]
    lines = []
    for rank in RANKS:
        cells: list[str] = []
        for figure in ("deletion", "insertion"):
            fine, coarse = (
                values_of(study, judged_by(STUDENT, name), _relative(figure))
                for name in (of_ranks(STUDENT, rank), coarsened(rank))
            )
            found = crossed(fine - coarse)
            cells += [in_numbers(crossed(fine)), in_numbers(crossed(coarse)), as_difference(found)]
        if found.photos:
            lines.append(line(called(rank), found.photos, found.seeds, *cells))
    return table(
        "(c) The student's maps, and their means over the teacher's places, judged by the student", columns, lines
    )


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
        for get in (_relative("deletion"), _relative("insertion"), lambda row: row["drop"]):
            found = values_of(study, judged_by(judge, name), get)
            cells.append(in_numbers(crossed(found)))
            cells += [
                "" if judged_by(judge, name) == one else as_difference(crossed(values_of(study, one, get) - found))
                for one in own
            ]
        if cells[0]:
            lines.append(line(name, judge, crossed(found).photos, *cells))
    return table("(e) Other methods", columns, lines)


def significance(study: Study) -> list[str]:
    """Claim (e) as it was published: of every two methods the difference of means over photos, by Welch's test.

    A photo's number is its mean over seeds.
    """
    lines, get = [], _relative("deletion")
    found = {name: _over_seeds(values_of(study, judged_by(judge, name), get)) for name, judge in _methods()}
    known = {name: values for name, values in found.items() if not np.isnan(values).all()}
    for name, values in known.items():
        tests = [None if other == name else welch(values, against) for other, against in known.items()]
        lines.append(line(name, *("" if test is None else _with_mark(test) for test in tests)))
    return table("(e) Deletion of the row's map less the column's, Welch's test", ["map", *known], lines)


def _over_seeds(values: np.ndarray) -> list[float]:
    """The mean of each photo's numbers (seeds, photos), NaN where it has none."""
    known = ~np.isnan(values)
    sums = np.where(known, values, 0).sum(axis=0)
    return [total / count if count else np.nan for total, count in zip(sums, known.sum(axis=0), strict=True)]


def _with_mark(test: WelchDifference) -> str:
    return f"{test.mean:+.3f}{' ●' if test.p_value < ALPHA else ''}"


def _methods() -> Iterator[tuple[str, str]]:
    """Name and judge of all rows of claim (e)."""
    yield from ((of_ranks(STUDENT, rank), STUDENT) for rank in RANKS)
    yield from ((method.name, method.judge) for method in OTHERS)


def _relative(figure: str) -> Get:
    return lambda row: (np.array(row[figure]) / np.array(row["clean"])).tolist()


def _compared(figure: str) -> list[str]:
    return [f"{figure} {words}".strip() for words in ("teacher's", "student's", "student's less")]
