"""What numbers of single photos, or of seeds, say together: means, differences of methods, many comparisons.

A number that a photo does not have is NaN; it is left out and counted. The order of the photos changes nothing, to the
last bit: values are sorted before anything is drawn or summed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from regard.compat import import_optional
from regard.errors import MetricError

ALPHA = 0.05
"""A difference is told from chance where its p value, adjusted for all that are looked at, is below."""
DRAWS = 1000
"""Of the bootstrap."""
DRAWN_TOGETHER = 2**20
"""Values that the bootstrap draws at once."""
FLIPS = 10_000
"""Random sign flips of a permutation test."""
EXACT_UP_TO = 12
"""Pairs up to which all 2ⁿ sign flips are counted instead."""
FLIPPED_TOGETHER = 2**20
"""Signs that are drawn at once."""


T_QUANTILES = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
"""t(0.975) of 1 to 30 degrees of freedom: Student's table, to the three places that it is printed with. Beyond them
1.96 + 2.4 / df, which is at most 0.0022 too small."""


@dataclass(frozen=True)
class Estimate:
    """A mean over photos, or over seeds.

    Attributes:
        mean: NaN where no photo has a value.
        interval: 95 %, of the bootstrap over photos or of the t distribution over seeds; None where all values are
            alike, or there are none, of which it would say nothing.
        photos: that have a value.
        missing: photos whose value is NaN.
    """

    mean: float
    interval: tuple[float, float] | None
    photos: int
    missing: int

    def __str__(self) -> str:
        return f"{self:.3f}"

    def __format__(self, form: str) -> str:
        """The mean with its interval, each in a form such as "+.1f", and how many photos have no value."""
        if math.isnan(self.mean):
            return "–"
        words = f"{self.mean:{form}}"
        if self.interval is not None:
            words += f" [{self.interval[0]:{form}}, {self.interval[1]:{form}}]"
        return f"{words}, {self.missing} without" if self.missing else words


@dataclass(frozen=True)
class PairedDifference(Estimate):
    """The mean of first − second over the photos that have both; `missing` lack one of them, or both.

    Attributes:
        p_value: how often chance alone makes the mean difference at least as large in either direction, if each photo's
            difference were as likely to have the other sign; NaN where no photo has both values.
    """

    p_value: float


@dataclass(frozen=True)
class WelchDifference:
    """How much larger one mean is than another, by Welch's test; what cannot be told is NaN.

    Attributes:
        mean: of the first less that of the second.
        statistic: t, the difference over its standard error.
        freedom: ν, of the t distribution that t is compared with.
        p_value: two-sided.
    """

    mean: float
    statistic: float
    freedom: float
    p_value: float


def interval(values: Sequence[float] | Tensor, seed: int) -> Estimate:
    """The mean of some photos' values (n,), and where 95 % of the means of n photos drawn from them lie.

    A percentile bootstrap over photos (1,000 draws).

    Raises:
        MetricError: a value is infinite, or values are not (n,).
    """
    found = _values(values)
    known = found[~found.isnan()]
    return Estimate(_mean(known), bootstrap_interval(known, seed), len(known), len(found) - len(known))


def paired(first: Sequence[float] | Tensor, second: Sequence[float] | Tensor, seed: int) -> PairedDifference:
    """How much larger `first` is than `second` on the same photos, both (n,) in the same order.

    The p value is that of a two-sided sign-flip permutation test of the mean difference d: with k of N flips of which
    |Σ s_i d_i| ≥ |Σ d_i|,

        p = (1 + k) / (1 + N)

    N = 10,000 random flips; up to 12 photos the 2ⁿ − 1 flips other than none, which makes p exact. It is the same for
    (second, first), and never 0.

    Args:
        first: NaN where a photo has no value.
        second: likewise.
        seed: of bootstrap and flips.

    Raises:
        MetricError: a value is infinite, or first and second have not the same photos.
    """
    differences = _differences(first, second)
    known = differences[~differences.isnan()]
    return PairedDifference(
        _mean(known),
        bootstrap_interval(known, seed),
        len(known),
        len(differences) - len(known),
        _sign_flip_p_value(known, seed),
    )


def welch(first: Sequence[float] | Tensor, second: Sequence[float] | Tensor) -> WelchDifference:
    """How much larger the mean of `first` (n,) is than that of `second` (m,), which may be of other photos.

        t = (x̄ − ȳ) / √(u + v) ,     u = s_x² / n ,   v = s_y² / m
        ν = (u + v)² / (u² / (n − 1) + v² / (m − 1))

    So BR-NPA's code (arXiv 2106.02566) compares scores of methods, as if their photos had nothing in common. Where
    both are of the same photos, `paired` tells more from as many.

    Args:
        first: NaN where a photo has no value.
        second: likewise.

    Raises:
        MetricError: a value is infinite, or values are not (n,).
        MissingDependencyError: scipy, which has the t distribution, is not installed.
    """
    one, two = (found[~found.isnan()] for found in (_values(first), _values(second)))
    mean = _mean(one) - _mean(two)
    if min(len(one), len(two)) < 2:
        return WelchDifference(mean, math.nan, math.nan, math.nan)
    errors = [_variance(each) / len(each) for each in (one, two)]
    if sum(errors) == 0:
        return WelchDifference(mean, math.nan, math.nan, math.nan)
    statistic = mean / math.sqrt(sum(errors))
    freedom = sum(errors) ** 2 / sum(error**2 / (len(each) - 1) for error, each in zip(errors, (one, two), strict=True))
    below = import_optional("scipy.special", "evaluate").stdtr(freedom, -abs(statistic))
    return WelchDifference(mean, statistic, freedom, 2 * float(below))


def over_seeds(values: Sequence[float] | Tensor, least: float = -math.inf, most: float = math.inf) -> Estimate:
    """The mean of a figure of n seeds (n,), and where the mean of very many lies by Student's t distribution.

        x̄ ± t(0.975, n − 1) s / √n ,     s² = Σ (x_i − x̄)² / (n − 1)

    cut to [least, most]. With few values the bootstrap is too sure: of three normal ones its 95 % hold the mean in
    76 % of cases, of ten in 91.

    Args:
        values: NaN where a seed has none.
        least: that the figure can be; not given, there is no such bound.
        most: likewise.

    Raises:
        MetricError: a value is infinite, or values are not (n,).
    """
    found = _values(values)
    known = found[~found.isnan()]
    return Estimate(_mean(known), t_interval(known, least, most), len(known), len(found) - len(known))


def paired_over_seeds(first: Sequence[float] | Tensor, second: Sequence[float] | Tensor) -> PairedDifference:
    """How much larger `first` is than `second` with the same seeds: as `paired`, with the interval of `over_seeds`.

    Raises:
        MetricError: a value is infinite, or first and second have not the same seeds.
    """
    differences = _differences(first, second)
    found = over_seeds(differences)
    p_value = _sign_flip_p_value(differences[~differences.isnan()], 0)
    return PairedDifference(found.mean, found.interval, found.photos, found.missing, p_value)


def t_interval(values: Tensor, least: float, most: float) -> tuple[float, float] | None:
    """See `over_seeds`; None of one value, or of values (n,) all alike. Their order does not matter."""
    ordered = values.sort().values
    if len(ordered) == 0 or ordered[0] == ordered[-1]:
        return None
    mean, freedom = _mean(ordered), len(ordered) - 1
    quantile = T_QUANTILES[freedom - 1] if freedom <= len(T_QUANTILES) else 1.96 + 2.4 / freedom
    half = quantile * math.sqrt(_variance(ordered) / len(ordered))
    return max(least, mean - half), min(most, mean + half)


def bootstrap_interval(values: Tensor, seed: int) -> tuple[float, float] | None:
    """Where 95 % of the means of n values drawn from the n values (n,) lie; None where all are equal.

    The order of the values does not matter.
    """
    ordered = values.sort().values
    if len(ordered) == 0 or ordered[0] == ordered[-1]:
        return None
    generator = torch.Generator().manual_seed(seed)
    at_once = max(1, DRAWN_TOGETHER // len(ordered))
    sizes = [min(at_once, DRAWS - start) for start in range(0, DRAWS, at_once)]
    drawn = [torch.randint(len(ordered), (size, len(ordered)), generator=generator) for size in sizes]
    means = torch.cat([ordered[places].mean(dim=1) for places in drawn])
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=values.dtype)).tolist()
    return low, high


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """P values of m comparisons, adjusted so that one false alarm among all of them is as rare as p says (Holm 1979).

        p̃_(i) = max_{j ≤ i} min(1, (m − j + 1) p_(j)) ,     p_(1) ≤ … ≤ p_(m)

    In the order given. NaN, a comparison that could not be made, stays NaN and is not counted in m.

    Raises:
        MetricError: a p value is no probability.
    """
    wrong = [value for value in p_values if value < 0 or value > 1]
    if wrong:
        raise MetricError("a p value is a probability", came=f"{wrong[0]}", expected="0 to 1")
    made = sorted((value, place) for place, value in enumerate(p_values) if not math.isnan(value))
    adjusted = [math.nan] * len(p_values)
    least = 0.0
    for rank, (value, place) in enumerate(made):
        least = max(least, min(1.0, (len(made) - rank) * value))
        adjusted[place] = least
    return tuple(adjusted)


def _differences(first: Sequence[float] | Tensor, second: Sequence[float] | Tensor) -> Tensor:
    one, two = _values(first), _values(second)
    if len(one) != len(two):
        raise MetricError("paired values are of the same photos", came=f"{len(one)} and {len(two)}")
    return one - two


def _values(values: Sequence[float] | Tensor) -> Tensor:
    found = torch.as_tensor(values, dtype=torch.float64).detach().cpu()
    if found.dim() != 1 or bool(found.isinf().any()):
        raise MetricError(
            "values of photos are finite numbers, or NaN where a photo has none",
            came="infinity" if found.dim() == 1 else f"{tuple(found.shape)}",
            expected="(n,)",
        )
    return found


def _mean(values: Tensor) -> float:
    return math.fsum(values.tolist()) / len(values) if len(values) else math.nan


def _variance(values: Tensor) -> float:
    """Of n > 1 values, with n − 1 beneath."""
    mean = _mean(values)
    return math.fsum((value - mean) ** 2 for value in values.tolist()) / (len(values) - 1)


def _sign_flip_p_value(differences: Tensor, seed: int) -> float:
    """Sizes alone are flipped: the flips of d and of −d are the same."""
    if len(differences) == 0:
        return math.nan
    sizes = differences.abs().sort().values
    observed, rounding = abs(math.fsum(differences.tolist())), 1e-12 * float(sizes.sum())
    as_large = flips = 0
    for kept in _all_flips(len(sizes)) if len(sizes) <= EXACT_UP_TO else _random_flips(len(sizes), seed):
        as_large += int(((2 * (kept @ sizes) - sizes.sum()).abs() >= observed - rounding).sum())
        flips += len(kept)
    return (1 + as_large) / (1 + flips)


def _all_flips(count: int) -> Iterator[Tensor]:
    """Which signs stay, 1, and which change, 0, in every flip but none: (2ⁿ − 1, n)."""
    yield torch.tensor(list(itertools.product((1.0, 0.0), repeat=count))[1:], dtype=torch.float64)


def _random_flips(count: int, seed: int) -> Iterator[Tensor]:
    """The same, drawn: eight signs are the bits of a byte."""
    generator = torch.Generator().manual_seed(seed)
    at_once = max(1, FLIPPED_TOGETHER // count)
    for start in range(0, FLIPS, at_once):
        size = min(at_once, FLIPS - start), -(-count // 8)
        drawn = torch.randint(256, size, dtype=torch.uint8, generator=generator).numpy()
        yield torch.from_numpy(np.unpackbits(drawn, axis=1, count=count)).double()
