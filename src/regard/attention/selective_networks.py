"""The focuses and classifiers of selective dependence classification by name (papers/sdc.md, 3), and how they begin.

| name      | focus                                    | classifier                                 |
| --------- | ---------------------------------------- | ------------------------------------------ |
| linear    | d-1                                      | d-C                                        |
| mlp-A-B-… | d-A-B-…-1                                | d-A-B-…-C                                  |
| cnn-1     |                                          | conv 32, linear 64-C                       |
| cnn-2     |                                          | convs 32-64, linear 64-C                   |
| cnn-3     | convs 16-32-64, linear 32-1              | convs 32-64-128, linear 64-C               |
| cnn-6     | convs 32-64-64-128-256-256, linear       | convs 128-128-256-256-512-512, linear      |
|           | 64-32-10-1                               | 128-C                                      |

A_1 of the experiments is ("mlp-50-50", "mlp-50"), A_2_1 ("mlp-50", "mlp-50"), A_2_2 ("mlp-6-12", "mlp-6-12"). The sizes
of cnn-1 to cnn-3 are not published and are ours: 3×3 convolutions of stride 2, then all that is left of the grid
(focus) or its average over 4×4 places (classifier). Of cnn-6, where dropout stands is ours.

Focuses have no biases, which a softmax would not see in the last layer and the functionally-zero start does not allow
before it. All weights are Xavier-normal, biases 0. A focus is an `nn.Sequential` whose L-th child ends in its L-th
activation, so that it can be averaged there.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from regard.errors import UnsupportedError

Norm = Literal["none", "running"]
"""Of CNNs: no batch norm, the default, so that in training, too, no segment depends on another and seeds can be trained
together; or batch norm with running statistics, which is how cnn-6 is published."""

_CONVOLUTIONS = {"cnn-1": (32,), "cnn-2": (32, 64), "cnn-3": (32, 64, 128)}
NAMES = ("linear", "mlp-WIDTHS", "cnn-1", "cnn-2", "cnn-3", "cnn-6")


def focus_called(name: str, shape: Sequence[int], seed: int, norm: Norm = "none") -> nn.Sequential:
    """A focus: segments (N, *shape) → scores (N, 1).

    Args:
        name: see the table; "mlp-100" has one hidden layer of 100.
        shape: of a segment: (channels, height, width), or whatever an MLP flattens.
        seed: of its weights. A classifier of the same seed has others.
        norm: of CNNs.

    Raises:
        UnsupportedError: no such focus, or segments that it cannot read.
    """
    with _building(name, shape, norm):
        if (widths := _widths(name)) is not None:
            network = _mlp(shape, widths, 1, bias=False)
        elif name == "cnn-3":
            network = _focus_of_three(shape, norm)
        elif name == "cnn-6":
            network = _focus_of_six(shape, norm)
        else:
            raise UnsupportedError("no such focus", came=repr(name), expected="linear, mlp-WIDTHS, cnn-3, cnn-6")
    return _begun(network, 2 * seed)


def classifier_called(name: str, shape: Sequence[int], classes: int, seed: int, norm: Norm = "none") -> nn.Sequential:
    """A classifier: what was averaged, (N, *shape), → logits (N, C).

    Args:
        name: see the table.
        shape: of what is averaged; see `regard.attention.selective.aggregated_shape`.
        classes: C.
        seed: of its weights. A focus of the same seed has others.
        norm: of CNNs.

    Raises:
        UnsupportedError: no such classifier, or an input that it cannot read.
    """
    with _building(name, shape, norm):
        if (widths := _widths(name)) is not None:
            network = _mlp(shape, widths, classes, bias=True)
        elif name in _CONVOLUTIONS:
            network = _small_classifier(_CONVOLUTIONS[name], shape, classes, norm)
        elif name == "cnn-6":
            network = _classifier_of_six(shape, classes, norm)
        else:
            raise UnsupportedError("no such classifier", came=repr(name), expected=", ".join(NAMES))
    return _begun(network, 2 * seed + 1)


@torch.no_grad()
def functionally_zero(focus: nn.Module) -> nn.Module:
    """Make a focus 0 for every segment, though its last two linear layers learn (papers/sdc.md, 3), in place.

    Units of the last hidden layer's second half get the weights of the first half, and are read with the opposite sign.
    So all weights over segments begin uniform. Between the two layers may stand only what acts on each unit alone and
    in the same way: activations, and dropout in eval mode.

    Args:
        focus: whose last two `nn.Linear` read an even number of units.

    Returns:
        The same focus.

    Raises:
        UnsupportedError: fewer linear layers, an odd width, or a last layer of several numbers.
    """
    layers = [part for part in focus.modules() if isinstance(part, nn.Linear)]
    fits = len(layers) > 1 and layers[-1].out_features == 1 and layers[-2].out_features == layers[-1].in_features
    if not fits or layers[-1].in_features % 2:
        raise UnsupportedError(
            "this focus cannot begin as zero",
            came=" → ".join(f"{layer.in_features}-{layer.out_features}" for layer in layers[-2:]) or "no linear layer",
            expected="two last linear layers, with an even number of units between them and one score after",
        )
    hidden, last = layers[-2:]
    half = last.in_features // 2
    for values in (hidden.weight, hidden.bias):
        if values is not None:
            values[half:] = values[:half]
    last.weight[:, half:] = -last.weight[:, :half]
    if last.bias is not None:
        last.bias.zero_()
    return focus


@contextmanager
def _building(name: str, shape: Sequence[int], norm: Norm) -> Iterator[None]:
    """Look at what was asked; leave torch's random state, and say in words which segments a network cannot read."""
    if norm not in get_args(Norm):
        raise UnsupportedError("no such norm", came=repr(norm), expected=", ".join(get_args(Norm)))
    if name.startswith("cnn") and len(shape) != 3:
        raise UnsupportedError(
            "a CNN reads pictures", came=f"{name} of {tuple(shape)}", expected="(channels, height, width)"
        )
    if not name.startswith("cnn") and norm != "none":
        raise UnsupportedError("an MLP has no norm", came=f"{name}, norm {norm!r}")
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    except RuntimeError as reason:
        raise UnsupportedError(
            f"{name} cannot read this", came=f"{tuple(shape)}: {str(reason).splitlines()[0]}"
        ) from reason


