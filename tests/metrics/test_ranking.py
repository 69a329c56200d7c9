"""Places in the order of a map: exact for every number of them, ties by a draw that belongs to the picture."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays

from regard.errors import NotFiniteError, PixelsError
from regard.metrics.ranking import TIES, ranks

from ..explainers.networks import pixels_of
from .replicas import drawn_maps, slow_ranking

PICTURE = pixels_of(1, (4, 4))
few_values = arrays.arrays("float32", (1, 2, 3, 4), elements=some.integers(-3, 3)).map(torch.from_numpy)


def order_of(maps, pixels, seed=0):
    """Places of one map in the order of their ranks."""
    return ranks(maps, pixels, seed)[0, 0].argsort().tolist()


def test_ranks_are_those_of_signed_values_row_by_row():
    found = ranks(torch.tensor([[[[0.5, -3.0], [2.0, 1.0]]]]), PICTURE)
    assert found.tolist() == [[[2, 3, 0, 1]]]
    assert found.dtype is torch.int32


def test_evidence_against_comes_after_none():
    assert order_of(torch.tensor([[[[-1.0, 0.0, 1.0, -2.0]]]]), PICTURE) == [2, 1, 0, 3]


@drawn(few_values, some.integers(0, 99))
@settings(max_examples=40)
def test_ranks_are_those_of_a_plain_sort_by_value_then_turn(maps, seed):
    found = ranks(maps, PICTURE, seed)
    for target, values in enumerate(maps[0].flatten(1).tolist()):
        assert found[0, target].argsort().tolist() == slow_ranking(values, PICTURE[0], seed)
        assert sorted(found[0, target].tolist()) == list(range(12))


@drawn(few_values, some.integers(-64, 64), some.sampled_from([0.25, 0.5, 2.0, 8.0]))
@settings(max_examples=40)
def test_a_constant_a_positive_scale_and_any_monotone_transform_change_nothing(maps, constant, scale):
    expected = ranks(maps, PICTURE)
    for changed in (maps + constant, maps * scale, maps.pow(3), maps.exp(), maps.atan()):
        assert ranks(changed, PICTURE).equal(expected)


def test_equal_places_follow_one_order_for_all_maps_of_a_picture():
    maps = torch.zeros(1, 3, 4, 4)
    maps[0, 1] = 7.5
    maps[0, 2, 3, 3] = 1.0
    zeros, sevens, top = ranks(maps, PICTURE)[0]
    assert zeros.equal(sevens)
    assert int(top[15]) == 0
    others = [place for place in top.argsort().tolist() if place != 15]
    assert others == [place for place in zeros.argsort().tolist() if place != 15]


def test_equal_places_follow_neither_their_place_nor_the_reverse():
    order = order_of(torch.zeros(1, 1, 30, 30), PICTURE)
    rising = sum(one < other for one, other in pairwise(order))
    assert 0.4 < rising / 899 < 0.6


def test_the_order_among_equals_belongs_to_the_picture_and_the_seed():
    pixels = pixels_of(3)
    flat = torch.zeros(3, 1, 6, 6)
    found = ranks(flat, pixels)
    assert found[[2, 0, 1]].equal(ranks(flat, pixels[[2, 0, 1]]))
    assert found[1:2].equal(ranks(flat[:1], pixels[1:2]))
    assert not found[0].equal(found[1])
    assert not found.equal(ranks(flat, pixels, seed=1))
    assert ranks(flat, pixels, seed=1).equal(ranks(flat, pixels, seed=1))


def test_ranking_neither_reads_nor_moves_the_global_generator():
    flat = torch.zeros(1, 1, 6, 6)
    torch.manual_seed(0)
    before, first = torch.get_rng_state(), ranks(flat, PICTURE)
    assert torch.get_rng_state().equal(before)
    torch.manual_seed(1)
    assert ranks(flat, PICTURE).equal(first)


@pytest.mark.parametrize(("places", "shown"), [(50_176, 25_088), (50_176, 7_527), (49, 7), (1, 1)])
def test_a_mask_of_the_most_relevant_places_has_exactly_as_many_and_masks_nest(places, shown):
    half = torch.zeros(places)
    half[: places // 2] = 1.0  # half ones: where quantiles keep 25,088 of 50,176 for 15 %
    found = ranks(half.view(1, 1, 1, -1), PICTURE)[0, 0]
    assert int((found < shown).sum()) == shown
    assert bool(((found < shown) <= (found < shown + 1)).all())


def test_negative_and_positive_zero_are_one_value():
    maps = torch.zeros(1, 1, 4, 4)
    signed = torch.where(torch.arange(16).view(1, 1, 4, 4) % 2 == 0, -maps, maps)
    assert ranks(signed, PICTURE).equal(ranks(maps, PICTURE))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")], ids=str)
def test_a_map_that_is_not_finite_is_refused_with_its_place(value):
    maps = drawn_maps(2, 3, (4, 4))
    maps[1, 2, 0, 3] = value
    with pytest.raises(NotFiniteError, match=r"\(1, 2, 0, 3\)"):
        ranks(maps, pixels_of(2))


@pytest.mark.parametrize("shape", [(1, 4, 4), (2, 1, 4, 4), (4, 4), (0, 1, 4, 4)], ids=str)
def test_maps_that_do_not_fit_the_pictures_are_refused(shape):
    with pytest.raises(PixelsError, match="one by one"):
        ranks(torch.zeros(shape), PICTURE)


def test_the_tie_rule_is_stated_in_words():
    assert "random" in TIES
    assert "picture" in TIES
