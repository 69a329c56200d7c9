"""Photos of persons by cameras, for re-identification: who is seen, by which camera, and what the photo is for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from regard.errors import ClassifierError, FileFormatError, PhotoError
from regard.images import Photo
from regard.training.labelled import read_rows, wrong_line

Use = Literal["train", "query", "gallery"]

COLUMNS = ("file", "identity", "camera", "split")
FEWEST_PHOTOS = 2
"""Of a person who is learnt: one to find the other by."""


@dataclass(frozen=True)
class Sighting:
    """A person seen by a camera.

    Attributes:
        photo: path, PIL image or uint8 array, cut to the person.
        identity: who it is.
        camera: which camera took it.
        split: "train"; or "query", which is looked for in "gallery".
    """

    photo: Photo
    identity: str
    camera: str
    split: Use


def read_sightings(source: str | Path) -> tuple[Sighting, ...]:
    """Sightings of a CSV (UTF-8, commas) with the columns file, identity, camera and split; others are passed over.

    Files are relative to the CSV. Identities and cameras are names: "7" and "07" are two.

    Raises:
        PhotoError: there is no such file.
        FileFormatError: what it lacks, or what is wrong in it, with the line.
    """
    path = Path(source)
    if not path.is_file():
        raise PhotoError(f"there is no CSV file {str(path)!r}", expected=f"columns {', '.join(COLUMNS)}")
    columns, rows = read_rows(path)
    if any(columns.count(name) != 1 for name in COLUMNS):
        raise FileFormatError(
            f"{str(path)!r} has not the columns that it needs",
            came=", ".join(columns) or "an empty file",
            expected=f"{', '.join(COLUMNS)}, each once",
            remedy="a first line of their names, in small letters, with commas between cells",
        )
    if not rows:
        raise FileFormatError(f"{str(path)!r} names no photos")
    seen: dict[str, int] = {}
    for line, row in rows:
        _check_line(path, line, row, seen)
        seen[row["file"]] = line
    return tuple(Sighting(path.parent / row["file"], row["identity"], row["camera"], _use(row)) for _, row in rows)


def of_use(sightings: Sequence[Sighting], use: Use) -> tuple[Sighting, ...]:
    """Those of one use, in the order given."""
    return tuple(sighting for sighting in sightings if sighting.split == use)


def check_sightings(sightings: Sequence[Sighting]) -> None:
    """Refuse what could not be learnt, or what would be examined unfairly.

    Raises:
        ClassifierError: fewer than two persons to learn, one with a single photo, nobody to look for or in, a person
            who is both learnt and examined, or a use that there is not.
    """
    unknown = sorted({f"{sighting.split!r}" for sighting in sightings} - {f"{use!r}" for use in get_args(Use)})
    if unknown:
        raise ClassifierError("no such use of a photo", came=", ".join(unknown), expected=", ".join(get_args(Use)))
    for use in ("query", "gallery"):
        if not of_use(sightings, use):
            raise ClassifierError(f"there is no {use} photo", expected="some to look for, and some to look in")
    photos: dict[str, int] = defaultdict(int)
    for sighting in of_use(sightings, "train"):
        photos[sighting.identity] += 1
    if len(photos) < 2:
        raise ClassifierError("persons are told apart by learning at least two", came=f"{len(photos)} to train on")
    single = sorted(name for name, count in photos.items() if count < FEWEST_PHOTOS)
    if single:
        raise ClassifierError(
            "a person is learnt from two photos or more",
            came=f"one photo each of {len(single)}: {_listed(single)}",
            remedy="leave them out, or give more photos of them",
        )
    both = sorted({sighting.identity for sighting in sightings if sighting.split != "train"} & photos.keys())
    if both:
        raise ClassifierError(
            "some persons are both learnt and examined: their figures would say nothing of strangers",
            came=_listed(both),
            expected="each person in train, or in query and gallery",
        )


def _check_line(path: Path, line: int, row: Mapping[str, str], seen: Mapping[str, int]) -> None:
    for name in COLUMNS:
        if not row[name]:
            raise wrong_line(path, line, f"no {name}")
    if row["file"] in seen:
        raise wrong_line(path, line, f"{row['file']!r} again, as on line {seen[row['file']]}")
    if row["split"].lower() not in get_args(Use):
        raise wrong_line(path, line, f"split is {row['split']!r}", " | ".join(get_args(Use)))


def _use(row: Mapping[str, str]) -> Use:
    found: Use = next(use for use in get_args(Use) if use == row["split"].lower())
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (" …" if len(names) > 6 else "")
