"""Reading inside a network during one pass, leaving no trace.

A tap is a forward hook that lives for one call. Layers are named by their dotted path in the
network (`blocks.11.norm1`); "input" is the first tensor given, "output" the first returned,
each by itself or at the head of a tuple or list.
Hooks are removed in `finally`, whatever happens in between, and hold nothing afterwards.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from regard.errors import LayerError

At = Literal["input", "output"]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Place:
    """A tensor inside a network: the input or output of a layer."""

    layer: str
    at: At = "output"

    def __str__(self) -> str:
        return f"{self.at} of {self.layer!r}"


class _Enough(BaseException):
    """Ends a pass once all is read; no Exception, so that a network's own handlers let it through."""


def find_layer(network: nn.Module, name: str) -> nn.Module:
    """The layer of that dotted path.

    Raises:
        LayerError: with the nearest names.
    """
    try:
        return network.get_submodule(name)
    except AttributeError:
        names = [path for path, _ in network.named_modules() if path]
        close = difflib.get_close_matches(name, names, n=4) or names[-4:]
        raise LayerError(f"the network has no layer {name!r}", expected=f"perhaps {', '.join(close)}") from None


def read(
    network: nn.Module, places: list[Place], call: Callable[[], Result], *, stop: bool = False
) -> tuple[list[Tensor], Result | None]:
    """Run `call`, which must run `network`, and keep the tensors at `places`.

    Args:
        network: the network.
        places: what to read.
        call: runs one pass.
        stop: end the pass as soon as all is read; what comes after costs nothing then.

    Returns:
        The tensors in the order of places, and what the call returned (None if it was stopped).

    Raises:
        LayerError: a layer is missing, does not run, runs more than once, or gives no tensor.
    """
    found: dict[Place, Tensor] = {}
    enough = _Enough()

    def keep(place: Place, tensor: Tensor) -> Tensor:
        if place in found:
            raise LayerError(
                f"the layer {place.layer!r} runs more than once in a pass", remedy="tap a layer that runs once"
            )
        found[place] = tensor
        if stop and len(found) == len(set(places)):
            raise enough
        return tensor.clone()  # the network goes on with a copy, which a later layer may change in place

    result: Result | None = None
    with _hooked(network, places, keep):
        try:
            result = call()
        except _Enough as end:
            if end is not enough:  # a network that reads its own backbone must not end another's pass
                raise
    missing = [place for place in places if place not in found]
    if missing:
        raise _never_ran(network, missing[0])
    return [found[place] for place in places], result