def _widths(name: str) -> tuple[int, ...] | None:
    """Of the hidden layers of an MLP; None for a network that is none."""
    if name == "linear":
        return ()
    found = re.fullmatch(r"mlp((-[1-9]\d*)+)", name)
    return tuple(int(width) for width in found[1][1:].split("-")) if found else None


def _begun(network: nn.Sequential, seed: int) -> nn.Sequential:
    """With first weights of this seed: Xavier-normal, biases 0."""
    draw = torch.Generator().manual_seed(seed)
    for part in network.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.xavier_normal_(part.weight, generator=draw)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    return network


def _mlp(shape: Sequence[int], widths: Sequence[int], out: int, bias: bool) -> nn.Sequential:
    sizes = [*itertools.pairwise((math.prod(shape), *widths, out))]
    stages = [nn.Sequential(nn.Linear(*each, bias=bias), nn.ReLU()) for each in sizes[:-1]]
    stages.append(nn.Sequential(nn.Linear(*sizes[-1], bias=bias)))
    if len(shape) > 1:
        stages[0].insert(0, nn.Flatten())
    return nn.Sequential(*stages)


def _focus_of_three(shape: Sequence[int], norm: Norm) -> nn.Sequential:
    sizes = itertools.pairwise((shape[0], 16, 32, 64))
    stages = [_convolution(*each, stride=2, padding=1, bias=False, norm=norm) for each in sizes]
    return nn.Sequential(*stages, *_read_out(stages, shape, (32,)))


def _small_classifier(widths: Sequence[int], shape: Sequence[int], classes: int, norm: Norm) -> nn.Sequential:
    sizes = itertools.pairwise((shape[0], *widths))
    stages = [_convolution(*each, stride=2, padding=1, bias=True, norm=norm) for each in sizes]
    end = [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * widths[-1], 64), nn.ReLU(), nn.Linear(64, classes)]
    return nn.Sequential(*stages, *end)


def _focus_of_six(shape: Sequence[int], norm: Norm) -> nn.Sequential:
    """The first five convolutions without padding; norms after 1, 3, 5; pools after 2, 4, 6; tanh after the sixth."""
    stages = []
    for number, each in enumerate(itertools.pairwise((shape[0], 32, 64, 64, 128, 256, 256)), 1):
        last = number == 6
        stage = _convolution(*each, padding=int(last), bias=False, norm=norm if number % 2 else "none")
        if number in (3, 5):
            stage = nn.Sequential(nn.MaxPool2d(2), nn.Dropout(0.05), *stage)
        if last:
            stage[-1] = nn.Tanh()
        stages.append(stage)
    behind = [nn.MaxPool2d(2), nn.Dropout(0.05)]
    return nn.Sequential(*stages, *_read_out([*stages, *behind], shape, (64, 32, 10), behind, dropout=0.1))


def _classifier_of_six(shape: Sequence[int], classes: int, norm: Norm) -> nn.Sequential:
    """Padded convolutions; norms after 1, 3, 5; padded pools after 2, 4, 6; the average of what is left."""
    parts: list[nn.Module] = []
    for number, each in enumerate(itertools.pairwise((shape[0], 128, 128, 256, 256, 512, 512)), 1):
        parts.append(_convolution(*each, padding=1, bias=True, norm=norm if number % 2 else "none"))
        if number % 2 == 0:
            parts.append(nn.MaxPool2d(2, padding=1))
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, classes)]
    return nn.Sequential(*parts, *end)


def _convolution(
    incoming: int, outgoing: int, *, stride: int = 1, padding: int = 0, bias: bool, norm: Norm
) -> nn.Sequential:
    """A stage: a 3×3 convolution, perhaps a norm, and its activation, which is the last of it."""
    parts: list[nn.Module] = [nn.Conv2d(incoming, outgoing, 3, stride, padding, bias=bias)]
    if norm == "running":
        parts.append(nn.BatchNorm2d(outgoing))
    return nn.Sequential(*parts, nn.ReLU())


def _read_out(
    before: Sequence[nn.Module],
    shape: Sequence[int],
    widths: Sequence[int],
    behind: Sequence[nn.Module] = (),
    dropout: float = 0.0,
) -> list[nn.Sequential]:
    """Stages from a grid to a score.

    Args:
        before: all that makes the grid; tried on zeros.
        shape: of a segment.
        widths: of the hidden linear layers.
        behind: what of `before` belongs to no stage yet.
        dropout: after the hidden layers but the last one.
    """
    with torch.no_grad():
        grid: Tensor = nn.Sequential(*before).eval()(torch.zeros(1, *shape))
    sizes = [*itertools.pairwise((grid.numel(), *widths, 1))]
    stages = [nn.Sequential(nn.Linear(*each, bias=False), nn.ReLU()) for each in sizes[:-1]]
    if dropout:
        for stage in stages[:-1]:
            stage.append(nn.Dropout(dropout))
    first = nn.Sequential(*behind, nn.Flatten(), *stages[0])
    return [first, *stages[1:], nn.Sequential(nn.Linear(*sizes[-1], bias=False))]
