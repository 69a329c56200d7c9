"""A table of results as Markdown, for documents and terminals' pipes alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from regard.evaluate.statistics import Estimate
from regard.evaluate.table import ALPHA, CONTROL, COSTS, Table
from regard.metrics.metric import MapMetric, Needs

GROUPS: dict[str, frozenset[Needs]] = {
    "Faithfulness: what the classifier answers to parts of the photo": frozenset({"curves", "token curves"}),
    "Placement: where maps lie beside the object": frozenset({"region"}),
    "Sparsity: how little of the photo maps point at": frozenset({"maps"}),
    "Dependence: what maps hang on": frozenset({"several targets", "method"}),
}
LEGEND = (
    "Mean over photos with its 95 % bootstrap interval. ↑ higher is better, ↓ lower. **Bold**: the best mean; ≈: the "
    "difference from the best could be chance; ?: the difference from the random control could be (paired sign-flip "
    f"tests, Holm over these pairs, p ≥ {ALPHA:g}). (n): fewer photos than the row has, since others have no value, or "
    "the method was asked again on few."
)


def written(table: Table, title: str, facts: Sequence[str]) -> str:
    """The whole of a table.

    Args:
        table: the results.
        title: of the page.
        facts: lines above it: what was judged, and how.
    """
    lines = [f"# {title}", "", *(f"- {fact}" for fact in [*facts, *_empty(table)]), "", LEGEND, ""]
    for heading, rows in figures(table, cell):
        lines += [f"## {heading}", "", _line(*rows[0]), _line(*["---"] * len(rows[0]))]
        lines += [*(_line(*row) for row in rows[1:]), ""]
    if not table.differences and len(set(table.answers.values())) > 1:
        lines += ["## Classifiers", "", *_answers(table), ""]
    lines += ["## Cost", "", *_costs(table), ""]
    if table.overlap:
        lines += ["## Overlap: mean rank correlation of two methods' maps", "", *_overlap(table), ""]
    return "\n".join(lines)


def cell(estimate: Estimate, photos: int) -> str:
    """A mean with its interval, and the number of photos where it is another than the row's."""
    if math.isnan(estimate.mean):
        return "–"
    words = f"{estimate.mean:.3f}"
    if estimate.interval is not None:
        words += f" [{estimate.interval[0]:.3f}, {estimate.interval[1]:.3f}]"
    return words if estimate.photos == photos else f"{words} ({estimate.photos})"


def _empty(table: Table) -> list[str]:
    """Methods whose maps say nothing of some photos."""
    said = {"Zero everywhere": 2, "Not finite": 1}
    found = {
        words: [f"{name} on {counts[place]} photos" for name, counts in table.photos.items() if counts[place]]
        for words, place in said.items()
    }
    return [f"{words}: {', '.join(names)}." for words, names in found.items() if names]


def figures(table: Table, words: Callable[[Estimate, int], str]) -> Iterator[tuple[str, list[list[str]]]]:
    """Heading and rows, the head first, of each group of metrics; the best, and what cannot be told from it, marked.

    Args:
        table: the results.
        words: an estimate, and the photos of its method → what the cell says.
    """
    arrows = {True: " ↑", False: " ↓", None: ""}
    for heading, needs in GROUPS.items():
        metrics = [metric for metric in table.metrics if metric.needs in needs]
        if not metrics:
            continue
        head = ["method", "photos", *(metric.column + arrows[metric.higher_is_better] for metric in metrics)]
        columns = [_marked(table, metric, words) for metric in metrics]
        rows = zip(table.methods, *columns, strict=True)
        yield heading, [head, *([name, str(table.photos[name][0]), *cells] for name, *cells in rows)]


def _marked(table: Table, metric: MapMetric, words: Callable[[Estimate, int], str]) -> list[str]:
    """A metric's cells, the best and what cannot be told from it or from chance marked."""
    best = table.best(metric)
    same, chance = table.like(best, metric) - {best}, table.like(CONTROL, metric) - {CONTROL}
    cells = []
    for name in table.methods:
        said = words(table.cells[name, metric.column], table.photos[name][0])
        said = f"**{said}**" if name == best else f"≈ {said}" if name in same else said
        cells.append(f"{said} ?" if name in chance else said)
    return cells


def _answers(table: Table) -> list[str]:
    """Of methods that explain different networks: how good each network is, and how sure."""
    heads = [_line("method", "accuracy", "clean probability"), _line(*["---"] * 3)]
    return heads + [_line(name, *(_known(value, ".3f") for value in table.answers[name])) for name in table.methods]


def _costs(table: Table) -> list[str]:
    heads = ["method", "forwards", "backwards", "ms", "MiB"]
    lines = ["Of one map of one photo, measured; ms and MiB on the machine at hand.", ""]
    lines += [_line(*heads), _line(*["---"] * len(heads))]
    return lines + [_line(name, *(_known(table.costs[name][cost], ".4g") for cost in COSTS)) for name in table.methods]


def _overlap(table: Table) -> list[str]:
    names = [name for name in table.methods if any(name in pair for pair in table.overlap)]
    lines = [_line("", *names), _line(*["---"] * (len(names) + 1))]
    for one in names:
        found = [table.overlap.get((one, other)) or table.overlap.get((other, one)) for other in names]
        lines.append(_line(one, *(_known(None if estimate is None else estimate.mean, ".2f") for estimate in found)))
    return lines


def _known(value: float | None, form: str) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:{form}}"


def _line(*cells: str) -> str:
    return f"| {' | '.join(part.replace('|', '/') for part in cells)} |"
