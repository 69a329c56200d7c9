"""Figures of held-out photos against numbers worked by hand."""

import math

import pytest
import torch

from regard.statistics import bootstrap_interval
from regard.training.figures import examined

NAMES = ("cat", "dog", "fox")


def sure(indices, classes=3):
    """Logits that say these classes."""
    return 5 * torch.eye(classes)[torch.tensor(indices)]


def test_exclusive_classes_are_counted():
    truth, learnt = torch.tensor([0, 0, 0, 0, 1, 1]), torch.tensor([0, 1, 1, 1, 2])
    found = examined("softmax", sure([0, 0, 0, 1, 1, 2]), truth, learnt, NAMES, 0)
    assert (found.measure, found.photos, found.unexamined) == ("accuracy", 6, ("fox",))
    assert found.overall.value == pytest.approx(4 / 6)
    assert found.overall.chance == pytest.approx(2 / 6)  # always "dog", the most frequent in training
    assert [(each.name, each.photos, each.shown, each.value, each.chance) for each in found.each] == [
        ("cat", 4, 4, 0.75, 0.2),
        ("dog", 2, 2, 0.5, pytest.approx(0.6)),
    ]
    assert (found.overall.photos, found.overall.shown) == (6, None)
    assert found.confusion == ((3, 1, 0), (0, 1, 1), (0, 0, 0))


def test_independent_classes_are_yes_and_no_each():
    truth = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0]]).double()
    said = torch.tensor([[3.0, -1, -1], [-2, 1, -1], [-1, -1, 2], [0.1, 4, -1]])
    learnt = torch.tensor([[1, 0, 0], [1, 1, 1], [1, 0, 0]]).double()
    found = examined("sigmoid", said, truth, learnt, NAMES, 0)
    assert [(each.name, each.photos, each.shown, each.value, each.chance) for each in found.each] == [
        ("cat", 4, 3, 0.75, 0.75),  # yes or no is right or wrong on each of the four photos
        ("dog", 4, 1, 0.75, 0.75),
    ]
    assert (found.overall.photos, found.overall.shown) == (4, None)
    assert found.unexamined == ("fox",)
    assert found.overall.value == pytest.approx((0.75 + 0.75 + 0.75) / 3)
    assert found.overall.chance == pytest.approx((0.75 + 0.75 + 1) / 3)
    assert found.confusion is None


def test_measurements_have_errors_in_their_own_unit():
    truth = torch.tensor([[0.0, 5], [2, 5], [4, 5]])
    said = torch.tensor([[1.0, 5], [2, 8], [2, 5]])
    found = examined("scalar", said, truth, torch.tensor([[1.0, 4], [1, 6]]), ("age", "size"), 0)
    age, size = found.each
    assert (found.overall, found.measure) == (None, "root mean square error")
    assert age.value == pytest.approx(math.sqrt(5 / 3))
    assert age.r_squared == pytest.approx(1 - 5 / 8)
    assert age.chance == pytest.approx(math.sqrt((1 + 1 + 9) / 3))
    assert (size.value, size.r_squared, size.chance) == (pytest.approx(math.sqrt(3)), None, 0)
    assert age.interval[0] <= age.value <= age.interval[1]
    assert (age.photos, age.shown) == (3, None)


def test_the_interval_of_an_error_is_the_root_of_that_of_its_square():
    said, truth = torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1)
    (figure,) = examined("scalar", said, truth, torch.tensor([[0.0], [1.0]]), ("age",), 0).each
    assert figure.interval == (1, 3)  # of squares 1 and 9, a quarter of the draws is 1 and 1, a quarter 9 and 9


def test_the_bootstrap_is_as_wide_as_theory_says_and_repeats_itself():
    values = (torch.rand(400, generator=torch.Generator().manual_seed(1)) < 0.8).double()
    low, high = bootstrap_interval(values, 0)
    share = float(values.mean())
    half = 1.96 * math.sqrt(share * (1 - share) / 400)
    assert low == pytest.approx(share - half, abs=0.25 * half)
    assert high == pytest.approx(share + half, abs=0.25 * half)
    assert bootstrap_interval(values, 0) == (low, high) != bootstrap_interval(values, 1)


def test_photos_that_are_all_alike_have_no_interval():
    assert bootstrap_interval(torch.ones(5), 0) is None
    found = examined("softmax", sure([0, 1]), torch.tensor([0, 1]), torch.tensor([0, 1]), NAMES, 0)
    assert (found.overall.value, found.overall.interval) == (1, None)


@pytest.mark.parametrize(("classes", "kept"), [(20, True), (21, False)])
def test_a_table_of_confusions_that_nobody_reads_is_not_kept(classes, kept):
    truth = torch.arange(classes)
    found = examined("softmax", sure(range(classes), classes), truth, truth, [str(name) for name in range(classes)], 0)
    assert (found.confusion is not None) is kept
