"""The work of `regard evaluate`: gate, plan and contest on each classifier, and what is said on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from regard.cli.output import announce
from regard.cli.photo_run import pass_seconds
from regard.naming import printable

if TYPE_CHECKING:
    from regard.evaluate.asked import MethodAsked
    from regard.evaluate.gate import Answered, Gate
    from regard.evaluate.judge import Entrant, Protocol
    from regard.evaluate.known_photo import KnownPhoto
    from regard.evaluate.plan import Planned
    from regard.models.classifier import Classifier
    from regard.runs import Run


def judge_all(
    results: Run,
    subjects: Mapping[str, Classifier],
    asked: Sequence[Sequence[MethodAsked]],
    photos: Sequence[KnownPhoto],
    protocol: Protocol,
    limits: tuple[int, int],
) -> tuple[dict[str, Gate], dict[str, str]]:
    """Gate and judge on every classifier; the gates by classifier, and why methods were skipped.

    Args:
        results: the run.
        subjects: the classifiers, by what they were called.
        asked: the methods of each.
        photos: those to judge on.
        protocol: how.
        limits: photos of slow methods, and photos on which methods are asked again.
    """
    from regard.evaluate.contest import SKIPPED
    from regard.evaluate.gate import Gate
    from regard.evaluate.plan import planned

    gates, skipped = {}, dict[str, str]()
    for (called, subject), wanted in zip(subjects.items(), asked, strict=True):
        seconds = pass_seconds(subject)
        answers = _answers(results, subject, photos, seconds)
        gates[subject.name] = Gate.of(answers)
        announce(f"{subject.name}: {gates[subject.name].words()}")
        counted = _counted(answers, subject, gates[subject.name])
        if subject.precision == "bfloat16":
            _check_precision(called, subject, counted, protocol)
        entrants, reasons = _entrants(subject, wanted, f" on {subject.name}" if len(subjects) > 1 else "")
        skipped |= reasons
        results.write_rows(
            [
                {"kind": SKIPPED, "image": "", "method": name, "target": "", "status": SKIPPED, "error": reason}
                for name, reason in reasons.items()
            ]
        )
        plans = planned(entrants, counted, protocol, *limits)
        each = seconds, pass_seconds(subject, protocol.fill) if protocol.reads("curves") else 0.0
        _announce_plan(plans, each)
        _contest(results, plans, protocol, each)
    return gates, skipped


def _answers(results: Run, subject: Classifier, photos: Sequence[KnownPhoto], seconds: float) -> list[Answered]:
    from regard.evaluate.contest import gated

    with _progress(len(photos), seconds * len(photos), f"{subject.name}: which photos count") as advance:
        return gated(results, subject, photos, advance)


def _counted(answers: Sequence[Answered], subject: Classifier, gate: Gate) -> list[Answered]:
    """The photos that count.

    Raises:
        PixelsError: none does.
    """
    from regard.errors import PixelsError
    from regard.evaluate.gate import counting

    counted = counting(answers)
    if not counted:
        raise PixelsError(
            f"no photo counts: {subject.name} is right about none",
            came=gate.words(),
            remedy="check --labels, and that its classes are those of the photos",
        )
    return counted


def _check_precision(called: str, subject: Classifier, counted: Sequence[Answered], protocol: Protocol) -> None:
    """Refuse half precision where it changes the curves."""
    from regard.evaluate.agreement import check_agreement
    from regard.models.catalog import load

    full = load(called, device=str(subject.device))
    worst = check_agreement(subject, full, counted, protocol.fill, protocol.steps)
    announce(f"{subject.name}: areas in bfloat16 differ from those in float32 by {worst:.4f} at most")


def _contest(results: Run, plans: Sequence[Planned], protocol: Protocol, each: tuple[float, float]) -> None:
    from regard.evaluate.contest import contested, overlapped

    maps = {}
    for plan in plans:
        with _progress(len(plan.photos), plan.seconds(*each), plan.entrant.name) as advance:
            maps[plan.entrant.name] = contested(results, plan, protocol, advance)
    comparing = [metric for metric in protocol.metrics if metric.needs == "other maps"]
    if comparing:
        overlapped(results, plans, maps, comparing)


def _entrants(subject: Classifier, asked: Sequence[MethodAsked], suffix: str) -> tuple[list[Entrant], dict[str, str]]:
    """The methods that can be made, and why the others cannot."""
    from regard.errors import RegardError
    from regard.evaluate.judge import Entrant

    entrants, skipped = [], {}
    for method in asked:
        name = method.text + suffix
        if method.missing:
            skipped[name] = f"its file is missing; make it with: {method.made_by}"
        else:
            try:
                entrants.append(Entrant(name, method.explainer, method.explainer(subject)))
            except RegardError as reason:
                skipped[name] = reason.problem + (f" ({reason.came})" if reason.came else "")
        if name in skipped:
            announce(printable(f"skipped {name}: {skipped[name]}"))
    return entrants, skipped


def _announce_plan(plans: Sequence[Planned], each: tuple[float, float]) -> None:
    forwards = sum(plan.forwards for plan in plans)
    for plan in plans:
        announce(f"  {plan.entrant.name}: {len(plan.photos)} photos, {plan.forwards} forward passes")
    announce(f"forward passes in all: {forwards}; about {_duration(sum(plan.seconds(*each) for plan in plans))}")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


@contextmanager
def _progress(total: int, seconds: float, what: str) -> Iterator[Callable[[int], None]]:
    """A bar that is advanced by hand, where it will take over two seconds and a person is watching."""
    import sys

    if seconds <= 2 or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)
