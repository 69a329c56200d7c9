"""A sitting's table as Markdown, the published figures beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from regard.exams.sdc.published import SHORT, Published
from regard.exams.sdc.sitting import BEGINS
from regard.exams.sdc.table import BEGINNINGS, COMPARED, GOOD, SHARPNESS, WEIGHTS, Line, Table
from regard.exams.sdc.verdicts import ONE_OF, Judgement
from regard.markdown_table import table_lines
from regard.statistics import ALPHA, Estimate

HEAD = (
    "cell",
    "accuracy",
    "FTPT",
    "FFPT",
    "rightly",
    f"{COMPARED.removeprefix('test ')} − default",
    "in training: accuracy, FTPT",
    "good",
    "FTPT of good",
    "what it does",
    "published: accuracy/FTPT",
)
BESIDES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    WEIGHTS: dict(
        zip(
            SHARPNESS,
            (("segments above 0.01", ".2f"), ("distance from one segment", ".3f"), ("entropy, bits", ".3f")),
            strict=True,
        )
    ),
    BEGINNINGS: {BEGINS: ("focus on the foreground before training, %", ".1f")},
}
"""Factor → figure → what it is called in a further table, and its form; all of the test."""
READING = (
    "All in per cent, of mosaics that were not learnt from unless it says otherwise: means over seeds with 95 % "
    "intervals of the t distribution over seeds (first weights and orders; the mosaics are the same), cut at 0 and "
    "100; none where all seeds are alike. FTPT: right and looking at the foreground; FFPT: right and looking "
    "elsewhere; rightly: the share of right answers that look at the foreground, FTPT / (FTPT + FFPT). The difference "
    "is seed by seed; ≈: it could be chance (paired sign-flip test over seeds, Holm over the differences of a table, "
    f"p ≥ {ALPHA:g}). Good: seeds that are right in more than {GOOD:g} % of training, and FTPT of these alone, which "
    "conditions on success. What it does: the diagnosis, and of how many seeds."
)
PUBLISHED_ELSEWHERE = (
    "Published: papers/sdc.md, with its section; there m, data, epochs and networks differ in part, and what was "
    "tested with had been learnt from."
)


ABOUT_CLAIMS = (
    "A claim of several cells is judged by the slope of its figure from one to the next, seed by seed. Whether "
    "something is cured is judged by how many points of test FTPT it lacks of the same networks told where to look in "
    f"every step: up to {-SHORT:g} nothing is left to cure; what the untreated cell lacks stands beside. Where the t "
    "interval lies to one side, the verdict is “agrees” or “disagrees” if chance alone would hardly do it (sign-flip "
    f"test over seeds, Holm over these claims, p < {ALPHA:g}), otherwise “tends to”. What is said to occur agrees "
    "where any seed does it, and disagrees where none does of so many that it would have been seen if one of "
    f"{ONE_OF} did."
)


def written(table: Table, facts: Sequence[str]) -> str:
    """The whole page.

    Args:
        table: of the sitting.
        facts: lines above it: what was asked, and of which version.
    """
    title = f"Selective dependence: {table.grid.name or 'a grid of one’s own'}"
    lines = [f"# {title}", "", *(f"- {fact}" for fact in facts)]
    lines += [f"- Left out: {reason}" for reason in table.grid.left_out]
    known = any(line.published for line in table.lines)
    reading = [READING, *([PUBLISHED_ELSEWHERE] if known else []), _least(len(table.seeds))]
    lines += ["", " ".join(filter(None, reading)), ""]
    if table.judgements:
        lines += ["## Claims", "", ABOUT_CLAIMS, "", *table_lines(claims(table.judgements)), ""]
    for factor, rows in cells(table, long=True):
        whole = [HEAD, *rows] if known else [row[:-1] for row in (HEAD, *rows)]
        lines += [f"## {factor}", "", *table_lines(whole), ""]
        if factor in BESIDES:
            lines += [*table_lines(besides(table, factor)), ""]
    return "\n".join(lines)


def cells(table: Table, long: bool) -> Iterator[tuple[str, list[list[str]]]]:
    """Heading and rows of each factor, the default first in each.

    Args:
        table: of the sitting.
        long: with intervals, as of `HEAD`; otherwise as a terminal has room for: without them and the last column.
    """
    default, *others = table.lines
    first = _row(default, long)
    if not others:
        yield "Cells", [first]
    for factor in dict.fromkeys(line.factor for line in others):
        yield factor, [first, *(_row(line, long) for line in others if line.factor == factor)]


def besides(table: Table, factor: str) -> list[list[str]]:
    """What else belongs to the cells of a factor of `BESIDES`, the head first, the default's row next."""
    asked = BESIDES[factor]
    lines = [line for line in table.lines if line.factor in ("", factor)]
    known = [line.published.weights if line.published and factor == WEIGHTS else "" for line in lines]
    rows = [[line.name, *(f"{line.found[figure]:{form}}" for figure, (_, form) in asked.items())] for line in lines]
    whole = [["cell", *(words for words, _ in asked.values())], *rows]
    if not any(known):
        return whole
    published = ["published: segments/distance/bits, in training", *known]
    return [[*row, last] for row, last in zip(whole, published, strict=True)]


