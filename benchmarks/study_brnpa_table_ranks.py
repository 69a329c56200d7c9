"""Tables of claim (d) of benchmarks/study_brnpa.py: whether rank is importance."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import partial

import numpy as np
from study_brnpa_cases import CASES, ON_VIT, Study
from study_brnpa_crossed import (
    Get,
    Row,
    as_difference,
    crossed,
    in_numbers,
    in_percent,
    in_points,
    line,
    right,
    right_by,
    table,
    true_probability,
    values_of,
)
from study_brnpa_heads import SUBSETS
from study_brnpa_measures import CHANGES, COARSE, RANKED

from regard.training.brnpa.classification import called
from regard.training.brnpa.recipe import PAPER_HEADS

RANKS = (1, 2, 3)
ANOTHER = "another photo"
"""The one before it in the list: what chance, and the middle of photos, give."""


def heads(study: Study) -> list[str]:
    """What linear heads of some ranks alone get right: those fitted afterwards, then those that learnt beside."""
    columns = ["heads", "network", "photos", "seeds", *(f"ranks {called(ranks)}, %" for ranks in SUBSETS)]
    columns += ["1 less 2, points", "2 less 3", "1 less 3"]
    lines = []
    for case in RANKED:
        found = {called(ranks): values_of(study, f"heads of {case}", _by_head(called(ranks))) for ranks in SUBSETS}
        lines += _of_heads("fitted afterwards", case, found)
    for case in CASES:
        if case.recipe(study.quick).auxiliary and ":" in case.start:  # those of a student learn too briefly
            found = {
                called(ranks): values_of(study, case.name, _by_head(called(ranks)), case.sets) for ranks in PAPER_HEADS
            }
            found[called(SUBSETS[-1])] = values_of(study, case.name, right, case.sets)
            lines += _of_heads("learnt beside", case.name, found)
    return table("(d) Accuracy of some ranks alone", columns, lines)


def _of_heads(kind: str, name: str, found: Mapping[str, np.ndarray]) -> list[str]:
    """A line, where there is something to say."""
    first, *others = (crossed(found[called(ranks)]) for ranks in SUBSETS)
    less = (in_points(crossed(found[one] - found[other])) for one, other in ("12", "23", "13"))
    shares = map(in_percent, (first, *others))
    return [line(kind, name, first.photos, first.seeds, *shares, *less)] if first.photos else []


def parts(study: Study) -> list[str]:
    columns = [
        "network",
        "rank",
        "photos",
        "adds to the true class's logit",
        "more than to the mean class's",
        "less rank 1's",
        "accuracy lost without it, points",
        "probability lost without it, points",
        "less rank 1's",
    ]
    lines = []
    for case, rank in itertools.product(RANKED, RANKS):
        read = partial(values_of, study, f"ranks of {case}")
        added, above = read(_added(rank)), read(_above(rank))
        if (found := crossed(above)).photos:
            lost, first = read(_lost(rank)), read(_lost(1))
            beside = (
                ["", ""]
                if rank == 1
                else [as_difference(crossed(above - read(_above(1)))), in_points(crossed(lost - first))]
            )
            said = in_points(crossed(read(_wrong_without(rank)))), in_points(crossed(lost))
            lines.append(
                line(
                    case, rank, found.photos, in_numbers(crossed(added)), in_numbers(found), beside[0], *said, beside[1]
                )
            )
    return table("(d) What a rank adds, and what is lost without it", columns, lines)


def changed(study: Study) -> list[str]:
    """Stability: the same place in a changed photo, beside the places of another photo."""
    columns = ["network", "rank", "photos"]
    columns += [f"{name}: same {what}, %" for name in (*CHANGES, ANOTHER) for what in ("place", "cell of 7×7")]
    columns += ["mirrored: correlation of maps"]
    lines = []
    for case, rank in itertools.product(RANKED, RANKS):
        read = partial(values_of, study, f"ranks of {case}")
        same = partial(_same, rank, beside=case not in ON_VIT.values())
        found = [read(same(name, grid)) for name in (*CHANGES, ANOTHER) for grid in (None, COARSE)]
        if (first := crossed(found[0])).photos:
            said = (in_percent(crossed(each)) for each in found)
            lines.append(line(case, rank, first.photos, *said, in_numbers(crossed(read(_correlation(rank))))))
    return table("(d) Ranks of the photo and of the changed one", columns, lines)


def _by_head(ranks: str) -> Get:
    return lambda row: right_by(row["heads"][ranks], row)


def _of_truth(row: Row) -> np.ndarray:
    """What each rank adds to the true class's logit, (photos, K)."""
    found: np.ndarray = np.array(row["parts"])[np.arange(len(row["truth"])), row["truth"]]
    return found


def _added(rank: int) -> Get:
    return lambda row: _of_truth(row)[:, rank - 1].tolist()


def _above(rank: int) -> Get:
    return lambda row: (_of_truth(row) - np.mean(row["parts"], axis=1))[:, rank - 1].tolist()


def _without(row: Row, rank: int) -> np.ndarray:
    shares = np.array(row["parts"])
    left: np.ndarray = shares.sum(axis=2) - shares[:, :, rank - 1]
    return left


def _wrong_without(rank: int) -> Get:
    """1 where the answer becomes wrong, −1 where it becomes right."""

    def get(row: Row) -> list[float]:
        whole, left = (right_by(logits, row) for logits in (np.sum(row["parts"], axis=2), _without(row, rank)))
        return [before - after for before, after in zip(whole, left, strict=True)]

    return get


def _lost(rank: int) -> Get:
    """Of the true class's probability, of photos that the whole network is right about."""

    def get(row: Row) -> list[float]:
        whole = np.sum(row["parts"], axis=2)
        before, after = (true_probability(logits, row["truth"]) for logits in (whole, _without(row, rank)))
        return np.where(right_by(whole, row), before - after, np.nan).tolist()

    return get


def _same(rank: int, name: str, grid: tuple[int, int] | None = None, beside: bool = True) -> Get:
    """1 where the changed photo has its representative in the same place, or in the same cell of a coarser grid.

    NaN where the photo's own is moved out of the frame. Of a convolutional network with a stride less, what a place of
    the teacher's held stands in the last of those that it became (see `high_resolution`), of a mirrored photo, once it
    is mirrored back, in the first: it is moved `beside`, so that what is the same counts as the same.
    """

    def get(row: Row) -> list[float]:
        own, down_across = np.array(row["places"])[:, rank - 1], np.array(row["grid"])
        other = np.roll(own, 1, axis=0) if name == ANOTHER else np.array(row[name])[:, rank - 1]
        if name == "mirrored" and beside:
            other = other + np.array([0, down_across[1] // COARSE[1] - 1])
        cells = [each * np.array(grid or down_across) // down_across for each in (own, other)]
        same = (cells[0] == cells[1]).all(axis=1).astype(float)
        gone = (
            own[:, 1] + down_across[1] // COARSE[1] >= down_across[1] if name == "moved" else np.zeros(len(own), bool)
        )
        return np.where(gone, np.nan, same).tolist()

    return get


def _correlation(rank: int) -> Get:
    return lambda row: [values[rank - 1] for values in row["correlation"]]
