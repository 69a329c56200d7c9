"""What rows of a run call a photo."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def printable(text: str) -> str:
    """Text as Unicode: the bytes of a file name that are none become escapes, in hexadecimal."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def image_of(path: Path) -> str:
    """What rows call a photo."""
    return printable(path.as_posix())


def photo_facts(path: Path) -> dict[str, str]:
    """What every row says of its photo: what rows call it, and the SHA-256 of its file."""
    return {"image": image_of(path), "photo_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
