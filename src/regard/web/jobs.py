"""Jobs: one thread runs torch, one after another; a bounded queue in which nobody starves another.

Quick jobs, of few passes, go first; then that visitor's who was served longest ago; then the oldest. What has waited
for `PATIENCE` seconds counts as quick, so that no stream of quick jobs holds it up for ever.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from regard.errors import RegardError
from regard.explanation import Explanation
from regard.models import passes
from regard.web.photos import ShownPhoto
from regard.web.refusals import RefusedError, in_words, too_busy
from regard.web.settings import Limits

if TYPE_CHECKING:
    from regard.web.visitors import KeptConcept

logger = logging.getLogger("regard.web")

State = Literal["waiting", "running", "done", "failed", "cancelled", "dropped"]
PATIENCE = 10.0
TOLD_EVERY = 0.2
"""Seconds between two words about how far a job is."""
MOST_REMEMBERED = 500
"""Kinds of jobs whose seconds are remembered."""


class Stopped(BaseException):
    """Ends a job at its next pass. No `Exception`, so that nothing on its way takes it for a failure of its own."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.state: State = state


@dataclass(frozen=True, eq=False)
class Result:
    """What a job found.

    Attributes:
        answer: as it is told.
        bytes: that all of it takes.
        explanation: for downloads; of explain jobs.
        photo: that was explained.
        concepts: by id, which its visitor may name from here on.
    """

    answer: Any
    bytes: int = 0
    explanation: Explanation | None = None
    photo: ShownPhoto | None = None
    concepts: dict[str, KeptConcept] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Work:
    """What is to be done.

    Attributes:
        kind: as it is asked for.
        run: does it, in the worker's thread; given what it tells of steps that are no passes. Nothing of a job that
            is over keeps it, nor the photos that it holds.
        passes: forward passes that it costs; None where that is not known before.
        seconds: that it will take, likewise.
        quick: whether it goes first.
        alike: what has as many passes, to remember its seconds by.
        photos: ids of those that it is about.
        learned: is told how many seconds it took, where it was done.
    """

    kind: str
    run: Callable[[Told], Result]
    passes: int | None
    seconds: float | None
    quick: bool
    alike: Hashable
    photos: frozenset[str] = frozenset()
    learned: Callable[[float], None] = lambda _: None


@dataclass(eq=False)
class Job:
    """Something that a visitor asked for. Changed by the worker while it runs, by the event loop before and after."""

    id: str
    visitor: str
    work: Work
    number: int
    submitted: float
    heard: float
    passes_expected: int | None
    seconds_expected: float | None
    state: State = "waiting"
    passes_done: int = 0
    started: float | None = None
    ended: float | None = None
    error: dict[str, Any] | None = None
    result: Result | None = None
    waiters: list[Callable[[], None]] = field(default_factory=list)
    stop: State | None = None

    @property
    def over(self) -> bool:
        """Whether nothing of it will change any more."""
        return self.state not in ("waiting", "running")

    @property
    def bytes(self) -> int:
        """Of its result."""
        return 0 if self.result is None else self.result.bytes

    def end_soon(self, state: State) -> None:
        """At the next pass, or when its turn comes."""
        if not self.over and self.stop is None:
            self.stop = state

    def changed(self) -> None:
        """Tell who waits for that."""
        for tell in tuple(self.waiters):
            tell()


