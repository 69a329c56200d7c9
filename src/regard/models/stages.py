"""The layers that a trained attention reads: by rule, of any network, or by name; and what they give in one pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn

from regard.errors import LayerError, UnsupportedError
from regard.models import passes
from regard.models.convolutional import last_strides
from regard.models.features import Features, features_of
from regard.models.layers import tappable
from regard.models.taps import Place, first_tensor, read
from regard.targets import Output, at_least_float32

if TYPE_CHECKING:
    from regard.models.classifier import Classifier
    from regard.models.transformer import Tokens

Read = Literal["block", "norm"]


def stages_of(
    classifier: Classifier, count: int = 3, layers: Sequence[str] | None = None, at: Read = "norm"
) -> tuple[Features, ...]:
    """The last stages of a network, in the order in which it runs.

    Of a transformer with one grid of tokens, its last `count` blocks. Of any other network, for each of its last
    `count` grids, the last layer that carries the whole decision; the last one is what Grad-CAM reads. Transformers
    that shrink their grid (Swin) are such networks.

    Args:
        classifier: the classifier.
        count: how many; three, as published.
        layers: dotted paths of layers whose outputs are read instead, in any order: grids, or tokens of all patches.
        at: where a block of tokens is read. "norm", as published for ViT-B/16: what its attention reads, after the
            norm before it, so that the last block's own attention is not seen; "block": what the block gives.

    Raises:
        UnsupportedError: the network has fewer stages, or neither grids to the end nor tokens.
        LayerError: a named layer does not exist, is named twice, or gives neither a grid nor tokens.
    """
    if at not in get_args(Read):
        raise LayerError("a block is read at two places", came=repr(at), expected=", ".join(get_args(Read)))
    if layers is not None:
        return _named(classifier, layers)
    if count < 1:
        raise UnsupportedError("at least one layer is read", came=f"{count}")
    if classifier.tokens is not None:
        return tuple(Features(place, "last", classifier.tokens) for place in _of_blocks(classifier, count, at))
    return tuple(features_of(classifier, found.layer) for found in last_strides(classifier, count))


def read_stages(
    classifier: Classifier, stages: Sequence[Features], pixels: Tensor, *, gated: bool = False
) -> tuple[list[Tensor], Output]:
    """One pass: what the stages give, as feature maps (B, K_i, h_i, w_i), float32, and the network's answer.

    Without checks, in the network's present mode and the caller's gradient mode: inside `classifier.untouched()`, and
    `torch.no_grad()` where the network is frozen.

    Args:
        classifier: the classifier.
        stages: of `stages_of`.
        pixels: prepared, (B, 3, H, W).
        gated: whether tokens are multiplied by their layer's class token; see `gated_by_class`.

    Raises:
        UnsupportedError: gated, and a stage has no class token.
    """
    tensors, output = read(classifier.module, [stage.place for stage in stages], lambda: classifier.respond(pixels))
    assert output is not None
    maps_of = gated_by_class if gated else Features.maps
    return [
        at_least_float32(maps_of(stage, tensor, pixels)) for stage, tensor in zip(stages, tensors, strict=True)
    ], output


def gated_by_class(stage: Features, tensor: Tensor, pixels: Tensor) -> Tensor:
    """Patches times the class token of their own layer, channel by channel ("TTAME"): feature maps (B, K, h, w).

    The class token is the first one before the patches that the head reads; where it reads patches, the first.

    Args:
        stage: tokens, with at least one before the patches.
        tensor: (B, N, K) as it came.
        pixels: that were passed, (B, 3, H, W).

    Raises:
        UnsupportedError: the stage is a grid, or no token stands before its patches.
    """
    if stage.tokens is None or tensor.shape[-2] == stage.tokens.patches(pixels):
        raise UnsupportedError(
            f"no class token stands before the patches of {stage.layer!r}, so it cannot gate them",
            remedy="read patches without a gate",
        )
    row = (stage.tokens.rows or (0,))[0]
    return stage.maps(tensor, pixels) * tensor[..., row, :, None, None]


def _named(classifier: Classifier, layers: Sequence[str]) -> tuple[Features, ...]:
    """Layers by name, in the order in which they run."""
    if isinstance(layers, str) or not layers or len(set(layers)) < len(layers):
        raise LayerError("layers are a list of names, each once", came=repr(layers))
    features = [features_of(classifier, layer) for layer in layers]
    order = [layer.path for layer in tappable(classifier)]
    return tuple(sorted(features, key=lambda one: order.index(one.place.layer)))


def _of_blocks(classifier: Classifier, count: int, at: Read) -> list[Place]:
    tokens = classifier.tokens
    assert tokens is not None
    if count > len(tokens.blocks):
        raise UnsupportedError(
            f"{classifier.name} has fewer blocks", came=f"{len(tokens.blocks)} blocks", expected=f"{count}"
        )
    if at == "block":
        return [Place(block) for block in tokens.blocks[-count:]]
    return _read_by_attention(classifier, tokens)[-count:]


def _read_by_attention(classifier: Classifier, tokens: Tokens) -> list[Place]:
    """What each block's attention reads: the output of the layer that gives that very tensor, else its input.

    Raises:
        UnsupportedError: an attention is given something else than all patches of a picture.
    """
    made: list[tuple[str, Tensor]] = []
    given: dict[str, Tensor | None] = {}

    def makes(layer: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: tuple[Any, ...], output: object) -> None:
            if isinstance(output, Tensor):
                made.append((layer, output))

        return hook

    def reads(attention: str) -> Callable[..., None]:
        def hook(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            tensors = (first_tensor(value) for value in (*arguments, *named.values()))
            given[attention] = next((tensor for tensor in tensors if tensor is not None), None)

        return hook

    picture = classifier.picture()
    with ExitStack() as stack, classifier.untouched(), torch.no_grad(), passes.uncounted():
        for path, module in classifier.module.named_modules():
            stack.callback(module.register_forward_hook(makes(path)).remove)
            if path in tokens.attentions:
                stack.callback(module.register_forward_pre_hook(reads(path), with_kwargs=True).remove)
        classifier.forward(picture)
    lengths = (tokens.patches(picture), tokens.patches(picture) + tokens.prefix)
    times = Counter(layer for layer, _ in made)
    places = []
    for attention in tokens.attentions:
        tensor = given.get(attention)
        if tensor is None or tensor.dim() != 3 or len(tensor) != 1 or tensor.shape[1] not in lengths:
            raise UnsupportedError(
                f"{attention!r} does not read the tokens of all patches",
                came="nothing" if tensor is None else f"{tuple(tensor.shape)}",
                remedy='at="block" reads what the blocks give',
            )
        maker = next((layer for layer, output in reversed(made) if output is tensor and times[layer] == 1), None)
        places.append(Place(attention, "input") if maker is None else Place(maker))
    return places
