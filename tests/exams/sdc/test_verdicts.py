"""What becomes of claims: slopes, levels and occurrences worked by hand, with p values counted on fingers."""

import json
import math

import pytest

from regard.exams.sdc.published import Claim
from regard.exams.sdc.verdicts import judged

TEN = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]


def of(claim_says, *columns):
    """The judgement of one claim about cells a, b, … with these values."""
    names = "abcd"[: len(columns)]
    figures = {name: {"test FTPT": list(each)} for name, each in zip(names, columns, strict=True)}
    (found,) = judged([Claim("", "6", tuple(names), claim_says)], figures)
    return found


@pytest.mark.parametrize(
    ("columns", "slope"),
    [
        (([10, 20], [15, 27]), 6),
        (([30, 30], [20, 26], [10, 20]), -7.5),
        (([0, 0], [1, 3], [2, 6], [3, 9]), 2),
    ],
)
def test_a_slope_is_that_of_least_squares_a_step(columns, slope):
    assert of("rises", *columns).measured.mean == pytest.approx(slope)


def test_ten_seeds_that_agree_decide():
    zero = [0.0] * 10
    up, down = of("rises", zero, TEN), of("rises", TEN, zero)
    assert (up.verdict, down.verdict) == ("agrees", "disagrees")
    assert (of("falls", zero, TEN).verdict, of("falls", TEN, zero).verdict) == ("disagrees", "agrees")
    assert up.test.p_value == up.adjusted == pytest.approx(2 / 1024)


def test_three_seeds_that_agree_tend_and_decide_nothing():
    found = of("rises", [0, 0, 0], [5, 6, 7])
    assert found.adjusted == pytest.approx(2 / 8)
    assert found.measured.interval == pytest.approx((6 - 4.303 / math.sqrt(3), 6 + 4.303 / math.sqrt(3)))
    assert found.verdict == "tends to agree"
    assert of("falls", [0, 0, 0], [5, 6, 7]).verdict == "tends to disagree"
    # a bootstrap of these three would lie above 0
    assert of("rises", [0, 0, 0], [1, 2, 3]).verdict == "undecided"


def test_seeds_that_do_not_agree_and_one_alone_decide_nothing():
    assert of("rises", [0, 0], [5, -3]).verdict == "undecided"
    assert of("rises", [0], [5]).verdict == "undecided"
    assert of("rises", [0] * 10, [0] * 10).verdict == "undecided"


@pytest.mark.parametrize(
    ("says", "bound", "values", "verdict"),
    [
        ("above", 68, [67] * 10, "agrees"),  # no more can be had, and it is there
        ("above", 100, [67] * 10, "disagrees"),
        ("below", 100, [60, 61, 62, 63, 64, 65, 66, 67, 68, 69], "agrees"),
        ("below", 68, [66] * 10, "disagrees"),
        ("above", 100, [100, 90] * 5, "undecided"),
        ("above", 100, [99] * 3, "tends to agree"),
        ("above", 100, [95] * 10, "undecided"),
    ],
)
def test_a_cure_is_judged_by_what_the_same_networks_can_reach(says, bound, values, verdict):
    names = {"bound": [bound] * len(values), "treated": values, "untreated": [bound - 30.0] * len(values)}
    claim = Claim("", "6", ("bound", "treated"), says, level=-5.0, untreated="untreated")
    (found,) = judged([claim], {name: {"test FTPT": [*each]} for name, each in names.items()})
    assert found.verdict == verdict
    assert found.measured.mean == pytest.approx(sum(values) / len(values) - bound)
    assert found.untreated.mean == pytest.approx(-30)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [([0] * 9 + [100], "agrees"), ([100] * 10, "agrees"), ([0] * 8, "disagrees"), ([0] * 7, "undecided")],
)
def test_what_occurs_is_seen_in_one_seed_and_is_not_there_after_eight(values, verdict):
    """(2/3)⁸ = 0.039, (2/3)⁷ = 0.059."""
    found = of("occurs", values)
    assert found.verdict == verdict
    assert found.test is None
    assert found.adjusted is None


def test_p_values_are_adjusted_for_all_claims_that_are_tested():
    figures = {"a": {"x": [0.0] * 10, "y": [100.0] + [0.0] * 9}, "b": {"x": TEN}}
    claims = [
        Claim("first", "6", ("a", "b"), figure="x"),
        Claim("second", "6", ("a",), "occurs", figure="y"),
        Claim("third", "6", ("a", "b"), "above", figure="x", level=0.0, untreated="a"),
        Claim("fourth", "6", ("b", "a"), figure="x"),
    ]
    found = judged(claims, figures)
    assert [each.claim.words for each in found] == ["first", "second", "third", "fourth"]
    assert [each.adjusted for each in found] == [pytest.approx(6 / 1024), None, *[pytest.approx(6 / 1024)] * 2]
    assert [each.verdict for each in found] == ["agrees", "agrees", "agrees", "disagrees"]


def test_a_difference_that_chance_does_once_in_thirty_is_none_among_many():
    """Of six seeds that agree p is 2/64: below 0.05 alone, not among two."""
    figures = {"a": {"x": [0.0] * 6}, "b": {"x": TEN[:6]}}
    claim = Claim("", "6", ("a", "b"), figure="x")
    assert judged([claim], figures)[0].verdict == "agrees"
    assert {each.verdict for each in judged([claim, claim], figures)} == {"tends to agree"}


def test_a_judgement_is_json():
    words = json.loads(json.dumps(of("rises", [0, 0], [5, -3]).to_json(), allow_nan=False))
    assert words["claim"]["level"] is None
    assert words["verdict"] == "undecided"
