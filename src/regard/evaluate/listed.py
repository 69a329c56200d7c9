"""Photos that a CSV lists, with what it knows of them."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from regard.errors import FileFormatError
from regard.evaluate.boxes import Box, checked_box
from regard.evaluate.known_photo import KnownPhoto, upright_size
from regard.evaluate.selection import selected
from regard.images import is_file
from regard.training.labelled import read_rows, wrong_line

FILE_COLUMNS = ("file", "image")
LABEL_COLUMNS = ("class_index", "label")
CORNERS = ("x1", "y1", "x2", "y2")
MASK_COLUMN = "mask"


@dataclass(frozen=True)
class _Row:
    line: int
    cells: Mapping[str, str]


@dataclass(frozen=True)
class _Table:
    """A CSV whose rows name photos.

    Attributes:
        path: of the CSV.
        file: the column that names the photo.
        columns: all of them.
        rows: all that are not empty.
    """

    path: Path
    file: str
    columns: tuple[str, ...]
    rows: tuple[_Row, ...]

    def photo(self, row: _Row) -> Path:
        return self._named(row, self.file, "a photo")

    def mask(self, row: _Row) -> Path | None:
        return self._named(row, MASK_COLUMN, "a mask") if row.cells.get(MASK_COLUMN) else None

    def wrong(self, row: _Row, came: str, expected: str | None = None) -> FileFormatError:
        return wrong_line(self.path, row.line, came, expected)

    def _named(self, row: _Row, column: str, what: str) -> Path:
        path = self.path.parent / os.path.normpath(row.cells[column])
        if not row.cells[column] or not is_file(path):
            raise self.wrong(
                row, f"no file {str(path)!r}" if row.cells[column] else f"no {column}", f"{what} beside the CSV"
            )
        return path


def read_listed(path: Path, labels: str | None, where: str | None) -> list[KnownPhoto]:
    """Photos of a CSV as `photos.read_photos` describes it.

    Raises:
        FileFormatError: what is wrong in it, with the line.
        PhotoError: `where` chooses nothing.
    """
    table = _read(path)
    label = _label_column(table, labels)
    chosen = selected(((row.cells, row) for row in table.rows), where, table.columns, path)
    by_photo: dict[Path, list[_Row]] = defaultdict(list)
    for row in chosen:
        by_photo[table.photo(row)].append(row)
    boxed = _has_corners(table)
    return [_photo(table, photo, rows, label, boxed) for photo, rows in by_photo.items()]


def read_boxes(path: Path, photos: Sequence[Path]) -> dict[Path, tuple[Box, ...]]:
    """Boxes of photos from a CSV of boxes: the columns file, x1, y1, x2, y2, one row a box.

    Rows of other photos, such as of another split, are passed over.

    Raises:
        FileFormatError: what is wrong in it, with the line, or no row is of any of the photos.
    """
    table = _read(path)
    if not _has_corners(table):
        raise _without_columns(table, CORNERS)
    known = {photo.resolve(): photo for photo in photos}
    by_photo: dict[Path, list[_Row]] = defaultdict(list)
    for row in table.rows:
        photo = known.get(table.photo(row).resolve())
        if photo is not None:
            by_photo[photo].append(row)
    if not by_photo:
        raise FileFormatError(
            f"no row of {str(path)!r} is of any of the {len(photos)} photos",
            came=str(table.photo(table.rows[0])),
            expected=str(photos[0]),
        )
    return {photo: _boxes(table, photo, rows) for photo, rows in by_photo.items()}


def _read(path: Path) -> _Table:
    columns, rows = read_rows(path)
    file = next((name for name in FILE_COLUMNS if name in columns), None)
    if file is None or len(set(columns)) < len(columns):
        raise FileFormatError(
            f"{str(path)!r} has not the columns that it needs",
            came=", ".join(columns) or "an empty file",
            expected=f"{' or '.join(FILE_COLUMNS)}, and others, each once",
            remedy="a first line of their names, in small letters, with commas between cells",
        )
    if not rows:
        raise FileFormatError(f"{str(path)!r} names no photos")
    return _Table(path, file, tuple(columns), tuple(_Row(line, cells) for line, cells in rows))


def _without_columns(table: _Table, needed: Sequence[str]) -> FileFormatError:
    return FileFormatError(
        f"{str(table.path)!r} has not the columns that it needs",
        came=", ".join(table.columns),
        expected=", ".join(needed),
    )


def _has_corners(table: _Table) -> bool:
    there = [name for name in CORNERS if name in table.columns]
    if there and len(there) < len(CORNERS):
        raise _without_columns(table, CORNERS)
    return bool(there)


def _label_column(table: _Table, asked: str | None) -> str | None:
    if asked is not None and asked not in table.columns:
        raise _without_columns(table, [asked])
    return asked or next((name for name in LABEL_COLUMNS if name in table.columns), None)


def _photo(table: _Table, photo: Path, rows: Sequence[_Row], label: str | None, boxed: bool) -> KnownPhoto:
    first = rows[0]
    for row in rows[1:]:
        if not boxed:
            raise table.wrong(row, f"{row.cells[table.file]!r} again, as on line {first.line}")
        for column in (label, MASK_COLUMN):
            if column in table.columns and row.cells[column] != first.cells[column]:
                raise table.wrong(
                    row,
                    f"{column} {row.cells[column]!r}, and {first.cells[column]!r} on line {first.line}",
                    f"one {column} a photo; where=COLUMN=VALUE chooses rows",
                )
    return KnownPhoto(
        path=photo,
        label=_label(table, first, label),
        boxes=_boxes(table, photo, rows) if boxed else (),
        mask=table.mask(first),
    )


def _label(table: _Table, row: _Row, column: str | None) -> str | int | None:
    cell = row.cells[column] if column else ""
    if not cell or column != "class_index":
        return cell or None
    if not re.fullmatch("[0-9]+", cell):
        raise table.wrong(row, f"class_index is {cell!r}", "a whole number, 0 or more")
    return int(cell)


def _boxes(table: _Table, photo: Path, rows: Sequence[_Row]) -> tuple[Box, ...]:
    size, lines = upright_size(photo), dict[Box, int]()
    for row in rows:
        cells = [row.cells[name] for name in CORNERS]
        if not any(cells):
            continue
        try:
            corners = [float(cell) for cell in cells]
        except ValueError:
            raise table.wrong(row, f"the box {', '.join(cells)}", "four numbers, with decimal points") from None
        box = checked_box(corners, size, f"line {row.line} of {str(table.path)!r}")
        if box in lines:
            raise table.wrong(row, f"the same box of {row.cells[table.file]!r} again, as on line {lines[box]}")
        lines[box] = row.line
    return tuple(lines)
