"""How alike maps of networks for two tasks are, beside those of networks for one, for study_brnpa_tasks.py."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 4000
Overlaps = Mapping[str, Sequence[float | None]]
"""Of two networks, "few-shot-0 | re-id-2", their overlap on every photo; none where a map is empty."""


@dataclass(frozen=True)
class Mean:
    """A mean, and where 95 % of those lie that are drawn anew."""

    value: float
    low: float
    high: float


def network_of(contender: str) -> str:
    """The network of "br-npa on few-shot-1.safetensors": "few-shot-1"."""
    return contender.rpartition(" on ")[2].removesuffix(".safetensors")


def pair_of(contenders: str) -> str:
    """Two networks in the order of the alphabet, of "br-npa on re-id-2.safetensors | br-npa on few-shot-0…"."""
    return " | ".join(sorted(map(network_of, contenders.split(" | "))))


def overlaps(found: Overlaps) -> dict[str, Mean]:
    """Means over networks and photos: of two tasks, of two seeds of one, and how much less the former are.

    Networks of each task and photos are drawn with replacement, in one draw. Of two networks of a task only different
    ones are compared; draws of one network alone, a ninth of those of three, have no such pair and are left out.
    """
    tasks = sorted({name.rpartition("-")[0] for pair in found for name in pair.split(" | ")})
    seeds = 1 + max(int(name.rpartition("-")[2]) for pair in found for name in pair.split(" | "))
    tables = {(one, other): _table(found, one, other, seeds) for one in tasks for other in tasks}
    random, photos = np.random.default_rng(0), len(next(iter(found.values())))
    drawn = {task: random.multinomial(seeds, np.full(seeds, 1 / seeds), DRAWS) for task in tasks}
    shown = random.multinomial(photos, np.full(photos, 1 / photos), DRAWS)
    every = {task: np.ones((1, seeds)) for task in tasks}
    values, anew = _means(tables, every, np.ones((1, photos))), _means(tables, drawn, shown)
    return {what: Mean(float(values[what][0]), *_interval(anew[what])) for what in values}


def _interval(means: np.ndarray) -> tuple[float, float]:
    known = means[~np.isnan(means)]
    low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
    return float(low), float(high)


def _means(
    tables: Mapping[tuple[str, str], np.ndarray], networks: Mapping[str, np.ndarray], photos: np.ndarray
) -> dict[str, np.ndarray]:
    """Of networks (draws, seeds) and photos (draws, n) counted so often, (draws,) each."""
    found = {
        pair: _mean(table, networks[pair[0]], networks[pair[1]], photos)
        for pair, table in tables.items()
        if pair[0] <= pair[1]
    }
    tasks = sorted({task for pair in tables for task in pair})
    said = {f"{task}, two seeds": found[task, task] for task in tasks}
    for one, other in itertools.combinations(tasks, 2):
        said[f"{one} and {other}"] = found[one, other]
    for one, other in itertools.combinations(tasks, 2):
        said[f"{one} and {other}, less two seeds"] = found[one, other] - (found[one, one] + found[other, other]) / 2
    return {what: values for what, values in said.items() if not np.isnan(values).all()}


def _mean(table: np.ndarray, one: np.ndarray, other: np.ndarray, photos: np.ndarray) -> np.ndarray:
    """The mean of overlaps (seeds, seeds, n), those that there are, with such weights (draws, …)."""
    known = ~np.isnan(table)
    sums, counts = (
        np.einsum("da,db,dp,abp->d", one, other, photos, part, optimize=True)
        for part in (np.where(known, table, 0.0), known.astype(float))
    )
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _table(found: Overlaps, one: str, other: str, seeds: int) -> np.ndarray:
    """Of two tasks' networks, (seeds, seeds, photos); NaN of a network with itself."""
    photos = len(next(iter(found.values())))
    table = np.full((seeds, seeds, photos), np.nan)
    for first, second in itertools.product(range(seeds), repeat=2):
        pair = " | ".join(sorted((f"{one}-{first}", f"{other}-{second}")))
        if pair in found:
            table[first, second] = np.array(found[pair], dtype=float)
    return table
