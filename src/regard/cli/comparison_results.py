"""What a comparison leaves: raw maps, a picture, rows, and a table of figures."""

from __future__ import annotations

import itertools
import math
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard.cli.columns import Column
from regard.cli.comparison import Alike, Compared
from regard.cli.output import print_table
from regard.cli.photos import LONGEST_NAME
from regard.explained_run import strongest_place
from regard.naming import photo_facts, printable

if TYPE_CHECKING:
    from torch import Tensor

    from regard.drawing import Panel, PanelRow, Scale
    from regard.runs import Run

SAME = "the same for every target"
FIGURES = {
    "probability": ("map", "probability"),
    "compactness": ("map", "compactness"),
    "gini": ("map", "gini"),
    "overlap": ("overlap", "rank_correlation"),
    "between targets": ("between targets", "rank_correlation"),
}
"""What the table shows, in its order: the kind of row, and the column that holds the number."""
LEGEND = (
    "compactness: share of places at or below 5 % of the strongest; gini: how unequally the evidence is spread",
    "overlap: rank correlation of two methods; between targets: of one method's maps, lower tells targets apart",
)


def save_maps(folder: Path, rows: Sequence[Compared], name: str) -> list[str | None]:
    """Write the raw maps of every row to a file; the files' places in the run, None for a row without maps."""
    files: list[str | None] = []
    for number, row in enumerate(rows, 1):
        words = re.sub(r"[^\w.-]+", "-", row.contender.name)[:LONGEST_NAME]
        file = Path("maps", name, f"{number:02d}-{words}.safetensors")
        if row.explanation is not None:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            row.explanation.save(folder / file)
        files.append(None if row.explanation is None else file.as_posix())
    return files


def draw(
    folder: Path, rows: Sequence[Compared], columns: Sequence[Column], alike: Alike, photo: Path, name: str
) -> str:
    """Draw the grid of a comparison to a file of this name; the picture's place in the run."""
    from regard.drawing import draw_comparison, shortened
    from regard.figure_file import save

    matrices = [("overlap (rank correlation), mean", alike.mean_overlap())]
    matrices += [
        (f"overlap: {shortened(column.name)}", matrix) for column, matrix in zip(columns, alike.overlap, strict=True)
    ]
    drawn = [
        _panel_row(row, columns, float(mean)) for row, mean in zip(rows, alike.mean_between_targets(), strict=True)
    ]
    file = Path("pictures", name)
    (folder / file).parent.mkdir(exist_ok=True)
    save(draw_comparison(photo, drawn, matrices, shortened(printable(photo.name))), folder / file)
    return file.as_posix()


def _panel_row(row: Compared, columns: Sequence[Column], between_targets: float) -> PanelRow:
    """A row to draw. Its scale is that of its classes; scores of concepts have another unit, so another scale."""
    from regard.drawing import LONGEST, PanelRow, Scale, as_drawn, scale_of, shortened

    if row.explanation is None:
        return PanelRow(row.contender.name, row.why(), (), Scale(1.0, False), False, ("", ""))
    explanation = row.explanation
    classes = [place for place, answer in enumerate(explanation.targets[0]) if answer.index is not None]
    concepts = [place for place in range(len(explanation.targets[0])) if place not in classes]
    scale, other = (
        scale_of(explanation.maps[:, group], explanation.signed) for group in (classes or concepts, concepts)
    )
    apart = dict.fromkeys(concepts, other) if classes else {}
    placed = as_drawn(explanation).on_photo(longest=LONGEST)[0]
    panels = tuple(_panel(row, number, column, placed, apart) for number, column in enumerate(columns))
    title = f"{row.contender.method}\n{shortened(row.contender.classifier)}"
    words = "" if math.isnan(between_targets) else f"between targets {_number(between_targets)}"
    return PanelRow(title, words, panels, scale, explanation.signed, explanation.signs)


def _panel(row: Compared, number: int, column: Column, placed: Tensor, apart: Mapping[int, Scale]) -> Panel:
    from regard.drawing import Panel, shortened, title_of

    answer, values, place = row.answer(number), row.map_of(number), row.panels[number]
    if values is None or isinstance(place, str):
        return Panel(f"{shortened(column.name)}\n", None, str(place))
    title = f"{shortened(column.name)}\n{row.unknown[number]}" if answer is None else title_of(answer)
    if row.explanation is not None and not row.explanation.per_target and place > 0:
        return Panel(title, None, SAME)
    compact, unequal = sparsity(values)
    words = f"compactness {_number(compact)} · Gini {_number(unequal)}"
    scale = apart.get(place)
    if scale is not None:
        words += f" · scale to {scale.vmax:.2g}"
    return Panel(title, placed[place], words, scale)


def rows_of(
    rows: Sequence[Compared],
    columns: Sequence[Column],
    alike: Alike,
    photo: Path,
    picture: str,
    maps: Sequence[str | None],
) -> list[dict[str, Any]]:
    """Rows of the run: one a map, or why there is none, and one a rank correlation of two maps.

    `method` names method and classifier, since it is part of a row's key; two of a kind stand with "|" between them.
    """
    common = {**photo_facts(photo), "picture": picture, "error": None}
    found: list[dict[str, Any]] = []
    for number, (row, file) in enumerate(zip(rows, maps, strict=True)):
        found += [{**common, **entry, "row": number, "maps": file} for entry in _map_rows(row, columns)]
    return found + [{**common, **pair, "status": "compared"} for pair in _pairs(rows, columns, alike)]


