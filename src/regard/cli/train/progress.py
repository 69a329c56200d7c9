"""What is said while a training goes on, and where it is stopped."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from regard.cli.output import announce, tracked

if TYPE_CHECKING:
    from regard.training.readable import Watched

Figures = Mapping[str, float]


def watched(looking: float, a_step: float) -> Watched:
    """Progress of the look at the photos, then of the steps; a training that goes on says where.

    Args:
        looking: seconds of a part of the look.
        a_step: seconds of a step.
    """

    def watch(what: str, parts: Sequence[int]) -> Iterable[int]:
        if what == "training" and parts and parts[0]:
            announce(f"going on: {parts[0]} steps are done, {len(parts)} are left")
        return tracked(parts, (looking if what.startswith("looking") else a_step) * len(parts), what)

    return watch


def heard(in_words: Callable[[int, int, Figures], str], epochs: int) -> Callable[[int, Figures], None]:
    """Says every epoch's figures as they come, where no bar shows that it goes on."""

    def hear(number: int, figures: Figures) -> None:
        if not sys.stderr.isatty():
            announce(in_words(number, epochs, figures))

    return hear


def stoppable(training: Callable[[], Any], told: bool) -> Any:
    """Train; where a person stops it, say how it goes on, if this process is the one that says it."""
    try:
        return training()
    except KeyboardInterrupt:
        if told:
            announce(f"stopped; give the same command again to go on: {shlex.join(['regard', *sys.argv[1:]])}")
        raise typer.Exit(1) from None
