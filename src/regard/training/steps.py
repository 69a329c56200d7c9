"""One step of a training: its examples, and the gradient of their mean loss, however they are cut into parts.

    L = (1/n) Σᵢ ℓᵢ        over the n examples of the step

The step's examples are cut into consecutive parts whose sizes differ by one at most, one for each process, and these
into one for each accumulation; a part may be empty. A part adds the gradient of (1/n) Σ ℓᵢ over its own examples, and
the processes' gradients are added, not averaged: so parts of any sizes give the gradient of the whole.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from regard.errors import NotFiniteError, UnsupportedError
from regard.seeds import check_seed, seed_for
from regard.training.processes import Processes

Precision = Literal["float32", "bfloat16"]


class Task(Protocol):
    """What is trained, on what, by which loss.

    Attributes:
        module: what is trained, and no more: all of it goes into every checkpoint. A frozen network that the loss runs
            through belongs to the task and not to its module. It stays on its device and in the modes of its parts.
        examples: how many there are.
        components: names of what `losses` gives besides the loss; none of them "loss" or "gradient".
    """

    @property
    def module(self) -> nn.Module: ...
    @property
    def examples(self) -> int: ...
    @property
    def components(self) -> Sequence[str]: ...

    def batch(self, indices: Sequence[int], epoch: int) -> Any:
        """Some examples, by index, in the given order.

        What is drawn for an example (crops, flips) hangs on its index, the epoch and a seed (`seed_for`), not on a
        global random state: the same example is then the same after a resume and in whichever process has it.
        """

    def losses(self, batch: Any) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of each example (b,), with its graph, and each component's values (b,).

        The mean over the step is taken by the loop. A loss that couples the examples of a batch (batch norm, a
        cross-batch term) sees one part of the step at a time: it depends on processes and accumulations.
        """