@contextmanager
def replaced(network: nn.Module, place: Place, replacement: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """While the block runs, the tensor at `place` is what `replacement` makes of it."""
    with _hooked(network, [place], lambda _, tensor: replacement(tensor)):
        yield


@contextmanager
def skipped(network: nn.Module, layers: Sequence[str], *, in_tuple: bool = False) -> Iterator[None]:
    """While the block runs, layers hand their first tensor on, in the list it came in, and compute nothing.

    Args:
        network: the network.
        layers: dotted paths.
        in_tuple: whether their callers expect it as the first of a tuple.
    """

    def hand_on(*arguments: Any, **named: Any) -> Any:
        given = next(value for value in (*arguments, *named.values()) if first_tensor(value) is not None)
        return (first_tensor(given),) if in_tuple else given

    modules = [find_layer(network, layer) for layer in layers]
    own = [vars(module).get("forward") for module in modules]
    try:
        for module in modules:
            module.forward = hand_on
        yield
    finally:
        for module, forward in zip(modules, own, strict=True):
            vars(module).pop("forward")
            if forward is not None:
                module.forward = forward


def differentiable_from(network: nn.Module, place: Place, call: Callable[[], Result]) -> tuple[Tensor, Result]:
    """Run `call` with a leaf at `place`, recording gradients only from there on.

    What lies before runs without a graph, whatever the parameters require, so the pass costs what a
    plain pass costs, and a later backward only what lies behind `place`. The network receives a
    copy of the leaf, which it may change in place (ReLU does) without touching what was read.

    Returns:
        The leaf, whose gradient is wanted, and what the call returned.
    """
    leaves: list[Tensor] = []

    def plant(_: Place, tensor: Tensor) -> Tensor:
        if leaves:
            raise LayerError(f"the layer {place.layer!r} runs more than once in a pass")
        leaves.append(tensor.detach().clone().requires_grad_())
        torch.set_grad_enabled(True)
        return leaves[0].clone()

    with torch.inference_mode(False), torch.no_grad(), _hooked(network, [place], plant):
        result = call()
    if not leaves:
        raise _never_ran(network, place)
    return leaves[0], result


def _never_ran(network: nn.Module, place: Place) -> LayerError:
    compiled = any(
        getattr(module, "_compiled_call_impl", None) is not None or hasattr(module, "_orig_mod")
        for module in network.modules()
    )
    return LayerError(
        f"the layer {place.layer!r} does not run when the network is called",
        came="a compiled network, whose layers run out of sight" if compiled else None,
        remedy="explain the network that was compiled; its weights are the same" if compiled else None,
    )


@contextmanager
def _hooked(network: nn.Module, places: list[Place], act: Callable[[Place, Tensor], Tensor | None]) -> Iterator[None]:
    """Hooks on all places that call `act` and put what it returns, if anything, in the tensor's stead."""
    handles = []
    try:
        for place in dict.fromkeys(places):
            layer = find_layer(network, place.layer)
            if place.at == "input":
                handles.append(layer.register_forward_pre_hook(_on_input(place, act), with_kwargs=True))
            else:
                handles.append(layer.register_forward_hook(_on_output(place, act)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _on_input(place: Place, act: Callable[[Place, Tensor], Tensor | None]) -> Callable[..., Any]:
    def hook(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if arguments and (tensor := first_tensor(arguments[0])) is not None:
            changed = act(place, tensor)
            return None if changed is None else ((_with_first(arguments[0], changed), *arguments[1:]), named)
        name = next((name for name, value in named.items() if first_tensor(value) is not None), None)
        if arguments or name is None:
            raise LayerError(f"the layer {place.layer!r} receives no tensor as its first argument")
        tensor = first_tensor(named[name])
        assert tensor is not None
        changed = act(place, tensor)
        return None if changed is None else (arguments, {**named, name: _with_first(named[name], changed)})

    return hook


def _on_output(place: Place, act: Callable[[Place, Tensor], Tensor | None]) -> Callable[..., Any]:
    def hook(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
        tensor = first_tensor(output)
        if tensor is None:
            raise LayerError(f"the layer {place.layer!r} returns no tensor", came=type(output).__name__)
        changed = act(place, tensor)
        return None if changed is None else _with_first(output, changed)

    return hook


def first_tensor(value: Any) -> Tensor | None:
    """A tensor, or the first one of a tuple or list that begins with it; None for anything else."""
    if isinstance(value, (tuple, list)) and value:
        value = value[0]
    return value if isinstance(value, Tensor) else None


def _with_first(value: Any, tensor: Tensor) -> Any:
    """The same value with another first tensor."""
    if isinstance(value, Tensor):
        return tensor
    named = hasattr(value, "_fields")  # a named tuple takes its values one by one
    return type(value)(tensor, *value[1:]) if named else type(value)([tensor, *value[1:]])


@contextmanager
def untouched(network: nn.Module) -> Iterator[None]:
    """Run the block with the network in eval mode; afterwards everything is as it was, also on an error.

    Kept: every module's own training flag, every parameter's `requires_grad` and `.grad`, gradient
    mode, and the random state of the CPU and of the devices that hold the network.
    """
    training = [(module, module.training) for module in network.modules()]
    parameters = [(parameter, parameter.requires_grad, parameter.grad) for parameter in network.parameters()]
    devices = {parameter.device.index for parameter, _, _ in parameters if parameter.device.type == "cuda"}
    recording = torch.is_grad_enabled()
    with torch.random.fork_rng(devices=[device for device in devices if device is not None]):
        try:
            for module, was_training in training:
                if was_training:
                    module.training = False
            for parameter, _, _ in parameters:
                parameter.grad = None  # what the block accumulates must not be added to the caller's
            yield
        finally:
            for module, was_training in training:
                module.training = was_training
            for parameter, required, gradient in parameters:
                if parameter.requires_grad is not required:  # of an inference tensor nobody may set it
                    parameter.requires_grad_(required)
                parameter.grad = gradient
            torch.set_grad_enabled(recording)
