"""The loop of every training: resumable, in one process or several, with a log and no terminal code.

All that a training is stands in its newest checkpoint: module, optimizer, schedule, steps done, epochs evaluated, the
best epoch. Orders and draws are functions of (seed, epoch) and (seed, step, process), so no random state is kept. A run
begins with a checkpoint of step 0, which is read back at once: what could not be read later is known before the work,
and even a resume of the first steps begins with the same weights.

On the CPU a resumed training gives the same bits as one that was never stopped. On CUDA it is as near as two runs are:
some backward passes there (interpolation, reflection padding) add in no fixed order.

The run's log (`log.jsonl`) has the events

    training      at every start: from which step, of how many, on what, in which precision
    step          every `LOGGED` steps and at the end of an epoch: means of the loss, its components and the
                  gradient's norm over the steps since the last such line; the groups' learning rates
    epoch         the numbers of `on_epoch`, and whether they are the best so far
    interrupted, not finite, damaged checkpoint, trained

A step or epoch stands in it once: what is done again after a resume is not logged again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from regard.errors import NotFiniteError, RunError, UnsupportedError
from regard.runs import Run
from regard.training import checkpoints
from regard.training.steps import Losses, Settings, Steps, Task, kept_for_the_caller, persistent_buffers
from regard.training.undivided import undivided

LOGGED = 50
"""Steps to a line of the log."""

Tracked = Callable[[Sequence[int]], Iterable[int]]
"""Goes through the steps that are still to be done; a place for progress."""
OnEpoch = Callable[[int], Mapping[str, float]]
"""Numbers of the module as it is after so many epochs."""


@dataclass(frozen=True)
class Trained:
    """What a training came to; the weights are in the task's module.

    Attributes:
        steps: how many there were.
        epochs: the numbers of `on_epoch` after each.
        best: the epoch, counted from 1, whose weights the module has; None where none was chosen: then the last.
    """

    steps: int
    epochs: tuple[Mapping[str, float], ...]
    best: int | None


def fit(
    task: Task,
    optimizer: torch.optim.Optimizer,
    schedule: LRScheduler | None,
    settings: Settings,
    run: Run | None,
    *,
    on_epoch: OnEpoch | None = None,
    choose_by: str | None = None,
    tracked: Tracked = iter,
) -> Trained:
    """Train a task's module in a run, from the start or from where the run was left.

    Nothing is moved: task and module are on the device that they are to be trained on, and the module's parts in the
    modes (training, eval) that they are to be trained in. The run stays open; its finished files are the caller's.

    Ctrl-C never divides an update: the last whole step is written as a checkpoint, and KeyboardInterrupt goes on to
    the caller. A process killed otherwise goes on from the last checkpoint that was written.

    Args:
        task: what is trained, on what.
        optimizer: of the module's parameters; its state is part of the checkpoints.
        schedule: a torch scheduler on that optimizer, which is stepped once after every step; None for none.
        settings: how long and how finely.
        run: an open run whose configuration holds all that the numbers depend on. The main process's is used alone;
            others may give None.
        on_epoch: called in every process after each epoch, with the number of epochs done; the main process's numbers
            count. It must leave the weights alone; random state and modes are set back for it.
        choose_by: the number of `on_epoch` that is least in the best epoch; the module ends with that epoch's weights.
        tracked: see `Tracked`.

    Cost besides that of the steps (`Steps`): a copy of the persistent buffers at every step, a checkpoint of module and
    optimizer every `checkpoint_every` steps and once or twice an epoch.

    Raises:
        NotFiniteError: a loss, a gradient or a weight that would be written; the checkpoints before it stay.
        RunError: the run's checkpoints are damaged, or of another training.
        UnsupportedError: settings, schedule and optimizer that do not fit the task.
        MissingDependencyError: accelerate is not installed.
    """
    steps = Steps(task, optimizer, settings)
    total = settings.steps(task.examples)
    _check(schedule, optimizer, total, on_epoch, choose_by)
    if steps.processes.main and run is None:
        raise RunError("the main process trains in a run")
    with kept_for_the_caller(task.module):
        training = _Training(steps, optimizer, schedule, run if steps.processes.main else None, on_epoch, choose_by)
        try:
            training.begin()
            return training.go_on(total, tracked)
        finally:
            optimizer.zero_grad()


class _Training:
    """A training between two steps, and what it takes to get to the next."""

    def __init__(
        self,
        steps: Steps,
        optimizer: torch.optim.Optimizer,
        schedule: LRScheduler | None,
        run: Run | None,
        on_epoch: OnEpoch | None,
        choose_by: str | None,
    ) -> None:
        self.steps, self.module, self.optimizer, self.schedule = steps, steps.task.module, optimizer, schedule
        self.run, self.on_epoch, self.choose_by = run, on_epoch, choose_by
        self.step = 0
        self.sums: dict[str, float] = {}
        self.summed = 0
        self.epochs: list[dict[str, float]] = []
        self.best: dict[str, Any] | None = None
        self.logged: dict[str, int] = {}

    def begin(self) -> None:
        """Take up the newest checkpoint; before the first step write one, so that there is one."""
        state = None
        if self.run is not None:
            state = checkpoints.newest(self.run)
            if state is None:
                self.save()
                state = checkpoints.newest(self.run)
            self.logged = _logged(self.run.folder / "log.jsonl")
        state = self.steps.processes.of_main(state)
        if state["of"] != self._of():
            raise RunError(
                "the run's checkpoints are of another training",
                came=f"{self._of()}",
                expected=f"{state['of']}",
                remedy="choose another folder",
            )
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        self.step, self.sums, self.summed = state["step"], state["sums"], state["summed"]
        self.epochs, self.best = state["epochs"], state["best"]

    def go_on(self, total: int, tracked: Tracked) -> Trained:
        """Do the steps that are left."""
        self._log(
            "training",
            step=self.step,
            steps=total,
            examples=self.steps.task.examples,
            processes=self.steps.processes.count,
            device=str(self.steps.device),
            precision=self.steps.settings.precision,
            torch=torch.__version__,
        )
        try:
            self.evaluate_where_due()
            for _ in tracked(range(self.step, total)):
                self.take_step()
                if self.step % self.steps.settings.checkpoint_every == 0 or self.step % self.steps.an_epoch == 0:
                    self.save()
                self.evaluate_where_due()
        except KeyboardInterrupt:
            self.save()
            self._log("interrupted", step=self.step)
            raise
        except NotFiniteError as reason:
            self._log("not finite", step=self.step, problem=reason.problem, came=reason.came)
            raise
        if self.best is not None:
            self.module.load_state_dict(self.best["module"])
        best = None if self.best is None else self.best["epoch"]
        self._log("trained", step=self.step, best=best)
        return Trained(self.step, tuple(self.epochs), best)

    def take_step(self) -> None:
        """One step, or none of it: what a forward changes in buffers is set back where the step does not come to be."""
        before = self.step
        buffers = {name: buffer.clone() for name, buffer in persistent_buffers(self.module).items()}
        try:
            losses = self.steps.gradients(before)
            rates = [float(group["lr"]) for group in self.optimizer.param_groups]
            with undivided():
                self.optimizer.step()
                if self.schedule is not None:
                    self.schedule.step()
                self.step += 1
                self._note(losses, rates)
        except BaseException:
            if self.step == before:
                self.module.load_state_dict(buffers, strict=False)
            raise

    def evaluate_where_due(self) -> None:
        """After an epoch, once: its numbers, whether they are the best, and a checkpoint that knows both."""
        epoch = self.step // self.steps.an_epoch
        if self.on_epoch is None or epoch == len(self.epochs):
            return
        self.steps.seeded("epoch", epoch)
        with kept_for_the_caller(self.module):
            came = self.on_epoch(epoch)
        numbers = self.steps.processes.of_main({name: float(value) for name, value in came.items()})
        best = self._improved(numbers)
        weights = {name: value.cpu().clone() for name, value in self.module.state_dict().items()} if best else {}
        with undivided():
            self.epochs.append(numbers)
            if best:
                self.best = {"epoch": epoch, "module": weights}
            said = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
            self._log_once("epoch", epoch, step=self.step, numbers=said, best=best)
        self.save()

    def save(self) -> None:
        """Write the state as a checkpoint, if this is the main process; lost weights end the training in all."""
        for name, parameter in self.module.named_parameters():
            if parameter.requires_grad and not bool(parameter.isfinite().all()):
                raise NotFiniteError(
                    f"{name} is not finite after step {self.step}",
                    remedy="a smaller learning rate, or a clipped gradient",
                )
        if self.run is None:
            return
        state = {
            "of": self._of(),
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "step": self.step,
            "sums": self.sums,
            "summed": self.summed,
            "epochs": self.epochs,
            "best": self.best,
        }
        checkpoints.write(self.run, self.step, state)

    def _of(self) -> dict[str, Any]:
        """What a checkpoint must have in common with the training that takes it up; not how often one is written."""
        settings = asdict(self.steps.settings)
        del settings["checkpoint_every"]
        return {
            **settings,
            "examples": self.steps.task.examples,
            "evaluated": self.on_epoch is not None,
            "choose_by": self.choose_by,
        }

    def _improved(self, numbers: Mapping[str, float]) -> bool:
        if self.choose_by is None:
            return False
        if self.choose_by not in numbers:
            raise UnsupportedError(
                "the best epoch is chosen by a number that there is not",
                came=self.choose_by,
                expected=", ".join(numbers),
            )
        least = math.inf if self.best is None else self.epochs[self.best["epoch"] - 1][self.choose_by]
        return numbers[self.choose_by] < least

    def _note(self, losses: Losses, rates: list[float]) -> None:
        """Add a step to the line of the log that it belongs to; write the line where it is complete."""
        self.sums = {name: self.sums.get(name, 0.0) + value for name, value in losses.values.items()}
        self.summed += 1
        if self.step % LOGGED and self.step % self.steps.an_epoch:
            return
        means = {name: value / self.summed for name, value in self.sums.items()}
        epoch = (self.step - 1) // self.steps.an_epoch + 1
        self._log_once("step", self.step, epoch=epoch, means=means, rates=rates)
        self.sums, self.summed = {}, 0

    def _log_once(self, event: str, number: int, **fields: Any) -> None:
        if number > self.logged.get(event, 0):
            self._log(event, **{event: number, **fields})

    def _log(self, event: str, **fields: Any) -> None:
        if self.run is not None:
            self.run.log(event, **fields)


def _check(
    schedule: LRScheduler | None,
    optimizer: torch.optim.Optimizer,
    total: int,
    on_epoch: OnEpoch | None,
    choose_by: str | None,
) -> None:
    """Refuse before slow work what would fail after it."""
    if schedule is not None and schedule.optimizer is not optimizer:
        raise UnsupportedError("the schedule belongs to another optimizer")
    length = getattr(schedule, "total_steps", total)
    if length != total:
        raise UnsupportedError(
            "the schedule has another length than the training",
            came=f"{length} steps",
            expected=f"{total} steps: Settings.steps(examples)",
        )
    if choose_by is not None and on_epoch is None:
        raise UnsupportedError("the best epoch is chosen by a number of on_epoch, and there is none")


def _logged(log: Path) -> dict[str, int]:
    """The last step and the last epoch that stand in a log; a line torn by a crash counts for nothing."""
    found: dict[str, int] = {}
    for line in log.read_text("utf-8").splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if said["event"] in ("step", "epoch"):
            found[said["event"]] = max(found.get(said["event"], 0), said[said["event"]])
    return found
