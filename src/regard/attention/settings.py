"""What a setting may be."""

from __future__ import annotations

import math


def is_number(value: object) -> bool:
    """Whether it is a finite number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value < math.inf
