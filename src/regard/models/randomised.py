"""Classifiers whose weights are redrawn, in part or from the output down, for sanity checks (Adebayo et al. 2018).

Weights are redrawn by shuffling: each tensor keeps its values and loses their places. So a randomised layer differs
from the trained one in what it learnt and not in its scale: norms stay near 1, biases small, and nothing overflows in a
deep network. Draws from a normal distribution would keep two moments, and no heavy tail. A tensor of one value
throughout has learnt nothing that could be lost, and stays. Buffers stay: they are measured, not learnt.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from regard.errors import UnsupportedError
from regard.models import passes
from regard.models.classifier import Classifier
from regard.models.weights import named_weights, of_other_weights
from regard.seeds import check_seed

Part = Literal["head", "last block", "all"]


@dataclass(frozen=True)
class Stage:
    """What one step of the cascade redraws.

    Attributes:
        name: dotted path of the block or layer; "head" for a head apart from the network, and the network's class for
            what it holds itself.
        weights: names of the parameters, as "network.…" or "head.…".
        is_head: whether they are the head.
    """

    name: str
    weights: tuple[str, ...]
    is_head: bool = False


def randomised(classifier: Classifier, part: Part = "head", seed: int = 0) -> Classifier:
    """A copy of the classifier, one part of it redrawn; the classifier itself stays as it is.

    Args:
        classifier: the trained one.
        part: "head", what turns embeddings into the answer; "last block" of a transformer, in any other network the
            last layer of weights before the head; "all", every parameter.
        seed: of the draws: another for each tensor, by its name.

    Raises:
        UnsupportedError: no such part, or the head is not known.
    """
    check_seed(seed)
    if part not in get_args(Part):
        raise UnsupportedError("there is no such part", came=repr(part), expected=", ".join(get_args(Part)))
    return _redrawn(classifier, _chosen(classifier, part), seed, f"{classifier.name}, {part} randomised")


def cascade(classifier: Classifier, seed: int = 0) -> Iterator[Classifier]:
    """Copies of the classifier, randomised from the output down: one more of `stages` in each, in the last all.

    Each is made when its turn comes. A tensor is redrawn in the same way in every copy, and as `randomised` does.
    """
    check_seed(seed)
    return _cascade(classifier, seed)


def _cascade(classifier: Classifier, seed: int) -> Iterator[Classifier]:
    current = classifier
    for stage in stages(classifier):
        current = _redrawn(current, [stage], seed, f"{classifier.name}, randomised down to {stage.name}")
        yield current


def stages(classifier: Classifier) -> tuple[Stage, ...]:
    """The steps of the cascade, from the output down; together they hold every parameter once.

    A stage is the head, a block of a transformer (so is a pool after the blocks), or a layer of weights in any other
    network; with it goes what follows it and is no more than norms and scales. Layers stand in the order in which a
    pass begins them, so class token, positions and what else the network holds itself come last. Weights of a module
    that never runs by itself belong to the one that holds it.

    Cost: one pass, which is not counted.
    """
    head, units = classifier.head_module(), _units(classifier)
    apart = [] if classifier.head is None else [f"head.{name}" for name, _ in classifier.head.named_parameters()]
    found = [Stage("head", tuple(apart), is_head=True)] if apart else []
    following: list[str] = []
    owned = _owned(classifier)
    first = next(iter(owned), None)
    for path, weights in reversed(owned.items()):
        following += [f"network.{name}" for name in weights]
        if path in units or path == first or any(weight.dim() > 1 for weight in weights.values()):
            module = classifier.module.get_submodule(path)
            found.append(Stage(path or type(module).__name__, tuple(following), is_head=module is head))
            following = []
    return tuple(found)


def _owned(classifier: Classifier) -> dict[str, dict[str, nn.Parameter]]:
    """Path of each unit or layer → its parameters, by name, in the order in which a pass begins them."""
    units, owned = _units(classifier), {path: dict[str, nn.Parameter]() for path in _begun(classifier)}
    for name, parameter in classifier.module.named_parameters():
        holders = _holders(name)
        (holder, *_) = [path for path in holders if path in units] or [path for path in holders if path in owned]
        owned[holder][name] = parameter
    return {path: weights for path, weights in owned.items() if weights}


def _holders(name: str) -> list[str]:
    """The paths of all modules that hold a parameter, from the innermost to the network itself, ""."""
    parts = name.split(".")[:-1]
    return [".".join(parts[:length]) for length in range(len(parts), -1, -1)]


def _units(classifier: Classifier) -> tuple[str, ...]:
    """What is redrawn as a whole: a transformer's blocks, and its pool."""
    tokens = classifier.tokens
    return () if tokens is None else (*tokens.blocks, *([tokens.pool] if tokens.pool else []))


def _begun(classifier: Classifier) -> list[str]:
    """The paths of all modules that run, the network itself as "", as they begin for the last time in a pass."""
    order: dict[str, None] = {}

    def noting(path: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            order.pop(path, None)
            order[path] = None

        return hook

    handles = [module.register_forward_pre_hook(noting(path)) for path, module in classifier.module.named_modules()]
    try:
        with classifier.untouched(), torch.no_grad(), passes.uncounted():
            classifier.forward(classifier.picture())
    finally:
        for handle in handles:
            handle.remove()
    return list(order)


def _chosen(classifier: Classifier, part: Part) -> Sequence[Stage]:
    """The stages that a part consists of."""
    found = stages(classifier)
    if part == "all":
        return found
    head = [stage for stage in found if stage.is_head]
    if not head and (part == "head" or classifier.outputs != "embedding"):
        raise UnsupportedError(
            f"no layer with weights is known to be the head of {classifier.name}",
            remedy="pass backbone and head apart: Classifier(backbone, preparation, head=…); or randomise all",
        )
    if part == "head":
        return head
    last = None if classifier.tokens is None else classifier.tokens.blocks[-1]
    body = [stage for stage in found if not stage.is_head]
    return [stage for stage in body if stage.name == last] or body[:1]


def _redrawn(classifier: Classifier, chosen: Sequence[Stage], seed: int, name: str) -> Classifier:
    """A copy of the classifier with the weights of some stages shuffled."""
    with torch.inference_mode(False), torch.no_grad():
        network, head = copy.deepcopy((classifier.module, classifier.head))
        weights = dict(named_weights(network=network, head=head))
        for weight in (weight for stage in chosen for weight in stage.weights):
            order = torch.randperm(weights[weight].numel(), generator=_draw(weight, seed)).to(weights[weight].device)
            weights[weight].copy_(weights[weight].flatten()[order].view_as(weights[weight]))
    return of_other_weights(classifier, network, head, name)


def _draw(name: str, seed: int) -> torch.Generator:
    """Draws that belong to the tensor of that name."""
    digest = hashlib.blake2b(name.encode(), digest_size=8, salt=seed.to_bytes(16, "little", signed=True)).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
