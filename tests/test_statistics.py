"""Estimates against numbers worked by hand, all cases counted, and scipy."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from regard import statistics
from regard.errors import MetricError
from regard.statistics import T_QUANTILES, holm, interval, over_seeds, paired, paired_over_seeds, welch

NAN = math.nan
numbers = st.floats(-100, 100, allow_subnormal=False)
values = st.lists(st.one_of(numbers, st.just(NAN)), max_size=30)
pairs = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=20)
samples = st.lists(st.integers(-100, 100), min_size=2, max_size=20).filter(lambda drawn: len(set(drawn)) > 1)
p_values = st.lists(st.floats(0, 1), max_size=12)


def drawn(count, seed, shift=0.0):
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def test_a_mean_leaves_out_and_counts_what_is_missing():
    found = interval([1.0, NAN, 2.0, 6.0, NAN], seed=0)
    assert (found.mean, found.photos, found.missing) == (3.0, 3, 2)


def test_the_interval_is_that_of_all_draws_with_replacement():
    # the mean of four draws from 0, 0, 0, 1 is binomial: P(0) = 0.32, P(≤ ½) = 0.949, P(≤ ¾) = 0.996
    assert interval([0, 0, 1, 0], seed=3).interval == (0, 0.75)


def test_the_interval_is_as_wide_as_scipy_finds_it():
    sample = drawn(60, 1)
    found = interval(sample, seed=0)
    other = stats.bootstrap((sample.numpy(),), np.mean, method="percentile", n_resamples=20_000, rng=1)
    low, high = other.confidence_interval
    assert found.interval == pytest.approx((low, high), abs=0.15 * (high - low))


@pytest.mark.parametrize(
    ("given_values", "mean", "photos"),
    [([], NAN, 0), ([NAN, NAN], NAN, 0), ([2.5], 2.5, 1), ([2.5, NAN, 2.5], 2.5, 2)],
    ids=["none", "all missing", "one", "all alike"],
)
def test_where_nothing_varies_there_is_no_interval(given_values, mean, photos):
    found = interval(given_values, seed=0)
    assert (found.mean, found.interval, found.photos) == (pytest.approx(mean, nan_ok=True), None, photos)


@given(values, st.randoms())
def test_the_order_of_photos_changes_nothing_to_the_last_bit(photos, random):
    shuffled = random.sample(photos, len(photos))
    assert str(interval(photos, seed=1)) == str(interval(shuffled, seed=1))


@given(pairs, st.randoms())
def test_the_order_of_pairs_changes_nothing_to_the_last_bit(photos, random):
    shuffled = random.sample(photos, len(photos))
    assert str(paired(*zip(*photos, strict=True), seed=1)) == str(paired(*zip(*shuffled, strict=True), seed=1))


@given(pairs)
def test_changing_sides_changes_the_sign_alone(photos):
    first, second = zip(*photos, strict=True)
    one, two = paired(first, second, 0), paired(second, first, 0)
    assert (one.mean, one.p_value) == (-two.mean, two.p_value)


@given(pairs)
def test_the_interval_lies_among_the_values_and_a_p_value_is_a_probability(photos):
    first, second = zip(*photos, strict=True)
    found = paired(first, second, 0)
    differences = [a - b for a, b in photos]
    assert 0 < found.p_value <= 1
    if found.interval is not None:
        low, high = found.interval
        assert min(differences) - 1e-9 <= low <= high <= max(differences) + 1e-9


def test_another_seed_draws_otherwise_and_the_same_draws_the_same():
    sample, other = drawn(40, 1), drawn(40, 2)
    assert paired(sample, other, 0) == paired(sample, other, 0) != paired(sample, other, 1)
    assert interval(sample, 0) == interval(sample, 0) != interval(sample, 1)


def test_photos_that_lack_one_of_the_two_are_left_out():
    found = paired([1.0, NAN, 3.0, 5.0], [0.0, 2.0, NAN, 1.0], seed=0)
    assert (found.mean, found.photos, found.missing) == (2.5, 2, 2)
    assert found.interval == (1, 4)


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([], NAN),
        ([3.0], 1.0),  # its sign alone says nothing
        ([1.0, 2.0, 3.0], 2 / 8),  # only all and none
        ([1.0, 2.0, -3.0], 1.0),
        ([4.0, 3.0, -1.0], 4 / 8),  # |±4 ±3 ±1| ≥ 6: 8, 6 and their negatives
        ([0.0, 0.0], 1.0),
        ([0.1, 0.2, -0.3, 0.6], 10 / 16),  # |Σ| = 0.6: 1.2, 1.0, 0.8, and 0.6 twice, which rounding must not part
    ],
    ids=["none", "one", "all above", "sum zero", "four of eight", "zeros", "ties"],
)
def test_few_pairs_are_flipped_in_all_ways(differences, expected):
    found = paired(differences, [0.0] * len(differences), seed=5)
    assert found.p_value == pytest.approx(expected, nan_ok=True)


def counted(differences):
    """The exact p value, flip by flip."""
    observed = abs(sum(differences))
    flips = itertools.product((1, -1), repeat=len(differences))
    sums = [abs(sum(sign * value for sign, value in zip(flip, differences, strict=True))) for flip in flips]
    return sum(each >= observed - 1e-9 for each in sums) / len(sums)


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=8))
def test_the_exact_p_value_is_counted_flip_by_flip(differences):
    assert paired([float(each) for each in differences], [0.0] * len(differences), 0).p_value == counted(differences)


@pytest.mark.parametrize("count", [12, 13, 40])
def test_the_p_value_is_that_of_scipy(count):
    first, second = drawn(count, 1, 0.3), drawn(count, 2)
    other = stats.permutation_test(
        (first.numpy(), second.numpy()),
        lambda a, b: np.mean(a - b),
        permutation_type="samples",
        n_resamples=10_000,
        rng=1,
    )
    assert paired(first, second, 0).p_value == pytest.approx(other.pvalue, abs=0 if count <= 12 else 0.02)


def test_a_random_p_value_counts_the_observed_flip_among_its_flips():
    assert paired([1.0] * 200, [0.0] * 200, 0).p_value == 1 / (1 + statistics.FLIPS)


def test_large_samples_are_drawn_in_parts(monkeypatch):
    sample, other = drawn(50, 1, 0.2), drawn(50, 2)
    whole = paired(sample, other, 0)
    monkeypatch.setattr(statistics, "FLIPPED_TOGETHER", 1000)
    assert paired(sample, other, 0) == whole


def test_p_values_are_right_where_nothing_is_to_be_found():
    found = [paired(drawn(20, seed), drawn(20, 1000 + seed), seed).p_value for seed in range(200)]
    assert stats.kstest(found, "uniform").pvalue > 0.01


@pytest.mark.parametrize(
    ("given_values", "adjusted"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),  # 3 · 0.01; 2 · 0.03; 1 · 0.04 is raised to the one before
        ([0.01, 0.02, 0.03, 0.005], [0.03, 0.04, 0.04, 0.02]),
        ([0.5, 0.6], [1, 1]),
        ([0.2], [0.2]),
        ([], []),
        ([0.01, NAN, 0.04], [0.02, NAN, 0.04]),
        ([0.02, 0.02], [0.04, 0.04]),
    ],
    ids=["by hand", "four", "cut at 1", "one", "none", "one not made", "ties"],
)
def test_holm_s_adjustment_worked_by_hand(given_values, adjusted):
    assert holm(given_values) == pytest.approx(adjusted, nan_ok=True)


@given(p_values)
def test_adjusted_p_values_are_larger_keep_their_order_and_stay_probabilities(raw):
    adjusted = holm(raw)
    assert all(value <= other <= 1 for value, other in zip(raw, adjusted, strict=True))
    for (value, one), (other, two) in itertools.product(zip(raw, adjusted, strict=True), repeat=2):
        assert one <= two or value > other


def rejected(raw, level):
    """Holm's procedure as he states it: from the smallest on, until one is too large."""
    kept = set()
    for step, place in enumerate(sorted(range(len(raw)), key=raw.__getitem__)):
        if raw[place] > level / (len(raw) - step):
            break
        kept.add(place)
    return kept


