"""The commands of `tests/cli`, whose runs are reported."""

from ..cli.conftest import evaluate, program

__all__ = ["evaluate", "program"]
