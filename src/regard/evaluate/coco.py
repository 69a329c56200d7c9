"""Photos of a COCO instances file: boxes and outlines of one category a photo."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regard.errors import FileFormatError
from regard.evaluate.boxes import Box, checked_box, wrong_place
from regard.evaluate.known_photo import KnownPhoto, upright_size
from regard.evaluate.masks import Outline
from regard.evaluate.selection import selected
from regard.images import is_file

Size = tuple[int, int]
LARGEST = 1e12
"""Of a number that can be a place or an area in a photo."""


@dataclass(frozen=True)
class _Entry:
    """One object of the JSON, with where it stands.

    Attributes:
        place: in words.
        values: what it says.
    """

    place: str
    values: Mapping[str, Any]

    def wrong(self, came: str, expected: str) -> FileFormatError:
        return wrong_place(self.place, came, expected)

    def value(self, name: str, kind: type | tuple[type, ...], expected: str) -> Any:
        found = self.values.get(name)
        if not isinstance(found, kind) or isinstance(found, bool):
            raise self.wrong(f"{name}: {found!r}"[:80] if name in self.values else f"no {name}", expected)
        return found

    def numbers(self, name: str, found: object) -> tuple[float, ...]:
        """A list of finite numbers."""
        if not isinstance(found, list) or not all(_is_number(each) for each in found):
            raise self.wrong(f"{name}: {found!r}"[:80], f"{name} as a list of finite numbers")
        return tuple(map(float, found))


@dataclass(frozen=True)
class _Object:
    """One object on a photo.

    Attributes:
        category: its name.
        box: where it is.
        area: of it in pixels.
        polygons: its outlines; empty where it is given by runs, or not at all.
        runs: likewise.
    """

    category: str
    box: Box
    area: float
    polygons: tuple[tuple[float, ...], ...]
    runs: tuple[tuple[int, ...], ...]


def read_coco(path: Path, where: str | None) -> list[KnownPhoto]:
    """Photos of a COCO instances file, as `photos.read_photos` describes it.

    Raises:
        FileFormatError: it is none, or what is wrong in it, with the annotation or image.
        PhotoError: `where` chooses nothing.
    """
    content = _content(path)
    categories = {
        entry.value("id", (int, str), "a number"): entry.value("name", str, "the category's name")
        for entry in _entries(content, "categories", path)
    }
    images = _by_id(content, path)
    objects: dict[Any, list[_Object]] = defaultdict(list)
    for entry in _entries(content, "annotations", path):
        image = entry.value("image_id", (int, str), "the id of an image")
        category = entry.value("category_id", (int, str), "the id of a category")
        if image not in images or category not in categories:
            raise entry.wrong(f"image {image}, category {category}", "ids of the file's images and categories")
        found = _object(entry, categories[category], _size(images[image]))
        objects[image] += [] if found is None else [found]
    shown = [({"label": each.category}, (image, each)) for image, found in objects.items() for each in found]
    chosen: dict[Any, list[_Object]] = defaultdict(list)
    for image, each in selected(shown, where, ["label"], path):
        chosen[image].append(each)
    return [_known(path, entry, chosen[image]) for image, entry in images.items() if where is None or image in chosen]


def _content(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as reason:
        raise FileFormatError(f"{str(path)!r} cannot be read as JSON", came=str(reason)) from reason
    names = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(name), list) for name in names):
        raise FileFormatError(
            f"{str(path)!r} is no COCO instances file",
            came=", ".join(content) if isinstance(content, dict) else type(content).__name__,
            expected=f"an object with the lists {', '.join(names)}",
        )
    if not content["images"]:
        raise FileFormatError(f"{str(path)!r} names no photos")
    return content


def _entries(content: Mapping[str, Any], name: str, path: Path) -> Iterator[_Entry]:
    for number, values in enumerate(content[name]):
        place = f"{name}[{number}] of {str(path)!r}"
        if not isinstance(values, dict):
            raise wrong_place(place, repr(values)[:80], "an object")
        yield _Entry(place, values)


def _by_id(content: Mapping[str, Any], path: Path) -> dict[Any, _Entry]:
    images: dict[Any, _Entry] = {}
    files: set[str] = set()
    for entry in _entries(content, "images", path):
        image, file = entry.value("id", (int, str), "a number"), entry.value("file_name", str, "the photo's file")
        if image in images or file in files:
            raise entry.wrong(f"id {image}, {file!r} again", "each image once")
        images[image] = entry
        files.add(file)
    return images


def _size(image: _Entry) -> Size:
    """(height, width) as the file says it."""
    height, width = (image.value(name, int, "whole pixels") for name in ("height", "width"))
    return height, width


def _object(entry: _Entry, category: str, size: Size) -> _Object | None:
    """One object; None for a crowd, and for what has no area."""
    bounds = entry.numbers("bbox", entry.values.get("bbox"))
    if len(bounds) != 4 or min(bounds[2:]) < 0:
        raise entry.wrong(f"bbox: {list(bounds)}", "x, y, width, height")
    left, top, width, height = bounds
    if entry.values.get("iscrowd") or not (width and height):
        return None
    box = checked_box((left, top, left + width, top + height), size, entry.place)
    area = entry.values.get("area", width * height)
    if not _is_number(area) or area < 0:
        raise entry.wrong(f"area: {area!r}"[:80], "pixels")
    return _Object(category, box, float(area), *_outline(entry, size))


def _outline(entry: _Entry, size: Size) -> tuple[tuple[tuple[float, ...], ...], tuple[tuple[int, ...], ...]]:
    """Polygons and runs of an object."""
    segmentation = entry.values.get("segmentation") or []
    if isinstance(segmentation, list):
        polygons = tuple(entry.numbers("segmentation", polygon) for polygon in segmentation)
        if any(len(polygon) < 6 or len(polygon) % 2 for polygon in polygons):
            raise entry.wrong("a polygon of other than x, y pairs", "three corners or more: x, y, x, y, x, y, …")
        return polygons, ()
    counts = segmentation.get("counts") if isinstance(segmentation, dict) else None
    if isinstance(counts, str):
        raise entry.wrong("compressed runs", "polygons, or counts as a list; pycocotools' decode makes them a mask")
    runs = entry.numbers("counts", counts)
    if segmentation.get("size") != list(size) or sum(runs) != size[0] * size[1]:
        raise entry.wrong(
            f"runs of {sum(runs):.0f} pixels, size {segmentation.get('size')}",
            f"size [height, width] as of the image: {list(size)}, and as many pixels",
        )
    if any(run < 0 or run % 1 for run in runs):
        raise entry.wrong("a run of less than no pixels, or of parts of pixels", "counts of pixels")
    return (), (tuple(map(int, runs)),)


def _known(path: Path, image: _Entry, objects: Sequence[_Object]) -> KnownPhoto:
    photo = path.parent / os.path.normpath(image.values["file_name"])
    if not is_file(photo):
        raise FileFormatError(
            f"{image.place} is wrong",
            came=f"no file {str(photo)!r}",
            expected="file_name relative to the folder of the COCO file",
            remedy="copy that file into the folder of the photos",
        )
    if not objects:
        return KnownPhoto(photo)
    size, shown = _size(image), upright_size(photo)
    if shown not in (None, size):
        raise image.wrong(f"height, width {list(size)}", f"those of the upright photo: {list(shown)}")
    areas: dict[str, float] = defaultdict(float)
    for each in objects:
        areas[each.category] += each.area
    label = max(areas, key=areas.__getitem__)
    alike = [each for each in objects if each.category == label]
    outline = Outline(
        size,
        tuple(polygon for each in alike for polygon in each.polygons),
        tuple(runs for each in alike for runs in each.runs),
    )
    complete = all(each.polygons or each.runs for each in alike)
    return KnownPhoto(photo, label, tuple(dict.fromkeys(each.box for each in alike)), outline if complete else None)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST
