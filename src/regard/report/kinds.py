"""Which sections a report of a run has: one line a kind of run, one file a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from regard.report import evaluated, examined, explained, trained
from regard.report.blocks import Section
from regard.report.data import Reasons
from regard.report.failures import failures, rows
from regard.runs import SeenRun


def _no_reasons(_: SeenRun) -> Reasons:
    return lambda _: {}


class Kind(NamedTuple):
    """What a report of a kind of run is called and shows, and why its rows lack numbers."""

    title: str
    sections: Callable[[SeenRun], list[Section]]
    reasons: Callable[[SeenRun], Reasons] = _no_reasons


KINDS: Mapping[str, Kind] = {
    "explain": Kind("Photos, explained", explained.sections),
    "compare": Kind("Methods, compared", explained.sections),
    "evaluate": Kind("Methods, judged", evaluated.sections, evaluated.reasons),
    "train": Kind("A training", trained.sections),
    "exam": Kind("An exam", examined.sections),
}
"""By the first word of a run's command."""
OTHER = Kind("A run", lambda run: [rows(run), failures(run)])


def kind_of(run: SeenRun) -> Kind:
    """What a report of this run is."""
    return KINDS.get(run.command.replace("-", " ").partition(" ")[0], OTHER)
