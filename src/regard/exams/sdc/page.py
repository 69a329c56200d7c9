"""A sitting's table as Markdown, the published figures beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from regard.exams.sdc.published import Published
from regard.exams.sdc.table import COMPARED, GOOD, Line, Table, Trend
from regard.statistics import Estimate

HEAD = (
    "cell",
    "accuracy",
    "FTPT",
    "FFPT",
    f"{COMPARED.removeprefix('test ')} − default",
    "in training: accuracy, FTPT",
    "good",
    "FTPT of good",
    "what it does",
    "published: accuracy/FTPT",
)
READING = (
    "All in per cent, of mosaics that were not learnt from unless it says otherwise: means over seeds with 95 % "
    "bootstrap intervals over seeds (first weights and orders; the mosaics are the same), none where all seeds are "
    "alike. FTPT: right and looking at the foreground; FFPT: right and looking elsewhere. The difference is seed by "
    f"seed. Good: seeds that are right in more than {GOOD:g} % of training, and FTPT of these alone, which conditions "
    "on success. What it does: the diagnosis, and of how many seeds."
)
PUBLISHED_ELSEWHERE = (
    "Published: papers/sdc.md, with its section; there m, data, epochs and networks differ in part, and what was "
    "tested with had been learnt from."
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
    lines += ["", " ".join([READING, *([PUBLISHED_ELSEWHERE] if known else [])]), ""]
    if table.trends:
        lines += ["## Claims", "", _about_claims(len(table.seeds)), ""]
        lines += [*grid_lines(claims(table.trends)), ""]
    for factor, rows in cells(table, long=True):
        whole = [HEAD, *rows] if known else [row[:-1] for row in (HEAD, *rows)]
        lines += [f"## {factor}", "", *grid_lines(whole), ""]
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


def claims(trends: Sequence[Trend]) -> list[list[str]]:
    """The claims and what became of them, the head first."""
    rows = [["claim", "section", "cells", "measured", "p", "verdict"]]
    for trend in trends:
        claim = trend.claim
        what = claim.figure + (" a step" if len(claim.cells) > 1 else "")
        measured = f"{what}: {estimated(trend.slope, long=True, signed=len(claim.cells) > 1)}"
        cells = " → ".join(claim.cells)
        rows.append([claim.words, claim.section, cells, measured, f"{trend.slope.p_value:.2g}", trend.verdict])
    return rows


def estimated(estimate: Estimate, long: bool, signed: bool = False) -> str:
    """A mean, with its interval where `long`."""
    if not estimate.photos:
        return "–"
    sign = "+" if signed else ""
    words = f"{estimate.mean:{sign}.1f}"
    if long and estimate.interval is not None:
        words += f" [{estimate.interval[0]:{sign}.1f}, {estimate.interval[1]:{sign}.1f}]"
    return words


def grid_lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows, the head first, as lines of Markdown."""
    cells = [f"| {' | '.join(row)} |" for row in rows]
    return [cells[0], f"| {' | '.join(['---'] * len(rows[0]))} |", *cells[1:]]


def _about_claims(seeds: int) -> str:
    return (
        "A claim is judged by the slope of its figure over its cells, seed by seed: undecided where the interval of "
        f"the mean slope holds 0. The p value is that of a sign-flip test, with {seeds} seeds at least "
        f"{min(1.0, 2.0 ** (1 - seeds)):.2g}; where that is much, an interval without 0 says no more than that all "
        "seeds agree."
    )


def _row(line: Line, long: bool) -> list[str]:
    found, good = line.found, line.of_good["test FTPT"]
    row = [
        line.name,
        *(estimated(found[f"test {name}"], long) for name in ("accuracy", "FTPT", "FFPT")),
        "" if line.difference is None else estimated(line.difference, long, signed=True),
        f"{estimated(found['train accuracy'], False)}, {estimated(found['train FTPT'], long)}",
        f"{line.good} of {line.seeds}",
        estimated(good, long),
        _modes(line.modes),
    ]
    return [*row, _published(line.published)] if long else row


def _modes(modes: Mapping[str, int]) -> str:
    return ", ".join(f"{mode} {count}" for mode, count in modes.items())


def _published(published: Published | None) -> str:
    if published is None:
        return ""
    parts = {"training": published.train, "test": published.test}
    said = [
        f"{part} {'–' if pair[0] is None else f'{pair[0]:g}'}/{pair[1]:g}"
        for part, pair in parts.items()
        if pair is not None
    ]
    return f"{'; '.join(said)} ({published.section})"
