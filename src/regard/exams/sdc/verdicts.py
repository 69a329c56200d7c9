"""What becomes of what was claimed of a grid's cells: slopes, levels, and what occurs, with their tests over seeds."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from regard.exams.sdc.evidence import json_values
from regard.exams.sdc.published import Claim
from regard.statistics import ALPHA, Estimate, PairedDifference, holm, over_seeds, paired_over_seeds

Verdict = Literal["agrees", "tends to agree", "undecided", "tends to disagree", "disagrees"]
ByCell = Mapping[str, Mapping[str, Sequence[float]]]
"""Cell → figure → values in per cent, of the same seeds in the same order."""
ONE_OF = 3
"""What no seed does of so many that they would have shown it (p < `ALPHA`) if one of three did is said not to occur:
eight seeds are enough."""


@dataclass(frozen=True)
class Judgement:
    """What became of a claim.

    Attributes:
        claim: itself.
        measured: of several cells the mean over seeds of the figure's least-squares slope from one cell to the next,
            of two their difference; of one its value.
        untreated: of "above" and "below", that difference of `Claim.untreated`; None of others.
        test: as measured, less what is said to be surpassed, with its p value; None of what occurs, which needs none.
        adjusted: its p value, adjusted for all claims that are tested (Holm).
        verdict: where the test's interval lies to one side of 0, "agrees" or "disagrees" if `adjusted` is below
            `ALPHA`, otherwise "tends to": few seeds can do no more. Of what occurs, "agrees" where any seed does it,
            "disagrees" where none of enough does; see `ONE_OF`.
    """

    claim: Claim
    measured: Estimate
    untreated: Estimate | None
    test: PairedDifference | None
    adjusted: float | None
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """JSON values; NaN is None."""
        found: dict[str, Any] = json_values(asdict(self))
        return found


def judged(claims: Sequence[Claim], figures: ByCell) -> tuple[Judgement, ...]:
    """What becomes of claims, all of whose cells are there."""
    tests = [None if claim.says == "occurs" else _test(claim, figures) for claim in claims]
    adjusted = iter(holm([test.p_value for test in tests if test is not None]))
    return tuple(_judgement(claim, figures, test, adjusted) for claim, test in zip(claims, tests, strict=True))


def _judgement(claim: Claim, figures: ByCell, test: PairedDifference | None, adjusted: Iterator[float]) -> Judgement:
    if test is None:
        values = figures[claim.cells[0]][claim.figure]
        return Judgement(claim, over_seeds(values, 0, 100), None, None, None, _occurs(values))
    p_value = next(adjusted)
    verdict = _verdict(test, p_value, claim.says in ("rises", "above"))
    if claim.says in ("rises", "falls"):
        return Judgement(claim, test, None, test, p_value, verdict)
    bound, measured, untreated = (figures[cell][claim.figure] for cell in (*claim.cells, claim.untreated))
    return Judgement(
        claim, paired_over_seeds(measured, bound), paired_over_seeds(untreated, bound), test, p_value, verdict
    )


def _test(claim: Claim, figures: ByCell) -> PairedDifference:
    columns = [figures[cell][claim.figure] for cell in claim.cells]
    if claim.says in ("above", "below"):
        bound, measured = columns
        return paired_over_seeds(measured, [value + claim.level for value in bound])
    middle = (len(columns) - 1) / 2
    steps = [place - middle for place in range(len(columns))]
    norm = sum(step * step for step in steps)
    slopes = [sum(map(operator.mul, steps, each)) / norm for each in zip(*columns, strict=True)]
    return paired_over_seeds(slopes, [0.0] * len(slopes))


def _verdict(test: PairedDifference, adjusted: float, upward: bool) -> Verdict:
    low, high = test.interval or (test.mean, test.mean)
    if test.photos < 2 or low <= 0 <= high:
        return "undecided"
    if (low > 0) == upward:
        return "agrees" if adjusted < ALPHA else "tends to agree"
    return "disagrees" if adjusted < ALPHA else "tends to disagree"


def _occurs(values: Sequence[float]) -> Verdict:
    if any(values):
        return "agrees"
    return "disagrees" if (1 - 1 / ONE_OF) ** len(values) < ALPHA else "undecided"
