"""The JSON header of a safetensors file that regard writes: what the file says of the weights in it."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from regard.errors import FileFormatError


def read_safetensors_header(
    path: Path, described: type, form: str, newest: int, wrong: str, remedy: str | None = None
) -> dict[str, Any]:
    """Values of a header, by the names of the fields that they are for.

    Args:
        path: the file.
        described: the dataclass whose fields the header holds; those that have a default may be missing.
        form: what the header calls its format, such as "regard.classifier".
        newest: the latest version of that format which this regard reads.
        wrong: what is said of a file of another format.
        remedy: what to do about such a file.

    Raises:
        FileFormatError: no such file, no safetensors, another format, damaged, or of a newer regard.
    """
    if not path.is_file():
        raise FileFormatError(f"there is no file {str(path)!r}")
    try:
        with safe_open(str(path), framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("regard", "{}"))
    except (SafetensorError, ValueError, OSError) as reason:
        raise FileFormatError(f"{str(path)!r} is not a readable safetensors file", came=str(reason)) from reason
    header = header if isinstance(header, dict) else {}
    if header.get("format") != form:
        raise FileFormatError(wrong, came=str(header.get("format") or "no regard header"), remedy=remedy)
    needed = ["format_version", *(field.name for field in fields(described) if field.default is MISSING)]
    missing = [name for name in needed if name not in header]
    version = header.get("format_version")
    if missing or type(version) is not int:
        came = f"no {missing[0]!r}" if missing else f"format version {version!r}"
        raise FileFormatError(f"the header of {str(path)!r} is damaged", came=came)
    if version > newest:
        raise FileFormatError(f"{str(path)!r} was written by a newer regard", remedy="upgrade regard")
    return {field.name: header[field.name] for field in fields(described) if field.name in header}
