"""Attention modules, known by their projections: one packed layer, three layers, or torch's own module.

A pool is an attention whose queries are weights of its own instead of tokens: torch's own module, or a layer for
queries beside one that packs keys and values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from regard.errors import UnsupportedError

_THREE = (("q_proj", "k_proj", "v_proj"), ("query", "key", "value"), ("q", "k", "v"))
_NORMS = ("q_norm", "k_norm", "q_layernorm", "k_layernorm")


@dataclass(frozen=True)
class Projections:
    """An attention module's weights, H heads of d channels, for tokens of width D (queries of a pool may be wider).

    Attributes:
        query, key, value: (H, d, D), views of the module's own where its precision allows.
        query_bias, value_bias: (H, d). The key's bias is left out: softmax does not see it.
        scale: of the attention logits, usually d^−1/2.
        out: heads' outputs joined (…, H·d) → the module's output (…, D).
    """

    query: Tensor
    key: Tensor
    value: Tensor
    query_bias: Tensor
    value_bias: Tensor
    scale: float
    out: Callable[[Tensor], Tensor]


def attention_modules(network: nn.Module) -> list[str]:
    """Dotted paths of the attention modules: what holds projections and at most one more linear layer."""
    found: dict[str, None] = {}
    for path, module in network.named_modules():
        if _holds_projections(module) and not any(path.startswith(f"{outer}.") for outer in found):
            found[_outermost(network, path)] = None
    return list(found)


def pooling_modules(network: nn.Module) -> list[str]:
    """Dotted paths of what may be a pool; whether it is shows when it runs, after all blocks."""
    return [
        path
        for path, module in network.named_modules()
        if path and (isinstance(module, nn.MultiheadAttention) or _packs_keys_and_values(module))
    ]


def pool_layers(pool: nn.Module) -> tuple[str, str]:
    """Where a pool gets its queries, as the input of one layer, and where its attention comes out, of another.

    Both relative to the pool; "" is the pool itself.
    """
    return ("", "") if isinstance(pool, nn.MultiheadAttention) else ("q", "proj")


def _packs_keys_and_values(module: nn.Module) -> bool:
    return isinstance(getattr(module, "kv", None), nn.Linear) and isinstance(getattr(module, "q", None), nn.Module)


def _holds_projections(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.MultiheadAttention)
        or isinstance(getattr(module, "qkv", None), nn.Module)
        or any(all(isinstance(getattr(module, name, None), nn.Linear) for name in names) for names in _THREE)
    )


def _outermost(network: nn.Module, path: str) -> str:
    """The largest module around projections that is attention alone: no norm, one more linear layer at most."""
    least = _linears(network.get_submodule(path))
    while path:
        parent = path.rpartition(".")[0]
        around = network.get_submodule(parent)
        normed = any(isinstance(child, nn.LayerNorm) for child in around.children())
        if not parent or normed or isinstance(around, (nn.ModuleList, nn.Sequential)) or _linears(around) > least + 1:
            break
        path = parent
    return path


def _linears(module: nn.Module) -> int:
    return sum(isinstance(inner, nn.Linear) for inner in module.modules())


def projections(attention: nn.Module, dtype: torch.dtype) -> Projections:
    """The projections of an attention module, in `dtype`.

    Raises:
        UnsupportedError: it computes more than plain attention, as far as its parts tell.
    """
    owner = next((module for module in attention.modules() if _holds_projections(module)), attention)
    _check_plain(owner, pool=_packs_keys_and_values(owner))
    weights, biases, out = _parts(attention, owner)
    heads = _heads(owner)
    query, key, value = (weight.detach().to(dtype).unflatten(0, (heads, -1)) for weight in weights)
    query_bias, value_bias = (
        torch.zeros_like(like[..., 0]) if bias is None else bias.detach().to(dtype).view(like.shape[:2])
        for bias, like in ((biases[0], query), (biases[2], value))
    )
    if query.shape[:2] != key.shape[:2] or key.shape != value.shape:
        raise UnsupportedError("the closed form does not hold here", came="its heads share keys and values")
    scale = getattr(owner, "scale", getattr(owner, "scaling", None))
    return Projections(
        query, key, value, query_bias, value_bias, float(scale) if scale is not None else query.shape[1] ** -0.5, out
    )


Parts = tuple[Sequence[Tensor], Sequence[Tensor | None], Callable[[Tensor], Tensor]]


def _parts(attention: nn.Module, owner: nn.Module) -> Parts:
    """Weights and biases of query, key and value, and the output projection."""
    if _packs_keys_and_values(owner):
        return _pool_parts(owner)
    if isinstance(owner, nn.MultiheadAttention):
        if owner.in_proj_weight is None:
            raise UnsupportedError("the closed form does not hold here", came="queries and keys of different width")
        return owner.in_proj_weight.chunk(3), _chunked(owner.in_proj_bias), _linear(owner.out_proj)
    layers = _layers(owner)
    rest = [module for module in attention.modules() if isinstance(module, nn.Linear) and module not in layers]
    if len(rest) > 1:
        raise UnsupportedError("the closed form does not hold here", came="its attention has further linear layers")
    out = _linear(rest[0]) if rest else nn.Identity()
    if len(layers) == 1:
        return layers[0].weight.chunk(3), _chunked(layers[0].bias), out
    return [layer.weight for layer in layers], [layer.bias for layer in layers], out


def _pool_parts(owner: nn.Module) -> Parts:
    query, packed, out = owner.q, owner.kv, getattr(owner, "proj", None)
    if not (isinstance(query, nn.Linear) and isinstance(packed, nn.Linear) and isinstance(out, nn.Linear)):
        raise UnsupportedError("the closed form does not hold here", came="its pool has no layers for query and output")
    key_bias, value_bias = (None, None) if packed.bias is None else packed.bias.chunk(2)
    return (query.weight, *packed.weight.chunk(2)), (query.bias, key_bias, value_bias), _linear(out)


def _layers(owner: nn.Module) -> list[nn.Linear]:
    """The linear layers that give queries, keys and values: one that packs them, or three."""
    packed = getattr(owner, "qkv", None)
    named = [[getattr(owner, name, None) for name in names] for names in _THREE]
    candidates = [[packed], *named]
    for layers in candidates:
        linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
        if len(linear) == len(layers):
            return linear
    raise UnsupportedError(
        "the closed form does not hold here", came="its queries, keys and values are not linear layers"
    )


def _chunked(bias: Tensor | None) -> Sequence[Tensor | None]:
    return (None, None, None) if bias is None else bias.chunk(3)


def _linear(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    def apply(tensor: Tensor) -> Tensor:
        bias = None if layer.bias is None else layer.bias.to(tensor.dtype)
        return functional.linear(tensor, layer.weight.to(tensor.dtype), bias)

    return apply


def _heads(owner: nn.Module) -> int:
    for name in ("num_heads", "num_attention_heads", "n_heads", "heads"):
        found = getattr(owner, name, None)
        if isinstance(found, int):
            return found
    raise UnsupportedError("the closed form does not hold here", came="its number of heads is not known")


def _check_plain(owner: nn.Module, pool: bool) -> None:
    """Refuse what the formula does not hold. A pool's `norm` belongs to what follows its output layer."""
    reasons = {
        "its queries or keys are normalised": not all(_absent(owner, name) for name in _NORMS),
        "its attention output is normalised": not (pool or _absent(owner, "norm")),
        "its attention output is gated": getattr(owner, "gate", None) is not None,
    }
    for reason, applies in reasons.items():
        if applies:
            raise UnsupportedError("the closed form does not hold here", came=reason)


def _absent(module: nn.Module, name: str) -> bool:
    return isinstance(getattr(module, name, None), (nn.Identity, type(None)))
