"""The anatomy of a vision transformer, found by structure and one picture, whoever wrote it.

Attention modules are known by their projections, blocks as what holds them; the rest is seen: which grid
of patches enters the blocks, how many tokens stand before it, what the last attention reads, and which
tokens the head reads, by the gradient of the answer. So timm's, transformers', torchvision's and
facebookresearch's networks need no table of names.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from regard.errors import NotFiniteError, PixelsError
from regard.models import passes
from regard.models.projections import attention_modules
from regard.models.taps import Place, differentiable_from, replaced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regard.models.classifier import Classifier


@dataclass(frozen=True)
class Tokens:
    """Where a transformer's tokens are and what they mean. Give one to `Classifier` where it is not found by itself.

    Attributes:
        blocks: dotted paths of the blocks, in the order in which they run.
        attentions: dotted paths of their attention modules.
        attention_input: what the last attention reads: in pre-norm blocks the output of its norm.
        patch: (height, width) of a patch in pixels.
        prefix: tokens before the patches: class, distillation, registers.
        rows: the tokens of the last block's output that the head reads; None where it reads the patches.
        in_tuple: whether blocks return their tokens as the first of a tuple.
        cannot_drop: why patch tokens cannot be removed; None if they can.
    """

    blocks: tuple[str, ...]
    attentions: tuple[str, ...]
    attention_input: Place
    patch: tuple[int, int]
    prefix: int
    rows: tuple[int, ...] | None
    in_tuple: bool = False
    cannot_drop: str | None = None

    def grid(self, pixels: Tensor) -> tuple[int, int]:
        """(h, w): the patches of prepared pixels (B, 3, H, W)."""
        return pixels.shape[2] // self.patch[0], pixels.shape[3] // self.patch[1]

    def patches(self, pixels: Tensor) -> int:
        """How many patch tokens prepared pixels have."""
        height, width = self.grid(pixels)
        return height * width

    def check_frame(self, pixels: Tensor) -> None:
        """Refuse pixels whose sides are no multiples of the patch."""
        height, width = pixels.shape[2:]
        if height % self.patch[0] or width % self.patch[1]:
            raise PixelsError(
                "the frame does not fit the patches",
                came=f"{height}×{width} pixels",
                expected=f"multiples of {self.patch[0]}×{self.patch[1]}",
                remedy=f"for example {_nearest(height, self.patch[0])}×{_nearest(width, self.patch[1])}",
            )


def find_tokens(classifier: Classifier) -> Tokens | None:
    """The anatomy of the classifier's transformer, or None where it has none that keeps a grid of tokens.

    None also where the answer does not hang on the last block's input alone, as in ensembles and in heads that
    read several blocks: a map of that block would be a map of a part.

    Cost: two passes of one picture and a gradient back to the last block; none for a network without attention.
    """
    pairs = _blocks(classifier.module)
    if not pairs:
        return None
    seen = _Seen()
    with classifier.untouched(), passes.uncounted(), torch.inference_mode(False), torch.no_grad():
        with seen.watching(classifier.module, pairs):
            grey = classifier.forward(classifier.picture())
        if not bool(grey.isfinite().all()):
            raise NotFiniteError(
                f"{classifier.name} answers a grey picture with NaN or infinity", came=classifier.blame_for_nan()
            )
        if not seen.is_sequence():
            return None
        blocks = tuple(block for block, _ in seen.entered)
        entering = seen.entered[-1][1]
        rows = _rows_read(classifier, blocks[-1], entering, grey)
    height, width = seen.grid
    frame = classifier.preparation.frame
    prefix = entering.shape[1] - height * width
    if rows is None or prefix < 0 or frame[0] % height or frame[1] % width:
        return None
    return Tokens(
        blocks=blocks,
        attentions=tuple(pairs[block] for block in blocks),
        attention_input=Place(seen.source, "output") if seen.source else Place(pairs[blocks[-1]], "input"),
        patch=(frame[0] // height, frame[1] // width),
        prefix=prefix,
        rows=rows if max(rows) < prefix else None,
        in_tuple=seen.in_tuple,
        cannot_drop="rotary positions are given to every block by place" if _rotary(classifier.module) else None,
    )


def _blocks(network: nn.Module) -> dict[str, str]:
    """Block → its attention module, of the most numerous kind of block."""
    kinds: dict[type[nn.Module], dict[str, str]] = {}
    for attention in attention_modules(network):
        block = attention.rpartition(".")[0]
        if block:
            kinds.setdefault(type(network.get_submodule(block)), {})[block] = attention
    return max(kinds.values(), key=len, default={})


class _Seen:
    """What a pass shows: the grid before the blocks, the blocks as they run, what makes the last attention's input."""

    def __init__(self) -> None:
        self.grid: tuple[int, int] = (0, 0)
        self.entered: list[tuple[str, Tensor]] = []
        self.source: str | None = None
        self.in_tuple = False
        self._made: list[tuple[str, Tensor]] = []

    def is_sequence(self) -> bool:
        """Whether the same number of tokens (1, N, D) goes through all blocks, each run once, after a grid."""
        shapes = {tensor.shape for _, tensor in self.entered}
        once = len({block for block, _ in self.entered}) == len(self.entered)
        shape = next(iter(shapes), torch.Size())
        return once and len(shapes) == 1 and len(shape) == 3 and shape[0] == 1 and self.grid[0] > 0

    @contextmanager
    def watching(self, network: nn.Module, pairs: dict[str, str]) -> Iterator[None]:
        attentions = set(pairs.values())
        with ExitStack() as stack:
            for path, module in network.named_modules():
                if path in pairs:
                    handle = module.register_forward_pre_hook(self._enters(path), with_kwargs=True)
                    stack.callback(handle.remove)
                if path in attentions:
                    handle = module.register_forward_pre_hook(self._reads, with_kwargs=True)
                    stack.callback(handle.remove)
                stack.callback(module.register_forward_hook(self._makes(path, path in pairs)).remove)
            yield

    def _enters(self, block: str) -> Callable[..., None]:
        def hook(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            tensor = _first(arguments, named)
            self._made.clear()
            self.entered.append((block, torch.empty(0) if tensor is None else tensor))

        return hook

    def _reads(self, _: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        tensor = _first(arguments, named)
        self.source = next((path for path, made in reversed(self._made) if made is tensor), None)

    def _makes(self, path: str, block: bool) -> Callable[..., None]:
        def hook(module: nn.Module, _: tuple[Any, ...], output: Any) -> None:
            self.in_tuple |= block and isinstance(output, tuple)
            if not isinstance(output, Tensor):
                return
            if self.entered:
                self._made.append((path, output))
            elif isinstance(module, nn.Conv2d) and len(output) == 1:
                self.grid = output.shape[2], output.shape[3]

        return hook


def _first(arguments: tuple[Any, ...], named: dict[str, Any]) -> Tensor | None:
    return next((value for value in (*arguments, *named.values()) if isinstance(value, Tensor)), None)


def _rows_read(classifier: Classifier, last: str, entering: Tensor, grey: Tensor) -> tuple[int, ...] | None:
    """The tokens of the last block's output on which the answer depends, by its gradient.

    Seen in a pass of another picture, whose input to the last block is that of the grey one: the answer must be the
    grey one's too. None if it is not.
    """
    network, place = classifier.module, Place(last, "output")
    with replaced(network, Place(last, "input"), lambda _: entering):
        leaf, answer = differentiable_from(network, place, lambda: classifier.forward(classifier.picture(noise=True)))
    if not torch.allclose(answer, grey, rtol=1e-3, atol=1e-3 * float(grey.abs().max())) or not answer.requires_grad:
        return None
    direction = torch.randn(answer.shape, generator=torch.Generator().manual_seed(0)).to(answer)
    (gradient,) = torch.autograd.grad(answer, leaf, direction)
    read = (gradient[0] != 0).any(dim=1).nonzero()[:, 0].tolist()
    return tuple(read) or None


def _rotary(network: nn.Module) -> bool:
    kinds = {type(module).__name__.lower() for module in network.modules()}
    return any("rope" in kind or "rotary" in kind for kind in kinds)


def _nearest(side: int, patch: int) -> int:
    return max(1, round(side / patch)) * patch
