"""Classifiers whose last features have a finer grid, with the weights that they have (BR-NPA, 1.2 and 5.2)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar, overload

import torch
from torch import Tensor, nn

from regard.errors import ClassifierError, RegardError, UnsupportedError
from regard.models.classifier import Classifier
from regard.models.files import Finer, Source
from regard.models.networks import unwrapped
from regard.models.passes import is_out_of_memory
from regard.models.patch_stride import cuts_patches, patch_of, set_patch_stride
from regard.models.pooled import PooledNetwork
from regard.models.strides import Step, has_depthwise, ran, set_strides, steps_of
from regard.models.taps import Place, read, untouched

Subject = TypeVar("Subject", Classifier, nn.Module)
Result = TypeVar("Result")


def high_resolution(
    subject: Subject,
    strides: int | Sequence[int] | None = None,
    *,
    dilation: bool | None = None,
    frame: int | tuple[int, int] = 224,
) -> Subject:
    """A copy with finer feature maps: the same weights, smaller strides. The subject stays as it is.

    In convolutional networks the last strides become smaller; ResNet-50 has five, of which the last two at 1 give
    56×56 cells instead of 14×14 of 448 pixels. In transformers patches keep their size and overlap; their positions are
    interpolated. Weights are equal in value, in name and in shape, but for that one table; the answer has the same
    form, and is another answer: a network trained at one resolution is to be trained or distilled at the other
    (`dilation` says how far it goes without).

    A stride of two reads one of every two places: where padding is the same on both sides the first, in networks that
    TensorFlow trained the second. There, with dilation, the finer grid holds what the coarser one held, so it lies half
    of its own cell beside it, with two strides less one and a half: 8 and 12 pixels of 224 in EfficientNet-Lite0. Moved
    back by as much along either side, the maps of 60 photos kept their mass inside the boxes to within 0.002.

    Args:
        subject: a classifier, or a network alone.
        strides: of the last layers that shrink the grid, in the order in which they run: (1, 1), the default, takes the
            last two away, as published; (2, 1, 1) names one more that stays. Each divides the present one. Of a
            transformer the pixels from one patch to the next, which divide the frame: by default half a patch.
        dilation: whether what follows a smaller stride reads places as far apart in the picture as it was trained to.
            By default where there are depthwise convolutions: EfficientNet-Lite0, not trained again, is right on 85 %
            of 996 ImageNet photos; on 76 % (14×14) and 24 % (28×28) without dilation, on 87 and 86 % with it
            (docs/br-npa-study.md). The published ResNets have none.
        frame: (H, W) in pixels of pictures for a network alone. A classifier knows its own.

    Returns:
        A classifier, with the grid in its name and a hash of its own, whose `source` says how it became finer; or a
        network.

    Raises:
        UnsupportedError: strides that are not there, that cannot be changed, or with which the network does not run; or
            a pooled network, whose grid is made finer before its head is.
        ClassifierError: strides that are no whole numbers, or a network that does not run on the frame.
    """
    if dilation not in (None, True, False):
        raise ClassifierError("filters are dilated or not", came=f"dilation={dilation!r}", expected="True or False")
    network = subject.module if isinstance(subject, Classifier) else unwrapped(subject)
    called = subject.name if isinstance(subject, Classifier) else type(network).__name__
    if isinstance(network, PooledNetwork):
        raise UnsupportedError(
            f"the grid of {called} is made finer where its backbone is pooled",
            remedy="BRNPAClassifier(classifier, classifier.labels, strides=…, head=classifier.head)",
        )
    picture = subject.picture() if isinstance(subject, Classifier) else _picture(network, frame)
    with torch.inference_mode(False):
        changed: nn.Module = copy.deepcopy(network)
    layers = _tried(
        lambda: ran(changed, picture.to(_precision(changed))),
        ClassifierError,
        f"{called} does not run on pictures of {picture.shape[2]}×{picture.shape[3]} pixels",
        "frame=(H, W) says what it takes",
    )
    steps = steps_of(changed, layers, called)
    if cuts_patches(changed):
        change, table = _finer_patches(changed, steps, strides, dilation, called)
    else:
        asked = _whole_numbers((1, 1) if strides is None else strides)
        change, table = Finer(asked, has_depthwise(changed) if dilation is None else dilation), None
        set_strides(changed, layers, steps, _wanted(steps, asked, called), dilated=change.dilation)
    grid = _tried(
        lambda: _grid(changed, steps[-1], picture),
        UnsupportedError,
        f"{called} does not run with such strides",
        "another part of it may rely on the grid: take other strides, or layers without a fixed size",
    )
    _check_weights(network, changed, table)
    return _of(subject, changed, f"{called}, {grid[0]}×{grid[1]}", change)


@overload
def _of(subject: Classifier, network: nn.Module, name: str, change: Finer) -> Classifier: ...
@overload
def _of(subject: nn.Module, network: nn.Module, name: str, change: Finer) -> nn.Module: ...
def _of(subject: Classifier | nn.Module, network: nn.Module, name: str, change: Finer) -> Classifier | nn.Module:
    """The finer network, of a classifier in one with a copy of its head; its blocks are the same, and seen anew."""
    if not isinstance(subject, Classifier):
        return network
    source, tokens = subject.source or Source("", {}), subject.tokens
    return Classifier(
        network,
        subject.preparation,
        labels=subject.labels,
        outputs=subject.outputs,
        head=copy.deepcopy(subject.head),
        name=name,
        precision=subject.precision,
        tokens=None if tokens is None else dict(zip(tokens.blocks, tokens.attentions, strict=True)),
        source=replace(source, finer=(*source.finer, change)),
    )


def _finer_patches(
    network: nn.Module,
    steps: Sequence[Step],
    strides: int | Sequence[int] | None,
    dilation: bool | None,
    called: str,
) -> tuple[Finer, str | None]:
    """Give the patches of a transformer another stride, in place; the name of its table of positions, if it changed."""
    if dilation:
        raise UnsupportedError(
            f"the patches of {called} are not set apart: it has no convolutions after them", remedy="leave dilation out"
        )
    patch = patch_of(network, steps, called)
    stride, *more = _whole_numbers(max(1, patch // 2) if strides is None else strides)
    if more or stride > patch:
        raise UnsupportedError(
            f"{called} has patches of {patch} pixels",
            came=f"strides={strides}",
            expected=f"one number, at most {patch}",
        )
    return Finer((stride,), dilation=False), None if stride == patch else set_patch_stride(
        network, steps[0], stride, called
    )


def _wanted(steps: Sequence[Step], asked: tuple[int, ...], called: str) -> list[int]:
    """The stride of every step: those asked for the last ones, the others as they are."""
    if len(asked) > len(steps):
        raise UnsupportedError(
            f"{called} shrinks its grid less often" if steps else f"no layer of {called} shrinks a grid",
            came=f"strides={asked}",
            expected=f"at most {len(steps)}: {'; '.join(map(str, steps))}" if steps else None,
        )
    unchanged, last = steps[: len(steps) - len(asked)], steps[len(steps) - len(asked) :]
    for step, stride in zip(last, asked, strict=True):
        if step.stride % stride:
            raise UnsupportedError(
                f"{called} cannot move by {stride} where it moves by {step.stride}",
                came=f"strides={asked}",
                expected=f"divisors of the last strides: {'; '.join(map(str, last))}",
                remedy="if all are 1 already, its grid cannot be finer without new layers" if stride == 1 else None,
            )
    return [*(step.stride for step in unchanged), *asked]


def _whole_numbers(strides: int | Sequence[int]) -> tuple[int, ...]:
    listed = [strides] if isinstance(strides, int) else list(strides) if isinstance(strides, (tuple, list)) else []
    if not listed or not all(isinstance(each, int) and not isinstance(each, bool) and each > 0 for each in listed):
        raise ClassifierError(
            "strides are whole numbers from 1 on", came=f"strides={strides!r}", expected="for example (1, 1)"
        )
    return tuple(listed)


def _tried(call: Callable[[], Result], error: type[RegardError], problem: str, remedy: str) -> Result:
    """What a call gives; what a network says of it becomes an error a person can read."""
    try:
        return call()
    except RegardError:
        raise
    except Exception as reason:  # networks raise whatever they stumble over
        if isinstance(reason, RuntimeError) and is_out_of_memory(reason):
            raise
        raise error(problem, came=f"{type(reason).__name__}: {reason}", remedy=remedy) from reason


def _grid(network: nn.Module, last: Step, picture: Tensor) -> tuple[int, int]:
    """(h, w) after the last step, once the whole network has run."""
    with untouched(network), torch.inference_mode(False), torch.no_grad():
        (tensor,), _ = read(network, [Place(last.layers[0])], lambda: network(picture.to(_precision(network))))
    return tensor.shape[2], tensor.shape[3]


def _check_weights(network: nn.Module, changed: nn.Module, table: str | None) -> None:
    """Refuse weights of other names or shapes than before."""
    before, after = (
        {name: tensor.shape for name, tensor in one.state_dict().items() if name != table} for one in (network, changed)
    )
    if before != after:
        names = ", ".join(sorted(name for name, _ in before.items() ^ after.items()))
        raise UnsupportedError("other strides would change the weights of this network", came=names)


def _picture(network: nn.Module, frame: int | tuple[int, int]) -> Tensor:
    """Zeros of the frame, with the channels that the first convolution takes."""
    sides = (frame, frame) if isinstance(frame, int) else tuple(frame)
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    device = next((parameter.device for parameter in network.parameters()), None)
    return torch.zeros(1, 3 if first is None else first.in_channels, *sides, device=device)


def _precision(network: nn.Module) -> torch.dtype:
    return next((weight.dtype for weight in network.parameters() if weight.is_floating_point()), torch.float32)
