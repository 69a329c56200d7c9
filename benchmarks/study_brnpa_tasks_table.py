"""The tables of benchmarks/study_brnpa_tasks.py, from the numbers of single episodes, queries and photos."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tasks_few_shot
import tasks_reid
from measuring import head
from tasks_kept import REPRESENTATIVE, Row
from tasks_overlap import DRAWS, Mean, overlaps
from tasks_similarity import MEANS, SUBJECTS

CURVES = ("deletion", "insertion")
OWN, BLIND = "its own, mean", ("random", "centre")
BySeed = dict[int, Sequence[float]]


def mean_of(values: Sequence[Sequence[float]], groups: Sequence[object] | None = None, shared: bool = False) -> Mean:
    """The mean of values (seeds, n), by a bootstrap over seeds and over what was measured, in one draw.

    Args:
        values: of each seed.
        groups: of the n, which are drawn whole, as photos of one person; default each by itself.
        shared: whether the n are the same in all seeds, and drawn once for all; else each seed has n of its own.
    """
    table = np.asarray(values, dtype=float)
    _, place = np.unique(np.arange(table.shape[1]) if groups is None else np.asarray(groups), return_inverse=True)
    counts = np.bincount(place).astype(float)
    sums = np.stack([np.bincount(place, weights=row) for row in table])
    draw = np.random.default_rng(0)
    seeds = draw.integers(len(table), size=(DRAWS, len(table), 1))
    drawn = draw.integers(len(counts), size=(DRAWS, 1 if shared else len(table), len(counts)))
    means = sums[seeds, drawn].sum(axis=(1, 2)) / np.broadcast_to(counts[drawn], (*seeds.shape[:2], len(counts))).sum(
        axis=(1, 2)
    )
    low, high = np.percentile(means, [2.5, 97.5])
    return Mean(float(table.mean()), float(low), float(high))


def difference(first: BySeed, second: BySeed, **drawn: Any) -> Mean | None:
    """first − second, of the same episodes, queries or photos; None where they have no seed in common."""
    both = sorted(first.keys() & second.keys())
    if not both:
        return None
    return mean_of([np.subtract(first[seed], second[seed]) for seed in both], **drawn)


def by_seed(rows: Iterable[Row], read: Callable[[Row], Sequence[float]]) -> BySeed:
    return {row["seed"]: read(row) for row in rows}


def document(rows: Sequence[Row]) -> str:
    parts = [*few_shot(rows), *reid(rows), *similarity(rows), *side_by_side(rows)]
    return "\n".join(parts) + "\n"


def few_shot(rows: Sequence[Row]) -> list[str]:
    """Accuracy of episodes; each seed has episodes of its own."""
    lines = []
    for shots in tasks_few_shot.SHOTS:
        own = [row for row in rows if row["task"] == "few-shot" and row["shots"] == shots]
        if not own:
            continue
        of = {case.name: [row for row in own if row["case"] == case.name] for case in tasks_few_shot.CASES}
        read = {name: by_seed(some, lambda row: row["accuracy"]) for name, some in of.items() if some}
        lines += [f"### Omniglot, 5 ways, {shots} shot{'s' * (shots > 1)}", ""]
        columns = ["", "grid", "seeds", "accuracy [95 %]", *against(tasks_few_shot)]
        lines += head(columns)
        for name, values in read.items():
            cells = [grid(of[name][0]), str(len(values)), percent(mean_of([*values.values()]))]
            lines.append(line(name, *cells, *less(read, name, tasks_few_shot)))
        lines += ["", *ranks_alone(own, lambda found: found, "accuracy")]
    return lines


def reid(rows: Sequence[Row]) -> list[str]:
    """Retrieval: the same queries in all seeds, and those of a person drawn together."""
    own = [row for row in rows if row["task"] == "re-id"]
    if not own:
        return []
    drawn: dict[str, Any] = {"groups": own[0]["persons"], "shared": True}
    lines = [f"### Re-identification, {len({*own[0]['persons']})} persons, {len(own[0]['persons'])} queries", ""]
    columns = ["", "grid", "seeds", "mAP before", "mAP [95 %]", *against(tasks_reid)]
    lines += head([*columns, "rank-1 [95 %]"])
    read = {case.name: [row for row in own if row["case"] == case.name] for case in tasks_reid.CASES}
    precision = {name: by_seed(some, lambda row: row["mAP"]) for name, some in read.items() if some}
    for name, values in precision.items():
        before = np.mean([row["before"] for row in read[name]])
        cells = [
            grid(read[name][0]),
            str(len(values)),
            f"{100 * before:.1f}",
            percent(mean_of([*values.values()], **drawn)),
        ]
        first = mean_of([row["rank-1"] for row in read[name]], **drawn)
        lines.append(line(name, *cells, *less(precision, name, tasks_reid, **drawn), percent(first)))
    return [*lines, "", *ranks_alone(own, lambda found: found["mAP"], "mAP", **drawn)]


def ranks_alone(rows: Sequence[Row], read: Callable[[Any], Sequence[float]], measure: str, **drawn: Any) -> list[str]:
    """What is told by some ranks alone, of each network that has ranks; behind it, how much more than that by all."""
    known = [name for name in dict.fromkeys(row["case"] for row in rows) if any_ranks(rows, name)]
    lines = head([f"{measure} by ranks", *known])
    for ranks in REPRESENTATIVE:
        cells = []
        for name in known:
            of = [row for row in rows if row["case"] == name]
            values = by_seed(of, lambda row, ranks=ranks: read(row["ranks"][ranks]))
            some, every = mean_of([*values.values()], **drawn), by_seed(of, lambda row: read(row["ranks"]["1+2+3"]))
            added = "" if ranks == "1+2+3" else f" ({percent(difference(values, every, **drawn), signed=True)})"
            cells.append(f"{100 * some.value:.1f}{added}")
        lines.append(line(ranks, *cells))
    return [*lines, ""]


def against(task: Any) -> list[str]:
    return [f"less {other}" for other in (task.ALONE, task.TEACHER)]


def less(read: Mapping[str, BySeed], name: str, task: Any, **drawn: Any) -> list[str]:
    """How much more a network is worth than the one that learns alone on the finer grid, and than the teacher."""
    return [
        percent(difference(read[name], read.get(other, {}), **drawn), signed=True) if other != name else ""
        for other in (task.ALONE, task.TEACHER)
    ]


def any_ranks(rows: Sequence[Row], name: str) -> bool:
    return any("ranks" in row for row in rows if row["case"] == name)


def similarity(rows: Sequence[Row]) -> list[str]:
    """Maps of a cosine; differences to Grad-CAM, and of the first map, of the same network, photo by photo."""
    lines = []
    for task in ("few-shot", "re-id"):
        own = [row for row in rows if row["task"] == f"similarity, {task}"]
        if not own:
            continue
        what = "a drawing and its prototype" if task == "few-shot" else "a photo and its nearest right match"
        lines += [f"### What makes {what} alike", ""]
        columns = ["network", "grid", "map", "seeds", "photos", "cosine"]
        for curve in ("deletion ↓", "insertion ↑"):
            columns += [curve, "less grad-cam", "first map less it"]
        lines += head(columns)
        found = {name: [row for row in own if row["case"] == name] for name in SUBJECTS[task]}
        networks = {name: those for name, those in found.items() if those}
        for those in networks.values():
            lines += of_network(those, shared=task == "re-id")
        lines += ["", *of_networks(networks, shared=task == "re-id")]
    return lines


def of_network(rows: Sequence[Row], shared: bool) -> list[str]:
    drawn: dict[str, Any] = {"groups": rows[0]["about"], "shared": shared}
    lines, first = [], next(iter(rows[0]["methods"]))
    for method in rows[0]["methods"]:
        cells = [rows[0]["case"], grid(rows[0]), method, str(len(rows)), str(len(rows[0]["about"]))]
        cells.append(f"{np.mean([row['methods'][method]['clean'] for row in rows]):.2f}")
        for curve in CURVES:
            values, against, own = (
                by_seed(rows, lambda row, of=of, curve=curve: row["methods"][of][curve])
                for of in (method, "grad-cam", first)
            )
            cells.append(f"{mean_of([*values.values()], **drawn).value:.3f}")
            cells.append(plain(difference(values, against, **drawn)) if method != "grad-cam" else "")
            cells.append(plain(difference(own, values, **drawn)) if method != first else "")
        lines.append(line(*cells))
    return lines


def of_networks(networks: Mapping[str, Sequence[Row]], shared: bool) -> list[str]:
    """Shares of the whole photo's cosine, by every network's own map, the mean of its ranks where it has some.

    Cosines of two networks have no common unit, shares that are left do, as of probabilities. What maps that know of no
    network differ by is the networks', not their maps'.
    """
    first, *_ = networks
    drawn: dict[str, Any] = {"groups": networks[first][0]["about"], "shared": shared}
    lines = head(
        [
            "map",
            "network",
            "seeds",
            *(f"{curve}, share{less}" for curve in CURVES for less in ("", f", {first} less it")),
        ]
    )
    for map_ in (OWN, *BLIND):
        shares = {
            name: {curve: by_seed(rows, share_of(map_, curve)) for curve in CURVES} for name, rows in networks.items()
        }
        for name, found in shares.items():
            cells = [map_, name, str(len(networks[name]))]
            for curve, values in found.items():
                cells.append(f"{mean_of([*values.values()], **drawn).value:.3f}")
                cells.append("" if name == first else plain(difference(shares[first][curve], values, **drawn)))
            lines.append(line(*cells))
    return [*lines, ""]


def share_of(map_: str, curve: str) -> Callable[[Row], list[float]]:
    def read(row: Row) -> list[float]:
        found = next(row["methods"][name] for name in (MEANS if map_ == OWN else (map_,)) if name in row["methods"])
        return [area / clean for area, clean in zip(found[curve], found["clean"], strict=True)]

    return read


def side_by_side(rows: Sequence[Row]) -> list[str]:
    """Three tasks on the same photos."""
    networks = [row for row in rows if row["task"] == "side by side"]
    compared = [row for row in rows if row["task"] == "compare"]
    lines = []
    if networks:
        lines += [
            "### One backbone, three tasks",
            "",
            *head(["task", "grid", "seeds", "what it is worth", "by chance"]),
        ]
        for name in dict.fromkeys(row["case"] for row in networks):
            of = [row for row in networks if row["case"] == name]
            values = ", ".join(f"{100 * row['value']:.1f}" for row in of)
            lines.append(
                line(name, grid(of[0]), str(len(of)), f"{of[0]['of']}: {values}", f"{100 * of[0]['chance']:.1f}")
            )
        lines.append("")
    if compared:
        methods = [row["method"] for row in compared]
        lines += head(["mean [95 %]", *methods])
        lines += over_photos("compactness, ", [row["sparsity"]["compactness"] for row in compared])
        lines += over_photos("Gini index, ", [row["sparsity"]["gini"] for row in compared])
        lines.append(line("pairs of which a map is empty, %", *(percent_empty(row["overlap"]) for row in compared)))
        alike = [overlaps(row["overlap"]) for row in compared]
        for what in dict.fromkeys(what for each in alike for what in each):
            sign = "+" if what.endswith("less two seeds") else ""
            lines.append(line(f"overlap, {what}", *(plain(each.get(what), 2, sign) for each in alike)))
    return lines


def percent_empty(overlap: Mapping[str, Sequence[float | None]]) -> str:
    """How many of all overlaps, of two networks on a photo, there are not."""
    every = [value for of in overlap.values() for value in of]
    return f"{100 * every.count(None) / len(every):.0f}"


def over_photos(what: str, found: Sequence[Mapping[str, Sequence[float | None]]]) -> list[str]:
    """Means over the photos that have a value."""
    names = sorted({name for each in found for name in each})
    known = [{name: [value for value in each[name] if value is not None] for name in each} for each in found]
    return [
        line(f"{what}{name}", *(plain(mean_of([each[name]]), 2, "") if each.get(name) else "" for each in known))
        for name in names
    ]


def line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def grid(row: Row) -> str:
    return "×".join(map(str, row["grid"]))


def percent(mean: Mean | None, signed: bool = False) -> str:
    if mean is None:
        return ""
    form = "+.1f" if signed else ".1f"
    value, low, high = (format(100 * part, form) for part in (mean.value, mean.low, mean.high))
    return f"{value} [{low}, {high}]"


def plain(mean: Mean | None, digits: int = 3, sign: str = "+") -> str:
    if mean is None:
        return ""
    return f"{mean.value:{sign}.{digits}f} [{mean.low:{sign}.{digits}f}, {mean.high:{sign}.{digits}f}]"
