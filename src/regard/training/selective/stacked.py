"""Modules of several seeds as one module, whose rows are those of the first seed, then of the second, and so on.

A selective model made of such modules is itself one for all seeds: scores, weights and losses are of rows, and know
nothing of seeds. The sum over seeds of their losses has for each seed's parameters its own gradient, so one backward
and one elementwise optimizer step train all, as each alone would.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from regard.attention.entmax import entmax
from regard.attention.selective import SelectiveModel
from regard.attention.selective_weights import LearntEntmax
from regard.attention.weights import WEIGHTS

NEAR = 2**17
"""Numbers that a layer may make at once: what stays near the processor until the next layer has read it."""


class StackedLinears(nn.Module):
    """Linear layers of S seeds behind each other, some with a ReLU. Rows (S·N, in) → (S·N, out).

    One product of matrices for each seed and layer, in one call for several seeds. Every pass over what a layer makes
    counts: only as many seeds go through at once as stay near the processor (`NEAR`), a ReLU is done in place, its
    input not kept, and on the way back each gradient is cut where it was made.

    Args:
        layers: for each layer, those of all seeds.
        rectified: for each layer, whether a ReLU follows.
    """

    def __init__(self, layers: Sequence[Sequence[nn.Linear]], rectified: Sequence[bool]) -> None:
        super().__init__()
        values = [[layer.weight for layer in each] for each in layers]
        biases = [None if each[0].bias is None else [layer.bias for layer in each] for each in layers]
        pairs = zip(values, biases, strict=True)
        self.values = nn.ParameterList(_parameter(each) for pair in pairs for each in pair if each is not None)
        self.rectified, self.biased = tuple(rectified), tuple(each is not None for each in biases)

    def forward(self, rows: Tensor) -> Tensor:
        products: Callable[..., Tensor] = _Products.apply
        apart = rows.reshape(len(self.values[0]), -1, rows.shape[-1])
        left = iter(self.values)
        given = [(next(left), next(left) if biased else None) for biased in self.biased]
        each = products(apart, self.rectified, *(value for pair in given for value in pair))
        return each.reshape(-1, each.shape[-1])


class _Products(torch.autograd.Function):
    """x Wᵀ + b, and max(0, ·) where rectified, by layer: x (S, N, in), each W (S, out, in), b (S, out) or None.

    Some seeds go through all layers before the next ones do.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, rectified: tuple[bool, ...], *values: Tensor | None) -> Tensor:
        widest = x[0, :, :1].numel() * max(weight.shape[1] for weight in values[::2] if weight is not None)
        ctx.rectified, ctx.seeds = rectified, max(1, NEAR // max(1, widest))
        made = [_through(block, rectified, of) for block, *of in _blocks(ctx.seeds, x, *values)]
        ctx.save_for_backward(*values[::2], *itertools.chain(*made))
        return torch.cat([each[-1] for each in made]) if len(made) > 1 else made[0][-1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        count = len(ctx.rectified)
        weights, rest = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        made = [rest[start : start + count + 1] for start in range(0, len(rest), count + 1)]
        needed: tuple[bool, ...] = (ctx.needs_input_grad[0], *ctx.needs_input_grad[2:])
        found = [
            _back(block, each, of, ctx.rectified, needed)
            for (block, *of), each in zip(_blocks(ctx.seeds, gradient, *weights), made, strict=True)
        ]
        columns = zip(needed, zip(*found, strict=True), strict=True)
        of_x, *others = [torch.cat(cast(Any, column)) if needs else None for needs, column in columns]
        return of_x, None, *others


def _blocks(seeds: int, *values: Tensor | None) -> Iterator[tuple[Any, ...]]:
    """The same seeds of each, so many at once."""
    count = len(cast(Tensor, values[0]))
    for start in range(0, count, seeds):
        yield tuple(None if value is None else value[start : start + seeds] for value in values)


def _through(x: Tensor, rectified: Sequence[bool], values: Sequence[Tensor | None]) -> list[Tensor]:
    """What each layer makes, x itself first."""
    made = [x]
    for weight, bias, cut in zip(cast(Sequence[Tensor], values[::2]), values[1::2], rectified, strict=True):
        turned = weight.mT
        out = torch.bmm(made[-1], turned) if bias is None else torch.baddbmm(bias[:, None], made[-1], turned)
        made.append(out.clamp_min_(0) if cut else out)
    return made


def _back(
    gradient: Tensor,
    made: Sequence[Tensor],
    weights: Sequence[Tensor],
    rectified: Sequence[bool],
    needed: Sequence[bool],
) -> list[Tensor | None]:
    """Gradients of x, and of each layer's weight and bias, those that are needed."""
    found: list[Tensor | None] = [None] * len(needed)
    for layer in reversed(range(len(weights))):
        if rectified[layer]:
            # what was given is not ours to change
            gradient = _cut(gradient, made[layer + 1], in_place=layer + 1 < len(weights))
        if needed[1 + 2 * layer]:
            found[1 + 2 * layer] = torch.bmm(gradient.mT, made[layer])
        if needed[2 + 2 * layer]:
            found[2 + 2 * layer] = gradient.sum(dim=1)
        if not any(needed[: 1 + 2 * layer]):
            return found
        gradient = torch.bmm(gradient, weights[layer])
    found[0] = gradient
    return found


def _cut(gradient: Tensor, out: Tensor, in_place: bool) -> Tensor:
    """0 where a ReLU gave 0."""
    if in_place:
        cut: Tensor = torch.ops.aten.threshold_backward.grad_input(gradient, out, 0, grad_input=gradient)
        return cut
    kept: Tensor = torch.ops.aten.threshold_backward(gradient, out, 0)
    return kept


class StackedEntmax(nn.Module):
    """`LearntEntmax` of S seeds, each with its own α; scores (S·N, m)."""

    def __init__(self, each: Sequence[LearntEntmax]) -> None:
        super().__init__()
        self.raw = _parameter([one.raw for one in each])

    def forward(self, scores: Tensor) -> Tensor:
        return entmax(scores, 1 + self.raw.sigmoid().repeat_interleave(len(scores) // len(self.raw))[:, None])


_EACH_ALONE: frozenset[type[nn.Module]] = frozenset(
    {nn.Identity, nn.Flatten, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Softplus, nn.Sigmoid, nn.Tanh}
)
"""Layers without parameters that do the same to every row in every mode, and whose `repr` says all that they are."""
_KNOWN = _EACH_ALONE | {SelectiveModel, nn.Sequential, nn.Linear, LearntEntmax}


def can_be_stacked(model: SelectiveModel) -> bool:
    """Whether a seed's curve stays its own: only layers of which that is known, with nothing shared or hung on them.

    Of one's own module, or a function, nobody can tell whether it draws, keeps something, differs by mode, or by seed.
    Convolutions are left apart, too: those of several seeds are grouped convolutions, which gain nothing.
    """
    known = all(type(part) in _KNOWN for part in model.modules())
    known &= isinstance(model.weights, LearntEntmax) or _plain(model.weights) in WEIGHTS.values()
    hung = any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    shared = len([*model.named_parameters(remove_duplicate=False)]) > len([*model.parameters()])
    return known and not (hung or shared)


def form_of(model: SelectiveModel) -> tuple[object, ...]:
    """What models of several seeds have in common: all but the values of their weights."""
    state = model.state_dict(keep_vars=True).items()
    weights = model.weights
    return (
        repr(model),
        (model.layer, model.prediction),
        (weights.func, weights.args, weights.keywords) if isinstance(weights, partial) else None,
        [(name, value.shape, value.dtype, value.device, value.requires_grad) for name, value in state],
    )


def _plain(weights: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return weights.func if isinstance(weights, partial) else weights


def stacked(models: Sequence[SelectiveModel]) -> SelectiveModel:
    """One model for several of the same form; their weights are copied."""
    first = models[0]
    weights = [model.weights for model in models]
    learnt = [each for each in weights if isinstance(each, LearntEntmax)]
    return SelectiveModel(
        _stacked([model.focus for model in models], apart=first.layer > 0),
        _stacked([model.classifier for model in models]),
        weights=StackedEntmax(learnt) if learnt else first.weights,
        layer=first.layer,
        prediction=first.prediction,
    )


@torch.no_grad()
def write_back(learning: nn.Module, place: int, model: nn.Module) -> None:
    """Give a seed's own model what it has learnt: one seed's rows of a stack, or all of a copy, buffers too.

    The order of parameters is that of modules in both.
    """
    for kept, own in zip(learning.parameters(), model.parameters(), strict=True):
        own.copy_(kept[place] if kept.dim() > own.dim() else kept)
    for buffer, own_buffer in zip(learning.buffers(), model.buffers(), strict=True):
        own_buffer.copy_(buffer)


def keep(stack: nn.Module, optimizer: torch.optim.Optimizer, places: Sequence[int]) -> None:
    """Leave only some seeds in a stack and in its optimizer's averages."""
    for parameter in stack.parameters():
        index = torch.tensor(places, device=parameter.device)
        for name, value in optimizer.state[parameter].items() if parameter in optimizer.state else ():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                optimizer.state[parameter][name] = value[index]
        parameter.grad = None
        parameter.data = parameter.data[index]


def _stacked(modules: Sequence[nn.Module], apart: bool = False) -> nn.Module:
    """Modules of the same form as one; `apart`: it is an `nn.Sequential` of as many children, to be cut anywhere."""
    if apart:
        return nn.Sequential(*(_stacked(column) for column in _children(modules)))
    parts: list[nn.Module] = []
    columns = deque(_leaves(modules))
    while columns:
        linears, rectified = _linears(columns)
        parts.append(StackedLinears(linears, rectified) if linears else columns.popleft()[0])
    return parts[0] if len(parts) == 1 else nn.Sequential(*parts)


def _children(modules: Sequence[nn.Module]) -> list[tuple[nn.Module, ...]]:
    return [*zip(*(cast(nn.Sequential, module) for module in modules), strict=True)]


def _leaves(modules: Sequence[nn.Module]) -> Iterator[Sequence[nn.Module]]:
    """What runs one after another, of all seeds."""
    if type(modules[0]) is not nn.Sequential:
        yield modules
        return
    for column in _children(modules):
        yield from _leaves(column)


def _linears(columns: deque[Sequence[nn.Module]]) -> tuple[list[list[nn.Linear]], list[bool]]:
    """Take the linear layers, and their ReLUs, that come next."""
    linears: list[list[nn.Linear]] = []
    rectified: list[bool] = []
    while columns and _are(nn.Linear, columns[0]):
        linears.append([cast(nn.Linear, layer) for layer in columns.popleft()])
        rectified.append(bool(columns) and _are(nn.ReLU, columns[0]))
        if rectified[-1]:
            columns.popleft()
    return linears, rectified


def _are(kind: type[nn.Module], modules: Sequence[nn.Module]) -> bool:
    return type(modules[0]) is kind


def _parameter(values: Sequence[Tensor]) -> nn.Parameter:
    """Of all seeds, which learns if the first one's does."""
    return nn.Parameter(torch.stack([value.detach() for value in values]), requires_grad=values[0].requires_grad)
