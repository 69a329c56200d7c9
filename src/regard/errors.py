"""The errors a person can meet. Each says what was wrong, what came, what was expected, what to do.

The numbers behind a map are worth something only if a map that cannot be right is refused, so
every refusal in regard is one of these classes, and the command line prints it without a trace.
"""

from __future__ import annotations


class RegardError(Exception):
    """Base of every error that regard raises on purpose.

    Args:
        problem: what was wrong, in one sentence.
        came: what was given.
        expected: what would have been right.
        remedy: what to do about it.
    """

    def __init__(
        self,
        problem: str,
        *,
        came: str | None = None,
        expected: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.problem = problem
        self.came = came
        self.expected = expected
        self.remedy = remedy
        parts = (("came", came), ("expected", expected), ("what to do", remedy))
        super().__init__("\n".join([problem, *(f"  {name}: {text}" for name, text in parts if text)]))


class PhotoError(RegardError, ValueError):
    """A photo cannot be read, or is not one."""


class PixelsError(RegardError, ValueError):
    """A float tensor given as prepared pixels cannot be that."""


class NotFiniteError(RegardError, ValueError):
    """NaN or infinity, with the place where it stands."""


class TargetError(RegardError, ValueError):
    """What was asked of a map does not exist, is ambiguous, or does not fit the classifier."""


class ClassifierError(RegardError, ValueError):
    """A classifier cannot be built, loaded or run as described."""


class LayerError(RegardError, ValueError):
    """A layer that was named does not exist in the network, or did not run as expected."""


class UnsupportedError(RegardError, ValueError):
    """This method cannot explain this classifier, with the reason."""


class MetricError(RegardError, ValueError):
    """A metric cannot judge what it was given: another classifier's maps, no region, nothing yet."""


class FileFormatError(RegardError, ValueError):
    """A file is not what its name or place says, or is from another version."""


class RunError(RegardError, RuntimeError):
    """A run folder cannot be created, resumed or read."""


class MissingDependencyError(RegardError, ImportError):
    """An optional package is needed and not installed."""
