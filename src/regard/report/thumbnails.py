"""Photos and their maps as small pictures inside a page.

A report of 500 photos stays under 40 MB. A photo of 320 pixels takes 7 to 20 kB as WebP, about 12 in the mean, and a
map of 112 pixels, which the browser enlarges, 1 to 2 kB; base64 makes 4 bytes of 3. So with 12 maps each:

    500 · (12 kB + 12 · 1.5 kB) · 4/3 = 20 MB

and rows of numbers stand beside them: 28 methods on 500 photos, with 25 metrics, are 10 MB. At most `MOST_PHOTOS`
photos are shown, and fewer where they would have more than `MOST_MAPS` maps together; they are spread evenly, and the
report says so.

A photo is shown only if its bytes are those that the run has seen: a row cannot make a report show another file.
"""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from regard.drawing import Scale, as_drawn, colours_of, layer, scale_of
from regard.errors import FileFormatError, PhotoError
from regard.explanation import Explanation
from regard.images import open_photo

MOST_PHOTOS = 500
"""In the gallery of a report."""
MOST_MAPS = 8000
"""In the gallery of a report: 16 MB."""
LONGEST, MAP_LONGEST = 320, 112
"""Longer sides of photos and of maps, in pixels."""
_QUALITY = 72


@dataclass(frozen=True)
class Shown:
    """A photo in a page: its data URI and size (width, height); without the photo None, and why."""

    source: str | None
    size: tuple[int, int]
    why: str = ""


@dataclass(frozen=True)
class Placed:
    """The maps of one file, as they lie over the whole photo, or over what the classifier saw where that is gone.

    Attributes:
        explanation: the file's.
        sources: a data URI a target; None where the map is not a number anywhere.
        scales: a colour scale a target.
    """

    explanation: Explanation
    sources: tuple[str | None, ...]
    scales: tuple[Scale, ...]

    @property
    def ends(self) -> tuple[str, str]:
        """What the colours of the first target's scale end at."""
        return f"{self.scales[0].vmin:.2g}", f"{self.scales[0].vmax:.2g}"

    def legend(self, method: str) -> str:
        """How a method's colours are read, a line."""
        explanation, scale = self.explanation, self.scales[0]
        if explanation.signed:
            colours = f"red {explanation.signs[1]}, blue {explanation.signs[0]}"
        else:
            colours = "the brighter, the more attention"
        notes = "".join(f"; {note}" for note in explanation.notes)
        fine = f"; {' '.join(scale.said.split())}" if scale.said else ""
        return f"{method}: {colours}{fine}{notes}"


def photo_shown(image: str, digest: str | None, folder: Path) -> Shown:
    """A photo by what rows call it.

    Looked for where the row says, as seen from here, from the run and from the folder that holds it.

    Args:
        image: its path in the rows.
        digest: SHA-256 of its file; None where the run never read it.
        folder: of the run.
    """
    if digest is None:
        return Shown(None, (4, 3), "the photo could not be read")
    places = [place for place in (Path(image), folder / image, folder.parent / image) if _is_file(place)]
    if not places:
        return Shown(None, (4, 3), "the photo is gone from where the run found it")
    for place in places:
        try:
            if hashlib.sha256(place.read_bytes()).hexdigest() == digest:
                return shown(open_photo(place))
        except (OSError, PhotoError) as reason:
            return Shown(None, (4, 3), f"the photo cannot be read: {reason}")
    return Shown(None, (4, 3), "the photo has changed since the run")


def seen_by_classifier(explanation: Explanation) -> Shown:
    """In place of a photo that is gone: the part and size of it that the classifier saw."""
    return shown(Image.fromarray(explanation.pictures[0].numpy()))


def ground(explanation: Explanation) -> Shown:
    """In place of a photo that is gone, and of which nothing was kept: a plain one as large as what the maps are of."""
    height, width = explanation.geometries[0].frame
    return shown(Image.new("RGB", (width, height), (232, 232, 232)))


def shown(picture: Image.Image, longest: int = LONGEST) -> Shown:
    """A picture, small: neither side longer."""
    small = picture.copy()
    small.thumbnail((longest, longest), Image.Resampling.BICUBIC)
    return Shown(_data_uri(small), small.size)


def placed(file: str, folder: Path, whole: bool) -> Placed | str:
    """The maps in a file of a run, one a target; in words why there are none.

    Classes share a colour scale, concepts another: their scores have another unit.

    Args:
        file: as rows have it.
        folder: of the run; a file outside of it is not read.
        whole: over the whole photo; else over what the classifier saw.
    """
    try:
        place = (folder / file).resolve()
    except (TypeError, ValueError, OSError):  # a row of another program: no text, a zero byte, a name that is too long
        return "the file of the map has no name that could be one"
    if not place.is_relative_to(folder.resolve()):
        return "the file of the map lies outside of the run"
    try:
        explanation = Explanation.load(place)
    except FileFormatError as reason:
        return f"the file of the map cannot be read: {reason.problem}"
    drawn = as_drawn(explanation)
    if whole:
        over = drawn.on_photo(longest=MAP_LONGEST)[0]
    else:
        height, width = explanation.geometries[0].frame
        factor = MAP_LONGEST / max(height, width)
        over = drawn.to_pixels((max(1, round(height * factor)), max(1, round(width * factor))))[0]
    classes = [answer.index is not None for answer in explanation.targets[0]]
    scales = {kind: scale_of(_of(explanation, classes, kind), explanation.signed) for kind in set(classes)}
    sources = [_layer(values, scales[kind], explanation.signed) for values, kind in zip(over, classes, strict=True)]
    return Placed(explanation, tuple(sources), tuple(scales[kind] for kind in classes))


def left_out(shown: int, photos: int) -> str:
    """What is said where a gallery has not all photos."""
    return f"{shown:,} of {photos:,} photos are shown, spread evenly: a report stays small enough to be opened."


def bar(signed: bool) -> str:
    """The colours of a scale, from its lower end to its upper, as a data URI."""
    values = np.linspace(-1.0 if signed else 0.0, 1.0, 96)[None]
    return _data_uri(Image.fromarray(colours_of(values, Scale(1.0, signed), signed).round().astype(np.uint8), "RGB"))


def _of(explanation: Explanation, classes: list[bool], kind: bool) -> Tensor:
    return explanation.maps[0, [place for place, each in enumerate(classes) if each is kind]]


def _layer(values: Tensor, scale: Scale, signed: bool) -> str | None:
    drawn = values.detach().cpu().numpy()
    return None if np.isnan(drawn).all() else _data_uri(Image.fromarray(layer(drawn, scale, signed), "RGBA"))


def _data_uri(picture: Image.Image) -> str:
    encoded = io.BytesIO()
    picture.save(encoded, "WEBP", quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(encoded.getvalue()).decode()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a zero byte
        return False
