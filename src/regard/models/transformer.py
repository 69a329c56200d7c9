"""The anatomy of a vision transformer, found by structure and one picture, whoever wrote it.

Attention modules are known by their projections, blocks as what holds them; the rest is seen: which grid
of patches enters the blocks, how many tokens stand before it, what the last attention reads, which
tokens the head reads, by the gradient of the answer, and whether it can do without some of them. So timm's,
transformers', torchvision's, open_clip's and facebookresearch's networks need no table of names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from regard.errors import ClassifierError, NotFiniteError, PixelsError
from regard.models import passes
from regard.models.dropping import refusal_to_drop
from regard.models.networks import scale_of
from regard.models.projections import attention_modules, pooling_modules
from regard.models.taps import Place, differentiable_from, find_layer, first_tensor, read, replaced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regard.models.classifier import Classifier


@dataclass(frozen=True)
class Tokens:
    """Where a transformer's tokens are and what they mean. Give one to `Classifier` where it is not found by itself.

    Attributes:
        blocks: dotted paths of the blocks, in the order in which they run.
        attentions: dotted paths of their attention modules.
        attention_input: what the reader reads: in pre-norm blocks the output of its norm.
        patch: (height, width) of a patch in pixels.
        prefix: tokens before the patches: class, distillation, registers.
        reads: the tokens of the last block's output that the head reads, in the preparation's frame.
        pool: dotted path of an attention after the blocks that gathers the patches for the head by queries of its
            own (SigLIP); None where there is none.
        in_tuple: whether blocks return their tokens as the first of a tuple.
        cannot_drop: why patch tokens cannot be removed; None if they can.
    """

    blocks: tuple[str, ...]
    attentions: tuple[str, ...]
    attention_input: Place
    patch: tuple[int, int]
    prefix: int
    reads: tuple[int, ...]
    pool: str | None = None
    in_tuple: bool = False
    cannot_drop: str | None = None

    @property
    def rows(self) -> tuple[int, ...] | None:
        """The tokens that the head reads, if they all stand before the patches; None where it reads patches."""
        return self.reads if max(self.reads) < self.prefix else None

    @property
    def reader(self) -> str:
        """The attention through which the head sees the patches: the pool, or that of the last block."""
        return self.pool or self.attentions[-1]

    @property
    def entry(self) -> Place:
        """Where the part begins that holds the reader: the last block's input, or its output before a pool."""
        return Place(self.blocks[-1], "output" if self.pool else "input")

    @property
    def before(self) -> tuple[str, ...]:
        """The blocks before that part."""
        return self.blocks if self.pool else self.blocks[:-1]

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


def find_tokens(classifier: Classifier, blocks: Mapping[str, str] | None = None) -> Tokens | None:
    """The anatomy of the classifier's transformer, or None where it has none that keeps a grid of tokens.

    None also where the answer does not hang on the last block's input alone, as in ensembles and in heads that
    read several blocks: a map of that block would be a map of a part.

    Args:
        classifier: the classifier.
        blocks: dotted path of each block → of its attention, where structure does not tell; the rest is seen.

    Cost: five passes of one picture, two more where a pool follows the blocks, and a gradient back to the last
    block; none for a network without attention.

    Raises:
        LayerError: a block or attention that was named does not exist.
        ClassifierError: the blocks named are no such sequence.
    """
    if blocks is None:
        return _found(classifier, _blocks(classifier.module))
    for path in (*blocks, *blocks.values()):
        find_layer(classifier.module, path)
    found = _found(classifier, dict(blocks))
    if found is None:
        raise ClassifierError(
            f"these blocks of {classifier.name} are no sequence of tokens on which its answer hangs",
            came=", ".join(blocks),
            expected="all blocks, each run once on (B, tokens, D), after a convolution that cuts the patches",
            remedy="or give the whole anatomy: tokens=regard.models.transformer.Tokens(…)",
        )
    return found


