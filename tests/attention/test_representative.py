"""BR-NPA's pooling equals its published form in plain loops; papers/brnpa.md, checks 1 to 4, 6, 9 to 11, 14 and 15."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.attention.representative import RepresentativePooling, norm_variation, representative_pooling
from regard.errors import LayerError, UnsupportedError

from ..explainers.networks import same
from . import slow_representatives as slow
from .pooled_features import WAYS, drawn, mask_of, ways


def check_replica(features, count=3, mask=None, tolerance=1e-12, **way):
    found = representative_pooling(features, count, mask=mask, **way)
    vectors, maps, indices, scores = slow.replica(features.double(), count, mask, **way)
    assert found.indices.equal(indices)
    for came, expected in ((found.vectors, vectors), (found.maps, maps), (found.scores, scores)):
        assert came.dtype is features.dtype
        torch.testing.assert_close(came.double(), expected, rtol=tolerance, atol=tolerance)
    return found


@ways
@pytest.mark.parametrize("signed", [False, True], ids=["behind a ReLU", "signed"])
def test_pooling_is_the_published_form_in_plain_loops(way, signed):
    for features in (drawn(2, 6, 3, 4, signed=signed), drawn(3, 7, 5, seed=1, signed=signed)):
        check_replica(features, **way)
        check_replica(features.float(), tolerance=2e-6, **way)


@ways
def test_places_that_a_mask_hides_have_no_weight_and_the_rest_is_as_if_they_were_not_there(way):
    features, mask = drawn(2, 8, 5, signed=True), mask_of(2, 8)
    found = check_replica(features, mask=mask, **way)
    assert not found.maps.masked_select(~mask[:, None]).any()
    for picture in range(2):
        alone = representative_pooling(features[picture : picture + 1, mask[picture]], 3, **way)
        one = {name: getattr(found, name)[picture : picture + 1] for name in ("vectors", "scores", "valid")}
        assert all(same(one[name].double(), getattr(alone, name).double(), 1e-12) for name in one)
        assert same(found.maps[picture : picture + 1, :, mask[picture]], alone.maps, 1e-12)
        assert mask[picture].nonzero()[:, 0][alone.indices[0]].equal(found.indices[picture])


def test_a_mask_of_a_map_keeps_a_corner_as_cropping_does():
    features = drawn(2, 6, 4, 5)
    mask = torch.zeros(2, 4, 5, dtype=torch.bool)
    mask[:, :3, :2] = True
    found, cropped = representative_pooling(features, mask=mask), representative_pooling(features[:, :, :3, :2])
    assert same(found.maps[:, :, :3, :2], cropped.maps, 1e-12)
    assert same(found.vectors, cropped.vectors, 1e-12)


def test_shapes_and_types_are_those_that_are_promised():
    maps, tokens = (
        representative_pooling(drawn(2, 6, 3, 4).float(), 5),
        representative_pooling(drawn(2, 12, 6).float(), 5),
    )
    for found, grid in ((maps, (3, 4)), (tokens, (12,))):
        assert found.vectors.shape == (2, 5, 6)
        assert found.maps.shape == (2, 5, *grid)
        assert found.norms.shape == (2, *grid)
        assert found.indices.shape == found.scores.shape == found.valid.shape == (2, 5)
        assert (found.indices.dtype, found.valid.dtype) == (torch.int64, torch.bool)
        assert {each.dtype for each in (found.vectors, found.maps, found.norms, found.scores)} == {torch.float32}
        assert int(found.indices.min()) >= 0
        assert int(found.indices.max()) < 12


def groups():
    """{3, 2, 1} e₁, {2, 1} e₂, {½} e₃ on a grid of two rows."""
    features = torch.zeros(1, 3, 2, 3)
    features[0, 0, 0] = torch.tensor([3.0, 2, 1])
    features[0, 1, 1, :2] = torch.tensor([2.0, 1])
    features[0, 2, 1, 2] = 0.5
    return features


def test_groups_that_are_orthogonal_are_taken_whole_one_a_round():
    found = representative_pooling(groups(), 4)
    assert found.scores.tolist() == [[3, 2, 0.5, 0]]
    assert found.indices.tolist() == [[0, 3, 5, 0]]
    assert found.valid.tolist() == [[True, True, True, False]]
    third = 1 / 3
    expected = [[third] * 3 + [0] * 3, [0] * 3 + [0.5, 0.5, 0], [0] * 5 + [1], [third] * 3 + [0] * 3]
    torch.testing.assert_close(found.maps[0].flatten(1), torch.tensor(expected), rtol=0, atol=1e-7)
    expected = [[2, 0, 0], [0, 1.5, 0], [0, 0, 0.5], [2, 0, 0]]
    torch.testing.assert_close(found.vectors[0], torch.tensor(expected), rtol=0, atol=1e-6)
    assert representative_pooling(groups(), 3, refine=False).vectors[0].tolist() == [[3, 0, 0], [0, 2, 0], [0, 0, 0.5]]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["rows", "channels last"])
@settings(max_examples=15)
@given(seed=st.integers(0, 999), height=st.integers(1, 9), width=st.integers(1, 9))
def test_a_constant_map_gives_its_mean_in_round_one_and_nothing_new_after_it(layout, seed, height, width):
    vector = torch.rand(37, generator=torch.Generator().manual_seed(seed)) + 0.1
    features = vector[None, :, None, None].expand(2, -1, height, width).clone(memory_format=layout)
    found = representative_pooling(features)
    assert found.indices.tolist() == [[0, 0, 0]] * 2
    assert found.valid.tolist() == [[True, False, False]] * 2
    assert same(found.maps, torch.full_like(found.maps, 1 / (height * width)), 5e-6)
    assert same(found.vectors, vector.expand(2, 3, -1), 5e-6)


@pytest.mark.parametrize("way", [*WAYS.values(), {"select": "random", "seeds": [1, 2]}], ids=[*WAYS, "random"])
def test_a_map_of_zeros_has_even_weights_and_is_not_valid(way):
    found = representative_pooling(torch.zeros(2, 5, 3, 4), **way)
    assert not found.valid.any()
    assert not found.vectors.any()
    torch.testing.assert_close(found.maps, torch.full((2, 3, 3, 4), 1 / 12))
    hidden = torch.zeros(2, 3, 4, dtype=torch.bool)
    hidden[:, 1] = True
    maps = representative_pooling(torch.zeros(2, 5, 3, 4), mask=hidden, **way).maps
    torch.testing.assert_close(maps, hidden[:, None].expand(-1, 3, -1, -1) / 4)


def test_more_representatives_than_places_are_not_valid_and_take_the_first_place_that_counts():
    features, mask = (
        torch.eye(4)[None] * torch.tensor([1.0, 4, 3, 2])[:, None],
        torch.tensor([[False, True, True, False]]),
    )
    found = representative_pooling(features, 6, mask=mask)
    assert found.indices.tolist() == [[1, 2, 1, 1, 1, 1]]
    assert found.valid.tolist() == [[True, True, False, False, False, False]]
    assert found.scores.tolist() == [[4, 3, 0, 0, 0, 0]]
    assert found.maps.sum(2).tolist() == [[1] * 6]


def test_one_representative_without_refining_is_the_longest_vector():
    features = drawn(3, 9, 5)
    longest = features[torch.arange(3), features.norm(dim=2).argmax(1)]
    assert representative_pooling(features, 1, refine=False).vectors[:, 0].equal(longest)
    cold = representative_pooling(features, 1, weights="softmax", temperature=1e-4)
    assert same(cold.vectors[:, 0], longest, 1e-9)
    hot = representative_pooling(features, 2, weights="softmax", temperature=1e9)
    assert same(hot.vectors, features.mean(1, keepdim=True).expand(-1, 2, -1), 1e-8)


@pytest.mark.parametrize("form", [(2, 40, 8, 8), (2, 64, 40)], ids=["maps", "tokens"])
def test_the_first_of_equal_places_is_taken_in_row_major_order(form):
    """The same vectors again and again: sums differ in their last bits from lane to lane, the choice does not."""
    features = drawn(*form, seed=3).float()
    if len(form) == 4:
        features[:, :, 1, 2:] = features[:, :, 4, :6] = features[:, :, 6, 1:7] = 3 * features[:, :, 1, 2:3]
        assert representative_pooling(features).indices[:, 0].tolist() == [10, 10]
    else:
        features[:, 10:60:3] = 3 * features[:, 10:11]
        assert representative_pooling(features).indices[:, 0].tolist() == [10, 10]


def test_vectors_as_long_as_each_other_but_for_rounding_are_tied():
    """The same numbers in another order: sums in float32 differ in their last bits."""
    vector, draw = torch.rand(999, generator=torch.Generator().manual_seed(0)), torch.Generator().manual_seed(1)
    features = torch.stack([vector[torch.randperm(999, generator=draw)] for _ in range(50)])[None]
    assert int(features.norm(dim=2).unique().numel()) > 1
    for start in range(40):
        assert representative_pooling(features[:, start:]).indices[0, 0] == 0


def test_what_a_function_likes_best_is_not_taken_where_the_mask_hides_it():
    liked = torch.tensor([[9.0, 1, 2, -1]])
    found = representative_pooling(
        torch.eye(4)[None], 2, select=lambda *_: liked, mask=torch.tensor([[False, True, True, True]])
    )
    assert found.indices.tolist() == [[2, 2]]
    assert found.scores.tolist() == [[2, 2]]


def test_opposite_directions_count_as_unrelated_or_against_or_are_refused():
    """σ of the first: 1, 0.6, −1; sums 1.6 and 0.6."""
    features = torch.tensor([[[5.0, 0], [0.6, 0.8], [-1, 0]]])
    clamped, signed = representative_pooling(features, 2), representative_pooling(features, 2, negative="signed")
    torch.testing.assert_close(clamped.maps[0, 0], torch.tensor([1 / 1.6, 0.6 / 1.6, 0]))
    torch.testing.assert_close(signed.maps[0, 0], torch.tensor([1 / 0.6, 1.0, -1 / 0.6]))
    assert clamped.scores.tolist() == signed.scores.tolist() == [[5, 1]]
    assert clamped.indices.tolist() == [[0, 2]]
    with pytest.raises(LayerError, match="picture 0, token 2, channel 0"):
        representative_pooling(features, negative="error")
    representative_pooling(features.abs(), negative="error")


def test_similarities_that_cancel_give_even_weights_that_are_not_valid():
    found = representative_pooling(torch.tensor([[[1.0, 0], [-1, 0]]]), 1, negative="signed")
    assert found.maps.tolist() == [[[0.5, 0.5]]]
    assert found.valid.tolist() == [[False]]


def test_random_places_come_from_their_picture_s_seed_alone():
    features, before = drawn(2, 30, 4) + 0.1, torch.get_rng_state()
    found = representative_pooling(features, 8, select="random", seeds=[3, 4])
    assert torch.get_rng_state().equal(before)
    again = representative_pooling(features, 8, select="random", seeds=[3, 4])
    assert again.indices.equal(found.indices)
    assert again.vectors.equal(found.vectors)
    other = representative_pooling(features.flip(0), 8, select="random", seeds=[4, 3])
    assert other.indices.flip(0).equal(found.indices)
    assert not representative_pooling(features, 8, select="random", seeds=[5, 6]).indices.equal(found.indices)
    draws = [torch.rand(8, 30, generator=torch.Generator().manual_seed(seed)).tolist() for seed in (3, 4)]
    for picture, one in enumerate(draws):
        vectors, maps, indices, scores = slow.pooled(features[picture].tolist(), 8, draws=one)
        assert found.indices[picture].tolist() == indices
        assert same(found.vectors[picture], slow.numbers(vectors), 1e-12)
        assert same(found.maps[picture], slow.numbers(maps), 1e-12)
        assert same(found.scores[picture], slow.numbers(scores), 1e-7)


def test_random_places_know_nothing_of_norms():
    """2,000 draws over four places, one of them a thousand times longer: each 500 times, give or take 4.5 σ = 87."""
    features = torch.eye(4).expand(2000, 4, 4) * torch.tensor([1000.0, 1, 1, 1])[:, None]
    found = representative_pooling(features, 2, select="random", seeds=range(2000))
    for rank in range(2):
        assert (found.indices[:, rank].bincount(minlength=4) - 500).abs().max() <= 87
    twice = found.indices[:, 0] == found.indices[:, 1]
    assert 0.2 < float(twice.float().mean()) < 0.3
    assert found.valid[:, 1].equal(~twice)


def test_random_places_that_a_mask_hides_change_no_draw():
    features, mask = drawn(1, 4, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[:, :, :2] = True
    hidden = representative_pooling(features, 9, select="random", seeds=[1], mask=mask)
    cropped = representative_pooling(features[..., :2], 9, select="random", seeds=[1])
    assert same(hidden.maps[..., :2], cropped.maps, 1e-12)
    assert hidden.indices.equal(cropped.indices // 2 * 4 + cropped.indices % 2)


def test_a_function_chooses_by_features_what_is_left_and_rank():
    asked = []

    def select(features, left, rank):
        asked.append((tuple(features.shape), left.clone(), rank))
        return features[..., 2]

    features = groups()
    found = representative_pooling(features, 2, select=select)
    assert found.indices.tolist() == [[5, 5]]
    assert found.valid.tolist() == [[True, False]]
    assert [(shape, rank) for shape, _, rank in asked] == [((1, 6, 3), 0), ((1, 6, 3), 1)]
    assert [left.tolist() for _, left, _ in asked] == [[[3, 2, 1, 2, 1, 0.5]], [[3, 2, 1, 2, 1, 0]]]
    by_norm = representative_pooling(features, select=lambda _, left, __: left)
    assert by_norm.indices.equal(representative_pooling(features).indices)


def test_a_function_that_writes_into_what_it_is_given_changes_nothing():
    def select(features, left, rank):
        scores = left.clone()
        features.zero_()
        left.zero_()
        return scores

    features = groups()
    before = features.clone()
    found, expected = representative_pooling(features, select=select), representative_pooling(before)
    assert features.equal(before)
    assert found.indices.equal(expected.indices)
    assert found.vectors.equal(expected.vectors)


def test_vectors_are_joined_in_the_order_of_their_ranks():
    found = representative_pooling(drawn(2, 4, 3, 3), 5)
    assert found.joined().equal(torch.cat([found.vectors[:, rank] for rank in range(5)], dim=1))


def test_the_module_keeps_its_settings_and_says_them():
    made = RepresentativePooling(
        2, refine=False, weights="softmax", temperature=0.5, negative="signed", select="random"
    )
    features, mask = drawn(2, 6, 5, signed=True), mask_of(2, 6)
    way = {"refine": False, "weights": "softmax", "temperature": 0.5, "negative": "signed", "select": "random"}
    found, expected = (
        made(features, mask, seeds=[1, 2]),
        representative_pooling(features, 2, mask=mask, seeds=[1, 2], **way),
    )
    assert found.maps.equal(expected.maps)
    assert found.vectors.equal(expected.vectors)
    assert "count=2" in repr(made)
    assert "temperature=0.5" in repr(made)
    assert not list(made.state_dict())
    with pytest.raises(UnsupportedError):
        RepresentativePooling(0)


def test_variation_of_norms_is_their_standard_deviation_over_their_mean():
    """Norms 3, 4, 5: mean 4, variance 2/3."""
    features = torch.tensor([[[3.0, 0], [0, 4], [3, 4], [100, 100]]])
    mask = torch.tensor([[True, True, True, False]])
    assert float(norm_variation(features, mask)) == pytest.approx((2 / 3) ** 0.5 / 4)
    assert norm_variation(features.transpose(1, 2)[..., None], mask[..., None]).equal(norm_variation(features, mask))


def test_even_norms_are_warned_of_and_uneven_ones_are_not():
    even = torch.nn.functional.layer_norm(drawn(2, 20, 30, signed=True), (30,))
    with pytest.warns(UserWarning, match="before the final norm"):
        assert float(norm_variation(even).max()) < 1e-3
    with pytest.warns(UserWarning, match="equally active"):
        assert norm_variation(torch.zeros(2, 3, 4)).tolist() == [0, 0]
    with pytest.warns(UserWarning, match=r"0\.099 of their mean"):
        norm_variation(torch.eye(2)[None] * torch.tensor([1.0, 1.22])[:, None])  # 0.11 of 1.11
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        norm_variation(torch.eye(2)[None] * torch.tensor([1.0, 1.23])[:, None])  # 0.115 of 1.115
        norm_variation(drawn(2, 20, 30) * torch.arange(1, 21)[:, None])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**16))
def test_the_published_epsilon_changes_hardly_anything(seed):
    """The published code adds 1e-5 to every norm, and leaves what is left below zero (papers/brnpa.md, check 3)."""
    features = 20 * drawn(1, 6, 8, seed=seed) + 4  # norms of about 40, as those of a network's last features
    places = features[0]
    norms = places.norm(dim=1)
    units, left, vectors = places / (norms + 1e-5)[:, None], norms, []
    for _ in range(3):
        alike = units @ units[left.argmax()]
        vectors.append((alike / alike.sum()) @ places)
        left = left * (1 - alike)
    found = representative_pooling(features, 3).vectors[0]
    torch.testing.assert_close(found, torch.stack(vectors), rtol=1e-6, atol=0)
