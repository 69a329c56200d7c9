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

    def photo(self, name: str) -> VisitorPhoto:
        """A photo of this visitor's; Refusal where there is none of that name."""
        if name not in self.photos:
            raise not_there("photo")
        return self.photos[name]

    def job(self, name: str) -> Job:
        """A job of this visitor's; Refusal where there is none of that name."""
        if name not in self.jobs:
            raise not_there("job")
        return self.jobs[name]

    def concept(self, name: str) -> KeptConcept:
        """A concept of this visitor's; Refusal where there is none of that name."""
        if name not in self.concepts:
            raise not_there("concept")
        return self.concepts[name]

    def forget_old(self, most: int) -> None:
        """Keep the newest results and concepts alone."""
        over = [name for name, job in self.jobs.items() if job.over]
        for name in over[: max(0, len(over) - most)]:
            del self.jobs[name]
        for name in list(self.concepts)[: max(0, len(self.concepts) - most)]:
            del self.concepts[name]


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
        """The visitor of a cookie, who is remembered from here on where there is something to remember.

        Raises:
            Refusal: more visitors than are remembered, all of whom were heard of just now.
        """
        visitor = self._known.get(name) or Visitor(name, 0.0)
        visitor.heard = self._clock()
        return visitor

    def remember(self, visitor: Visitor) -> None:
        """Before something of a visitor's is kept.

        Raises:
            Refusal: there are too many others, all of whom were heard of just now.
        """
        if visitor.id not in self._known:
            self._make_room(lambda: len(self._known) < self.limits.visitors)
            self._known[visitor.id] = visitor

    def keep_photo(self, visitor: Visitor, photo: VisitorPhoto) -> None:
        """Keep a photo, in the place of the visitor's oldest where there are too many.

        Raises:
            Refusal: no memory is left for it.
        """
        self._make_room(lambda: self.bytes + photo.bytes <= self.limits.all_bytes, visitor)
        self.remember(visitor)
        while len(visitor.photos) >= self.limits.photos:
            del visitor.photos[next(iter(visitor.photos))]
        visitor.photos[photo.id] = photo

    def forget_idle(self) -> None:
        """Forget whom nobody has heard of for long."""
        until = self._clock() - self.limits.idle_seconds
        for visitor in [each for each in self._known.values() if each.heard < until]:
            self._forget(visitor)

    def _make_room(self, enough: Callable[[], bool], other_than: Visitor | None = None) -> None:
        """Forget visitors, the longest unheard of first, until there is room."""
        quiet = self._clock() - QUIET_SECONDS
        for visitor in sorted(self._known.values(), key=lambda each: each.heard):
            if enough() or visitor.heard > quiet:
                break
            if visitor is not other_than:
                self._forget(visitor)
        if not enough():
            raise too_busy("this server remembers as much as it can", QUIET_SECONDS)

    def _forget(self, visitor: Visitor) -> None:
        for job in visitor.jobs.values():
            job.end_soon("dropped")
        del self._known[visitor.id]
