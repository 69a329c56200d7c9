"""Many forward passes of masked or perturbed pictures, in one flat queue.

A job is one row of one forward pass. Jobs of many images stand in one queue and are cut into
chunks whatever image they belong to, so that every pass but the last is full. The chunk size
comes from a memory budget, is halved when memory runs out, and is remembered per classifier.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from regard.errors import PixelsError
from regard.fills import Fill, check_mask

if TYPE_CHECKING:
    from regard.models.classifier import Classifier
    from regard.targets import Output

logger = logging.getLogger("regard")
Part = TypeVar("Part")

CPU_BUDGET, CPU_KEPT = 96 * 2**20, 512 * 2**20
"""Bytes of activations that a chunk may hold on a CPU, and that it may where it keeps them all for gradients.

The first is what the caches like: with two threads a ViT-S/16 takes 36 ms a picture in chunks of 8, 46 in chunks of 1
and 45 in chunks of 64; ViT-B/16 and ResNet-50 are alike.
"""
DEVICE_SHARE = 0.5
"""Share of a GPU's free memory that a chunk may hold."""
LARGEST_CHUNK = 256


@dataclass
class Counter:
    """Passes spent inside a `counted` block, in images: forwards, and backwards in images × targets."""

    forwards: int = 0
    backwards: int = 0


_counter: ContextVar[Counter | None] = ContextVar("regard_passes", default=None)
_remembered: WeakKeyDictionary[nn.Module, dict[tuple[object, ...], int]] = WeakKeyDictionary()


@contextmanager
def counted() -> Iterator[Counter]:
    """Count the passes of the block; an enclosing block counts them too. A pass that is stopped early counts whole."""
    outer, counter = _counter.get(), Counter()
    token = _counter.set(counter)
    try:
        yield counter
    finally:
        _counter.reset(token)
        if outer is not None:
            outer.forwards += counter.forwards
            outer.backwards += counter.backwards


def count(forwards: int = 0, backwards: int = 0) -> None:
    """Add to the innermost counter, if there is one."""
    counter = _counter.get()
    if counter is not None:
        counter.forwards += forwards
        counter.backwards += backwards


@contextmanager
def uncounted() -> Iterator[None]:
    """Do not count the passes of the block: those of a few tokens that stand for a tail are none."""
    token = _counter.set(None)
    try:
        yield
    finally:
        _counter.reset(token)


