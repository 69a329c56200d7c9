"""What a run says of where its numbers come from, besides what was asked: versions, and what a person typed."""

from __future__ import annotations

import platform
import sys
from functools import cache
from importlib import metadata
from pathlib import Path


@cache
def version() -> str:
    """The version of regard; kept, since to read it takes a millisecond, as long as a pass of a small network."""
    return metadata.version("regard")


def versions() -> dict[str, str]:
    """The versions that a number may depend on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in ("regard", "regard-embedded", "torch", "timm", "numpy", "pillow"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def typed() -> list[str] | None:
    """What was typed after `regard`; None where another program, such as a notebook, called the library."""
    program = Path(sys.argv[0])
    ours = program.stem == "regard" or program.parts[-2:] == ("regard", "__main__.py")
    return sys.argv[1:] if ours else None
