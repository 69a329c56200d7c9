"""Scores to weights: each against plain loops, and what holds for all of them."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from regard.attention.entmax import entmax, sparsemax
from regard.attention.gumbel import gumbel
from regard.attention.weights import NEGLIGIBLE, WEIGHTS, softmax, spherical_softmax, top_k

from . import slow_weights as slow


def drawn_one(scores, dim=-1, mask=None):
    return gumbel(scores, dim, generator=torch.Generator().manual_seed(3), mask=mask)


SMOOTH = {
    "softmax": softmax,
    "cold softmax": partial(softmax, temperature=0.3),
    "sparsemax": sparsemax,
    "entmax": entmax,
    "entmax 1.25": partial(entmax, alpha=1.25),
    "entmax 3": partial(entmax, alpha=3),
    "entmax learnt": partial(entmax, alpha=torch.tensor(1.7)),
}
WITHOUT_CHANCE = SMOOTH | {"spherical": spherical_softmax, "top-k": partial(top_k, k=2)}
ALL = WITHOUT_CHANCE | {"gumbel": drawn_one}

every = pytest.mark.parametrize("weigh", ALL.values(), ids=list(ALL))
without_chance = pytest.mark.parametrize("weigh", WITHOUT_CHANCE.values(), ids=list(WITHOUT_CHANCE))
# multiples of 1/64 are added without rounding
rows = st.lists(st.integers(-320, 320), min_size=1, max_size=9, unique=True).map(
    lambda row: torch.tensor(row, dtype=torch.float64) / 64
)


def scores_of(*shape, seed=0, spread=1.0):
    return spread * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mask_of(*shape, seed=0):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) > 0.4
    mask[..., 0] = True
    return mask


def close(came, expected, within=1e-12):
    torch.testing.assert_close(came, expected, rtol=0, atol=within)


@pytest.mark.parametrize("spread", [0.3, 1.0, 20.0])
@pytest.mark.parametrize(
    ("weigh", "loop"),
    [
        (softmax, slow.exponentials),
        (partial(softmax, temperature=0.2), partial(slow.exponentials, temperature=0.2)),
        (spherical_softmax, partial(slow.squares, epsilon=NEGLIGIBLE)),
        (partial(top_k, k=1), partial(slow.of_largest, k=1)),
        (partial(top_k, k=3), partial(slow.of_largest, k=3)),
        (partial(top_k, k=30), partial(slow.of_largest, k=30)),
    ],
    ids=["softmax", "cold softmax", "spherical", "top 1", "top 3", "top 30"],
)
def test_it_is_what_plain_loops_find(weigh, loop, spread):
    scores = scores_of(6, 7, spread=spread)
    close(weigh(scores), torch.tensor([loop(row) for row in scores.tolist()], dtype=torch.float64))


def test_published_and_hand_worked_numbers():
    """Squares 9, 1, 4 of 14; and of the largest three, e² : e : e beside the first of two equal scores."""
    close(spherical_softmax(torch.tensor([-3.0, 1, 2])), torch.tensor([9 / 14, 1 / 14, 4 / 14]), 1e-6)
    e = math.e
    expected = torch.tensor([1, e, 1, 0, 0]) / (2 + e)
    close(top_k(torch.tensor([1.0, 2, 1, 1, 0]), 3), expected, 1e-6)
    assert top_k(torch.zeros(3, 6), 2).tolist() == [[0.5, 0.5, 0, 0, 0, 0]] * 3


@every
@given(scores=rows, data=st.data())
@trials(max_examples=15)
def test_weights_are_on_the_simplex_and_a_masked_segment_is_as_if_it_were_not_there(weigh, scores, data):
    counts = data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores)).filter(any))
    mask = torch.tensor(counts)
    for weights in (weigh(scores, mask=mask), weigh(scores.masked_fill(~mask, -math.inf))):
        assert (weights >= 0).all()
        assert float(weights.sum()) == pytest.approx(1, abs=1e-14)
        assert not weights[~mask].any()
        if weigh is not drawn_one:  # its draw is of the whole row
            close(weights[mask], weigh(scores[mask]), 1e-7 if weigh is ALL["entmax 3"] else 1e-12)


@without_chance
@given(scores=rows, data=st.data())
@trials(max_examples=15)
def test_segments_in_another_order_have_the_same_weights(weigh, scores, data):
    order = torch.tensor(data.draw(st.permutations(range(len(scores)))))
    close(weigh(scores[order]), weigh(scores)[order], 1e-7 if weigh is ALL["entmax 3"] else 1e-12)


@pytest.mark.parametrize("weigh", [*SMOOTH.values(), ALL["top-k"]], ids=[*SMOOTH, "top-k"])
@given(scores=rows, shift=st.integers(-6400, 6400))
@trials(max_examples=15)
def test_a_constant_added_to_all_scores_changes_nothing(weigh, scores, shift):
    close(weigh(scores + shift / 64), weigh(scores), 0)


@given(scores=rows, scale=st.floats(0.5, 1e6))
@trials(max_examples=30)
def test_spherical_weights_do_not_see_sign_or_scale(scores, scale):
    scores = scores.where(scores.abs() > 0.5, 1)
    weights = spherical_softmax(scores)
    close(spherical_softmax(-scores), weights, 0)
    close(spherical_softmax(scale * scores), weights, 1e-6)


def test_spherical_weights_of_zeros_are_uniform_with_a_gradient_of_zero():
    scores = torch.zeros(2, 5, requires_grad=True)
    weights = spherical_softmax(scores, mask=torch.tensor([True] * 4 + [False]))
    weights[:, 0].sum().backward()
    close(weights.detach(), torch.tensor([[0.25] * 4 + [0]] * 2), 1e-7)
    assert scores.grad.tolist() == [[0.0] * 5] * 2


def test_towards_no_temperature_softmax_is_one_hot_and_towards_an_infinite_one_uniform():
    scores = torch.tensor([[0.5, 3, 2.999, -4]])
    for temperature in (1e-4, 1e-30, 2e-38):
        close(softmax(scores, temperature=temperature), torch.tensor([[0.0, 1, 0, 0]]), 1e-4)
    close(softmax(scores, temperature=1e30), torch.full((1, 4), 0.25), 1e-7)
    assert softmax(torch.tensor([7.0, 7, 1]), temperature=1e-30).tolist() == [0.5, 0.5, 0]


@every
@pytest.mark.parametrize("dim", [0, 1, -1, -2])
def test_any_dim_and_any_mask_that_broadcasts(weigh, dim):
    scores, mask = scores_of(3, 4, 5), mask_of(4, 1) if dim in (1, -2) else mask_of(4, 5)
    if dim == 0:
        mask = torch.tensor([True, False, True])[:, None, None]
    else:
        mask[0] = True
    if weigh is drawn_one:
        weights = weigh(scores, dim=dim, mask=mask)
        assert set(weights.flatten().tolist()) == {0, 1}
        assert (weights.sum(dim) == 1).all()
    else:
        last, counts = scores.movedim(dim, -1).contiguous(), mask.expand(3, 4, 5).movedim(dim, -1)
        close(weigh(scores, dim=dim, mask=mask).movedim(dim, -1), weigh(last, mask=counts), 0)


@without_chance
@pytest.mark.parametrize("dim", [0, 1])
def test_gradients_are_those_of_finite_differences(weigh, dim):
    scores, mask = scores_of(3, 4, seed=5).requires_grad_(), mask_of(3, 4, seed=5)
    if dim == 0:
        mask[0] = True
    assert torch.autograd.gradcheck(lambda given: weigh(given, dim=dim, mask=mask), scores)
    assert torch.autograd.gradgradcheck(lambda given: weigh(given, dim=dim, mask=mask), scores)


@every
def test_several_models_together_are_as_one_after_another(weigh):
    scores, masks = scores_of(3, 4, 6, seed=2), mask_of(3, 4, 6, seed=2)

    def loss(scores, mask):
        return (weigh(scores, mask=mask) * torch.arange(6.0)).square().sum()

    if weigh is drawn_one:
        with pytest.raises(RuntimeError, match="random"):
            torch.func.vmap(loss)(scores, masks)
        return
    together = torch.func.vmap(weigh)(scores), *torch.func.vmap(torch.func.grad_and_value(loss))(scores, masks)
    alone = [(weigh(one), *torch.func.grad_and_value(loss)(one, mask)) for one, mask in zip(scores, masks, strict=True)]
    for came, expected in zip(together, zip(*alone, strict=True), strict=True):
        close(came, torch.stack(expected), 1e-13)


@every
def test_no_score_is_too_large(weigh):
    scores = torch.tensor([[1e30, -1e30, 1e30, 0], [-1e30, 3e38, -3e38, -math.inf]], requires_grad=True)
    weights = weigh(scores)
    weights.square().sum().backward()
    assert weights.sum(dim=1).tolist() == pytest.approx([1, 1], abs=1e-6)
    assert scores.grad.isfinite().all()
    if weigh is spherical_softmax:  # which sees no sign
        close(weights[0].detach(), torch.tensor([1, 1, 1, 0]) / 3, 1e-6)
        close(weights[1].detach(), torch.tensor([0, 0.5, 0.5, 0]), 1e-6)
    else:
        assert weights[1].tolist() == [0, 1, 0, 0]
        if weigh is not drawn_one:
            close(weights[0].detach(), torch.tensor([0.5, 0, 0.5, 0]), 1e-6)


@without_chance
@pytest.mark.parametrize(("kind", "step"), [(torch.float16, 2**-11), (torch.bfloat16, 2**-8)], ids=["fp16", "bf16"])
@pytest.mark.parametrize("spread", [0.0, 0.01, 1.0, 30.0])
def test_half_precision_rows_of_1000_segments_sum_to_1_and_lose_no_segment(weigh, kind, step, spread):
    scores = scores_of(4, 1000, seed=4, spread=spread).to(kind).requires_grad_()
    weights = weigh(scores)
    assert weights.dtype is kind
    fine = weigh(scores.detach().float())
    assert ((weights > 0) == (fine > 0)).all()
    # float32 sums of a thousand are themselves uncertain by some 1e-6
    assert (weights.double().sum(dim=1) - 1).abs().max() <= step + 1000 * 2**-25 + 1e-5
    close(weights.float().detach(), fine, step * float(fine.max()) + 2**-24)
    if spread == 0 and weigh is not ALL["top-k"]:
        assert len(set(weights.flatten().tolist())) == 1
    weights.float().square().sum().backward()
    assert scores.grad.dtype is kind
    assert scores.grad.isfinite().all()


def test_a_weight_that_half_precision_rounds_to_nothing_keeps_its_gradient():
    scores = torch.tensor([0.0, -20], dtype=torch.float16, requires_grad=True)
    weights = softmax(scores)
    (weights[1] * 65504).backward()
    assert weights[1].item() == 2**-24
    assert float(scores.grad[1]) == pytest.approx(65504 * math.exp(-20), rel=0.01)


@every
def test_types_come_back_also_under_autocast_and_rows_may_be_none(weigh):
    for kind in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        assert weigh(torch.zeros(2, 3, dtype=kind)).dtype is kind
    scores = scores_of(3, 5).float()
    with torch.autocast("cpu", torch.bfloat16):
        close(weigh(scores), weigh(scores.clone()), 0)
        assert weigh(scores).dtype is torch.float32
    assert weigh(torch.zeros(0, 9)).shape == (0, 9)
    assert weigh(torch.zeros(2, 0, 4), dim=2).shape == (2, 0, 4)
    assert weigh(torch.tensor([-2.0])).tolist() == [1]


def test_every_name_is_a_function_of_scores_dim_and_mask():
    needed = {"top-k": {"k": 2}, "gumbel": {"generator": torch.Generator().manual_seed(0)}}
    scores, mask = scores_of(3, 4), mask_of(4, 1)
    for name, weigh in WEIGHTS.items():
        assert weigh(scores, dim=1, mask=mask.T, **needed.get(name, {})).sum(dim=1).tolist() == pytest.approx([1] * 3)
