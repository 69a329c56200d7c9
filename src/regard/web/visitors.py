"""What a server remembers of its visitors: in memory alone, bounded, each visitor's own, and forgotten in time."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regard.concepts import Concept
from regard.web.photos import VisitorPhoto
from regard.web.refusals import not_there, too_busy
from regard.web.settings import Limits

if TYPE_CHECKING:
    from regard.web.jobs import Job

QUIET_SECONDS = 60
"""After which a visitor may have to go for another, where memory is full."""


def new_id() -> str:
    """A name that cannot be guessed: 128 random bits."""
    return secrets.token_hex(16)


def is_id(text: str) -> bool:
    """Whether a name is of that form."""
    return re.fullmatch("[0-9a-f]{32}", text) is not None


@dataclass(frozen=True, eq=False)
class KeptConcept:
    """A concept that a visitor has shown, and how Python would make it."""

    concept: Concept
    python: tuple[str, ...]


@dataclass(eq=False)
class Visitor:
    """One browser."""

    id: str
    heard: float
    photos: dict[str, VisitorPhoto] = field(default_factory=dict)
    concepts: dict[str, KeptConcept] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Of photos and results."""
        return sum(photo.bytes for photo in self.photos.values()) + sum(job.bytes for job in self.jobs.values())

    def keep_concepts(self, job: Job, most: int) -> None:
        """What a job found that may be named from here on; of so many concepts the oldest go."""
        if job.result is not None:
            self.concepts.update(job.result.concepts)
        for name in list(self.concepts)[: max(0, len(self.concepts) - most)]:
            del self.concepts[name]

    def photo(self, name: str) -> VisitorPhoto:
        """A photo of this visitor's; RefusedError where there is none of that name."""
        if name not in self.photos:
            raise not_there("photo")
        return self.photos[name]

    def job(self, name: str) -> Job:
        """A job of this visitor's; RefusedError where there is none of that name."""
        if name not in self.jobs:
            raise not_there("job")
        return self.jobs[name]

    def concept(self, name: str) -> KeptConcept:
        """A concept of this visitor's; RefusedError where there is none of that name."""
        if name not in self.concepts:
            raise not_there("concept")
        return self.concepts[name]

    def forget_photo(self, name: str) -> None:
        """Forget a photo with all that was found in it; what runs or waits is dropped."""
        del self.photos[name]
        for job in [each for each in self.jobs.values() if name in each.work.photos]:
            job.end_soon("dropped")
            del self.jobs[job.id]

    def forget_results(self, most: int, bytes_over: int = 0) -> None:
        """Forget the oldest results: what is more than so many, and what takes so many bytes."""
        over = [job for job in self.jobs.values() if job.over]
        for number, job in enumerate(over):
            if len(over) - number <= most and bytes_over <= 0:
                break
            bytes_over -= job.bytes
            del self.jobs[job.id]


class Visitors:
    """All of them; read and changed by the event loop alone."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits, self._clock = limits, clock
        self._known: dict[str, Visitor] = {}

    def __len__(self) -> int:
        return len(self._known)

    @property
    def bytes(self) -> int:
        """Of all of them."""
        return sum(visitor.bytes for visitor in self._known.values())

    def heard(self, name: str) -> Visitor:
        """The visitor of a cookie; who is not remembered is new each time."""
        visitor = self._known.get(name) or Visitor(name, 0.0)
        visitor.heard = self._clock()
        return visitor

    def remember(self, name: str, photo: VisitorPhoto | None = None) -> Visitor:
        """The one visitor of a cookie, before something of theirs is kept, with a photo that they bring.

        A photo takes the place of the visitor's oldest one where there are too many. Others may be forgotten who were
        not heard of for a while: who has no photo, and for a photo everybody.

        Raises:
            RefusedError: no memory is left, or there are too many others.
        """
        visitor = self.heard(name)
        if photo is not None:
            while len(visitor.photos) >= self.limits.photos:
                visitor.forget_photo(next(iter(visitor.photos)))
        self._make_room(visitor, 0 if photo is None else photo.bytes, photo is not None)
        self._known[name] = visitor
        if photo is not None:
            visitor.photos[photo.id] = photo
        return visitor

    def forget_idle(self) -> None:
        """Forget whom nobody has heard of for long."""
        until = self._clock() - self.limits.idle_seconds
        for visitor in [each for each in self._known.values() if each.heard < until]:
            self._forget(visitor)

    def _make_room(self, visitor: Visitor, more: int, for_photo: bool) -> None:
        """Forget others, the longest unheard of first, then results of the visitor's own, until there is room."""
        over = self.bytes + more - self.limits.all_bytes
        many = len(self._known) + (visitor.id not in self._known) - self.limits.visitors
        quiet = self._clock() - QUIET_SECONDS
        for other in sorted(self._known.values(), key=lambda each: each.heard):
            if (over <= 0 and many <= 0) or other.heard > quiet:
                break
            if other is not visitor and (for_photo or not other.photos):
                over, many = over - other.bytes, many - 1
                self._forget(other)
        if over > 0:
            before = visitor.bytes
            visitor.forget_results(self.limits.results, over)
            over -= before - visitor.bytes
        if over > 0 or many > 0:
            raise too_busy("this server remembers as much as it can", QUIET_SECONDS)

    def _forget(self, visitor: Visitor) -> None:
        for job in visitor.jobs.values():
            job.end_soon("dropped")
        del self._known[visitor.id]
