"""Embeddings of photos, computed once: what is there already is not computed again."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from regard.errors import NotFiniteError, PhotoError
from regard.images import Photo, Pixels, open_photo
from regard.models.classifier import Classifier
from regard.runs import Run, configuration_hash

logger = logging.getLogger("regard")

BATCH = 32
"""Photos that are embedded, and kept, together: what a killed run loses at most."""

Batch = Sequence[tuple[str, Photo]]
Tracked = Callable[[Sequence[Batch]], Iterable[Batch]]
"""Goes through the batches that are still to be embedded; a place for progress."""


@dataclass(frozen=True)
class Embedded:
    """What became of photos.

    Attributes:
        places: which of the photos could be read, by their content: whatever order they came in, theirs is the same.
        fingerprints: SHA-256 of each of those.
        values: their embeddings (n, D), float32.
        unreadable: place → why it could not be read.
    """

    places: tuple[int, ...]
    fingerprints: tuple[str, ...]
    values: Tensor
    unreadable: Mapping[int, str]


def embedded(
    backbone: Classifier, photos: Sequence[Photo], cache: Path | None = None, tracked: Tracked = iter
) -> Embedded:
    """Embeddings of photos; each different one is embedded once.

    Args:
        backbone: a classifier without a head.
        photos: paths, PIL images or uint8 arrays.
        cache: a folder where embeddings are kept, under the classifier's hash and the photo's SHA-256; None: nowhere.
        tracked: see `Tracked`.

    Raises:
        PhotoError: no photo can be read.
        NotFiniteError: an embedding holds NaN or infinity, with the photo.
    """
    marks = [fingerprint(photo) for photo in photos]
    store = None if cache is None else _store(cache, backbone)
    known = {} if store is None else _kept(store)
    left = {mark: photo for mark, photo in zip(marks, photos, strict=True) if mark and mark not in known}
    items = list(left.items())
    unreadable: dict[str, str] = {}
    for batch in tracked([items[start : start + BATCH] for start in range(0, len(items), BATCH)]):
        new = _embed(backbone, batch, unreadable)
        if store is not None and new:
            _keep(store, new)
        known.update(new)
    places = sorted((place for place, mark in enumerate(marks) if mark in known), key=marks.__getitem__)
    reasons = {
        place: unreadable.get(mark, "there is no such file") for place, mark in enumerate(marks) if mark not in known
    }
    if not places:
        raise PhotoError("no photo can be read", came="; ".join(dict.fromkeys(reasons.values()))[:200] or "no photos")
    chosen = tuple(marks[place] for place in places)
    return Embedded(tuple(places), chosen, torch.stack([known[mark] for mark in chosen]), reasons)


def fingerprint(photo: Photo) -> str:
    """SHA-256 of a file, or of the upright pixels of a photo in memory; empty for a file that cannot be opened."""
    if not isinstance(photo, (str, os.PathLike)):
        image = open_photo(photo)
        return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
    try:
        with Path(photo).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _embed(backbone: Classifier, batch: Batch, unreadable: dict[str, str]) -> dict[str, Tensor]:
    """Fingerprint → embedding (D,) of the photos that can be read; why not, of the others, is noted."""
    prepared: dict[str, Pixels] = {}
    for mark, photo in batch:
        try:
            prepared[mark] = backbone.prepare(photo)
        except PhotoError as reason:
            unreadable[mark] = reason.problem
    if not prepared:
        return {}
    geometries = [pixels.geometries[0] for pixels in prepared.values()]
    joined = Pixels.of(torch.cat(list(prepared.values())).as_subclass(Tensor), geometries, backbone.preparation)
    values = backbone.embed(joined).cpu()
    for (_, photo), value in zip([item for item in batch if item[0] in prepared], values, strict=True):
        if not bool(value.isfinite().all()):
            raise NotFiniteError(
                f"{backbone.name} embeds a photo as NaN or infinity",
                came=f"{photo!s:.200}: {backbone.blame_for_nan()}",
            )
    return dict(zip(prepared, values.clone(), strict=True))


def _store(cache: Path, backbone: Classifier) -> Path:
    """The folder of this backbone's embeddings: a run that stays open."""
    configuration = {"classifier_hash": backbone.hash, "precision": backbone.precision}
    folder = cache / configuration_hash(configuration)[:16]
    Run.open(folder, "embeddings", configuration)
    return folder


def _kept(store: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for file in sorted(store.glob("*.safetensors")):
        try:
            found.update(load_file(file))
        except (SafetensorError, OSError) as reason:
            logger.warning("%s is damaged, its photos are embedded again: %s", file, reason)
    return found


def _keep(store: Path, new: Mapping[str, Tensor]) -> None:
    """Write embeddings as one file, named by its photos, so that two trainings at a time spoil nothing."""
    place = store / f"{hashlib.sha256(''.join(new).encode()).hexdigest()[:32]}.safetensors"
    unfinished = place.with_name(f"{place.stem}-{os.getpid()}.unfinished")
    save_file({mark: value.contiguous().clone() for mark, value in new.items()}, unfinished)
    unfinished.replace(place)
