"""The photos on which maps are judged, from whatever they stand in."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from regard.errors import PhotoError
from regard.evaluate.coco import read_coco
from regard.evaluate.known_photo import KnownPhoto as KnownPhoto
from regard.evaluate.known_photo import upright_size
from regard.evaluate.listed import read_boxes, read_listed
from regard.evaluate.masks import check_mask
from regard.evaluate.selection import selected
from regard.images import PHOTO_SUFFIXES
from regard.runs import is_run
from regard.training.labelled import read_labelled


def read_photos(
    source: str | Path,
    *,
    labels: str | None = None,
    where: str | None = None,
    boxes: str | Path | None = None,
    masks: str | Path | None = None,
) -> tuple[KnownPhoto, ...]:
    """Photos with what is known about them: their class, and where the object is. No photo is decoded yet.

    Args:
        source: a folder, a .csv or a .json file.

            A folder of photos knows nothing of them. A folder of class folders, or of train and val (or test) with
            those in them, knows their class: the folder's name.

            A CSV (UTF-8, commas) has `file` (or `image`), relative to it, and may have: `class_index`, an index into
            the classifier's classes, else `label`, a class by name; `x1`, `y1`, `x2`, `y2`, a box, one row a box and
            rows of one photo joined; `mask`, a mask's file. An empty cell says that a photo has none.

            A COCO instances file (.json) gives boxes and masks of one category a photo, which is its label: the one
            that `where` chooses, else the one whose objects cover the most area together. Photos are sought beside the
            file, by `file_name`. Crowds and boxes without area are left out; where an object of the category has no
            outline, the photo has no mask. Segmentations are polygons or uncompressed runs.
        labels: another column of the CSV that holds the class, by name or index: "imagenet_index".
        where: "column=value", the rows that count: "split=val". A folder has `label` and, with train and val in it,
            `split`, the name of that folder; a COCO file has `label`, the category.
        boxes: a CSV with `file`, `x1`, `y1`, `x2`, `y2`, one row a box, in place of the source's own. Rows of other
            photos are passed over.
        masks: a folder with one PNG a photo, of the same stem, in place of the source's own; what is not zero is
            inside. Photos without one have no mask.

    Returns:
        One a photo, in the order of the source. Boxes and masks are of the upright photo: as EXIF says it is shown. A
        box may reach one pixel beyond, and is cut at the edge.

    Raises:
        PhotoError: nothing there, no photos in it, `where` chooses none, or a mask that cannot be of its photo.
        FileFormatError: what is wrong in a file, with the line.
    """
    photos = _of_source(Path(source), labels, where)
    if boxes is not None:
        photos = _with_boxes(photos, Path(boxes))
    if masks is not None:
        photos = _with_masks(photos, Path(masks))
    for photo in photos:
        size = upright_size(photo.path) if isinstance(photo.mask, Path) else None
        if isinstance(photo.mask, Path) and size is not None:
            check_mask(photo.mask, size)
    return tuple(photos)


def _of_source(source: Path, labels: str | None, where: str | None) -> list[KnownPhoto]:
    kind = "folder" if source.is_dir() else source.suffix.lower() if source.is_file() else None
    if labels is not None and kind in ("folder", ".json"):
        raise PhotoError("only a CSV has columns of labels", came=f"labels={labels!r} of {str(source)!r}")
    if kind == "folder":
        return _of_folder(source, where)
    if kind == ".csv":
        return read_listed(source, labels, where)
    if kind == ".json":
        return read_coco(source, where)
    raise PhotoError(
        f"there is no folder, CSV or COCO file {str(source)!r}",
        came="another file" if kind is not None else "nothing",
        expected="a folder of photos or of class folders, NAME.csv, or NAME.json of COCO's instances",
    )


def _of_folder(folder: Path, where: str | None) -> list[KnownPhoto]:
    inside = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    direct = [entry for entry in inside if _is_photo(entry)]
    nested = [entry for entry in inside if direct and _holds_photos(entry)]
    if nested:
        raise PhotoError(
            f"{str(folder)!r} holds both photos and folders of photos",
            came=f"{direct[0].name}, {nested[0].name}",
            expected="photos alone, or folders of classes alone",
        )
    if direct:
        return selected([({}, KnownPhoto(photo)) for photo in direct], where, [], folder)
    labelled = read_labelled(folder)
    columns = ["label"] if labelled.held_out is None else ["label", "split"]
    rows = [
        ({"label": str(label), "split": photo.relative_to(folder).parts[0]}, KnownPhoto(photo, str(label)))
        for photo, label in zip(labelled.photos, labelled.labels, strict=True)
    ]
    return selected(rows, where, columns, folder)


def _is_photo(entry: Path) -> bool:
    return entry.suffix.lower() in PHOTO_SUFFIXES and entry.is_file()


def _holds_photos(entry: Path) -> bool:
    """Whether a folder holds photos, at any depth; the pictures of runs are none."""
    if not entry.is_dir() or is_run(entry):
        return False
    return any(_is_photo(inside) or _holds_photos(inside) for inside in entry.iterdir())


def _with_boxes(photos: Sequence[KnownPhoto], boxes: Path) -> list[KnownPhoto]:
    if not boxes.is_file():
        raise PhotoError(f"there is no file of boxes {str(boxes)!r}")
    found = read_boxes(boxes, [photo.path for photo in photos])
    return [replace(photo, boxes=found.get(photo.path, ())) for photo in photos]


def _with_masks(photos: Sequence[KnownPhoto], folder: Path) -> list[KnownPhoto]:
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for mask in sorted(folder.rglob("*")) if folder.is_dir() else []:
        if mask.suffix.lower() == ".png" and mask.is_file():
            by_stem[mask.stem].append(mask)
    of_photos = Counter(photo.path.stem for photo in photos)
    if not by_stem.keys() & of_photos.keys():
        raise PhotoError(
            f"{str(folder)!r} holds no mask of any photo",
            came=", ".join(list(by_stem)[:3]) or "no PNG",
            expected=f"one PNG a photo, of its name: {photos[0].path.stem}.png",
        )
    for stem, times in of_photos.items():
        if by_stem.get(stem) and max(times, len(by_stem[stem])) > 1:
            raise PhotoError(
                f"it is not clear which mask is whose: {stem}.png",
                came=f"{times} photos and {len(by_stem[stem])} masks of that name",
                remedy="a CSV with the columns file and mask",
            )
    return [replace(photo, mask=next(iter(by_stem.get(photo.path.stem, [])), None)) for photo in photos]
