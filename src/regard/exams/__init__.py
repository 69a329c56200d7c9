"""Exams: tasks with planted truth, where everyone but the examined knows what decides."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["sdc"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"regard.exams.{name}")
    raise AttributeError(f"regard.exams has no {name!r}; it has {', '.join(__all__)}")
