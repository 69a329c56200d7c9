"""The rules of relevance, worked by hand and in plain loops."""

import pytest
import torch
import torch.nn.functional as functional
from torch import nn

from regard.errors import UnsupportedError
from regard.models.relevance import RelevanceRules

from ..explainers.networks import same


def relevance(operation, *inputs, of=None):
    """What an operation hands to its inputs of the relevance of its output; default 1 everywhere."""
    leaves = [given.clone().requires_grad_() for given in inputs]
    with RelevanceRules():
        output = operation(*(leaf.clone() for leaf in leaves))
    start = torch.ones_like(output) if of is None else torch.tensor(of).view_as(output)
    return torch.autograd.grad(output, leaves, start)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_linear_layer_by_hand():
    # x = (2, -1, 3), w = (1, -4, -2): positive parts 2·1 = 2; negative parts (-1)·(-4) = 4; 3·(-2) counts for neither
    (found,) = relevance(
        lambda x: functional.linear(x, torch.tensor([[1.0, -4.0, -2.0]]), torch.tensor([100.0])),
        torch.tensor([[2.0, -1.0, 3.0]]),
        of=[6.0],
    )
    assert found.tolist() == [[6.0, 6.0, 0.0]]


def test_a_linear_layer_in_loops():
    given, weight, start = random(5), random(4, 5, seed=1), random(4, seed=2)
    expected = torch.zeros(5)
    for row in range(4):
        for sign in (1, -1):
            parts = [
                float(x * w) if x * sign > 0 and w * sign > 0 else 0.0 for x, w in zip(given, weight[row], strict=True)
            ]
            for place, part in enumerate(parts):
                expected[place] += part / sum(parts) * start[row] if sum(parts) else 0
    (found,) = relevance(lambda x: functional.linear(x, weight), given, of=start.tolist())
    same(found, expected)


@pytest.mark.parametrize(
    "operation",
    [nn.functional.linear, lambda x, w: x @ w.T, lambda x, w: torch.matmul(x, w.transpose(0, 1))],
    ids=["linear", "@", "matmul"],
)
def test_each_part_of_a_linear_layer_passes_relevance_once_where_it_exists(operation):
    weight, given = random(4, 5), random(3, 5, seed=2)
    for values in (given, given.abs(), -given.abs(), torch.zeros(3, 5)):
        there = sum(
            bool(((sign * x > 0) & (sign * row > 0)).any()) for x in values for row in weight for sign in (1, -1)
        )
        (found,) = relevance(lambda x: operation(x, weight), values)
        same(found.sum(), torch.tensor(float(there)))
    assert there == 0


def test_a_sum_by_hand():
    first, second = relevance(
        torch.add, torch.tensor([3.0, -1.0, 2.0]), torch.tensor([1.0, 3.0, -2.0]), of=[8.0, 4.0, 5.0]
    )
    assert first.tolist() == [6.0, -2.0, 0.0]  # 3 + 1, -1 + 3, and 2 - 2, which hands on nothing
    assert second.tolist() == [2.0, 6.0, 0.0]


def test_broadcast_relevance_comes_back_in_the_shape_of_what_it_is_for():
    large, small = random(2, 3, 4).abs(), random(1, 3, 1).abs()
    for pair in ((large, small), (small, large)):
        found = relevance(lambda a, b: a + b, *pair)
        assert [part.shape for part in found] == [part.shape for part in pair]
        same(found[0].sum() + found[1].sum(), torch.tensor(24.0))
    (found,) = relevance(lambda x: x * torch.ones(2, 3, 4), small)
    assert found.equal(torch.full((1, 3, 1), 8.0))
    found = relevance(torch.matmul, large, random(4, 5).abs())
    assert [part.shape for part in found] == [(2, 3, 4), (4, 5)]
    same(torch.stack([part.sum() for part in found]), torch.tensor([15.0, 15.0]))


def test_a_product_of_matrices_in_loops_gives_half_to_each():
    weights, values, start = random(2, 3).abs(), random(3, 4, seed=1), random(2, 4, seed=2)
    expected = torch.zeros(2, 3), torch.zeros(3, 4)
    for row in range(2):
        for column in range(4):
            whole = sum(weights[row, k] * values[k, column] for k in range(3))
            for k in range(3):
                part = weights[row, k] * values[k, column] / whole * start[row, column] / 2
                expected[0][row, k] += part
                expected[1][k, column] += part
    found = relevance(torch.matmul, weights, values, of=start.flatten().tolist())
    same(found[0], expected[0])
    same(found[1], expected[1])
    same(found[0].sum(), start.sum() / 2, 1e-4)


