"""The hardest triplets of a batch: by hand, by plain loops, and by another library."""

import math

import pytest
import torch

from regard.attention.triplets import hardest_triplets
from regard.errors import UnsupportedError


def by_loops(embeddings, persons, margin):
    losses = []
    for a, person in enumerate(persons):
        own = [math.dist(embeddings[a], embeddings[p]) for p, other in enumerate(persons) if other == person and p != a]
        others = [math.dist(embeddings[a], embeddings[n]) for n, other in enumerate(persons) if other != person]
        losses.append(max(0.0, margin + max(own) - min(others)) if own and others else 0.0)
    return losses


def drawn(seed, count=9):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, 4, generator=draw, dtype=torch.float64), torch.randint(3, (count,), generator=draw)


def test_four_pictures_on_a_line():
    """Persons 0 at 0 and 3, 1 at 4 and 9: 0.3 + 3 − 4 < 0;  0.3 + 3 − 1;  0.3 + 5 − 1;  0.3 + 5 − 6 < 0."""
    losses = hardest_triplets(torch.tensor([[0.0], [3], [4], [9]]), torch.tensor([0, 0, 1, 1]))
    assert losses.tolist() == pytest.approx([0, 2.3, 4.3, 0])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("margin", [0.0, 0.3, 2.0])
def test_it_is_what_plain_loops_find(seed, margin):
    embeddings, persons = drawn(seed)
    expected = by_loops(embeddings.tolist(), persons.tolist(), margin)
    assert hardest_triplets(embeddings, persons, margin).tolist() == pytest.approx(expected)


def test_it_is_what_another_library_finds():
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.losses import TripletMarginLoss
    from pytorch_metric_learning.miners import BatchHardMiner
    from pytorch_metric_learning.reducers import MeanReducer

    embeddings, persons = torch.randn(12, 4, generator=torch.Generator().manual_seed(3)), torch.arange(12) // 3
    distance = LpDistance(normalize_embeddings=False)
    loss = TripletMarginLoss(margin=0.3, distance=distance, reducer=MeanReducer())
    expected = loss(embeddings, persons, BatchHardMiner(distance=distance)(embeddings, persons))
    assert float(hardest_triplets(embeddings, persons).mean()) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("persons", [[0, 0, 0], [0, 1, 2], [0]])
def test_without_a_second_picture_or_a_second_person_there_is_nothing_to_learn(persons):
    embeddings = torch.randn(len(persons), 4, requires_grad=True)
    losses = hardest_triplets(embeddings, torch.tensor(persons))
    losses.sum().backward()
    assert not losses.any()
    assert not embeddings.grad.any()


def test_gradients_are_those_of_finite_differences():
    embeddings, persons = drawn(7)
    assert torch.autograd.gradcheck(
        lambda given: hardest_triplets(given, persons, 2.0), embeddings.requires_grad_(), atol=1e-6
    )


def test_the_same_picture_twice_gives_finite_gradients():
    embeddings = torch.ones(4, 3, requires_grad=True)
    losses = hardest_triplets(embeddings, torch.tensor([0, 0, 1, 1]))
    losses.sum().backward()
    assert losses.tolist() == pytest.approx([0.3] * 4)
    assert embeddings.grad.isfinite().all()


def test_near_pairs_are_not_lost_to_rounding():
    """Far from the origin the product form of a distance has errors larger than the margin."""
    line = torch.arange(60.0)[:, None] * 0.1
    embeddings = torch.cat([line, torch.full_like(line, 3e3)], dim=1)
    persons = torch.arange(60) // 2
    expected = by_loops(embeddings.tolist(), persons.tolist(), 0.3)
    assert hardest_triplets(embeddings, persons).tolist() == pytest.approx(expected, abs=1e-5)


def test_half_precision_is_added_up_in_single():
    embeddings, persons = drawn(2)
    with torch.autocast("cpu", torch.bfloat16):
        losses = hardest_triplets(embeddings.bfloat16(), persons)
    assert losses.dtype == torch.float32
    assert losses.tolist() == by_approximation(embeddings.bfloat16(), persons)


def by_approximation(embeddings, persons):
    return pytest.approx(by_loops(embeddings.tolist(), persons.tolist(), 0.3), abs=1e-5)


@pytest.mark.parametrize("margin", [-0.1, math.inf, math.nan, "0.3", True, None])
def test_what_is_no_margin_is_refused(margin):
    with pytest.raises(UnsupportedError, match="margin"):
        hardest_triplets(*drawn(0), margin)


def test_persons_of_another_number_are_refused():
    with pytest.raises(UnsupportedError, match="of a person"):
        hardest_triplets(torch.ones(3, 2), torch.zeros(2))