@dataclass(frozen=True)
class Settings:
    """How long and how finely it is trained.

    Attributes:
        epochs: times that every example is seen.
        batch: examples of a step, over all processes and accumulations; the last step of an epoch takes what is left.
        accumulate: parts into which each process cuts its share of a step, so that less memory is needed.
        checkpoint_every: steps between checkpoints; there is also one after every epoch.
        seed: of the order of examples and of draws inside a step (dropout).
        precision: "bfloat16" runs `Task.losses` under autocast; weights, gradients and sums stay float32.
        clip: the longest gradient (L2 norm over all parameters) that is not shortened; None, the default, for any.

    Raises:
        UnsupportedError: a number that cannot be.
    """

    epochs: int
    batch: int
    accumulate: int = 1
    checkpoint_every: int = 500
    seed: int = 0
    precision: Precision = "float32"
    clip: float | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "accumulate", "checkpoint_every"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise UnsupportedError(f"{name} is a whole number above zero", came=repr(value))
        check_seed(self.seed)
        if self.precision not in get_args(Precision):
            raise UnsupportedError("no such precision", came=repr(self.precision), expected="float32, bfloat16")
        if self.clip is not None and not 0 < self.clip < math.inf:
            raise UnsupportedError("a gradient is clipped to a length above zero", came=repr(self.clip))

    def steps_an_epoch(self, examples: int) -> int:
        """⌈examples / batch⌉."""
        return -(-examples // self.batch)

    def steps(self, examples: int) -> int:
        """Steps of the whole training: the length that a schedule must have."""
        return self.epochs * self.steps_an_epoch(examples)


@dataclass(frozen=True)
class Losses:
    """What a step found: means over its examples, before its update.

    Attributes:
        loss: what is made smaller.
        components: by name.
        gradient: L2 norm over all parameters, before clipping.
    """

    loss: float
    components: Mapping[str, float]
    gradient: float

    @property
    def values(self) -> dict[str, float]:
        """All of them, by name."""
        return {**self.components, "loss": self.loss, "gradient": self.gradient}


@contextmanager
def kept_for_the_caller(module: nn.Module) -> Iterator[None]:
    """Run the block with gradients on and autocast off; random state and training flags are as before afterwards."""
    training = [(part, part.training) for part in module.modules()]
    device = next(module.parameters()).device
    with (
        torch.random.fork_rng(devices=[device.index] if device.type == "cuda" else []),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
    ):
        try:
            yield
        finally:
            for part, was_training in training:
                part.training = was_training


class Steps:
    """The steps of one training, by number.

    Cost of a step with P trained parameters, besides forward and backward of its examples and the optimizer: P values
    read for the gradient's norm, and one wait for the device, in which losses and norm are read and checked. With
    several processes, the gradient is copied into one vector, exchanged once, after the backward, and copied back:
    4 P values read and written, and P sent. Nothing is exchanged for each accumulation.

    Args:
        task: what is trained.
        optimizer: of exactly the parameters of the task's module that require a gradient.
        settings: how.

    Raises:
        UnsupportedError: there is nothing to train on, or the optimizer has other parameters than the module.
        MissingDependencyError: accelerate is not installed.
    """

    def __init__(self, task: Task, optimizer: torch.optim.Optimizer, settings: Settings) -> None:
        if task.examples < 1:
            raise UnsupportedError("there is nothing to train on", came=f"{task.examples} examples")
        if taken := {"loss", "gradient"}.intersection(task.components):
            raise UnsupportedError("a component of the loss needs another name", came=", ".join(taken))
        self.task, self.settings = task, settings
        self.parameters = _trained(task.module, optimizer)
        self.device = self.parameters[0].device
        self.processes = Processes.of(self.device)
        self._order: tuple[int, Tensor] | None = None

    @property
    def an_epoch(self) -> int:
        """Steps of an epoch."""
        return self.settings.steps_an_epoch(self.task.examples)

    def examples_of(self, number: int) -> tuple[list[int], int]:
        """The indices of a step and its epoch, both counted from 0; every epoch has an order of its own."""
        epoch, place = divmod(number, self.an_epoch)
        if self._order is None or self._order[0] != epoch:
            draw = torch.Generator().manual_seed(seed_for(self.settings.seed, "order", epoch))
            self._order = epoch, torch.randperm(self.task.examples, generator=draw)
        start = place * self.settings.batch
        return self._order[1][start : start + self.settings.batch].tolist(), epoch

    def seeded(self, *what: int | str) -> None:
        """Set the random state of this process's draws."""
        seed = seed_for(self.settings.seed, *what, self.processes.index)
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.default_generators[self.device.index].manual_seed(seed)

    def gradients(self, number: int) -> Losses:
        """Leave the gradient of a step in the parameters' `.grad`, the same in all processes.

        A parameter that no example uses has the gradient zero: momentum and decay still move it, as in any of the
        processes. Persistent buffers (running statistics) become the main process's.

        Raises:
            NotFiniteError: a component, the loss or the gradient, with its name and the step, counted from 1.
            UnsupportedError: the task gives other losses than it should.
        """
        for parameter in self.parameters:
            parameter.grad = None
        indices, epoch = self.examples_of(number)
        names = [*self.task.components, "loss"]
        sums = torch.zeros(len(names), device=self.device)
        self.seeded("step", number)
        own = _cut(indices, self.processes.count)[self.processes.index]
        for part in _cut(own, self.settings.accumulate):
            if part:
                losses, values = self._losses(part, epoch)
                (losses.sum() / len(indices)).backward()
                sums += values
        gradients = [_gradient(parameter) for parameter in self.parameters]
        self.processes.add([*gradients, sums])
        self.processes.copy([*persistent_buffers(self.task.module).values()])
        norm = nn.utils.get_total_norm(gradients)
        *means, length = torch.cat([sums / len(indices), norm.to(sums)[None]]).tolist()
        found = Losses(means[-1], dict(zip(self.task.components, means[:-1], strict=True)), length)
        _refuse_not_finite(found, number)
        if self.settings.clip is not None:
            nn.utils.clip_grads_with_norm_(self.parameters, self.settings.clip, norm)
        return found

    def _losses(self, part: Sequence[int], epoch: int) -> tuple[Tensor, Tensor]:
        """Losses of a part (b,), float32 or finer, and the sums over it of each component and the loss."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16"):
            losses, components = self.task.losses(self.task.batch(part, epoch))
        expected = {name: (len(part),) for name in (*self.task.components, "loss")}
        came = {name: tuple(values.shape) for name, values in {**components, "loss": losses}.items()}
        if came != expected:
            raise UnsupportedError("a task gives one value an example", came=f"{came}", expected=f"{expected}")
        if not losses.requires_grad:
            raise UnsupportedError("the losses do not depend on the module that is trained")
        values = [*(components[name] for name in self.task.components), losses]
        return _fine(losses), torch.stack([_fine(each.detach()).sum().float() for each in values])


def persistent_buffers(module: nn.Module) -> dict[str, Tensor]:
    """The buffers that a state dict holds, by name: what a forward may change, and a checkpoint keeps."""
    state = module.state_dict()
    return {name: state[name] for name, _ in module.named_buffers() if name in state}


def _trained(module: nn.Module, optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    named = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    given = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    left_out = [name for name, parameter in named.items() if id(parameter) not in given]
    if left_out or len(given) != len(named) or not named:
        raise UnsupportedError(
            "the optimizer has other parameters than the module",
            came=f"{len(given)} parameters" + (f", without {left_out[0]!r}" if left_out else ""),
            expected=f"the {len(named)} parameters of the module that require a gradient",
            remedy="requires_grad_(False) for those that are not trained",
        )
    coarse = [name for name, parameter in named.items() if parameter.dtype not in (torch.float32, torch.float64)]
    if coarse:
        raise UnsupportedError(
            "weights are trained in float32",
            came=f"{coarse[0]!r} in {named[coarse[0]].dtype}",
            remedy='module.float(), and precision="bfloat16" for speed',
        )
    return list(named.values())


def _cut(indices: Sequence[int], count: int) -> list[Sequence[int]]:
    """Consecutive parts whose sizes differ by one at most, the larger ones first."""
    size, larger = divmod(len(indices), count)
    ends = [place * size + min(place, larger) for place in range(count + 1)]
    return [indices[start:end] for start, end in itertools.pairwise(ends)]


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _fine(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _refuse_not_finite(found: Losses, number: int) -> None:
    wrong = {name: value for name, value in found.values.items() if not math.isfinite(value)}
    if wrong:
        raise NotFiniteError(
            f"{next(iter(wrong))} is not finite in step {number + 1}",
            came=", ".join(f"{name} {value}" for name, value in wrong.items()),
            remedy="a smaller learning rate, or a clipped gradient",
        )
