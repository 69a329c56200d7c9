"""The queue by itself: works are gates that a test opens; the clock is the test's."""

import gc
import threading
import time
import weakref

import pytest

from regard.errors import RegardError
from regard.models import passes
from regard.web.jobs import PATIENCE, Queue, Result, Work
from regard.web.refusals import RefusedError
from regard.web.settings import Limits


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Gate:
    """A job's work that begins, waits to be let go, and then takes passes."""

    def __init__(self, done, name, passes_taken=1, fails=None):
        self.begun, self.open = threading.Event(), threading.Event()
        self.done, self.name, self.taken, self.fails = done, name, passes_taken, fails

    def __call__(self, told):
        self.begun.set()
        assert self.open.wait(20)
        for _ in range(self.taken):
            passes.count(forwards=1)
        if self.fails:
            raise self.fails
        self.done.append(self.name)
        return Result(self.name)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def queue(clock):
    queue = Queue(Limits(queue=6, waiting=3, job_seconds=100, unheard_seconds=15), clock)
    queue.start()
    yield queue
    queue.stop()


@pytest.fixture
def done():
    return []


def submit(queue, gate, visitor="a", quick=False, **work):
    made = Work("test", gate, passes=work.get("passes", 1), seconds=1.0, quick=quick, alike=gate.name)
    return queue.submit(gate.name, visitor, made)


def finished(job):
    over = threading.Event()
    job.waiters.append(lambda: job.over and over.set())
    assert job.over or over.wait(20)
    job.waiters.clear()
    return job.state


def busy(queue, done):
    """A job that runs, so that others wait."""
    gate = Gate(done, "first")
    job = submit(queue, gate, "z")
    assert gate.begun.wait(20)
    return gate, job


def opened(done, *names):
    gates = [Gate(done, name) for name in names]
    for gate in gates:
        gate.open.set()
    return gates


def test_quick_jobs_go_first_and_visitors_take_turns(queue, done):
    gate, first = busy(queue, done)
    slow = [submit(queue, each, "a") for each in opened(done, "a1", "a2", "a3")]
    other = submit(queue, *opened(done, "b1"), "b")
    quick = submit(queue, *opened(done, "q"), "c", quick=True)
    assert [queue.place(job) for job in (quick, slow[0], slow[1], other)] == [1, 2, 3, 5]
    assert queue.place(first) is None
    gate.open.set()
    for job in (*slow, other, quick):
        assert finished(job) == "done"
    assert done == ["first", "q", "a1", "b1", "a2", "a3"]


def test_what_has_waited_long_is_not_held_up_by_quick_jobs(queue, done, clock):
    gate, _ = busy(queue, done)
    slow = submit(queue, *opened(done, "slow"), "a")
    clock.now += PATIENCE + 1
    slow.heard = clock.now
    quick = submit(queue, *opened(done, "quick"), "b", quick=True)
    gate.open.set()
    assert finished(quick) == finished(slow) == "done"
    assert done == ["first", "slow", "quick"]


def test_a_visitor_and_the_queue_can_be_full(queue, done):
    gate, _ = busy(queue, done)
    for number in range(3):
        submit(queue, *opened(done, f"a{number}"), "a")
    with pytest.raises(RefusedError, match="of your jobs") as refusal:
        submit(queue, *opened(done, "more"), "a")
    assert refusal.value.status == 429
    assert refusal.value.headers == {"Retry-After": "3"}
    for number in range(3):
        submit(queue, *opened(done, f"b{number}"), "b")
    with pytest.raises(RefusedError, match="too many jobs"):
        submit(queue, *opened(done, "more"), "c")
    gate.open.set()


def test_a_job_that_costs_too_much_is_refused(queue, done):
    with pytest.raises(RefusedError, match="too many passes"):
        submit(queue, Gate(done, "much"), passes=20_001)


def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_at_its_next_pass(queue, done):
    gate, first = busy(queue, done)
    second = submit(queue, *opened(done, "second"))
    queue.end(second, "cancelled")
    assert second.state == "cancelled"
    queue.end(first, "cancelled")
    assert first.state == "running"
    gate.open.set()
    assert finished(first) == "cancelled"
    third = submit(queue, *opened(done, "third"))
    assert finished(third) == "done"
    assert done == ["third"]


