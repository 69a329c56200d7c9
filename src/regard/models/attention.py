"""Attention weights of every block from one pass, also where the attention is fused.

A fused kernel never forms its weights. While a pass is recorded it is exchanged, inside the attention modules
alone and for this thread alone, for the same mathematics written out; nothing is patched, so nothing is left.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from regard.errors import UnsupportedError
from regard.models.taps import find_layer

_SIGNATURE = inspect.signature(functional.multi_head_attention_forward)
_MASKS = ("key_padding_mask", "attn_mask", "bias_k", "bias_v", "static_k", "static_v")
_SOFTMAX = (functional.softmax, torch.softmax, Tensor.softmax)


@contextmanager
def recorded(network: nn.Module, attentions: Sequence[str]) -> Iterator[list[Tensor]]:
    """While the block runs, the attention weights (B, H, N, N) of the modules are collected, in the order they run.

    They stand in the graph where the caller records one, so that gradients with respect to them can be asked for.

    Raises:
        UnsupportedError: after the block, where a module formed no weights that can be seen.
    """
    found: list[Tensor] = []
    with ExitStack() as stack:
        for path in attentions:
            module, recorder = find_layer(network, path), _Recorder(found)
            stack.callback(module.register_forward_pre_hook(recorder.begin).remove)
            stack.callback(module.register_forward_hook(recorder.end, always_call=True).remove)
            stack.callback(recorder.leave)
        yield found
    if len(found) != len(attentions):
        raise UnsupportedError(
            "the attention weights of this network cannot be seen",
            came=f"{len(found)} of {len(attentions)} attention modules form weights (B, heads, N, N)",
        )


class _Recorder(TorchFunctionMode):
    """Active between the begin and the end of one attention module's forward."""

    def __init__(self, found: list[Tensor]) -> None:
        super().__init__()
        self.found, self.running = found, ExitStack()

    def begin(self, *_: object) -> None:
        self.running.enter_context(self)

    def end(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Stop, also where the module's forward failed; nothing where it has stopped."""
        self.running.close()

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if function is functional.scaled_dot_product_attention:
            return self._written_out(*args, **named)
        if function is functional.multi_head_attention_forward:
            return self._of_torch(**_SIGNATURE.bind(*args, **named).arguments)
        result = function(*args, **named)
        if function in _SOFTMAX and result.dim() == 4:
            self.found.append(result)
        return result

    def _of_torch(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        num_heads: int,
        in_proj_weight: Tensor | None,
        in_proj_bias: Tensor | None,
        out_proj_weight: Tensor,
        out_proj_bias: Tensor | None,
        need_weights: bool = True,
        average_attn_weights: bool = True,
        **rest: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """torch's own attention, (L, B, D) each, whose function returns weights that lie beside the graph."""
        if query.dim() != 3 or any(rest.get(name) is not None for name in _MASKS) or rest.get("add_zero_attn"):
            raise UnsupportedError("only plain attention can be written out", came="masks, or keys beside the tokens")
        apart = [rest.get(f"{name}_proj_weight") for name in "qkv"]
        matrices: Sequence[Any] = apart if in_proj_weight is None else in_proj_weight.chunk(3)
        biases = (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
        split = [
            functional.linear(given, matrix, bias).unflatten(2, (num_heads, -1)).permute(1, 2, 0, 3)
            for given, matrix, bias in zip((query, key, value), matrices, biases, strict=True)
        ]
        joined = self._written_out(*split).permute(2, 0, 1, 3).flatten(2)
        weights = self.found[-1].mean(dim=1) if average_attn_weights else self.found[-1]
        return functional.linear(joined, out_proj_weight, out_proj_bias), weights if need_weights else None

    def _written_out(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """softmax(s q kᵀ + mask) v, the softmax in float32 at least."""
        if is_causal or enable_gqa:
            raise UnsupportedError("only plain attention can be written out", came="causal or grouped-query attention")
        logits = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if attn_mask is not None:
            masked = attn_mask.dtype is torch.bool
            logits = logits.masked_fill(~attn_mask, -torch.inf) if masked else logits + attn_mask
        weights = logits.softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
        self.found.append(weights)
        return weights.to(value.dtype) @ value
