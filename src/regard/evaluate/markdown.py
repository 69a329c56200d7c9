"""Tables of results as Markdown, for documents and terminals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from regard.evaluate.standing import CHANCE, Standing
from regard.evaluate.table import Table
from regard.markdown_table import table_lines
from regard.metrics.metric import Needs
from regard.statistics import ALPHA, Estimate

GROUPS: dict[str, frozenset[Needs]] = {
    "Faithfulness: what the classifier answers to parts of the photo": frozenset({"curves", "token curves"}),
    "Placement: where maps lie beside the object": frozenset({"region"}),
    "Sparsity: how little of the photo maps point at": frozenset({"maps"}),
    "Dependence: what maps hang on": frozenset({"several targets", "method"}),
}
MARKS = (
    "↑ higher is better, ↓ lower. **Bold**: the best mean of a method that is no control; ≈: the difference from it "
    f"could be chance; ?: the difference from the control {CHANCE} could be (paired sign-flip tests over the column's "
    f"photos, Holm over these pairs, p ≥ {ALPHA:g}; the best is chosen on the same photos, so that unmarked "
    "differences from it are a little less certain than that). A column without bold has too few photos to tell."
)
UNMARKED = "↑ higher is better, ↓ lower. Nothing is tested or marked: methods explain different networks."

COSTS = "Of one photo; MiB: the most that tensors held at once above what was held before."


def written(
    found: Sequence[Table],
    overlap: Mapping[tuple[str, str, str], Estimate],
    title: str,
    facts: Sequence[str],
    tested: bool,
) -> str:
    """The whole of a run's tables.

    Args:
        found: the tables.
        overlap: (metric, method, method) → how alike their maps are.
        title: of the page.
        facts: lines above them: what was judged, and how.
        tested: whether methods were compared photo by photo.
    """
    lines = [f"# {title}", "", *(f"- {fact}" for fact in facts), ""]
    lines += ["Means over photos with 95 % bootstrap intervals. " + (MARKS if tested else UNMARKED), ""]
    for table in found:
        if len(found) > 1:
            lines += [f"## {heading_of(table, found)}", ""]
        lines += [f"- {fact}" for fact in missing_in(table)] + [""]
        for heading, rows in figures(table, str):
            lines += [f"### {heading}", "", *table_lines(rows), ""]
        lines += ["### Cost of one map", "", COSTS, "", *table_lines(costs(table)), ""]
    for metric in sorted({metric for metric, *_ in overlap}):
        pairs = {(first, second): estimate for (of, first, second), estimate in overlap.items() if of == metric}
        lines += [f"## Overlap: mean {metric} of two methods' maps", "", *table_lines(overlap_grid(found, pairs)), ""]
    lines += ["## Columns", "", *columns_of(found), ""]
    return "\n".join(lines)


def figures(table: Table, words: Callable[[Estimate], str]) -> Iterator[tuple[str, list[list[str]]]]:
    """Heading and rows, the head first, of each group of metrics, with marks.

    Args:
        table: the results.
        words: what a cell says.
    """
    for heading, needs in GROUPS.items():
        group = [one for one in table.standings if one.metric.needs in needs]
        if group:
            heads = [one.heading for one in group]
            rows = [[line.method, *(_marked(one, line.method, words) for one in group)] for line in table.lines]
            yield f"{heading} (photos)", [["method", *heads], *rows]


def mean(estimate: Estimate) -> str:
    """A mean alone, for a terminal."""
    return "–" if math.isnan(estimate.mean) else f"{estimate.mean:.3f}"


def _marked(one: Standing, method: str, words: Callable[[Estimate], str]) -> str:
    if method not in one.cells:
        return "–"
    said = words(one.cells[method])
    said = f"**{said}**" if method in one.best else f"≈ {said}" if method in one.like_best else said
    return f"{said} ?" if method in one.like_chance else said


def heading_of(table: Table, found: Sequence[Table]) -> str:
    """What stands above one of several tables."""
    few = len(table.lines) < max(len(each.lines) for each in found)
    return f"{'Methods of few passes' if few else 'All methods'}, {table.photos} photos"


def missing_in(table: Table) -> list[str]:
    """What was asked and not measured, and methods whose maps say nothing of some photos."""
    said = {
        "zero": "Zero everywhere",
        "not_finite": "Not finite",
        "failed": "Failed",
        "again_failed": "Asked again in vain",
    }
    counts = {
        words: [f"{line.method} on {getattr(line, name)}" for line in table.lines if getattr(line, name)]
        for name, words in said.items()
    }
    facts = [f"{words}: {', '.join(methods)} of {table.photos} photos." for words, methods in counts.items() if methods]
    missing = ", ".join(table.unmeasured)
    return facts + ([f"Not measured, since no photo has what it needs: {missing}."] if missing else [])


def costs(table: Table) -> list[list[str]]:
    """Passes, time, memory where it was measured, and what is known of the classifier."""
    columns = {
        "forwards": [_number(line.cost.forwards, ".4g") for line in table.lines],
        "backwards": [_number(line.cost.backwards, ".4g") for line in table.lines],
        "ms, median": [_number(line.cost.milliseconds, ".4g") for line in table.lines],
        "MiB, peak": [_number(line.cost.megabytes, ".4g") for line in table.lines],
        "accuracy": [_number(line.accuracy, ".3f") for line in table.lines],
        "clean probability": [_number(line.clean_probability, ".3f") for line in table.lines],
    }
    methods = [line.method for line in table.lines]
    return [["method", *columns], *map(list, zip(methods, *columns.values(), strict=True))]


def overlap_grid(found: Sequence[Table], overlap: Mapping[tuple[str, str], Estimate]) -> list[list[str]]:
    """Methods × methods: the mean of one metric of their two maps."""
    order = [line.method for line in max(found, key=lambda table: len(table.lines)).lines]
    names = [name for name in order if any(name in pair for pair in overlap)]
    rows = []
    for one in names:
        pairs = [overlap.get((one, other)) or overlap.get((other, one)) for other in names]
        rows.append([one, *(_number(None if pair is None else pair.mean, ".2f") for pair in pairs)])
    return [["", *names], *rows]


def columns_of(found: Sequence[Table]) -> list[str]:
    """What each column says, how a map becomes it, and what rows call it where that is something else."""
    metrics = {one.name: one.metric for table in found for one in table.standings}
    elsewhere = {name: f" In rows: `{metric.column}`." for name, metric in metrics.items() if metric.column != name}
    return [
        f"- `{name}`: {metric.summary}; {metric.rule}.{elsewhere.get(name, '')}" for name, metric in metrics.items()
    ]


def _number(value: float | None, form: str) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:{form}}"
