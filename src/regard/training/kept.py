"""A training that keeps a run: found finished, gone on with, or begun; from the start's figures to the manifest."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from regard.errors import RunError
from regard.runs import Run, check_run_folder, finished_run, is_run
from regard.training import checkpoints, loop
from regard.training.readable import Watched
from regard.training.steps import Settings, Task, kept_for_the_caller

Figures = Mapping[str, float | None]
"""Of an epoch, as JSON knows them."""


@dataclass(frozen=True)
class Choice:
    """How the epoch that is kept is chosen.

    Attributes:
        judged: number of epochs done → figures, in every process; 0 is asked for before the first.
        by: the figure that is least in the best epoch.
        heard: told each epoch and its figures as they come, in the main process alone.
    """

    judged: Callable[[int], Mapping[str, float]]
    by: str
    heard: Callable[[int, Mapping[str, float]], None]

    def __call__(self, number: int, main: bool) -> Mapping[str, float]:
        figures = self.judged(number)
        if main:
            self.heard(number, figures)
        return figures


@dataclass(frozen=True)
class Came:
    """What a training came to.

    Attributes:
        epochs: figures of the start (epoch 0) and after every epoch; none where none is chosen.
        steps: in all.
        chosen: the epoch whose weights are kept.
    """

    epochs: tuple[Figures, ...]
    steps: int
    chosen: int


class Kept:
    """A training in its folder; make one with `kept`.

    Attributes:
        folder: of the run; a passing one where none is asked for.
        finished: this very training stands there, complete.
    """

    def __init__(self, folder: Path, command: str, configuration: Mapping[str, Any], force: bool, main: bool) -> None:
        """Look at what stands there; a run is opened once the training begins, so that a refusal leaves nothing.

        Raises:
            RunError: another run stands there, which force alone replaces; or what no run can be opened in.
        """
        self.folder, self.finished = folder, False
        self._asked, self._force, self._main = (command, configuration), force, main
        self._run: Run | None = None
        if not force and finished_run(folder, command, configuration) is not None:
            checkpoints.remove(folder)  # one that was killed as it removed them
            self.finished = True
        elif main:
            self._run = _stopped(folder, command, configuration, force)

    def fit(
        self,
        task: Task,
        optimizer: torch.optim.Optimizer,
        schedule: LRScheduler,
        settings: Settings,
        choice: Choice | None,
        tracked: Watched,
    ) -> Came:
        """Go through the epochs, those left of a run that was stopped; see `loop.fit`.

        Args:
            task: see `loop.fit`, as the next three.
            optimizer: of its module.
            schedule: of the optimizer.
            settings: how long and how finely.
            choice: by which the epoch is chosen; None keeps the last one.
            tracked: goes through the steps.
        """

        def on_epoch(number: int) -> Mapping[str, float]:
            assert choice is not None
            return choice(number, self._main)

        begin: list[Mapping[str, float]] = []
        if choice is not None:
            with kept_for_the_caller(task.module):
                begin.append(on_epoch(0))
        if self._main and self._run is None:
            command, configuration = self._asked
            self._run = Run.open(self.folder, command, configuration, self._force)
            for figures in begin:
                self._run.log("epoch", epoch=0, step=0, numbers=_finite(figures), best=False)
        came = loop.fit(
            task,
            optimizer,
            schedule,
            settings,
            self._run,
            on_epoch=None if choice is None else on_epoch,
            choose_by=None if choice is None else choice.by,
            tracked=lambda left: tracked("training", left),
        )
        epochs = tuple(_finite(figures) for figures in (*begin, *came.epochs))
        return Came(epochs, came.steps, came.best or settings.epochs)

    def finish(
        self, save: Callable[[Path], object], file: str, rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]
    ) -> None:
        """Write what was trained, the rows and the manifest; a finished run needs no checkpoints.

        Args:
            save: writes what was trained.
            file: its name in the folder.
            rows: of the run.
            facts: of the manifest.
        """
        if self._run is None:
            return
        save(self.folder / file)
        self._run.write_rows(rows)
        self._run.finish(**facts)
        checkpoints.remove(self.folder)


@contextmanager
def kept(
    run: str | Path | None, command: str, configuration: Mapping[str, Any], force: bool, main: bool
) -> Iterator[Kept]:
    """A training in a folder, or in one that passes with the block.

    Args:
        run: the folder; None for none.
        command: what is trained.
        configuration: all that the numbers depend on, as JSON values.
        force: replace another run that stands there, or a finished one.
        main: this is the process that writes.

    Raises:
        RunError: another run stands there, which force alone replaces; or what no run can be opened in.
    """
    if run is not None:
        yield Kept(Path(run), command, configuration, force, main)
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Kept(Path(folder), command, configuration, force, main)


def epoch_rows(image: str, method: str, epochs: Sequence[Figures]) -> list[dict[str, Any]]:
    """Figures of the start and of every epoch as rows of a run."""
    return [
        {"image": image, "method": method, "target": f"epoch {number:04d}", "epoch": number, **figures}
        for number, figures in enumerate(epochs)
    ]


def _stopped(folder: Path, command: str, configuration: Mapping[str, Any], force: bool) -> Run | None:
    """This very training's run that was stopped, open again, also by force; None where one is still to be opened."""
    check_run_folder(folder)
    try:
        return Run.open(folder, command, configuration) if is_run(folder) else None
    except RunError:
        if not force:
            raise
        return None


def _finite(figures: Mapping[str, float]) -> Figures:
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}
