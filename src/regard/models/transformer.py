"""The parts of a vision transformer, found by structure, whoever wrote it.

Present here: networks with a list of pre-norm blocks that hold `norm1`, `attn.qkv` (packed q, k, v)
and `mlp`, as timm's and facebookresearch's vision transformers do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from regard.errors import PixelsError, UnsupportedError
from regard.models.taps import Place


@dataclass(frozen=True)
class Tokens:
    """The anatomy of a transformer: where its tokens are and what they mean.

    Attributes:
        root: dotted path of the transformer in the network; "" for the network itself.
        patch: (height, width) of a patch in pixels.
        prefix: tokens before the patches: class, distillation, registers.
        class_token: whether token 0 is one.
        pooling: what the head reads: "token", "avg", "map", … in timm's words.
        blocks: dotted paths of the blocks, in order.
        cannot_drop: why patch tokens cannot be removed; None if they can.
    """

    root: str
    patch: tuple[int, int]
    prefix: int
    class_token: bool
    pooling: str
    blocks: tuple[str, ...]
    cannot_drop: str | None

    @property
    def attention_input(self) -> Place:
        """Where the tokens are that the last attention reads: in pre-norm blocks the output of norm1."""
        return Place(f"{self.blocks[-1]}.attn", "input")

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


def find_tokens(network: nn.Module) -> Tokens | None:
    """The outermost transformer inside a network, or None."""
    for root, module in network.named_modules():
        blocks = getattr(module, "blocks", None)
        if not isinstance(blocks, (nn.ModuleList, nn.Sequential)) or len(blocks) == 0:
            continue
        if not hasattr(module, "patch_embed") or not _is_block(blocks[-1]):
            continue
        return _tokens(root, module, blocks)
    return None


def _is_block(block: nn.Module) -> bool:
    attention = getattr(block, "attn", None)
    return isinstance(getattr(block, "norm1", None), nn.Module) and hasattr(attention, "qkv") and hasattr(block, "mlp")


def _tokens(root: str, module: nn.Module, blocks: nn.ModuleList | nn.Sequential) -> Tokens:
    at = f"{root}." if root else ""
    joins_later = any(hasattr(module, name) for name in ("blocks_token_only", "cls_attn_blocks"))
    class_token = isinstance(getattr(module, "cls_token", None), Tensor) and not joins_later
    prefix = getattr(module, "num_prefix_tokens", None)
    if joins_later:
        prefix = 0
    elif prefix is None:
        prefix = int(class_token) + int(getattr(module, "num_register_tokens", 0) or 0)
    return Tokens(
        root=root,
        patch=_patch(module.patch_embed),
        prefix=int(prefix),
        class_token=class_token,
        pooling=str(getattr(module, "global_pool", "token" if class_token else "avg")),
        blocks=tuple(f"{at}blocks.{name}" for name, _ in blocks.named_children()),
        cannot_drop="rotary positions are given to every block by place" if _rotary(module) else None,
    )


def _patch(embedding: object) -> tuple[int, int]:
    """(height, width) of a patch in pixels, also where a convolutional stem comes first."""
    ratio = getattr(embedding, "feat_ratio", None)
    patch = ratio(as_scalar=False) if callable(ratio) else getattr(embedding, "patch_size", 16)
    return (patch, patch) if isinstance(patch, int) else (int(patch[0]), int(patch[1]))


def _rotary(module: nn.Module) -> bool:
    return getattr(module, "rope", None) is not None or getattr(module, "rope_embed", None) is not None


def _nearest(side: int, patch: int) -> int:
    return max(1, round(side / patch)) * patch


@dataclass(frozen=True)
class LastBlock:
    """The last block of a class-token transformer, cut open for the closed forms. H heads of d = D / H channels.

    Attributes:
        norm1: the norm before attention, (…, D) → (…, D).
        query, key, value: projections (H, d, D), views of the packed weight.
        query_bias, value_bias: (H, d). The key's bias is left out: softmax does not see it.
        scale: of the attention logits, usually d^−1/2.
        tail: (attention output of the class token (B, D), its residual (B, D)) → embedding (B, D).
        dtype: in which all of this computes: float32, or float64 where the weights are.
    """

    norm1: Callable[[Tensor], Tensor]
    query: Tensor
    key: Tensor
    value: Tensor
    query_bias: Tensor
    value_bias: Tensor
    scale: float
    tail: Callable[[Tensor, Tensor], Tensor]
    dtype: torch.dtype


def last_block(network: nn.Module, tokens: Tokens) -> LastBlock:
    """Cut the last block open.

    Weights in half precision are widened to float32, so that the nearly cancelling terms of the
    closed forms keep their digits; nothing of the network changes.

    Raises:
        UnsupportedError: a part of the block is not of the plain kind, with its name.
    """
    root = network.get_submodule(tokens.root)
    block = network.get_submodule(tokens.blocks[-1])
    attention: nn.Module = block.get_submodule("attn")
    _check_plain(attention, tokens)
    packed = attention.get_parameter("qkv.weight")
    dtype = torch.float64 if packed.dtype is torch.float64 else torch.float32
    heads = int(attention.num_heads)  # type: ignore[arg-type]
    projections = packed.detach().to(dtype).view(3, heads, -1, packed.shape[1])
    bias = _packed_bias(attention, packed).to(dtype).view(3, heads, -1)
    width = projections.shape[2]
    proj, norm1, norm2, mlp = (
        wide(block.get_submodule(name), dtype) for name in ("attn.proj", "norm1", "norm2", "mlp")
    )
    scale1, scale2 = (_optional(block, name, dtype) for name in ("ls1", "ls2"))
    norm, after = _optional(root, "norm", dtype), _optional(root, "fc_norm", dtype)

    def tail(attended: Tensor, residual: Tensor) -> Tensor:
        middle = residual + scale1(proj(attended))
        return after(norm(middle + scale2(mlp(norm2(middle)))))

    return LastBlock(
        norm1=norm1,
        query=projections[0],
        key=projections[1],
        value=projections[2],
        query_bias=bias[0],
        value_bias=bias[2],
        scale=float(getattr(attention, "scale", width**-0.5)),
        tail=tail,
        dtype=dtype,
    )


def wide(module: nn.Module, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """The module computing in `dtype`: itself, or called with widened copies of its weights."""
    weights = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    if all(weight.dtype is dtype or not weight.is_floating_point() for weight in weights.values()):
        return module
    widened = {name: weight.detach().to(dtype) for name, weight in weights.items()}
    return lambda tensor: functional_call(module, widened, (tensor,))


def _check_plain(attention: nn.Module, tokens: Tokens) -> None:
    reasons = {
        "its class token is not what the head reads": tokens.pooling not in ("token", "") or not tokens.class_token,
        "its positions are rotary, so keys turn with their place": bool(tokens.cannot_drop),
        "its queries or keys are normalised": not all(_plain(attention, name) for name in ("q_norm", "k_norm")),
        "its attention output is normalised": not _plain(attention, "norm"),
        "its attention output is gated": getattr(attention, "gate", None) is not None,
        "its queries, keys and values are not one packed projection": not isinstance(
            getattr(attention, "qkv", None), nn.Linear
        ),
    }
    for reason, applies in reasons.items():
        if applies:
            raise UnsupportedError("the closed form does not hold for this transformer", came=reason)


def _plain(module: nn.Module, name: str) -> bool:
    return isinstance(getattr(module, name, None), (nn.Identity, type(None)))


def _packed_bias(attention: nn.Module, packed: Tensor) -> Tensor:
    bias = getattr(attention.get_submodule("qkv"), "bias", None)
    return bias.detach() if isinstance(bias, Tensor) else packed.new_zeros(packed.shape[0])


def _optional(module: nn.Module, name: str, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    part = getattr(module, name, None)
    return wide(part, dtype) if isinstance(part, nn.Module) else nn.Identity()
