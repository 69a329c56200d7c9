"""Sections of runs of `regard evaluate`. All numbers are those of its table, computed by the same code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from regard.evaluate.contest import JUDGED
from regard.evaluate.gate import COUNTED, WRONG, Answered, Gate
from regard.evaluate.judge import AGAIN, DELETION, INSERTION
from regard.evaluate.known_photo import KnownPhoto
from regard.evaluate.markdown import (
    COSTS,
    MARKS,
    UNMARKED,
    columns_of,
    costs,
    figures,
    heading_of,
    missing_in,
    overlap_grid,
)
from regard.evaluate.table import overlaps
from regard.metrics.metric import MapMetric
from regard.report.blocks import Block, Card, Charts, Facts, Gallery, Grid, Section, Words
from regard.report.charts import Point, curves, intervals
from regard.report.data import Reasons
from regard.report.evaluated_photos import CASES, cards_of
from regard.report.evaluated_run import Evaluated, Row, class_of, share
from regard.report.failures import failures
from regard.report.thumbnails import left_out
from regard.runs import SeenRun
from regard.statistics import interval

DRAWN = (
    (DELETION, "Deletion", "removed, %, the most relevant first"),
    (INSERTION, "Insertion", "shown, %, the most relevant first"),
)
"""Columns of photos' curves, what they are called, and over what they go."""


def sections(run: SeenRun) -> list[Section]:
    """Of `evaluate`: gate, tables, curves, cases, classes, failures, photos."""
    found = Evaluated.of(run)
    legend: dict[str, str] = {}
    cards = {card.name: card for card in cards_of(found, legend)}
    return [
        _gate(found),
        _summary(found),
        _curves(found),
        _cases(found, cards),
        _classes(found),
        _missing(found),
        _gallery(found, cards, [*legend.values()]),
    ]


def _gate(found: Evaluated) -> Section:
    """Which photos count: before every table."""
    known = (found.run.manifest or {}).get("gate") or {}
    blocks: list[Block] = []
    by_classifier: dict[str, list[Row]] = {}
    for row in found.gate_rows():
        by_classifier.setdefault(row["classifier"], []).append(row)
    pairs = []
    for name, rows in by_classifier.items():
        answers = [Answered.of_row(KnownPhoto(Path(row["image"]), row["label"]), row) for row in rows]
        gate = Gate(**known[name]) if name in known else Gate.of(answers)
        pairs.append((name, gate.words()))
    if pairs:
        blocks += [
            Words("Methods are judged on photos that the classifier gets right: a wrong answer has no right reason."),
            Facts(pairs),
        ]
    wrong = [
        [
            row["image"],
            row["classifier"],
            found.called(row["label"]),
            found.called(row["predicted"]),
            share(row["probability"]),
        ]
        for row in found.gate_rows()
        if row["status"] == WRONG
    ]
    if wrong:
        blocks.append(
            Grid(
                [["photo", "classifier", "label", "answer", "probability"], *wrong],
                "Answered wrongly, left out",
                folded=True,
            )
        )
    return Section("gate", "Accuracy gate", blocks)


def _summary(found: Evaluated) -> Section:
    blocks: list[Block] = []
    if found.tables:
        marks = (MARKS if found.tested else UNMARKED).replace("**", "")
        blocks.append(
            Words(
                f"Means over photos with 95 % bootstrap intervals. {marks} Costs: {COSTS[0].lower()}{COSTS[1:]}", "note"
            )
        )
    for table in found.tables:
        heading = heading_of(table, found.tables)
        blocks += [Words(fact, "note") for fact in missing_in(table)]
        blocks += [Grid(rows, f"{title} · {heading}") for title, rows in figures(table, str)]
        blocks.append(Grid(costs(table), f"Cost of one map · {heading}", folded=True))
    alike = overlaps(found.run.rows, found.metrics, found.seed)
    for metric in sorted({metric for metric, *_ in alike}):
        pairs = {(one, other): estimate for (of, one, other), estimate in alike.items() if of == metric}
        blocks.append(
            Grid(overlap_grid(found.tables, pairs), f"Overlap: mean {metric} of two methods' maps", folded=True)
        )
    if found.tables:
        words = [line.removeprefix("- ").replace("`", "").partition(": ") for line in columns_of(found.tables)]
        blocks.append(
            Grid([["column", "what it says"], *([name, said] for name, _, said in words)], "Columns", folded=True)
        )
    if found.unknown:
        blocks.append(Words(f"Metrics that this regard does not have: {', '.join(found.unknown)}.", "warning"))
    return Section("summary", "Summary", blocks)