@given(st.lists(st.integers(0, 64).map(lambda value: value / 64), max_size=8), st.sampled_from([0.05, 0.1, 0.3]))
def test_what_is_below_a_level_is_what_the_procedure_rejects(raw, level):
    assert {place for place, value in enumerate(holm(raw)) if value <= level} == rejected(raw, level)


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda: interval([1.0, math.inf], 0), "finite"),
        (lambda: interval([[1.0]], 0), "finite"),
        (lambda: paired([1.0], [1.0, 2.0], 0), "same photos"),
        (lambda: paired([-math.inf], [1.0], 0), "finite"),
        (lambda: holm([0.2, 1.2]), "probability"),
        (lambda: holm([-0.1]), "probability"),
    ],
    ids=["infinite", "not a list of numbers", "lengths", "minus infinite", "above 1", "below 0"],
)
def test_what_is_no_value_is_refused(call, problem):
    with pytest.raises(MetricError, match=problem):
        call()


def test_an_estimate_is_said_in_the_form_that_is_asked_for():
    found = interval([1.0, 2.0, 3.0, math.nan], seed=0)
    low, high = found.interval
    assert f"{found:+.1f}" == f"+2.0 [{low:+.1f}, {high:+.1f}], 1 without"
    assert str(found) == f"2.000 [{low:.3f}, {high:.3f}], 1 without"
    assert f"{interval([2.0, 2.0], seed=0):.1f}" == "2.0"
    assert f"{interval([math.nan], seed=0):.1f}" == "–"


