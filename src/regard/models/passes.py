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

CPU_TENSOR = 32 * 2**20
"""Bytes that the largest tensor of a chunk may have on a CPU.

Larger blocks go back to the system each time they are freed (glibc), and all their pages are fetched anew: on one
thread EfficientNet-Lite0 takes 16 ms a picture in chunks of 6, and 33 in chunks of 32.
"""
CPU_KEPT = 512 * 2**20
"""Bytes of activations that a chunk may hold on a CPU where it keeps them all for gradients."""
DEVICE_SHARE = 0.5
"""Share of a GPU's free memory that a chunk may hold."""
LARGEST_CHUNK = 256


@dataclass
class Counter:
    """Passes spent inside a `counted` block, in images: forwards, and backwards in images × targets."""

    forwards: int = 0
    backwards: int = 0


_counter: ContextVar[Counter | None] = ContextVar("regard_passes", default=None)
_heard: ContextVar[Callable[[int, int], None] | None] = ContextVar("regard_passes_heard", default=None)
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


@contextmanager
def watched(heard: Callable[[int, int], None]) -> Iterator[None]:
    """Tell `heard` of the block's passes as they are counted: forwards, backwards; passes that do not count are 0, 0.

    It may raise to end the block, best what is no `Exception`, which nothing on its way takes for a failure of its own:
    networks are left untouched all the same.
    """
    token = _heard.set(heard)
    try:
        with counted():
            yield
    finally:
        _heard.reset(token)


def count(forwards: int = 0, backwards: int = 0) -> None:
    """Add to the innermost counter, if there is one, and tell who watches."""
    counter, heard = _counter.get(), _heard.get()
    if counter is None:
        forwards = backwards = 0
    else:
        counter.forwards += forwards
        counter.backwards += backwards
    if heard is not None:
        heard(forwards, backwards)


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
    """How many pictures a pass may hold, by the bytes that the layers of one picture take.

    Measured once per classifier, input shape and precision, by a pass of one picture. Inference holds two neighbouring
    layers and frees the rest; a pass that keeps all, every output. Both take more than they hand on: a block keeps its
    residual, attention its queries, keys and values, so the former counts twice, and so does the latter.
    """
    known = _remembered.setdefault(classifier.module, {})
    key = _chunk_key(classifier, like, keeps_all)
    if key not in known:
        tensor, pair, total = _layer_bytes(classifier, like)
        held = max(2 * total, 4 * pair) if keeps_all else 4 * pair
        if like.device.type == "cuda":
            fitting = int(torch.cuda.mem_get_info(like.device)[0] * DEVICE_SHARE) // max(1, held)
        else:
            fitting = CPU_KEPT // max(1, held) if keeps_all else CPU_TENSOR // max(1, tensor)
        known[key] = max(1, min(LARGEST_CHUNK, fitting))
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


def _layer_bytes(classifier: Classifier, like: Tensor) -> tuple[int, int, int]:
    """Of layers that hold no others, for one picture: the largest tensor, the largest (input + output), all outputs."""
    largest = pair = total = 0

    def measure(_: nn.Module, arguments: tuple[object, ...], output: object) -> None:
        nonlocal largest, pair, total
        sizes = [tensor.nbytes for tensor in (*arguments, output) if isinstance(tensor, Tensor)]
        largest, pair = max(largest, *sizes, 0), max(pair, sum(sizes))
        if isinstance(output, Tensor) and output is not arguments[0]:
            total += output.nbytes

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
    return largest, pair, total


def check_images(images: Tensor, available: int) -> None:
    """Refuse image numbers of jobs that name no image."""
    if images.dim() != 1 or images.dtype.is_floating_point or len(images) == 0:
        raise PixelsError("image numbers are whole numbers (J,)", came=f"{images.dtype} {tuple(images.shape)}")
    if not 0 <= int(images.min()) <= int(images.max()) < available:
        raise PixelsError(
            "a job names an image that is not there", came=f"{int(images.max())}", expected=f"0 to {available - 1}"
        )
