"""The file that a training writes, checked before the training."""

from __future__ import annotations

from pathlib import Path


def check_out(out: Path, force: bool, ending: str = ".safetensors") -> None:
    """Refuse before slow work what could not be written after it.

    Raises:
        FileFormatError: another ending, no such folder, or something stands there.
    """
    from regard.errors import FileFormatError

    if out.suffix != ending:
        raise FileFormatError(f"the name of a file to write ends in {ending}", came=str(out))
    if out.is_dir():
        raise FileFormatError(f"{str(out)!r} cannot be written: it is a folder")
    if not out.parent.is_dir():
        raise FileFormatError(f"{str(out)!r} cannot be written: {str(out.parent)!r} is no folder")
    if out.exists() and not force:
        raise FileFormatError(f"{str(out)!r} is there already", remedy="choose another name, or --force to replace it")