def test_a_job_ends_when_its_time_is_over(queue, done, clock):
    gate, job = busy(queue, done)
    clock.now += 101
    gate.open.set()
    assert finished(job) == "failed"
    assert job.error["problem"] == "this took too long"


def test_jobs_that_nobody_asks_about_are_dropped(queue, done, clock):
    gate, running = busy(queue, done)
    unheard, heard, listened = (submit(queue, each, "b") for each in opened(done, "u", "h", "l"))
    listened.waiters.append(lambda: None)
    clock.now += 16
    heard.heard = running.heard = clock.now
    queue.drop_unheard()
    assert (unheard.state, heard.state, listened.state, running.state) == ("dropped", "waiting", "waiting", "running")
    clock.now += 16
    queue.drop_unheard()
    gate.open.set()
    assert finished(running) == "dropped"
    assert finished(listened) == "done"
    assert done == ["l"]


def test_a_job_that_fails_says_why_but_not_where(queue, done):
    for fails, expected in (
        (RegardError("no photo", came="a cat"), {"problem": "no photo", "came": "a cat"}),
        (ZeroDivisionError("secret"), {"problem": "this could not be done", "came": "ZeroDivisionError"}),
    ):
        gate = Gate(done, "fails", fails=fails)
        gate.open.set()
        job = submit(queue, gate)
        assert finished(job) == "failed"
        assert {name: job.error[name] for name in expected} == expected
        assert "secret" not in str(job.error)


def test_passes_are_counted_and_seconds_remembered(queue, done, clock):
    gate = Gate(done, "work", passes_taken=7)
    job = submit(queue, gate)
    assert job.seconds_expected == 1
    assert gate.begun.wait(20)
    clock.now += 42
    gate.open.set()
    assert finished(job) == "done"
    assert job.passes_done == 7
    again = Gate(done, "work")
    again.open.set()
    job = submit(queue, again)
    assert job.seconds_expected == 42
    assert finished(job) == "done"


def test_stopping_ends_what_runs(clock, done):
    queue = Queue(Limits(), clock)
    queue.start()
    gate, job = busy(queue, done)
    stopping = threading.Thread(target=queue.stop)
    stopping.start()
    end = time.monotonic() + 20
    while job.stop is None:
        assert time.monotonic() < end
        time.sleep(0.001)
    gate.open.set()
    stopping.join(20)
    assert job.state == "dropped"


def test_a_job_that_is_over_holds_nothing_of_its_work(queue, done, clock):
    ends = {}
    for name, fails in (("done", None), ("failed", RegardError("no"))):
        gate = Gate(done, name, fails=fails)
        gate.open.set()
        job = submit(queue, gate)
        assert finished(job) == name
        ends[job] = weakref.ref(gate)
        del gate, fails
    first, running = busy(queue, done)
    waiting = Gate(done, "waiting")
    job = submit(queue, waiting)
    queue.end(job, "cancelled")
    ends[job] = weakref.ref(waiting)
    del waiting
    gc.collect()
    assert [job.state for job in ends] == ["done", "failed", "cancelled"]
    assert [left() for left in ends.values()] == [None] * 3
    first.open.set()
    finished(running)


def test_what_costs_too_much_once_its_method_is_made_ends(queue, done):
    def work(told):
        told.costs(20_001)

    job = queue.submit("0", "a", Work("test", work, None, None, quick=False, alike="costly"))
    assert finished(job) == "failed"
    assert job.error["problem"] == "this costs too many passes"


def test_a_worker_that_begins_badly_works_all_the_same(clock, done, caplog):
    queue = Queue(Limits(), clock)
    queue.start(lambda: 1 / 0)
    assert finished(submit(queue, *opened(done, "work"))) == "done"
    assert "ZeroDivisionError" in caplog.text
    queue.stop()


def test_a_job_that_is_done_teaches_how_long_its_passes_take(queue, done, clock):
    learned = []
    for fails in (None, ValueError()):
        gate = Gate(done, "work", fails=fails)
        job = queue.submit("0", "a", Work("test", gate, 1, 1.0, True, "work", learned=learned.append))
        assert gate.begun.wait(20)
        clock.now += 7
        gate.open.set()
        finished(job)
    assert learned == [7]