def test_the_table_of_t_is_that_of_scipy_and_near_it_beyond():
    assert [stats.t.ppf(0.975, freedom) for freedom in range(1, 31)] == pytest.approx(T_QUANTILES, abs=5e-4)
    gaps = [stats.t.ppf(0.975, freedom) - (1.96 + 2.4 / freedom) for freedom in range(31, 2000)]
    assert max(map(abs, gaps)) < 2.2e-3


@pytest.mark.parametrize("count", [2, 3, 10, 40])
def test_over_seeds_the_interval_is_that_of_t(count):
    sample = drawn(count, 5)
    low, high = stats.t.interval(0.95, count - 1, loc=sample.mean(), scale=stats.sem(sample.numpy()))
    assert over_seeds(sample).interval == pytest.approx((low, high), abs=2e-3)


def test_three_seeds_are_covered_as_often_as_is_said():
    """Of 4,000 normal triples 95 %; the bootstrap holds 76 %."""
    samples = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = [over_seeds(sample).interval for sample in samples]
    assert sum(low < 0 < high for low, high in found) / 4000 == pytest.approx(0.95, abs=0.01)


def test_an_interval_over_seeds_is_cut_to_what_can_be():
    assert over_seeds([60.0, 70.0, 20.0], 0, 100).interval == (0, 100)
    half = 4.303 * math.sqrt(700) / math.sqrt(3)
    assert over_seeds([60.0, 70.0, 20.0]).interval == pytest.approx((50 - half, 50 + half))
    assert over_seeds([60.0, 70.0, 20.0, NAN], 0).interval == pytest.approx((0, 50 + half))


@pytest.mark.parametrize("seeds", [[], [NAN], [7.0], [7.0, 7.0, 7.0]], ids=["none", "missing", "one", "alike"])
def test_seeds_that_do_not_vary_have_no_interval(seeds):
    assert over_seeds(seeds, 0, 100).interval is None


def test_differences_over_seeds_are_paired_and_have_the_p_value_of_all_flips():
    found = paired_over_seeds([3.0, 5.0, NAN, 4.0], [1.0, 1.0, 1.0, 1.0])
    half = 4.303 * 1 / math.sqrt(3)
    assert (found.mean, found.photos, found.missing, found.p_value) == (3.0, 3, 1, 2 / 8)
    assert found.interval == pytest.approx((3 - half, 3 + half))
    with pytest.raises(MetricError, match="same"):
        paired_over_seeds([1.0], [1.0, 2.0])


@given(samples, samples)
def test_welch_s_test_is_scipy_s(one, two):
    found, other = welch(one, two), stats.ttest_ind(one, two, equal_var=False)
    assert found.mean == pytest.approx(np.mean(one) - np.mean(two), abs=1e-9)
    assert (found.statistic, found.freedom, found.p_value) == pytest.approx(
        (other.statistic, other.df, other.pvalue), rel=1e-9, abs=1e-12
    )


def test_welch_s_test_of_numbers_worked_by_hand():
    # means 2 and 6, u = 1 / 3, v = 4 / 3: t = −4 / √(5/3), ν = (5/3)² / ((1/9 + 16/9) / 2) = 50 / 17
    found = welch([1.0, 2.0, NAN, 3.0], [4.0, 6.0, 8.0])
    assert (found.mean, found.statistic) == pytest.approx((-4, -4 / math.sqrt(5 / 3)))
    assert found.freedom == pytest.approx(50 / 17)
    swapped = welch([4.0, 6.0, 8.0], [1.0, 2.0, 3.0])
    assert (swapped.mean, swapped.p_value) == pytest.approx((4, found.p_value))


@pytest.mark.parametrize(("one", "two"), [([1.0], [2.0, 3.0]), ([], [1.0, 2.0]), ([1.0, 1.0], [2.0, 2.0])])
def test_welch_s_test_says_nothing_of_single_values_or_where_none_differs(one, two):
    found = welch(one, two)
    assert math.isnan(found.p_value)
    assert math.isnan(found.statistic)
