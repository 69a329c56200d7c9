"""The maps that an evaluation keeps, so that its report can show what its numbers are of: a file a method and photo.

A map of at most 56 places a side takes 1 to 13 kB, without the picture, which the photo's file has. Finer ones, of
pixels, are averaged over cells, since a report draws a map 112 pixels wide: as they are they would take 200 kB each,
half a gigabyte for five methods on 500 photos. Of more photos than a report shows no maps are kept: 28 methods leave
14,000 files of 60 MB in all, whatever the number of photos. No number is computed from what is kept.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

from regard.explanation import Explanation
from regard.metrics.common_grid import on_grid

LONGEST = 56
"""Places of a kept map's side, at most."""
PHOTOS = 500
"""Of a method, whose maps are kept: the first ones of its plan, which are spread over all."""


def keep_map(folder: Path, method: str, image: str, explanation: Explanation) -> str:
    """Write the map of one photo into a run.

    Args:
        folder: of the run.
        method: as rows call it.
        image: what rows call the photo.
        explanation: of that photo, one target.

    Returns:
        The file, as rows have it.
    """
    file = f"maps/{_word(method)}/{_word(image)}.safetensors"
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    height, width = explanation.maps.shape[-2:]
    maps = on_grid(explanation.maps, (min(height, LONGEST), min(width, LONGEST))).to(explanation.maps)
    replace(map_alone(explanation), maps=maps, ranks=None).save(folder / file)
    return file


def map_alone(explanation: Explanation) -> Explanation:
    """Without picture, logits and what else the map was made of."""
    return replace(explanation, pictures=explanation.pictures[:0], logits=None, attention=None, prefix=None)


def _word(name: str) -> str:
    """The end of a name as a part of a path, and 16 digits of its SHA-256, by which two names differ."""
    digest = hashlib.sha256(name.encode(errors="backslashreplace")).hexdigest()[:16]
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', name)[-40:].strip('-')}-{digest}"
