"""What changes representatives and what does not; papers/brnpa.md, checks 2, 4 to 8, 12, 13 and 19."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.attention.representative import representative_pooling

from ..explainers.networks import same
from .pooled_features import WAYS, drawn, mask_of, ways

seeds = st.integers(0, 9999)


@settings(max_examples=40)
@given(
    seed=seeds, count=st.integers(1, 6), pictures=st.integers(1, 3), height=st.integers(1, 5), width=st.integers(1, 5)
)
def test_weights_sum_to_one_scores_fall_and_places_differ_while_something_is_left(seed, count, pictures, height, width):
    features = drawn(pictures, 6, height, width, seed=seed).float()
    found = representative_pooling(features, count)
    norms, places = features.norm(dim=1).flatten(1), height * width
    assert (found.maps >= 0).all()
    assert float((found.maps.sum((2, 3)) - 1).abs().max()) <= 1e-6
    assert same(found.norms.flatten(1), norms, 1e-6) or not norms.any()
    torch.testing.assert_close(norms.gather(1, found.indices[:, :1]), norms.amax(1, keepdim=True), rtol=1e-5, atol=0)
    assert not (found.scores.diff(dim=1) > 0).any()
    for indices, valid, maps in zip(found.indices, found.valid, found.maps, strict=True):
        taken = indices[valid].tolist()
        assert len(taken) == len({*taken}) <= places
        assert valid.tolist() == sorted(valid.tolist(), reverse=True)
        for index, one in zip(taken, maps.flatten(1), strict=False):
            assert float(one[index]) >= float(one.max()) * (1 - 1e-5)


@ways
@settings(max_examples=15)
@given(seed=seeds)
def test_places_in_another_order_give_the_same_vectors_and_maps_in_that_order(way, seed):
    features = drawn(2, 9, 5, seed=seed, signed=True)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    found, other = representative_pooling(features, **way), representative_pooling(features[:, order], **way)
    assert same(other.vectors, found.vectors, 1e-9)
    assert same(other.maps, found.maps[..., order], 1e-9)
    assert order[other.indices].equal(found.indices)


@ways
@settings(max_examples=15)
@given(seed=seeds, factor=st.floats(1e-4, 1e4))
def test_features_times_a_number_have_the_same_maps_and_vectors_times_that_number(way, seed, factor):
    features = drawn(2, 5, 3, 3, seed=seed, signed=True)
    found, other = representative_pooling(features, **way), representative_pooling(features * factor, **way)
    assert same(other.maps, found.maps, 1e-9)
    assert same(other.vectors, found.vectors * factor, 1e-9)
    assert other.indices.equal(found.indices)


@settings(max_examples=15)
@given(seed=seeds)
def test_places_each_times_a_number_of_its_own_are_as_alike_as_before(seed):
    """Which place comes first changes: a function names the places, so that the maps can be compared."""
    features = drawn(1, 6, 5, seed=seed) + 0.01
    lengths = torch.rand(1, 6, 1, generator=torch.Generator().manual_seed(seed)).double() + 0.1

    def in_order(_, left, rank):
        return torch.nn.functional.one_hot(torch.tensor([rank]), 6).to(left)

    found, other = (representative_pooling(each, select=in_order) for each in (features, features * lengths))
    assert same(other.maps, found.maps, 1e-12)
    norms = (features * lengths).norm(dim=2)
    assert representative_pooling(features * lengths).indices[0, 0] == norms.argmax()


@settings(max_examples=15)
@given(seed=seeds)
def test_with_signs_kept_or_not_a_rotation_of_channels_changes_no_map(seed):
    features = drawn(2, 7, 5, seed=seed, signed=True)
    rotation, _ = torch.linalg.qr(drawn(5, 5, seed=seed + 1, signed=True))
    for negative in ("signed", "clamp"):
        found, other = (representative_pooling(each, negative=negative) for each in (features, features @ rotation))
        assert other.indices.equal(found.indices)
        assert same(other.maps, found.maps, 1e-8)
        assert same(other.vectors, found.vectors @ rotation, 1e-8)


@settings(max_examples=15)
@given(seed=seeds, place=st.integers(0, 7))
def test_a_place_of_zeros_more_has_no_weight_and_changes_nothing(seed, place):
    features = drawn(2, 7, 5, seed=seed)
    more = torch.cat([features[:, :place], torch.zeros(2, 1, 5), features[:, place:]], dim=1)
    found, other = representative_pooling(features), representative_pooling(more)
    assert not other.maps[..., place].any()
    assert same(other.vectors, found.vectors, 1e-12)
    assert same(other.maps[..., [each for each in range(8) if each != place]], found.maps, 1e-12)


@pytest.mark.parametrize("way", [*WAYS.values(), {"select": "random"}], ids=[*WAYS, "random"])
@settings(max_examples=15)
@given(seed=seeds, pictures=st.integers(1, 5))
def test_a_picture_s_representatives_do_not_depend_on_the_others_of_its_batch(way, seed, pictures):
    features, mask = drawn(pictures, 6, 3, 4, seed=seed, signed=True).float(), mask_of(pictures, 3, 4, seed=seed)
    own = list(range(7, 7 + pictures))
    found = representative_pooling(features, mask=mask, seeds=own, **way)
    for n in range(pictures):
        alone = representative_pooling(features[n : n + 1], mask=mask[n : n + 1], seeds=own[n : n + 1], **way)
        assert alone.indices.equal(found.indices[n : n + 1])
        assert same(alone.maps, found.maps[n : n + 1], 2e-6)
        assert same(alone.vectors, found.vectors[n : n + 1], 2e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(dtype):
    features = drawn(2, 64, 5, 5).to(dtype)
    found, expected = representative_pooling(features), representative_pooling(features.float())
    assert found.vectors.dtype is dtype
    assert found.vectors.equal(expected.vectors.to(dtype))
    assert found.maps.equal(expected.maps)
    large = torch.full((1, 2048, 2, 2), 6, dtype=dtype)  # Σ 6² = 73,728 is beyond float16
    found = representative_pooling(large)
    assert found.vectors.equal(torch.full_like(found.vectors, 6))
    assert float(found.norms[0, 0, 0]) == pytest.approx(6 * 2048**0.5)


@ways
def test_autocast_changes_nothing(way):
    features = drawn(2, 64, 5, 5).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = representative_pooling(features, **way)
    expected = representative_pooling(features, **way)
    assert found.maps.equal(expected.maps)
    assert found.vectors.equal(expected.vectors)


@ways
def test_channels_last_and_strided_features_are_the_same(way):
    features = drawn(2, 6, 3, 4).float()
    expected = representative_pooling(features, **way)
    wide = torch.zeros(2, 6, 3, 8)
    wide[..., ::2] = features
    for other in (features.contiguous(memory_format=torch.channels_last), wide[..., ::2]):
        found = representative_pooling(other, **way)
        assert found.indices.equal(expected.indices)
        assert same(found.maps, expected.maps, 1e-6)
        assert same(found.vectors, expected.vectors, 1e-6)
