"""Which photos a person means, and what their results are called."""

from __future__ import annotations

import itertools
from pathlib import Path

from regard.naming import printable

LONGEST_NAME = 80
"""Characters of a photo's name that its results keep; file systems allow 255 bytes with all suffixes."""


def find_photos(given: list[str]) -> list[Path]:
    """Photos, folders and patterns → paths, each photo once, in a stable order; the pictures of runs are no photos.

    Raises:
        PhotoError: something names no photo.
    """
    from regard.errors import PhotoError
    from regard.images import PHOTO_SUFFIXES

    found: dict[Path, None] = {}
    for text in given:
        path = Path(text)
        if text and path.is_dir():
            inside = [entry for entry in sorted(path.rglob("*")) if entry.suffix.lower() in PHOTO_SUFFIXES]
            inside = [entry for entry in inside if entry.is_file() and not _in_a_run(entry, path)]
            if not inside:
                raise PhotoError(f"the folder {text!r} holds no photos", expected=", ".join(sorted(PHOTO_SUFFIXES)))
        elif text and path.exists():
            inside = [path]
        else:
            inside = _matching(text)
            if not inside:
                raise PhotoError(f"there is no photo {text!r}", remedy="check the path, or quote the pattern")
        found.update(dict.fromkeys(inside))
    return list(found)


def _in_a_run(entry: Path, folder: Path) -> bool:
    from regard.runs import is_run

    return any(is_run(parent) for parent in entry.parents if parent != folder and parent.is_relative_to(folder))


def _matching(pattern: str) -> list[Path]:
    root, inside = (Path("/"), pattern.lstrip("/")) if pattern.startswith("/") else (Path(), pattern)
    try:
        return [entry for entry in sorted(root.glob(inside)) if entry.is_file()]
    except ValueError:  # what pathlib calls an unacceptable pattern, the empty one included
        return []


def named(paths: list[Path], taken: set[str]) -> list[tuple[Path, str]]:
    """Each path with its stem, or the stem and the first free number where that is taken."""
    taken, result = set(taken), []
    for path in paths:
        stem = printable(path.stem)[:LONGEST_NAME]
        candidates = (stem if number == 1 else f"{stem}-{number}" for number in itertools.count(1))
        name = next(candidate for candidate in candidates if candidate not in taken)
        taken.add(name)
        result.append((path, name))
    return result
