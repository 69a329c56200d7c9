"""Layer-wise relevance (LRP, α = 1, β = 0) in the stead of gradients, through a network's own forward.

While a pass is recorded, every operation on tensors that need gradients gets a backward that hands relevance
on, so that `torch.autograd.grad` gives relevance. Nothing is patched: the operations are seen by their names
during that one pass (papers: CDAM, sections 4.3 and 4.4; Voita et al. 2019, arXiv 1905.09418).

| operation | relevance R of its output becomes |
| --- | --- |
| linear layer x Wᵀ + b | x⁺ ⊙ (R / x⁺W⁺ᵀ) W⁺ + x⁻ ⊙ (R / x⁻W⁻ᵀ) W⁻: each part passes R; the bias is left out |
| sum a + b | R a / (a + b) and R b / (a + b), not normalised; R where the other addend is a constant |
| product of matrices A v | A ⊙ (R / A v) vᵀ / 2 and v ⊙ Aᵀ (R / A v) / 2 |
| norm, activation, softmax, product with a constant | R |
| what moves values without changing them | moved back; where a value went two ways, the sum |

Where a denominator is zero, so is the relevance. What has no rule raises once relevance reaches it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from regard.errors import UnsupportedError

Rule = Callable[..., tuple[Tensor, ...]]
"""(relevance of the output, inputs…) → relevance of each input; autograd sums it where the input was broadcast."""

_MOVED = frozenset(
    {
        "alias",
        "cat",
        "chunk",
        "clone",
        "concat",
        "contiguous",
        "detach",
        "double",
        "dropout",
        "expand",
        "expand_as",
        "flatten",
        "flip",
        "float",
        "gather",
        "get",
        "getitem",
        "index_select",
        "movedim",
        "narrow",
        "permute",
        "repeat",
        "requires_grad",
        "reshape",
        "roll",
        "select",
        "setitem",
        "split",
        "squeeze",
        "stack",
        "swapaxes",
        "t",
        "to",
        "transpose",
        "type",
        "type_as",
        "unbind",
        "unflatten",
        "unsqueeze",
        "view",
        "view_as",
    }
)
"""Operations whose gradient is what relevance does too: values go elsewhere, unchanged."""
_UNCHANGED = frozenset(
    {
        "batch_norm",
        "celu",
        "elu",
        "gelu",
        "group_norm",
        "hardsigmoid",
        "hardswish",
        "hardtanh",
        "layer_norm",
        "leaky_relu",
        "mish",
        "normalize",
        "relu",
        "relu6",
        "rms_norm",
        "selu",
        "sigmoid",
        "silu",
        "softmax",
        "softplus",
        "tanh",
    }
)
"""Norms, activations and softmax: relevance passes as it is."""


class RelevanceRules(TorchFunctionMode):
    """While the block runs, what is computed from tensors that need gradients hands on relevance.

    Parameters must not need gradients then: what needs them counts as computed from the picture.
    """

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        result, name = function(*args, **named), function.__name__.strip("_")
        if name in _MOVED or not _counts(result):
            return result
        operands = [*args, *named.values()]
        if result is operands[0]:
            raise _no_rule(f"{name} in place")
        found = _rule(name, operands)
        return _without_rule(name, result) if found is None else _exchanged(found[0], result, *found[1])


def _rule(name: str, operands: list[Any]) -> tuple[Rule, list[Tensor]] | None:
    """The rule of an operation and the inputs that it gives relevance to; None where there is none."""
    counting = [operand for operand in operands[:2] if _counts(operand)]
    first, second = (*operands, None)[:2]
    of_two = len(operands) == 2
    if name in _UNCHANGED and counting == [first]:
        return _unchanged, counting
    if name == "linear" and counting == [first]:
        return partial(_linear, weight=second), counting
    if name in ("matmul", "bmm") and len(counting) == 2 and min(first.dim(), second.dim()) >= 2:
        return _product, counting
    if name == "matmul" and counting == [first] and second.dim() == 2:
        return partial(_linear, weight=second.T), counting
    if name == "add" and of_two:
        return (_sum if len(counting) == 2 else _unchanged), counting
    if of_two and ((name == "mul" and len(counting) == 1) or (name == "div" and counting == [first])):
        return _unchanged, counting
    return None


def _unchanged(relevance: Tensor, _: Tensor) -> tuple[Tensor]:
    return (relevance,)


def _sum(relevance: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    share = _divided(relevance, first + second)
    return share * first, share * second


def _product(relevance: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    share = _divided(relevance, first @ second) / 2
    return first * (share @ second.transpose(-2, -1)), second * (first.transpose(-2, -1) @ share)


def _linear(relevance: Tensor, given: Tensor, weight: Tensor) -> tuple[Tensor]:
    parts = []
    for sign in ({"min": 0}, {"max": 0}):
        values, weights = given.clamp(**sign), weight.to(given.dtype).clamp(**sign)
        parts.append(values * (_divided(relevance, values @ weights.T) @ weights))
    return (parts[0] + parts[1],)


def _without_rule(name: str, result: Any) -> Any:
    """A result, or several, that refuses relevance once it comes: what relevance does not reach needs no rule."""

    def refuse(*_: Tensor) -> tuple[Tensor]:
        raise _no_rule(name)

    if isinstance(result, tuple | list):
        return type(result)([_without_rule(name, part) for part in result])
    return _exchanged(refuse, result, result) if _counts(result) else result


def _divided(relevance: Tensor, denominator: Tensor) -> Tensor:
    """Their quotient; zero where the denominator is zero, or so small that the quotient could overflow."""
    there = denominator.abs() > torch.finfo(denominator.dtype).tiny ** 0.5
    return torch.where(there, relevance / denominator.where(there, 1), 0)


def _counts(operand: Any) -> bool:
    """Whether an operand, or one of several results, is computed from the picture."""
    if isinstance(operand, tuple | list):
        return any(_counts(part) for part in operand)
    return isinstance(operand, Tensor) and operand.requires_grad


def _no_rule(name: str) -> UnsupportedError:
    return UnsupportedError("relevance has no rule for an operation of this network", came=name)


def _exchanged(rule: Rule, value: Tensor, *inputs: Tensor) -> Tensor:
    """The same value, whose backward is the rule."""
    apply: Callable[..., Tensor] = _Exchanged.apply
    return apply(rule, value.detach(), *inputs)


class _Exchanged(torch.autograd.Function):
    """A value already computed, whose backward is a rule; in float32 at least."""

    @staticmethod
    def forward(context: Any, rule: Rule, value: Tensor, *inputs: Tensor) -> Tensor:
        context.rule = rule
        context.save_for_backward(*inputs)
        return value.clone()

    @staticmethod
    def backward(context: Any, relevance: Tensor) -> tuple[Tensor | None, ...]:
        inputs = [given if given.dtype is torch.float64 else given.float() for given in context.saved_tensors]
        return None, None, *context.rule(relevance.to(inputs[0].dtype), *inputs)
