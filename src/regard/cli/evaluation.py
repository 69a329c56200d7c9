"""The work of `regard evaluate`: gate, plan and contest on each classifier, and what is said on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regard.cli.output import announce
from regard.naming import printable
from regard.timing import pass_seconds

if TYPE_CHECKING:
    from regard.cli.evaluation_asked import Evaluation
    from regard.evaluate.asked import MethodAsked
    from regard.evaluate.gate import Answered, Gate
    from regard.evaluate.judge import Entrant, Protocol
    from regard.evaluate.known_photo import KnownPhoto
    from regard.evaluate.plan import Planned
    from regard.fills import Fill
    from regard.models.classifier import Classifier
    from regard.runs import Run


@dataclass(frozen=True)
class Lists:
    """The methods of one classifier that can be judged, and why the others cannot."""

    entrants: tuple[Entrant, ...]
    skipped: Mapping[str, str]


def entrants_of(asked: Evaluation) -> list[Lists]:
    """The methods of each classifier; those that cannot be made are said.

    Raises:
        UnsupportedError: none of those that a person asked for can be made, with every reason.
    """
    from regard.errors import UnsupportedError

    lists, wanted = [], set[str]()
    for subject, methods, entries in zip(asked.subjects.values(), asked.methods, asked.entries, strict=True):
        suffix = f" on {subject.name}" if len(asked.subjects) > 1 else ""
        lists.append(_made(subject, entries, suffix))
        wanted |= {method.text + suffix for method in methods}
    skipped = [(name, reason) for each in lists for name, reason in each.skipped.items()]
    reasons = [printable(f"{name}: {reason}") for name, reason in skipped]
    if wanted <= {name for name, _ in skipped}:
        raise UnsupportedError(
            "none of the methods can be made",
            came="; ".join(reasons),
            remedy="--methods all takes those that explain the classifier",
        )
    for reason in reasons:
        announce(f"skipped {reason}")
    return lists


def judge_all(results: Run, asked: Evaluation, lists: Sequence[Lists]) -> dict[str, Gate]:
    """Gate and judge on every classifier; the gates by classifier.

    Args:
        results: the run.
        asked: what to judge.
        lists: the methods of each classifier.
    """
    from regard.evaluate.contest import SKIPPED, still_to_do
    from regard.evaluate.gate import Gate
    from regard.evaluate.plan import planned

    gates = {}
    for (called, subject), each in zip(asked.subjects.items(), lists, strict=True):
        seconds = pass_seconds(subject)
        answers = _answers(results, subject, asked.photos, seconds)
        gates[subject.name] = Gate.of(answers)
        announce(f"{subject.name}: {gates[subject.name].words()}")
        counted = _counted(answers, subject, gates[subject.name])
        if subject.precision == "bfloat16":
            _check_precision(called, subject, counted, asked.protocol)
        results.write_rows(
            [
                {"kind": SKIPPED, "image": "", "method": name, "target": "", "status": SKIPPED, "error": reason}
                for name, reason in each.skipped.items()
            ]
        )
        plans = planned(each.entrants, counted, asked.protocol, asked.slow_photos, asked.again_photos)
        filled = pass_seconds(subject, asked.protocol.fill) if asked.protocol.reads("curves") else 0.0
        _say_other_fills(each.entrants, asked.protocol.fill)
        left, compared = still_to_do(results.rows(), plans, asked.protocol)
        _announce_plan(left, plans, compared, (seconds, filled))
        _contest(results, plans, asked.protocol, (seconds, filled))
    return gates


def _say_other_fills(entrants: Sequence[Entrant], fill: Fill) -> None:
    """Say of each trained method whose masks learnt with another fill than the one it is judged with."""
    from regard.explainers.tame import TAME

    for entrant in entrants:
        if isinstance(entrant.explainer, TAME):
            learnt = entrant.explainer.trained.card.training.get("fill", repr(fill))
            if learnt != repr(fill):
                announce(f"{entrant.name} was trained with {learnt}, and is judged with {fill!r}: see --fill")


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


def _made(subject: Classifier, asked: Sequence[MethodAsked], suffix: str) -> Lists:
    """The methods that can be made, and why the others cannot."""
    from regard.errors import RegardError
    from regard.evaluate.judge import Entrant

    entrants, skipped = [], {}
    for method in asked:
        name = method.text + suffix
        if method.missing:
            skipped[name] = f"its file is missing; make it with: {method.made_by}"
            continue
        try:
            entrants.append(Entrant(name, method.explainer, method.explainer(subject)))
        except RegardError as reason:
            skipped[name] = reason.problem + (f" ({reason.came})" if reason.came else "")
    return Lists(tuple(entrants), skipped)


def _announce_plan(left: Sequence[Planned], plans: Sequence[Planned], compared: int, each: tuple[float, float]) -> None:
    """The work that is left: of methods that are done nothing.

    Args:
        left: what each method has left.
        plans: all of it.
        compared: forward passes for maps that are computed again, to be compared.
        each: seconds of a forward pass, and of one of a filled picture.
    """
    for plan in left:
        announce(f"  {plan.entrant.name}: {len(plan.photos)} photos, {plan.forwards} forward passes")
    if compared:
        announce(f"  maps of photos that were judged before, to compare methods: {compared} forward passes")
    forwards, whole = sum(plan.forwards for plan in left) + compared, sum(plan.forwards for plan in plans)
    seconds = sum(plan.seconds(*each) for plan in left) + compared * each[0]
    words = "in all" if left == list(plans) else f"left, of {whole}"
    announce(f"forward passes {words}: {forwards}; about {_duration(seconds)}")


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
