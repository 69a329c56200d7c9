"""Work in threads beside the worker's, bounded: so much at once, so much that waits, and no visitor takes it all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from regard.web.refusals import too_busy

Made = TypeVar("Made")


class Turns:
    """Threads for one kind of work. Of the event loop alone.

    Args:
        together: how many at the same time.
        most: of all visitors, those that wait and those that are done.
        each: of one visitor, likewise.
    """

    def __init__(self, together: int, most: int, each: int) -> None:
        self._threads, self._most, self._each = CapacityLimiter(together), most, each
        self._taken: Counter[str] = Counter()

    async def run(self, visitor: str, function: Callable[..., Made], *arguments: object) -> Made:
        """What a function gives.

        Raises:
            RefusedError: too many wait, of all or of the visitor's own.
        """
        if self._taken[visitor] >= self._each or self._taken.total() >= self._most:
            raise too_busy("too much of this is asked for at once", 2)
        self._taken[visitor] += 1
        try:
            return await to_thread.run_sync(function, *arguments, limiter=self._threads)
        finally:
            self._taken[visitor] -= 1
            if not self._taken[visitor]:
                del self._taken[visitor]
