"""The learning-rate range test: which rates make the loss fall, in a few hundred steps of ever larger ones.

    rateᵢ = least · (greatest/least)^(i/(n−1)),   i = 0 … n−1
    sᵢ = β sᵢ₋₁ + (1−β) ℓᵢ,   s₋₁ = 0,   smoothedᵢ = sᵢ / (1 − βⁱ⁺¹),   β = 0.98

It ends where the loss is no longer finite, or its smoothed value is above four times the least so far. Source: TAME,
sections 2.5 and 5.4 of the specification; there the average was slower (0.999) and the sweep a whole epoch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from regard.errors import NotFiniteError, UnsupportedError
from regard.training.loop import Tracked
from regard.training.steps import Settings, Steps, Task, kept_for_the_caller

LEAST, GREATEST, STEPS, MOST_STEPS = 1e-8, 10.0, 200, 500
SMOOTHING, DIVERGED = 0.98, 4.0
SHARE = 0.1
"""Of the sweep: left out at its start, where the average is that of a few steps' noise; and how far to both sides of a
rate its slope is taken, since from one step to the next noise is steeper than any learning."""


@dataclass(frozen=True)
class RateTest:
    """What each rate did to the loss; `dataclasses.asdict` of it is JSON.

    Attributes:
        rates: learning rate of each step, of the optimizer's first group.
        losses: mean loss of the step's examples before its update.
        smoothed: its average, bias-corrected.
        suggestion: the rate where the smoothed loss falls most steeply over log(rate), before its minimum; None where
            it does not fall.
        tenth_of_minimum: a tenth of the rate where the smoothed loss is least.
        diverged: whether it ended before the greatest rate.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float | None
    tenth_of_minimum: float
    diverged: bool


def rate_test(
    task: Task,
    optimizer: torch.optim.Optimizer,
    settings: Settings,
    *,
    least: float = LEAST,
    greatest: float = GREATEST,
    steps: int = STEPS,
    tracked: Tracked = iter,
) -> RateTest:
    """Sweep the learning rate; afterwards weights, buffers, gradients, optimizer, modes and random state are as before.

    Args:
        task: what will be trained.
        optimizer: of the module's parameters. Its groups keep the ratios of their rates to the first group's; those
            that are marked `rate_of_its_own` keep their rate, and are not the first.
        settings: those of the training: the sweep's steps are its first ones, and go on into further epochs.
        least: where the sweep begins, taken exactly.
        greatest: where it ends, taken exactly.
        steps: of the sweep, 2 to 500.
        tracked: goes through the steps; a place for progress.

    Cost: at most `steps` steps of the training, and a copy of module and optimizer.

    Raises:
        NotFiniteError: already the first loss is not finite.
        UnsupportedError: ends, steps or rates that cannot be.
        MissingDependencyError: accelerate is not installed.
    """
    rates, ratios = _sweep(least, greatest, steps), _ratios(optimizer)
    taken = Steps(task, optimizer, settings)
    losses: list[float] = []
    smoothed: list[float] = []
    average = 0.0
    with kept_for_the_caller(task.module), _set_back(task.module, optimizer):
        for number in tracked(range(steps)):
            try:
                loss = taken.gradients(number).loss
            except NotFiniteError:
                if not losses:
                    raise
                break
            for group, ratio in ratios:
                group["lr"] = rates[number] * ratio
            optimizer.step()
            average = SMOOTHING * average + (1 - SMOOTHING) * loss
            losses.append(loss)
            smoothed.append(average / (1 - SMOOTHING ** (number + 1)))
            best = min(smoothed)
            if smoothed[-1] > best + (DIVERGED - 1) * abs(best):
                break
    done = rates[: len(losses)]
    share = math.ceil(SHARE * steps)
    lowest = min(range(min(share, len(done) - 1), len(done)), key=smoothed.__getitem__)
    return RateTest(
        rates=tuple(done),
        losses=tuple(losses),
        smoothed=tuple(smoothed),
        suggestion=_steepest(done, smoothed, share, lowest),
        tenth_of_minimum=done[lowest] / 10,
        diverged=len(losses) < steps,
    )


def _sweep(least: float, greatest: float, steps: int) -> list[float]:
    if not 0 < least < greatest < math.inf:
        raise UnsupportedError("learning rates go from a small one to a larger one", came=f"{least} to {greatest}")
    if type(steps) is not int or not 2 <= steps <= MOST_STEPS:
        raise UnsupportedError(f"a sweep has 2 to {MOST_STEPS} steps", came=repr(steps))
    inner = [least * (greatest / least) ** (place / (steps - 1)) for place in range(1, steps - 1)]
    return [least, *inner, greatest]


def _ratios(optimizer: torch.optim.Optimizer) -> list[tuple[dict[str, Any], float]]:
    """The groups that are swept, each with its rate as a multiple of the first one's."""
    swept = [group for group in optimizer.param_groups if not group.get("rate_of_its_own")]
    first = float(swept[0]["lr"]) if swept else 0.0
    if not first > 0:
        raise UnsupportedError("the first group's learning rate is what the others are measured by", came=f"{first}")
    return [(group, float(group["lr"]) / first) for group in swept]


def _steepest(rates: list[float], smoothed: list[float], share: int, lowest: int) -> float | None:
    """The rate around which the smoothed loss falls most over as many steps, which are equal in log(rate)."""
    places = range(2 * share, lowest - share + 1)
    falls = {place: smoothed[place - share] - smoothed[place + share] for place in places}
    place = max(falls, key=falls.__getitem__, default=0)
    return rates[place] if falls.get(place, 0) > 0 else None


@contextmanager
def _set_back(module: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Afterwards parameters, buffers, gradients and optimizer are as before, whatever the block did."""
    tensors = [*module.parameters(), *module.buffers()]
    values = [tensor.detach().clone() for tensor in tensors]
    gradients = [(parameter, parameter.grad) for parameter in module.parameters()]
    state = deepcopy(optimizer.state_dict())
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, values, strict=True):
                tensor.copy_(value)
        optimizer.load_state_dict(state)
        for parameter, gradient in gradients:
            parameter.grad = gradient