def _curves(found: Evaluated) -> Section:
    """The ranked score: means with intervals, and the values of single photos in order."""
    ranked = found.ranked
    if ranked is None:
        return Section("curves", "", [])
    title = ranked.heading
    rows = [
        (line.method, ranked.cells[line.method].mean, ranked.cells[line.method].interval, not line.control)
        for line in found.tables[0].lines
        if line.method in ranked.cells
    ]
    values = {method: sorted(found.values(method).values()) for method in found.few}
    judged = [row for row in found.run.rows if row["kind"] == JUDGED]
    photos = len(found.shared)
    answer = "probability of the class" if all(row["probability"] is not None for row in judged) else "the answer"
    several = {
        method: [Point(100 * (place + 0.5) / len(each), value) for place, value in enumerate(each)]
        for method, each in values.items()
        if each
    }
    charts = [
        intervals(title, ranked.name, rows),
        *(
            curves(f"{name}: {answer}, mean of {photos} photos", across, found.mean_curves(column))
            for column, name, across in DRAWN
        ),
        curves(f"{title}, photo by photo", "photos, % in order of their value", several),
    ]
    drawn = [chart for chart in charts if chart is not None]
    return Section("curves", "Curves", [Charts(drawn)] if drawn else [])


def _cases(found: Evaluated, cards: Mapping[str, Card]) -> Section:
    """Where the best method does best, and where worst."""
    ranked = found.ranked
    if ranked is None or ranked.metric.higher_is_better is None or not found.few:
        return Section("cases", "", [])
    method = found.few[0]
    values = found.values(method)
    order = [image for image in sorted(values, key=lambda image: (values[image], image)) if image in cards]
    best = order[::-1] if ranked.metric.higher_is_better else order
    if len(best) < 2:
        return Section("cases", "", [])
    count = min(CASES, len(best) // 2)
    return Section(
        "cases",
        "Best and worst cases",
        [
            Words(f"Of {method}, by {ranked.heading}: first where it does best."),
            Gallery([cards[image] for image in best[:count]], filtered=False),
            Words("And where it does worst, the worst first."),
            Gallery([cards[image] for image in best[::-1][:count]], filtered=False),
        ],
    )


def _classes(found: Evaluated) -> Section:
    """A line a class: how often the classifier is right, and what the best methods get."""
    ranked, rows = found.ranked, found.gate_rows()
    numbers = sorted(
        {class_of(row) for row in rows if class_of(row) is not None}, key=lambda index: found.called(index).casefold()
    )
    if ranked is None or len(numbers) < 2:
        return Section("classes", "", [])
    values = {method: found.values(method) for method in found.few}
    lines = []
    for index in numbers:
        mine = [row for row in rows if class_of(row) == index]
        labelled = [row for row in mine if row["label"] is not None]
        right = f"{sum(row['status'] == COUNTED for row in labelled)} of {len(labelled)}" if labelled else "–"
        images = {row["image"] for row in mine if row["status"] == COUNTED}
        each = [[value for image, value in of.items() if image in images] for of in values.values()]
        cells = [str(interval(several, found.seed)) if several else "–" for several in each]
        lines.append([found.called(index), str(len(mine)), right, *cells])
    words = f"{ranked.heading.rpartition(' (')[0]} of the best methods; intervals where photos differ."
    head = ["class", "photos", "right", *values]
    return Section("classes", "Class by class", [Words(words), Grid([head, *lines], "Classes")])


def _missing(found: Evaluated) -> Section:
    """Failures, and how many numbers each metric lacks, and why."""
    counts: dict[tuple[str, str], int] = {}
    why = _reasons(found.run, found.metrics)
    for row in found.run.rows:
        for column, reason in why(row).items():
            counts[column, reason] = counts.get((column, reason), 0) + 1
    lines = [[column, reason, f"{count:,}"] for (column, reason), count in counts.items()]
    head = ["metric", "why there is no number", "rows"]
    return failures(found.run, *([Grid([head, *lines], "Missing numbers", folded=True)] if lines else []))


def reasons(run: SeenRun) -> Reasons:
    """Of a row, its metrics without a number, and why."""
    return _reasons(run, Evaluated.of(run).metrics)


def _reasons(run: SeenRun, metrics: Sequence[MapMetric]) -> Reasons:
    measured = [metric for metric in metrics if metric.needs != "other maps"]
    there = {metric.column for metric in measured if any(row.get(metric.column) is not None for row in run.rows)}

    def of(row: Row) -> dict[str, str]:
        if row["kind"] != JUDGED:
            return {}
        return {metric.column: _why(metric, row, there) for metric in measured if row.get(metric.column) is None}

    return of


def _why(metric: MapMetric, row: Row, there: set[str]) -> str:
    if row["status"] != "judged":
        return str(row.get("error") or row["status"]).partition("\n")[0]
    if metric.needs in AGAIN and metric.needs not in str(row.get("again") or "").split(", "):
        return "the method was not asked again on this photo"
    lines = [line for line in str(row.get("again_error") or "").splitlines() if line.startswith(f"{metric.column}: ")]
    if lines:
        return lines[0]
    if metric.column not in there:
        return "no photo has what it needs"
    return "NaN: the metric says nothing of this map"


def _gallery(found: Evaluated, cards: Mapping[str, Card], legend: Sequence[str]) -> Section:
    photos = {row["image"] for row in found.gate_rows()}
    blocks: list[Block] = [Gallery([*cards.values()], legend)] if cards else []
    if len(cards) < len(photos):
        blocks.insert(
            0,
            Words(f"{left_out(len(cards), len(photos))} All cases of above are among them.", "note"),
        )
    return Section("gallery", "Photos", blocks)