def claims(judgements: Sequence[Judgement]) -> list[list[str]]:
    """The claims and what became of them, the head first."""
    rows = [["claim", "section", "cells", "measured", "p", "p, Holm", "verdict"]]
    for judgement in judgements:
        claim, test = judgement.claim, judgement.test
        p_values = ["", ""] if test is None else [f"{value:.2g}" for value in (test.p_value, judgement.adjusted)]
        words = claim.words + (f" (in doubt: {claim.doubt})" if claim.doubt else "")
        cells = " → ".join(claim.cells)
        rows.append([words, claim.section, cells, _measured(judgement), *p_values, judgement.verdict])
    return rows


def _measured(judgement: Judgement) -> str:
    claim, found = judgement.claim, judgement.measured
    if claim.says == "occurs":
        return f"{claim.figure}: {found.mean * found.photos / 100:.0f} of {found.photos} seeds"
    if claim.says in ("above", "below"):
        first = f"{claim.figure} less that of “{claim.cells[0]}”: {found:+.1f}; {claim.says} {claim.level:g}?"
        return f"{first} (“{claim.untreated}”: {judgement.untreated:+.1f})"
    return f"{claim.figure} a step: {found:+.1f}"


def _least(seeds: int) -> str:
    """That few seeds cannot tell anything from chance, where it is so."""
    least = min(1.0, 2.0 ** (1 - seeds))
    return "" if least < ALPHA else f"With {seeds} seeds p is {least:.2g} at least: they can tell nothing from chance."


def _row(line: Line, long: bool) -> list[str]:
    form = _with_interval if long else _mean
    found = line.found
    row = [
        line.name,
        *(form(found[f"test {name}"]) for name in ("accuracy", "FTPT", "FFPT", "rightly")),
        _difference(line, form),
        f"{_mean(found['train accuracy'])}, {form(found['train FTPT'])}",
        f"{line.good} of {line.seeds}",
        form(line.of_good["test FTPT"]),
        _modes(line),
    ]
    return [*row, _published(line.published)] if long else row


def _difference(line: Line, form: Callable[[Estimate, str], str]) -> str:
    if line.difference is None or line.adjusted is None:
        return ""
    return form(line.difference, "+.1f") + ("" if line.adjusted < ALPHA else " ≈")


def _with_interval(estimate: Estimate, form: str = ".1f") -> str:
    return format(estimate, form)


def _mean(estimate: Estimate, form: str = ".1f") -> str:
    return f"{estimate.mean:{form}}" if estimate.photos else "–"


def _modes(line: Line) -> str:
    said = ", ".join(f"{mode} {count}" for mode, count in line.modes.items())
    return said + (f"; {line.broken} stopped, no longer finite" if line.broken else "")


def _published(published: Published | None) -> str:
    if published is None:
        return ""
    parts = {"training": published.train, "test": published.test}
    said = [published.seeds] if published.seeds else []
    said += [
        f"{part} {'–' if pair[0] is None else f'{pair[0]:g}'}/{pair[1]:g}"
        for part, pair in parts.items()
        if pair is not None
    ]
    return f"{'; '.join(said)} ({'; '.join(filter(None, (published.section, published.doubt)))})"
