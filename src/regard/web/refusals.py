"""What a visitor is told who cannot have what was asked: always the same four parts, and never how it came about."""

from __future__ import annotations

from typing import Any

from regard.errors import RegardError


class RefusedError(RegardError):
    """An answer other than what was asked for.

    Args:
        status: of HTTP.
        problem: as of `RegardError`, like the others.
        retry_after: seconds after which it may be tried again; a header.
        parts: came, expected, remedy.
    """

    def __init__(self, status: int, problem: str, *, retry_after: int | None = None, **parts: str | None) -> None:
        super().__init__(problem, **parts)
        self.status, self.retry_after = status, retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


def not_there(what: str) -> RefusedError:
    """Nothing of that name, or another visitor's, which is not told apart."""
    return RefusedError(404, f"there is no such {what}", remedy="it may have been forgotten: give it again")


def too_busy(problem: str, seconds: float) -> RefusedError:
    """To be tried again, in a second at least and a minute at most."""
    return RefusedError(429, problem, retry_after=max(1, min(60, round(seconds))), remedy="try again a little later")


def in_words(reason: RegardError) -> dict[str, Any]:
    """The body of an error."""
    return {"error": {name: getattr(reason, name) for name in ("problem", "came", "expected", "remedy")}}
