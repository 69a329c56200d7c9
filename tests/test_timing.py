"""How long a pass is said to take."""

import time
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from regard.fills import Fill
from regard.timing import pass_seconds

from .evaluate.pictures import tiny_cnn


@pytest.fixture
def clock(monkeypatch):
    """A clock that passes and fills move on."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


class Slow:
    """Passes that take what they are told to, one after the other."""

    def __init__(self, clock, *seconds):
        self.clock, self.seconds, self.seen = clock, list(seconds), []

    def picture(self, noise=False):
        return tiny_cnn().picture(noise)

    def __call__(self, pixels):
        self.seen.append(pixels)
        self.clock[0] += self.seconds.pop(0)


def test_a_pass_takes_the_median_of_three_after_one_that_wakes_the_rest(clock):
    assert pass_seconds(Slow(clock, 0.5, 0.03, 0.01, 0.02)) == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("passes", "tried", "said"),
    [((100.0, 3.0, 1.0, 2.0), 2, 3.0), ((0.3, 0.3, 0.1, 0.2), 4, 0.2), ((0.5, 0.4, 0.2, 9.0), 3, 0.3)],
)
def test_a_slow_network_is_not_tried_for_long_but_one_pass_always_counts(clock, passes, tried, said):
    subject = Slow(clock, *passes)
    assert pass_seconds(subject) == pytest.approx(said)
    assert len(subject.seen) == tried


def test_a_pass_of_a_filled_picture_takes_the_filling_too(clock):
    @dataclass(frozen=True)
    class Sluggish(Fill):
        name: ClassVar[str] = "sluggish"

        def background(self, pixels):
            clock[0] += 50.0
            return torch.zeros_like(pixels)

        def __call__(self, pixels, kept, background=None):
            clock[0] += 10.0
            return super().__call__(pixels, kept, background)

    subject = Slow(clock, 1.0, 1.0)
    assert pass_seconds(subject, Sluggish()) == pytest.approx(11.0)
    assert 0.4 < float((subject.seen[0] == 0).float().mean()) < 0.6