class Queue:
    """Jobs that wait, and the thread that does them.

    Args:
        limits: how much.
        clock: seconds.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits, self.clock = limits, clock
        self._waiting: list[Job] = []
        self._running: Job | None = None
        self._served: dict[str, int] = {}
        self._seconds: dict[Hashable, float] = {}
        self._count, self._closing = 0, False
        self._lock = threading.Condition()
        self._thread: threading.Thread | None = None

    def start(self, first: Callable[[], None] = lambda: None) -> None:
        """Begin to work, `first` with that, whatever becomes of it."""

        def work() -> None:
            try:
                first()
            except Exception:  # a thread that dies here would leave every job waiting for ever
                logger.exception("the worker did not begin as it should")
            self._work()

        self._thread = threading.Thread(target=work, name="regard-worker", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End what runs at its next pass, and leave what waits."""
        with self._lock:
            self._closing = True
            if self._running is not None:
                self._running.end_soon("dropped")
            self._lock.notify_all()
        if self._thread is not None:
            self._thread.join()

    def submit(self, job_id: str, visitor: str, work: Work) -> Job:
        """Put a job into the queue.

        Raises:
            RefusedError: as from `check_room`, or it costs too much.
        """
        self.check_cost(work.passes)
        with self._lock:
            self.check_room(visitor)
            now, self._count = self.clock(), self._count + 1
            job = Job(job_id, visitor, work, self._count, now, now, work.passes, self.expected(work))
            self._waiting.append(job)
            self._lock.notify_all()
        return job

    def check_room(self, visitor: str) -> None:
        """Refuse a further job where the queue is full, or the visitor has too many in it."""
        with self._lock:
            own = sum(job.visitor == visitor for job in self._waiting)
            if own >= self.limits.waiting:
                raise too_busy(f"{own} of your jobs wait already", self._seconds_left())
            if len(self._waiting) >= self.limits.queue:
                raise too_busy("too many jobs wait", self._seconds_left())

    def check_cost(self, passes: int | None) -> None:
        """Refuse more passes than a job may cost."""
        if passes is not None and passes > self.limits.passes:
            raise RefusedError(
                422, "this costs too many passes", came=f"{passes:,}", expected=f"at most {self.limits.passes:,}"
            )

    def expected(self, work: Work) -> float | None:
        """Seconds that it will take: those of the last one alike, else what was worked out."""
        return self._seconds.get(work.alike, work.seconds)

    def place(self, job: Job) -> int | None:
        """How many are done before it, itself counted; None where it does not wait."""
        with self._lock:
            return sorted(self._waiting, key=self._turn).index(job) + 1 if job in self._waiting else None

    def end(self, job: Job, state: State) -> None:
        """At once where it waits, at the next pass where it runs."""
        with self._lock:
            job.end_soon(state)
            if job in self._waiting:
                self._waiting.remove(job)
                self._close(job, state)

    def drop_unheard(self) -> None:
        """Drop jobs that nobody has asked about for long."""
        until = self.clock() - self.limits.unheard_seconds
        with self._lock:
            current = [*self._waiting, *([] if self._running is None else [self._running])]
        for job in current:
            if job.stop is not None or (job.heard < until and not job.waiters):
                self.end(job, job.stop or "dropped")

    def _seconds_left(self) -> float:
        return sum(job.seconds_expected or 1.0 for job in self._waiting)

    def _turn(self, job: Job) -> tuple[bool, int, int]:
        first = job.work.quick or self.clock() - job.submitted > PATIENCE
        return not first, self._served.get(job.visitor, 0), job.number

    def _work(self) -> None:
        while self._do_next():
            pass  # and no job is held while the next one is waited for

    def _do_next(self) -> bool:
        """One job, as soon as there is one; False where the queue is closed."""
        with self._lock:
            self._lock.wait_for(lambda: self._waiting or self._closing)
            if self._closing:
                return False
            job = min(self._waiting, key=self._turn)
            self._waiting.remove(job)
            self._running = job
            self._served = {each.visitor: self._served.get(each.visitor, 0) for each in self._waiting}
            self._served[job.visitor] = job.number + self._count
            job.state, job.started = "running", self.clock()
            told = [job, *self._waiting]
        for each in told:
            each.changed()
        self._do(job)
        return True

    def _do(self, job: Job) -> None:
        """One job, whatever becomes of it."""
        told = Told(job, self)
        state: State = "failed"
        try:
            told()
            with passes.watched(lambda forwards, _: told(forwards)):
                job.result = job.work.run(told)
            state = "done"
        except Stopped as reason:
            state = reason.state
        except RegardError as reason:
            job.error = in_words(reason)["error"]
        except Exception as reason:  # networks and methods of others may fail in any way; the next job is still done
            logger.exception("a job of kind %s failed", job.work.kind)
            job.error = in_words(RegardError("this could not be done", came=type(reason).__name__))["error"]
        with self._lock:
            self._running = None
            self._close(job, state)
        if state == "done" and job.started is not None and job.ended is not None:
            self._learn(job.work, job.ended - job.started)

    def _learn(self, work: Work, seconds: float) -> None:
        work.learned(seconds)
        with self._lock:
            self._seconds.pop(work.alike, None)
            self._seconds[work.alike] = seconds
            if len(self._seconds) > MOST_REMEMBERED:
                del self._seconds[next(iter(self._seconds))]

    def _close(self, job: Job, state: State) -> None:
        if job.stop == "failed" and state == "failed" and job.error is None:
            job.error = in_words(
                RegardError(
                    "this took too long",
                    came=f"more than {self.limits.job_seconds:.0f} s",
                    remedy="ask for fewer samples or steps, or use regard from the command line",
                )
            )["error"]
        job.work = replace(job.work, run=_over)
        job.ended, job.state = self.clock(), state
        job.changed()


def _over(_: Told) -> Result:
    raise AssertionError("a job is done once")


class Told:
    """What a job that runs tells: counts, ends it where it must end, and lets others know."""

    def __init__(self, job: Job, queue: Queue) -> None:
        self.job, self.queue, self.last = job, queue, -TOLD_EVERY

    def __call__(self, done: int = 0) -> None:
        job, now = self.job, self.queue.clock()
        assert job.started is not None
        if now - job.started > self.queue.limits.job_seconds:
            job.end_soon("failed")
        if job.stop is not None:
            raise Stopped(job.stop)
        if done:
            job.passes_done += done
            if now - self.last >= TOLD_EVERY:
                self.last = now
                job.changed()

    def costs(self, passes: int) -> None:
        """What was not known before a method was made; RefusedError where that is too much."""
        self.queue.check_cost(passes)
        self.job.passes_expected = passes