def run(classifier: Classifier, jobs: int, inputs: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """Logits (or embeddings, without a head) of `jobs` perturbed pictures, (jobs, C), float32.

    Args:
        classifier: the classifier.
        jobs: how many.
        inputs: job numbers (n,) → prepared pixels (n, 3, H, W), made only when their chunk comes.
        like: one prepared picture (1, 3, H, W), from which the chunk size is measured.

    Cost: `jobs` forwards; memory of one chunk.
    """
    return in_chunks(classifier, jobs, like, lambda numbers: classifier.forward(inputs(numbers)))


def masked(
    classifier: Classifier,
    pixels: Tensor,
    images: Tensor,
    masks: Callable[[Tensor], Tensor] | Tensor,
    fill: Fill,
    values: Callable[[Output, Tensor], Tensor] | None = None,
) -> Tensor:
    """Logits of pictures with parts removed, (J, C), float32, or what `values` keeps of the answers.

    What the removed pixels become is made once per picture, whatever the number of its masks.

    Args:
        classifier: the classifier.
        pixels: (B, 3, H, W).
        images: image number of each job, (J,).
        masks: what stays, 1 = kept: (J, 1, H, W), or a function of job numbers (n,) → (n, 1, H, W).
        fill: what the rest becomes.
        values: answers to n jobs and their numbers (n,) → (n, …); default the logits.
    """
    images = images.to(pixels.device)
    make = masks if callable(masks) else masks.to(pixels.device).__getitem__
    check_images(images, len(pixels))
    if not callable(masks) and len(masks) != len(images):
        raise PixelsError("every job has its mask", came=f"{len(masks)} masks", expected=f"{len(images)}")
    background = fill.background(pixels)

    def evaluate(numbers: Tensor) -> Tensor:
        owners, kept = images[numbers], make(numbers)
        check_mask(pixels[owners], kept)
        filled = fill(pixels[owners], kept, background[owners])
        if values is None:
            return classifier.forward(filled)
        return values(classifier.respond(filled), numbers)

    return in_chunks(classifier, len(images), pixels[:1], evaluate)


def in_chunks(classifier: Classifier, jobs: int, like: Tensor, evaluate: Callable[[Tensor], Tensor]) -> Tensor:
    """Call `evaluate` on consecutive job numbers, a chunk at a time, and join the results along the first axis.

    Args:
        classifier: whose chunk size is used and remembered.
        jobs: how many.
        like: one prepared picture (1, 3, H, W).
        evaluate: job numbers (n,) → results (n, …).
    """
    return torch.cat(in_parts(classifier, jobs, like, evaluate))


def in_parts(
    classifier: Classifier, jobs: int, like: Tensor, evaluate: Callable[[Tensor], Part], *, keeps_all: bool = False
) -> list[Part]:
    """The same for results of any kind, one a chunk. Where memory runs out the chunk is halved and tried again.

    `keeps_all` says that a pass keeps what all its layers computed, as gradients need it.
    """
    if jobs == 0:
        raise PixelsError("there are no jobs")
    with classifier.untouched(), torch.inference_mode(False), torch.no_grad():
        parts: list[Part] = []
        start, size = 0, chunk_size(classifier, like, keeps_all)
        while start < jobs:
            numbers = torch.arange(start, min(start + size, jobs), device=like.device)
            try:
                parts.append(evaluate(numbers))
            except RuntimeError as reason:
                if not is_out_of_memory(reason) or size == 1:
                    raise
                size = max(1, size // 2)
                remember_chunk(classifier, like, size, keeps_all)
                logger.info("out of memory: passes now hold %d pictures", size)
                continue
            start += len(numbers)
        return parts


def chunk_size(classifier: Classifier, like: Tensor, keeps_all: bool = False) -> int:
    """How many pictures a pass may hold: budget ÷ measured bytes of one picture's activations.

    Measured once per classifier, input shape and precision by a pass of one picture, in which the
    two largest neighbouring layers set the peak; inference frees the rest, unless a pass keeps all.
    """
    known = _remembered.setdefault(classifier.module, {})
    key = _chunk_key(classifier, like, keeps_all)
    if key not in known:
        per_picture = max(1, _activation_bytes(classifier, like, keeps_all))
        known[key] = max(1, min(LARGEST_CHUNK, _budget(like.device, keeps_all) // per_picture))
    return known[key]


def remember_chunk(classifier: Classifier, like: Tensor, size: int, keeps_all: bool = False) -> None:
    """Keep a smaller chunk size, found the hard way."""
    _remembered.setdefault(classifier.module, {})[_chunk_key(classifier, like, keeps_all)] = size


def is_out_of_memory(reason: RuntimeError) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the host."""
    text = str(reason)
    return isinstance(reason, torch.OutOfMemoryError) or "out of memory" in text or "can't allocate memory" in text


def _chunk_key(classifier: Classifier, like: Tensor, keeps_all: bool) -> tuple[object, ...]:
    return tuple(like.shape[1:]), classifier.precision, str(like.device), keeps_all


def _activation_bytes(classifier: Classifier, like: Tensor, keeps_all: bool) -> int:
    """4 × the largest (input + output) of a layer that holds no others, for one picture; or as much as all of them.

    Four, since a block keeps its residual and attention its queries, keys and values. Where all is kept, every
    output counts twice, for the sums and the attention between the layers.
    """
    largest = total = 0

    def measure(_: nn.Module, arguments: tuple[object, ...], output: object) -> None:
        nonlocal largest, total
        tensors = [tensor for tensor in (*arguments, output) if isinstance(tensor, Tensor)]
        largest = max(largest, sum(tensor.numel() * tensor.element_size() for tensor in tensors))
        if isinstance(output, Tensor) and output is not arguments[0]:
            total += output.numel() * output.element_size()

    handles = []
    try:
        for module in classifier.module.modules():
            if next(module.children(), None) is None:
                handles.append(module.register_forward_hook(measure))  # noqa: PERF401 (each is removed, whatever fails)
        with torch.no_grad(), uncounted():
            classifier.forward(like)
    finally:
        for handle in handles:
            handle.remove()
    return max(2 * total, 4 * largest) if keeps_all else 4 * largest


def _budget(device: torch.device, keeps_all: bool) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * DEVICE_SHARE)
    return CPU_KEPT if keeps_all else CPU_BUDGET


def check_images(images: Tensor, available: int) -> None:
    """Refuse image numbers of jobs that name no image."""
    if images.dim() != 1 or images.dtype.is_floating_point or len(images) == 0:
        raise PixelsError("image numbers are whole numbers (J,)", came=f"{images.dtype} {tuple(images.shape)}")
    if not 0 <= int(images.min()) <= int(images.max()) < available:
        raise PixelsError(
            "a job names an image that is not there", came=f"{int(images.max())}", expected=f"0 to {available - 1}"
        )
