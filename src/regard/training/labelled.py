"""Photos with what they show: folders of classes, or a CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from regard.errors import FileFormatError, PhotoError
from regard.images import PHOTO_SUFFIXES
from regard.labels import Outputs
from regard.naming import printable

Label = str | Sequence[str] | Mapping[str, float]
"""What one photo shows: a class ("softmax"), some classes or none ("sigmoid"), measurements by name ("scalar")."""

_SPLITS = {
    **dict.fromkeys(("train", "training"), False),
    **dict.fromkeys(("val", "valid", "validation", "test", "held-out"), True),
}


@dataclass(frozen=True)
class Labelled:
    """Photos with their labels.

    Attributes:
        photos: paths.
        labels: one per photo.
        held_out: which photos are kept from training; None where the source does not say.
    """

    photos: tuple[Path, ...]
    labels: tuple[Label, ...]
    held_out: tuple[bool, ...] | None


def read_labelled(source: str | Path, outputs: Outputs = "softmax") -> Labelled:
    """Photos and labels of a folder or a CSV file.

    A folder holds one folder a class, or `train` and `val` (or `test`) with those in them.

    A CSV (UTF-8, commas) has a column `file`, relative to the CSV, and may have `split`: train, or val or test, which
    are held out. "softmax": `label`, one class; "sigmoid": `label`, classes separated by "|", empty for none;
    "scalar": every other column is a measurement.

    Raises:
        PhotoError: nothing there, or a folder without classes or photos.
        FileFormatError: what the CSV lacks, or what is wrong in it, with the line.
    """
    path = Path(source)
    if path.is_dir():
        return _of_folder(path, outputs)
    if not path.is_file():
        raise PhotoError(f"there is neither a folder nor a CSV file {str(path)!r}")
    return _of_csv(path, outputs)


def _of_folder(folder: Path, outputs: Outputs) -> Labelled:
    if outputs == "scalar":
        raise PhotoError(f"{str(folder)!r} is a folder of classes", remedy="measurements stand in a CSV file")
    inside = _folders(folder)
    splits = {entry: _SPLITS[entry.name.lower()] for entry in inside if entry.name.lower() in _SPLITS}
    if splits and len(splits) < len(inside):
        raise PhotoError(
            f"{str(folder)!r} holds both parts and classes",
            came=", ".join(entry.name for entry in inside[:6]),
            expected="folders of classes, or train and val with those in them",
        )
    parts = splits or {folder: False}
    classes = [(entry, held) for part, held in parts.items() for entry in _folders(part)]
    found = [(photo, printable(entry.name), held) for entry, held in classes for photo in _photos(entry)]
    filled = {name for _, name, _ in found}
    empty = sorted({printable(entry.name) for entry, _ in classes} - filled)
    if empty or not found:
        if not _photos(folder):
            raise PhotoError(f"{str(folder)!r} holds no photos", expected=", ".join(sorted(PHOTO_SUFFIXES)))
        raise PhotoError(
            f"{str(folder)!r} holds no photos {'of some classes' if found else 'in classes'}",
            came=", ".join(empty[:6]) or None,
            expected="one folder a class, named as the class, with photos in it",
        )
    photos, names, marks = zip(*found, strict=True)
    labels = tuple((name,) for name in names) if outputs == "sigmoid" else names
    return Labelled(photos, labels, marks if splits else None)


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]


def _photos(folder: Path) -> list[Path]:
    return [entry for entry in sorted(folder.rglob("*")) if entry.suffix.lower() in PHOTO_SUFFIXES and entry.is_file()]


def _of_csv(path: Path, outputs: Outputs) -> Labelled:
    columns, rows = read_rows(path)
    needed = ["file"] if outputs == "scalar" else ["file", "label"]
    measured = [name for name in columns if name not in ("file", "split")] if outputs == "scalar" else []
    missing = [name for name in needed if name not in columns] or ([] if measured or outputs != "scalar" else ["…"])
    if missing or len(set(columns)) < len(columns):
        raise FileFormatError(
            f"{str(path)!r} has not the columns that it needs",
            came=", ".join(columns) or "an empty file",
            expected=f"{', '.join(needed)}{', and one column a measurement' if outputs == 'scalar' else ''}, each once",
            remedy="a first line of their names, in small letters, with commas between cells",
        )
    seen: dict[str, int] = {}
    for line, row in rows:
        if not row["file"]:
            raise wrong_line(path, line, "no file")
        if row["file"] in seen:
            raise wrong_line(path, line, f"{row['file']!r} again, as on line {seen[row['file']]}")
        seen[row["file"]] = line
    if not rows:
        raise FileFormatError(f"{str(path)!r} names no photos")
    labels = tuple(_label(path, line, row, outputs, measured) for line, row in rows)
    held = tuple(_held_out(path, line, row) for line, row in rows) if "split" in columns else None
    return Labelled(tuple(path.parent / row["file"] for _, row in rows), labels, held)


def read_rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Column names of a CSV (UTF-8, commas), and (line, cells by column) of every row that is not empty.

    Raises:
        FileFormatError: it is no such text, or a row has more or fewer cells than the first.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells)]
    except (UnicodeDecodeError, csv.Error) as reason:
        raise FileFormatError(
            f"{str(path)!r} cannot be read as CSV", came=str(reason), expected="UTF-8 text, commas between cells"
        ) from reason
    for line, cells in rows:
        if len(cells) != len(columns):
            raise wrong_line(path, line, f"{len(cells)} cells", f"{len(columns)}: {', '.join(columns)}")
    return columns, [(line, dict(zip(columns, cells, strict=True))) for line, cells in rows]


def _label(path: Path, line: int, row: Mapping[str, str], outputs: Outputs, measured: Sequence[str]) -> Label:
    if outputs == "scalar":
        return {name: _number(path, line, name, row[name]) for name in measured}
    if outputs == "sigmoid":
        return tuple(name.strip() for name in row["label"].split("|") if name.strip())
    if not row["label"]:
        raise wrong_line(path, line, "no label", 'one class; with outputs "sigmoid" a photo may show none')
    return row["label"]


def _number(path: Path, line: int, name: str, cell: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise wrong_line(path, line, f"{name} is {cell!r}", "a finite number, with a decimal point")
    return number


def _held_out(path: Path, line: int, row: Mapping[str, str]) -> bool:
    split = row["split"].lower()
    if split not in _SPLITS:
        raise wrong_line(path, line, f"split is {row['split']!r}", " | ".join(_SPLITS))
    return _SPLITS[split]


def wrong_line(path: Path, line: int, came: str, expected: str | None = None) -> FileFormatError:
    """The error that says what is wrong in a line of a file."""
    return FileFormatError(f"line {line} of {str(path)!r} is wrong", came=came, expected=expected)
