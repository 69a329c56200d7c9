"""Cross attention against plain loops over pairs and places."""

import math

import pytest
import torch

from regard.attention.cross_attention import CrossAttention
from regard.attention.prototypes import prototype_logits
from regard.errors import UnsupportedError

from ..explainers.networks import loud

BATCH, WAYS, QUERIES, CHANNELS, HEIGHT, WIDTH = 2, 3, 4, 5, 2, 3
PLACES = HEIGHT * WIDTH


def features(count, seed=0):
    shape = (BATCH, count, CHANNELS, HEIGHT, WIDTH)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()


def crossing(reduction=2):
    return loud(CrossAttention(PLACES, reduction).double(), 3)


def cosine(one, other):
    return float((one * other).sum() / math.sqrt(float((one**2).sum())) / math.sqrt(float((other**2).sum())))


def attended(module, looked_at, beside):
    """The vector of features (C, m) looked at beside others, place by place, as the paper has it."""
    first, _, second = module.fusion
    rows = [[cosine(looked_at[:, i], beside[:, j]) for j in range(PLACES)] for i in range(PLACES)]
    mean = [sum(row[j] for row in rows) / PLACES for j in range(PLACES)]
    narrow = [max(0.0, sum(w * m for w, m in zip(line, mean, strict=True))) for line in first.weight.tolist()]
    kernel = [sum(w * n for w, n in zip(line, narrow, strict=True)) for line in second.weight.tolist()]
    fused = [sum(k * r for k, r in zip(kernel, row, strict=True)) / len(row) / module.temperature for row in rows]
    largest = max(fused)
    powers = [math.exp(value - largest) for value in fused]
    attention = [power / sum(powers) for power in powers]
    return sum((1 + attention[i]) * looked_at[:, i] for i in range(PLACES)) / PLACES


def test_it_is_the_paper_s_formula_pair_by_pair():
    module, classes, queries = crossing(), features(WAYS), features(QUERIES, 1)
    found = module(classes, queries)
    logits = found.logits(4.0).detach()
    for episode in range(BATCH):
        for query in range(QUERIES):
            for label in range(WAYS):
                pair = classes[episode, label].flatten(1), queries[episode, query].flatten(1)
                known, asked = attended(module, *pair), attended(module, *pair[::-1])
                at = (episode, query, label)
                assert torch.allclose(found.classes[at], known, atol=1e-9)
                assert torch.allclose(found.queries[at], asked, atol=1e-9)
                assert float(logits[at]) == pytest.approx(4 * cosine(known, asked), abs=1e-9)


def test_classes_in_another_order_give_theirs_in_that_order():
    module, classes, queries = crossing(), features(WAYS), features(QUERIES, 1)
    found, moved = module(classes, queries), module(classes[:, [2, 0, 1]], queries)
    assert torch.allclose(moved.logits(1.0), found.logits(1.0)[..., [2, 0, 1]])
    alone = module(classes[1:], queries[1:, :1])
    assert torch.allclose(alone.logits(1.0), found.logits(1.0)[1:, :1])  # neither batch mates nor other queries matter


def test_an_even_attention_leaves_the_plain_means():
    module, classes, queries = crossing(), features(WAYS), features(QUERIES, 1)
    module.fusion[2].weight.data.zero_()
    plain = [each.mean(dim=(3, 4))[:, :, None] for each in (queries, classes)]
    assert torch.allclose(module(classes, queries).logits(3.0), prototype_logits(*plain, 3.0))


def test_gradients_are_those_of_finite_differences():
    module = CrossAttention(PLACES, temperature=1.0).double()
    loud(module, 3)
    classes, queries = features(2)[:1].requires_grad_(), features(1, 1)[:1].requires_grad_()
    assert torch.autograd.gradcheck(lambda c, q: module(c, q).logits(1.0), (classes, queries))


@pytest.mark.parametrize("shape", [(1, 2, 5, 3, 3), (1, 2, 5, 3, 2)])
def test_another_grid_is_refused(shape):
    with pytest.raises(UnsupportedError, match="another grid"):
        crossing()(features(WAYS)[:1], torch.zeros(shape).double())


@pytest.mark.parametrize("wrong", [{"places": 0}, {"reduction": 0}, {"temperature": 0.0}, {"temperature": math.nan}])
def test_numbers_that_cannot_be_are_refused(wrong):
    with pytest.raises(UnsupportedError, match="no such cross attention"):
        CrossAttention(**{"places": 6} | wrong)