def _found(classifier: Classifier, pairs: dict[str, str]) -> Tokens | None:
    if not pairs:
        return None
    network = classifier.module
    seen, noise = _Seen(len(pairs)), classifier.picture(noise=True)
    with classifier.untouched(), passes.uncounted(), torch.inference_mode(False), torch.no_grad():
        with seen.watching(network, pairs):
            grey = classifier.forward(classifier.picture())
        if not bool(grey.isfinite().all()):
            raise NotFiniteError(
                f"{classifier.name} answers a grey picture with NaN or infinity", came=classifier.blame_for_nan()
            )
        if not seen.is_sequence():
            return None
        last, entering = seen.entered[-1]
        own = classifier.forward(noise)
        scale = scale_of(grey, own)
        rows = _rows_read(classifier, last, entering, grey, scale)
        patch = seen.patch(classifier.preparation.frame)
        prefix = entering.shape[1] - seen.grid[0] * seen.grid[1]
        if rows is None or prefix < 0 or patch is None:
            return None
        found = Tokens(
            blocks=tuple(block for block, _ in seen.entered),
            attentions=tuple(pairs[block] for block, _ in seen.entered),
            attention_input=Place(seen.source, "output") if seen.source else Place(pairs[last], "input"),
            patch=patch,
            prefix=prefix,
            reads=rows,
            in_tuple=seen.in_tuple,
        )
        if found.rows is None and seen.pool is not None and _is_all(classifier, seen.pool[1], grey, scale):
            found = replace(found, pool=seen.pool[0], attention_input=seen.pool[1])
        refusal = refusal_to_drop(classifier, found, noise, own, scale)
    return replace(found, cannot_drop=refusal)


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

    def __init__(self, blocks: int) -> None:
        self.grid: tuple[int, int] = (0, 0)
        self.stride: tuple[int, ...] = ()
        self.entered: list[tuple[str, Tensor]] = []
        self.source: str | None = None
        self.pool: tuple[str, Place] | None = None
        self.in_tuple = False
        self._blocks = blocks
        self._made: list[tuple[str, Tensor]] = []

    def patch(self, frame: tuple[int, int]) -> tuple[int, int] | None:
        """(height, width) of a patch: the stride of the convolution, if it cuts the whole grid by itself.

        Else the grid's share of the frame, after several convolutions; None where that is no whole number.
        """
        cells = tuple(side // step for side, step in zip(frame, self.stride, strict=False))
        if cells == self.grid:
            return self.stride[0], self.stride[1]
        height, width = self.grid
        return None if frame[0] % height or frame[1] % width else (frame[0] // height, frame[1] // width)

    def is_sequence(self) -> bool:
        """Whether the same number of tokens (1, N, D) goes through all blocks, each run once, after a grid."""
        shapes = {tensor.shape for _, tensor in self.entered}
        once = len({block for block, _ in self.entered}) == len(self.entered)
        shape = next(iter(shapes), torch.Size())
        return once and len(shapes) == 1 and len(shape) == 3 and shape[0] == 1 and self.grid[0] > 0

    @contextmanager
    def watching(self, network: nn.Module, pairs: dict[str, str]) -> Iterator[None]:
        attentions = set(pairs.values())
        before = {path: self._enters(path) for path in pairs} | dict.fromkeys(attentions, self._reads)
        before |= {path: self._pools(path) for path in pooling_modules(network) if path not in attentions}
        with ExitStack() as stack:
            for path, module in network.named_modules():
                if path in before:
                    handle = module.register_forward_pre_hook(before[path], with_kwargs=True)
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
        self.source = self._maker(_first(arguments, named))

    def _pools(self, path: str) -> Callable[..., None]:
        """A pool after the blocks: one of torch's reads its keys, made by some layer; else a layer `kv` reads them."""

        def hook(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            if len(self.entered) < self._blocks:
                return
            if isinstance(module, nn.MultiheadAttention):
                source = self._maker(arguments[1] if len(arguments) > 1 else named.get("key"))
                self.pool = (path, Place(source)) if source else None
            else:
                self.pool = path, Place(f"{path}.kv", "input")

        return hook

    def _maker(self, tensor: Tensor | None) -> str | None:
        """The layer that made a tensor since the last block began."""
        return next((path for path, made in reversed(self._made) if made is tensor), None)

    def _makes(self, path: str, block: bool) -> Callable[..., None]:
        def hook(module: nn.Module, _: tuple[Any, ...], output: Any) -> None:
            self.in_tuple |= block and isinstance(output, tuple)
            if not isinstance(output, Tensor):
                return
            if self.entered:
                self._made.append((path, output))
            elif isinstance(module, nn.Conv2d) and len(output) == 1:
                self.grid, self.stride = (output.shape[2], output.shape[3]), module.stride

        return hook


def _first(arguments: tuple[Any, ...], named: dict[str, Any]) -> Tensor | None:
    found = (first_tensor(value) for value in (*arguments, *named.values()))
    return next((tensor for tensor in found if tensor is not None), None)


def _rows_read(
    classifier: Classifier, last: str, entering: Tensor, grey: Tensor, scale: float
) -> tuple[int, ...] | None:
    """The tokens of the last block's output on which the answer depends, by its gradient.

    Seen in a pass of another picture, whose input to the last block is that of the grey one: the answer must be the
    grey one's too. None if it is not.
    """
    network, place = classifier.module, Place(last, "output")
    with replaced(network, Place(last, "input"), lambda _: entering):
        leaf, answer = differentiable_from(network, place, lambda: classifier.forward(classifier.picture(noise=True)))
    if not _equal(answer, grey, scale) or not answer.requires_grad:
        return None
    direction = torch.randn(answer.shape, generator=torch.Generator().manual_seed(0)).to(answer)
    (gradient,) = torch.autograd.grad(answer, leaf, direction)
    read = (gradient[0] != 0).any(dim=1).nonzero()[:, 0].tolist()
    return tuple(read) or None


def _is_all(classifier: Classifier, place: Place, grey: Tensor, scale: float) -> bool:
    """Whether the answer hangs on the tensor at `place` alone: given the grey picture's, it is the grey one's."""
    network = classifier.module
    (tensor,), _ = read(network, [place], lambda: classifier.forward(classifier.picture()), stop=True)
    with replaced(network, place, lambda _: tensor):
        return _equal(classifier.forward(classifier.picture(noise=True)), grey, scale)


def _equal(answer: Tensor, grey: Tensor, scale: float) -> bool:
    return float((answer - grey).abs().max()) <= 1e-3 * scale


def _nearest(side: int, patch: int) -> int:
    return max(1, round(side / patch)) * patch
