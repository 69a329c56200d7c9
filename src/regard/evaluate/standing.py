"""One metric: what every method got on the same photos, which is best, and what chance alone could have made."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from regard.metrics.metric import MapMetric
from regard.statistics import ALPHA, Estimate, PairedDifference, holm, interval, paired

CHANCE = "random"
"""The control that every method is compared with."""
ARROWS = {True: " ↑", False: " ↓", None: ""}

Values = Mapping[str, float]
"""Photo → value, NaN where it has none."""


@dataclass(frozen=True)
class Difference:
    """Two methods on one metric, photo by photo; `adjusted` is its p value by Holm over the pairs of the metric."""

    first: str
    second: str
    found: PairedDifference
    adjusted: float


@dataclass(frozen=True)
class Standing:
    """All methods on one metric, over the photos on which every one of them was measured.

    Attributes:
        metric: the metric.
        name: what the table calls it, which says the seed elsewhere.
        photos: how many these are.
        cells: method → mean and interval; only of methods that were measured.
        differences: of the best, and of the random control, from every other; empty where nothing could be told.
        best: of the best mean, several where they are equal; empty without differences. Chosen on the same photos, so
            that p values of differences from it are too small by a little.
        like_best: whose difference from the best could be chance.
        like_chance: whose difference from the random control could be.
    """

    metric: MapMetric
    name: str
    photos: int
    cells: Mapping[str, Estimate]
    differences: tuple[Difference, ...]
    best: frozenset[str]
    like_best: frozenset[str]
    like_chance: frozenset[str]

    @property
    def heading(self) -> str:
        """Of its column: the name, which direction is better, and how many photos."""
        return f"{self.name}{ARROWS[self.metric.higher_is_better]} ({self.photos})"


def standing(
    metric: MapMetric, values: Mapping[str, Values], controls: Collection[str], seed: int, *, compared: bool
) -> Standing:
    """Where the methods stand.

    Methods are compared where so many photos are shared that a difference could be told at all: the smallest p value
    of n photos is 2^(1 − n), and Holm multiplies it by the number of pairs.

    Args:
        metric: the metric.
        values: method → its values, of the photos on which it was measured.
        controls: methods that know nothing of the classifier: shown, and never the best.
        seed: of the bootstrap, the permutation tests, and metrics whose name says no other.
        compared: whether methods are compared photo by photo; not where they explain different networks.
    """
    asked = {name: found for name, found in values.items() if found}
    shared = sorted(set.intersection(*(set(found) for found in asked.values()))) if asked else []
    each = {name: [found[image] for image in shared] for name, found in asked.items()}
    cells = {name: interval(numbers, seed) for name, numbers in each.items()}
    called = metric.called(seed=seed)
    best = _best(metric, {name: cell for name, cell in cells.items() if name not in controls})
    pairs = _pairs(best, cells)
    if not (compared and pairs and 2.0 ** (1 - len(shared)) * len(pairs) < ALPHA):
        return Standing(metric, called, len(shared), cells, (), frozenset(), frozenset(), frozenset())
    differences = _differences(pairs, each, seed)
    return Standing(
        metric=metric,
        name=called,
        photos=len(shared),
        cells=cells,
        differences=differences,
        best=frozenset(best),
        like_best=_like(best[0], differences) - frozenset(best),
        like_chance=_like(CHANCE, differences) - {CHANCE},
    )


def _best(metric: MapMetric, cells: Mapping[str, Estimate]) -> list[str]:
    """The methods of the best mean, by name; none where neither direction is better."""
    known = {name: cell.mean for name, cell in cells.items() if not math.isnan(cell.mean)}
    if metric.higher_is_better is None or not known:
        return []
    target = max(known.values()) if metric.higher_is_better else min(known.values())
    return sorted(name for name, mean in known.items() if mean == target)


def _pairs(best: Sequence[str], cells: Mapping[str, Estimate]) -> list[tuple[str, str]]:
    """The first of the best, and the random control, with every other: each further pair would cost these power."""
    known = sorted(name for name, cell in cells.items() if not math.isnan(cell.mean))
    ends = [name for name in (*best[:1], CHANCE) if name in known]
    found = {frozenset((end, name)): (end, name) for end in ends for name in known if name != end}
    return list(found.values()) if best else []


def _differences(
    pairs: Sequence[tuple[str, str]], each: Mapping[str, Sequence[float]], seed: int
) -> tuple[Difference, ...]:
    tests = [paired(each[first], each[second], seed) for first, second in pairs]
    adjusted = holm([test.p_value for test in tests])
    return tuple(
        Difference(first, second, test, value)
        for (first, second), test, value in zip(pairs, tests, adjusted, strict=True)
    )


def _like(name: str, differences: Sequence[Difference]) -> frozenset[str]:
    """The methods whose difference from one that was compared with all could be chance."""
    same = [(one.first, one.second) for one in differences if name in (one.first, one.second)]
    adjusted = [one.adjusted for one in differences if name in (one.first, one.second)]
    near = [pair for pair, value in zip(same, adjusted, strict=True) if not value < ALPHA]
    return frozenset(method for pair in near for method in pair if method != name)
