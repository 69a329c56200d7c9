"""Photos that can be explained: a visitor's own, which stand in memory, and samples, which stand in files."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from weakref import WeakKeyDictionary

from PIL import Image

from regard.compat import import_optional
from regard.errors import MissingDependencyError, PhotoError
from regard.images import Pixels, open_photo
from regard.models.classifier import Classifier
from regard.naming import printable
from regard.web.uploads import upright, upright_size

SAMPLE = "sample:"
"""What the id of a sample begins with."""
MOST_SAMPLES = 500
MOST_PREPARED = 16
"""Photos whose pixels are kept for classifiers."""


@dataclass(frozen=True, eq=False)
class ShownPhoto(ABC):
    """A photo that can be named in a request.

    Attributes:
        id: by which it is named.
        name: for people, and for Python.
        width, height: of the upright photo, in pixels.
    """

    id: str
    name: str
    width: int
    height: int

    @abstractmethod
    def open(self) -> Image.Image:
        """The photo, upright RGB; decoded each time."""


class PreparedPhotos:
    """Pixels of the photos that were asked about last, each for as long as there is the photo. Of one thread alone."""

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[ShownPhoto, Pixels] = WeakKeyDictionary()

    def pixels(self, photo: ShownPhoto, classifier: Classifier) -> Pixels:
        """A photo as a classifier sees it, (1, 3, H, W)."""
        found = self._kept.pop(photo, None)
        if found is None:
            found = classifier.prepare(photo.open())
        self._kept[photo] = found
        while len(self._kept) > MOST_PREPARED:
            self._kept.pop(next(iter(self._kept)), None)
        return found


@dataclass(frozen=True, eq=False)
class VisitorPhoto(ShownPhoto):
    """A photo of a visitor's: the bytes of its copy, see `uploads.plain_copy`."""

    file: bytes = field(default=b"", repr=False)

    def open(self) -> Image.Image:
        return upright(self.file)

    @property
    def bytes(self) -> int:
        """That it takes."""
        return len(self.file)


@dataclass(frozen=True, eq=False)
class Sample(ShownPhoto):
    """A photo that all visitors may see.

    Attributes:
        path: of its file, which nobody is told.
        alt: what is on it.
        credit: who made it, where that must be said.
        embedded: whether everybody has it who has `regard-embedded`.
    """

    path: Path = Path()
    alt: str = ""
    credit: str = ""
    embedded: bool = False

    def open(self) -> Image.Image:
        return open_photo(self.path)


def embedded_samples() -> list[Sample]:
    """The sample photos that come with `regard-embedded`; none where it is not installed."""
    try:
        photos = import_optional("regard_embedded", "embedded").photos()
    except MissingDependencyError:
        return []
    return [
        replace(
            _sample(photo.path, photo.path.stem, photo.label.replace(" | ", " and ")),
            credit=f"{photo.author}, {photo.license}, {photo.landing_url}, {photo.changes}",
            embedded=True,
        )
        for photo in photos
    ]


def samples_of(paths: Sequence[Path]) -> list[Sample]:
    """Samples of one's own, the first `MOST_SAMPLES` that can be read; of files of one name later ones are numbered."""
    found: dict[str, Sample] = {}
    for path in paths[:MOST_SAMPLES]:
        stem = printable(path.stem)[:80]
        name = next(each for number in range(1, len(paths) + 2) if (each := _numbered(stem, number)) not in found)
        try:
            found[name] = _sample(path, name, stem)
        except PhotoError:
            continue
    return list(found.values())


def _numbered(stem: str, number: int) -> str:
    return stem if number == 1 else f"{stem}-{number}"


def _sample(path: Path, name: str, alt: str) -> Sample:
    width, height = upright_size(path)
    return Sample(f"{SAMPLE}{name}", path.name, width, height, path=path, alt=alt)


def as_webp(photo: ShownPhoto, longest: int) -> bytes:
    """A photo to be shown, with a longer side of at most so many pixels."""
    image = photo.open()
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=85, method=2)
    return file.getvalue()
