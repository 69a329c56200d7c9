"""Prototypes and the cosine classifier: numbers worked by hand, plain loops, what must not matter."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from regard.attention.prototypes import prototype_logits, prototypes, unit
from regard.errors import UnsupportedError


def drawn(*shape, seed=0, kind=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(kind)


def cosine(one, other):
    """By Python's own numbers."""
    dot = sum(a * b for a, b in zip(one.tolist(), other.tolist(), strict=True))
    return dot / math.sqrt(sum(a * a for a in one.tolist())) / math.sqrt(sum(b * b for b in other.tolist()))


def test_prototypes_and_logits_worked_by_hand():
    # class 0: photos (3, 4) and (0, 2) of rank 0 → (.6, .8), (0, 1) → mean (.3, .9); rank 1: (5, 0), (0, 1) → (.5, .5)
    # class 1: rank 0: (1, 0) twice → (1, 0);                                           rank 1: (0, 7) twice → (0, 1)
    support = torch.tensor(
        [
            [[[3.0, 4.0], [5.0, 0.0]], [[0.0, 2.0], [0.0, 1.0]]],
            [[[1.0, 0.0], [0.0, 7.0]], [[4.0, 0.0], [0.0, 0.1]]],
        ]
    )
    found = prototypes(support)
    assert torch.allclose(found, torch.tensor([[[0.3, 0.9], [0.5, 0.5]], [[1.0, 0.0], [0.0, 1.0]]]))
    # a query with (0, 9) and (2, 0): cosines 3/√10 and 1/√2 with class 0; 0 and 0 with class 1
    logits = prototype_logits(torch.tensor([[[0.0, 9.0], [2.0, 0.0]]]), found, 10.0)
    assert logits.tolist() == [[pytest.approx(10 * (3 / math.sqrt(10) + 1 / math.sqrt(2)) / 2), 0.0]]


def test_logits_are_those_of_plain_loops():
    support, queries = drawn(4, 3, 2, 5), drawn(6, 2, 5, seed=1)
    logits = prototype_logits(queries, prototypes(support), 7.0)
    for query in range(6):
        for label in range(4):
            total = 0.0
            for rank in range(2):
                photos = [support[label, photo, rank] for photo in range(3)]
                mean = sum(photo / math.sqrt(sum(value**2 for value in photo.tolist())) for photo in photos) / 3
                total += cosine(queries[query, rank], mean)
            assert float(logits[query, label]) == pytest.approx(7 * total / 2, rel=1e-12)


def test_it_is_the_cosine_of_the_joined_vectors_once_each_has_length_one():
    """And the published base learner weighs ranks by their activity: with equal ones it is the same."""
    queries, classes = drawn(5, 3, 4), drawn(2, 3, 4, seed=1)
    found = prototype_logits(queries, classes, 1.0)
    for query in range(5):
        for label in range(2):
            joined = [torch.cat([row / row.norm() for row in each]) for each in (queries[query], classes[label])]
            assert float(found[query, label]) == pytest.approx(cosine(*joined), abs=1e-12)


def test_one_rank_far_more_active_than_another_counts_no_more():
    queries, classes = drawn(5, 2, 4), drawn(3, 2, 4, seed=1)
    louder = queries * torch.tensor([1000.0, 0.01])[:, None]
    assert torch.allclose(prototype_logits(louder, classes, 4.0), prototype_logits(queries, classes, 4.0))


@settings(max_examples=20, deadline=None)
@given(seed=some.integers(0, 10**6), order=some.permutations(range(4)), leading=some.integers(1, 3))
def test_classes_in_another_order_give_their_logits_in_that_order(seed, order, leading):
    support, queries = drawn(leading, 4, 2, 3, 5, seed=seed), drawn(leading, 6, 3, 5, seed=seed + 1)
    logits = prototype_logits(queries, prototypes(support), 3.0)
    moved = prototype_logits(queries, prototypes(support[:, order]), 3.0)
    assert torch.allclose(moved, logits[..., order], atol=1e-12)
    photos = prototype_logits(queries, prototypes(support.flip(2)), 3.0)
    assert torch.allclose(photos, logits, atol=1e-12)


def test_ranks_are_compared_with_the_same_ranks():
    queries, classes = drawn(4, 2, 3), drawn(3, 2, 3, seed=1)
    assert not torch.allclose(prototype_logits(queries.flip(1), classes, 1.0), prototype_logits(queries, classes, 1.0))
    both = prototype_logits(queries.flip(1), classes.flip(1), 1.0)
    assert torch.allclose(both, prototype_logits(queries, classes, 1.0))


def test_a_vector_of_zero_is_like_nothing_and_has_no_gradient():
    queries, support = drawn(3, 2, 4), drawn(2, 1, 2, 4, seed=1)
    queries[1] = 0
    queries.requires_grad_()
    support[0, 0, 1] = 0
    support.requires_grad_()
    logits = prototype_logits(queries, prototypes(support), 5.0)
    assert logits[1].tolist() == [0, 0]
    logits.exp().sum().backward()
    assert queries.grad[1].abs().max() == 0
    assert support.grad[0, 0, 1].abs().max() == 0
    assert all(bool(each.grad.isfinite().all()) for each in (queries, support))
    assert float(queries.grad[0].abs().max()) > 0


def test_gradients_are_those_of_finite_differences():
    support, queries = drawn(2, 2, 2, 3).requires_grad_(), drawn(3, 2, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda s, q: prototype_logits(q, prototypes(s), 2.0), (support, queries))


def test_half_precision_is_summed_in_float32():
    queries, classes = drawn(3, 2, 2048, kind=torch.float16) * 6, drawn(2, 2, 2048, seed=1, kind=torch.float16) * 6
    with torch.autocast("cpu", torch.bfloat16):
        found = prototype_logits(queries, classes, 1.0)
    assert found.dtype == torch.float32
    assert torch.allclose(found, prototype_logits(queries.double(), classes.double(), 1.0).float(), atol=1e-6)
    assert unit(torch.full((1, 2048), 6.0, dtype=torch.float16)).square().sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 0, 3, 4), (0, 1, 3, 4)])
def test_vectors_of_no_photos_are_refused(shape):
    with pytest.raises(UnsupportedError, match="some photos"):
        prototypes(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(3, 2, 4), (3, 3, 5), (2, 3, 3, 4)])
def test_other_ranks_channels_or_episodes_are_refused(shape):
    with pytest.raises(UnsupportedError, match="other ranks or channels"):
        prototype_logits(torch.zeros(shape), torch.zeros(6, 3, 4), 1.0)