UNCHANGED = {
    "gelu": nn.GELU(),
    "relu": nn.ReLU(),
    "silu": nn.SiLU(),
    "tanh": torch.tanh,
    "softmax": lambda x: x.softmax(-1),
    "norm": nn.LayerNorm(4),
    "scale": lambda x: x * torch.full((4,), 0.1),
    "scale from the left": lambda x: torch.full((4,), 0.1) * x,
    "half": lambda x: x / 2,
    "constant": lambda x: x + torch.full((4,), 5.0),
    "dropout": nn.Dropout(0.5).eval(),
    "moved": lambda x: x.reshape(2, 6).permute(1, 0).contiguous().T.reshape(3, 4).to(torch.float64).float(),
}


@pytest.mark.parametrize("operation", UNCHANGED.values(), ids=UNCHANGED)
def test_these_pass_relevance_as_it_is(operation):
    start = random(3, 4, seed=3)
    if isinstance(operation, nn.Module):
        operation.requires_grad_(False)
    (found,) = relevance(operation, random(3, 4), of=start.tolist())
    same(found, start)


def test_a_value_that_goes_two_ways_gets_both():
    (found,) = relevance(lambda x: torch.cat([x, torch.tanh(x)]), torch.tensor([3.0]), of=[2.0, 5.0])
    assert found.tolist() == [7.0]


@pytest.mark.parametrize("small", [0.0, 1e-40, -1e-40])
def test_where_there_is_nothing_to_divide_by_there_is_no_relevance(small):
    zeros = torch.full((2, 3), small)
    for operation, inputs in (
        (lambda x: functional.linear(x, torch.ones(4, 3)), (zeros,)),
        (torch.add, (zeros, zeros)),
        (torch.matmul, (zeros, torch.full((3, 2), 1e-9))),
    ):
        for found in relevance(operation, *inputs):
            assert found.equal(torch.zeros_like(found))


NO_RULE = {
    "mul": lambda x: x * x,
    "rdiv": lambda x: 1 / x,
    "exp": torch.exp,
    "sub": lambda x: x - 1,
    "mean": lambda x: x.mean(0),
    "matmul": lambda x: x @ x[0],
    "einsum": lambda x: torch.einsum("ij,kj->ik", x, torch.ones(2, 4)),
    "add": lambda x: torch.add(x, x, alpha=2),
    "var_mean": lambda x: torch.var_mean(x)[0],
}


@pytest.mark.parametrize("name", NO_RULE)
def test_what_has_no_rule_is_refused_by_name(name):
    with pytest.raises(UnsupportedError, match="no rule") as error:
        relevance(NO_RULE[name], random(3, 4))
    assert error.value.came == name


IN_PLACE = {
    "add_": lambda x: x.add_(1),
    "+=": lambda x: x.__iadd__(x),
    "relu_": nn.ReLU(inplace=True),
    "mul_": lambda x: x.mul_(torch.tensor(2.0)),
}


@pytest.mark.parametrize("operation", IN_PLACE.values(), ids=IN_PLACE)
def test_what_changes_a_tensor_in_place_is_refused(operation):
    with pytest.raises(UnsupportedError, match="no rule") as error:
        relevance(operation, random(3, 4))
    assert error.value.came.endswith("in place")


def test_what_relevance_does_not_reach_needs_no_rule():
    given = random(3, 4).requires_grad_()
    with RelevanceRules():
        after = torch.tanh(given.exp())
        output = after + 0
    (found,) = torch.autograd.grad(output, after, torch.ones(3, 4))
    assert found.equal(torch.ones(3, 4))


def test_nothing_is_left_of_the_rules_also_after_a_failure():
    layer = nn.Linear(4, 3).requires_grad_(False)
    given = random(2, 4).requires_grad_()

    def fail(given):
        layer(given)
        raise KeyError

    with pytest.raises(KeyError), RelevanceRules():
        fail(given)
    assert type(layer(given).grad_fn).__name__ == "AddmmBackward0"