def _map_rows(row: Compared, columns: Sequence[Column]) -> Iterator[dict[str, Any]]:
    plain = {"kind": "map", "method": row.contender.name, "classifier": row.contender.classifier}
    missing = "failed" if row.failed else "no map"
    if row.explanation is None:
        yield {**plain, "target": "", "status": missing, "error": printable(row.why())}
        return
    for place, column in enumerate(columns):
        about = {**plain, "target": column.name, "place": place}
        answer, values = row.answer(place), row.map_of(place)
        if values is None:
            yield {**about, "status": missing, "error": printable(str(row.panels[place]))}
            continue
        compact, unequal = sparsity(values)
        yield {
            **about,
            "class_index": answer and answer.index,
            "score": answer and answer.score,
            "probability": answer and answer.probability,
            "error": printable(row.unknown[place]) or None,
            "strongest": strongest_place(values),
            "compactness": _known(compact),
            "gini": _known(unequal),
            "status": "explained",
        }


def _pairs(rows: Sequence[Compared], columns: Sequence[Column], alike: Alike) -> Iterator[dict[str, Any]]:
    """The rank correlations between two maps: of two methods on a target, and of two targets of a method."""
    names, targets = [row.contender.name for row in rows], [column.name for column in columns]
    for one, other in itertools.combinations(range(len(rows)), 2):
        for place, target in enumerate(targets):
            yield {
                "kind": "overlap",
                "method": f"{names[one]} | {names[other]}",
                "target": target,
                "row": one,
                "other_row": other,
                "place": place,
                "rank_correlation": _known(float(alike.overlap[place, one, other])),
            }
    for number, method in enumerate(names):
        for one, other in itertools.combinations(range(len(targets)), 2):
            yield {
                "kind": "between targets",
                "method": method,
                "target": f"{targets[one]} | {targets[other]}",
                "row": number,
                "place": one,
                "other_place": other,
                "rank_correlation": _known(float(alike.between_targets[number, one, other])),
            }


def figures(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a run as a table: for each photo, figure and method, the value of each target and their mean.

    Of the correlations between targets, each target's value is its mean with the others.
    """
    found = []
    for image in sorted({row["image"] for row in rows}):
        of_photo = [row for row in rows if row["image"] == image and row.get("kind")]
        of_photo.sort(key=lambda row: (row["row"], row.get("other_row") or 0, row.get("place") or 0))
        targets = {row["place"]: row["target"] for row in of_photo if row["kind"] == "map" and row["target"]}
        for (figure, method), cells in _cells(of_photo).items():
            values = {place: statistics.fmean(several) for place, several in cells.items()}
            named = {targets[place]: values.get(place) for place in sorted(targets)}
            mean = None if figure == "probability" else statistics.fmean(values.values())
            found.append({"image": image, "figure": figure, "method": method, "mean": mean, "targets": named})
    return found


def _cells(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], dict[int, list[float]]]:
    """For each figure and method, in the order of the table, the values that speak of each target's place."""
    cells: dict[tuple[str, str], dict[int, list[float]]] = {}
    for figure, (kind, column) in FIGURES.items():
        for row in rows:
            if row["kind"] != kind or row.get(column) is None:
                continue
            line = cells.setdefault((figure, row["classifier" if figure == "probability" else "method"]), {})
            for place in (row["place"], row.get("other_place")):
                if place is not None:
                    line.setdefault(place, []).append(row[column])
    return cells


def print_figures(results: Run, found: Sequence[Mapping[str, Any]]) -> None:
    """The table of every photo, what has no map, and what the figures mean; what failed whole has been said before."""
    rows = [row for row in results.rows() if row.get("kind")]
    for image in sorted({row["image"] for row in rows}):
        failures = [row for row in rows if row["image"] == image and row["error"]]
        of_photo = [entry for entry in found if entry["image"] == image]
        if of_photo:
            picture = next(row["picture"] for row in rows if row["image"] == image)
            print(f"{image} → {results.folder / picture}")
            targets = list(of_photo[0]["targets"])
            print_table(
                ["figure", "method", "mean", *targets],
                [[entry["figure"], entry["method"], *_numbers(entry)] for entry in of_photo],
            )
        for row in failures:
            about = " · ".join(part for part in (row["method"], row["target"]) if part)
            print(f"{about}: no map: {row['error'].partition(chr(10))[0]}")
    if rows:
        print("\n".join(LEGEND))
    print(f"{'pictures, raw maps and ' if rows else ''}index.csv in {results.folder}")


def sparsity(values: Tensor) -> tuple[float, float]:
    """Compactness and Gini index of a map (h, w)."""
    from regard.metrics.sparsity import compactness, gini

    return float(compactness(values)), float(gini(values))


def _known(value: float) -> float | None:
    """A number for a row; None for NaN."""
    return None if math.isnan(value) else value


def _numbers(entry: Mapping[str, Any]) -> list[str]:
    numbers = [entry["mean"], *entry["targets"].values()]
    if entry["figure"] == "probability":
        return ["–" if number is None else f"{number:.1%}" for number in numbers]
    return [_number(number) for number in numbers]


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:z.2f}"
