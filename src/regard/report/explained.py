"""Sections of runs of `regard explain` and `regard compare`: photos with their maps, and what maps say in numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from regard.evaluate.plan import spread
from regard.report.blocks import Block, Card, Gallery, Grid, Layer, Maps, Section, Words
from regard.report.failures import failures
from regard.report.thumbnails import MOST_MAPS, MOST_PHOTOS, Placed, left_out, photo_shown, placed, seen_by_classifier
from regard.runs import SeenRun

Row = Mapping[str, Any]
SAME = "the same for every target"


def sections(run: SeenRun) -> list[Section]:
    """Of `explain` and `compare`: figures of several methods, the gallery, failures."""
    return [_figures(run), gallery(run), failures(run)]


def gallery(run: SeenRun) -> Section:
    """All photos with their maps, methods side by side."""
    by_photo: dict[str, list[Row]] = {}
    for row in run.rows:
        if row.get("kind", "map") in ("map", None):
            by_photo.setdefault(row["image"], []).append(row)
    most = max((len(rows) for rows in by_photo.values()), default=1)
    chosen = sorted(spread(sorted(by_photo))[: max(1, min(MOST_PHOTOS, MOST_MAPS // most))])
    legend: dict[str, str] = {}
    cards = [_card(image, by_photo[image], run, legend) for image in chosen]
    blocks: list[Block] = [Gallery(cards, list(legend.values()))] if cards else []
    if len(chosen) < len(by_photo):
        blocks.insert(0, Words(left_out(len(chosen), len(by_photo)), "note"))
    return Section("gallery", "Photos and maps", blocks)


def _card(image: str, rows: Sequence[Row], run: SeenRun, legend: dict[str, str]) -> Card:
    ordered = sorted(rows, key=lambda row: (row.get("row") or 0, row.get("place") or 0))
    digest = next((row["photo_sha256"] for row in rows if row.get("photo_sha256")), None)
    photo = photo_shown(image, digest, run.folder)
    names = dict.fromkeys(row["maps"] for row in ordered if row.get("maps"))
    files = {name: placed(name, run.folder, photo.source is not None) for name in names}
    notes = [photo.why, *(_first_line(row["error"]) for row in ordered if row.get("error") and not row.get("target"))]
    there = [file for file in files.values() if isinstance(file, Placed)]
    if photo.source is None and there:
        photo = seen_by_classifier(there[0].explanation)
        notes.append("shown is what the classifier saw of it")
    by_method: dict[str, list[Row]] = {}
    for row in ordered:
        if row.get("target"):
            by_method.setdefault(row["method"], []).append(row)
    maps = []
    for method, mine in by_method.items():
        file = files.get(mine[0].get("maps") or "", "")
        maps.append(_maps(method, mine, file))
        if isinstance(file, Placed):
            legend.setdefault(method, file.legend(method))
    classes = tuple(dict.fromkeys(row["target"] for row in ordered if row.get("target")))
    said = tuple(dict.fromkeys(filter(None, notes)))
    return Card(image, photo.source, photo.size, classes, "", tuple(maps), _chances(ordered), said)


def _chances(rows: Sequence[Row]) -> dict[str, float]:
    """Probabilities: of the likeliest target, and of each by its name. A gallery offers those that all photos have."""
    known = {row["target"]: row["probability"] for row in rows if row.get("probability") is not None}
    likeliest = {"probability of the likeliest": max(known.values())} if known else {}
    return likeliest | {f"probability of {target}": chance for target, chance in known.items()}


def _maps(method: str, rows: Sequence[Row], file: Placed | str) -> Maps:
    """One method's maps, in the order of its rows; a string says why its file shows none."""
    if isinstance(file, str):
        return Maps(method, tuple(Layer(row["target"], _numbers(row, file), None) for row in rows), None)
    names, layers = [answer.name for answer in file.explanation.targets[0]], []
    for row in rows:
        place, target = row.get("place") or 0, row["target"]
        if names[place : place + 1] != [target]:  # in a comparison a column is not always a map
            place = names.index(target) if target in names else None
        if place is None or (place > 0 and not file.explanation.per_target):
            layers.append(Layer(row["target"], _numbers(row, "" if place is None else SAME), None))
            continue
        apart = file.scales[place] != file.scales[0] and f"on a scale of its own, to {file.scales[place].vmax:.2g}"
        layers.append(Layer(row["target"], _numbers(row, apart or ""), file.sources[place]))
    return Maps(method, tuple(layers), file.ends, file.explanation.signed)


def _numbers(row: Row, more: str) -> str:
    """What is said beneath a map: how likely its target is, where the map is strongest, or why there is none."""
    said = [f"{row['probability']:.1%}" if row.get("probability") is not None else ""]
    said += [f"score {row['score']:.3g}" if row.get("score") is not None else ""]
    said += [f"strongest {row['strongest']}" if row.get("strongest") else "", _first_line(row.get("error")), more]
    return " · ".join(filter(None, said))


def _first_line(text: Any) -> str:
    return str(text or "").partition("\n")[0]


def _figures(run: SeenRun) -> Section:
    """What `compare` says of methods in numbers: their maps' spread, and how much they are alike."""
    maps = [row for row in run.rows if row.get("kind") == "map" and row.get("compactness") is not None]
    methods = list(dict.fromkeys(row["method"] for row in sorted(maps, key=lambda row: row["row"])))
    if not methods:
        return Section("figures", "", [])
    apart = [row for row in run.rows if row.get("kind") == "between targets"]
    lines = [
        [
            method,
            _mean(row["compactness"] for row in maps if row["method"] == method),
            _mean(row["gini"] for row in maps if row["method"] == method),
            _mean(row["rank_correlation"] for row in apart if row["method"] == method),
        ]
        for method in methods
    ]
    blocks: list[Block] = [
        Words(
            "Means over photos and targets. Compactness: share of places at or below 5 % of the strongest; Gini: how "
            "unequally the evidence is spread; between targets: rank correlation of one method's maps of two targets, "
            "where lower tells targets apart."
        ),
        Grid([["method", "compactness", "Gini", "between targets"], *lines], "Maps in numbers"),
    ]
    pairs = [row for row in run.rows if row.get("kind") == "overlap"]
    if pairs and len(methods) > 1:
        alike = [
            [one, *("–" if one == other else _mean(_between(pairs, one, other)) for other in methods)]
            for one in methods
        ]
        blocks.append(Grid([["", *methods], *alike], "Overlap: rank correlation of two methods' maps"))
    return Section("figures", "Methods in numbers", blocks)


def _between(pairs: Sequence[Row], one: str, other: str) -> Iterator[float | None]:
    names = (f"{one} | {other}", f"{other} | {one}")
    return (row["rank_correlation"] for row in pairs if row["method"] in names)


def _mean(values: Iterator[float | None] | Any) -> str:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return f"{statistics.fmean(known):z.2f}" if known else "–"
