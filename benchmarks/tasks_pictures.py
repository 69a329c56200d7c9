"""Pictures for the page of study_brnpa_tasks.py: ranked maps of drawings, clothing and photos of ImageNet's classes."""

from __future__ import annotations

import io
from pathlib import Path

import tasks_few_shot
import tasks_side_by_side
import tasks_similarity
from matplotlib.figure import Figure
from PIL import Image
from study_tame import LITE
from tasks_kept import Extent, Keep

import regard
from regard.explanation import join
from regard.models.high_resolution import high_resolution

DOTS = 75
WIDEST, QUALITY = 700, 85
"""Pixels across, and of WebP."""
NIPS = ("7e73c7adc520e406.jpg", "821aae58dc96b4b2.jpg", "56dbd7d814ef5c58.jpg")
GARMENTS = ("dress", "hat", "shoes")
ALONE = "hat"
"""In networks for three tasks."""
SEED = 0


def write(folder: Path, data: Path, extent: Extent, keep: Keep) -> None:
    """Write all of them; networks that are not there are trained."""
    photos = tasks_side_by_side.clothing(data)
    figures = {"omniglot": drawn(data, extent, keep), "clothing": worn(photos, extent, keep), "nips17": seen(data)}
    for name, figure in figures.items():
        page = io.BytesIO()
        figure.savefig(page, dpi=DOTS)
        save(Image.open(page), folder / f"br-npa-{name}.webp")
    save(Image.open(side_by_side(photos, extent, keep)), folder / "br-npa-by-task.webp")


def drawn(data: Path, extent: Extent, keep: Keep) -> Figure:
    given = tasks_few_shot.drawings(data, extent.every)
    classifier, asked = tasks_similarity.queries(tasks_few_shot.STUDENT, SEED, given, extent, keep)
    explainer = regard.BRNPA(classifier)
    return join([explainer([each.photo], [each.target]) for each in asked[:3]]).rank_figure()


def worn(photos: tasks_side_by_side.Clothing, extent: Extent, keep: Keep) -> Figure:
    found = tasks_side_by_side.trained("classification", SEED, photos, extent, keep)
    files = [next(file for file, name in photos.unseen if name == garment) for garment in GARMENTS]
    return regard.BRNPA(found.classifier)(files).rank_figure(files)


def seen(data: Path) -> Figure:
    """A network that was never trained for it, on a grid of 14×14."""
    classifier = high_resolution(regard.load(LITE), (1,))
    files = [data / "nips17-ccby" / "images" / name for name in NIPS]
    return regard.BRNPA(classifier)(files).rank_figure(files)


def side_by_side(photos: tasks_side_by_side.Clothing, extent: Extent, keep: Keep) -> Path:
    files = [tasks_side_by_side.file_of(task, SEED, photos, extent, keep) for task in tasks_side_by_side.TASKS]
    photo = next(file for file, name in photos.unseen if name == ALONE)
    run = keep.folder / "compared-one"
    found = tasks_side_by_side.compared(files, [photo], ["br-npa"], run, "--targets", ALONE)
    return run / next(row["picture"] for row in found["rows"])


def save(picture: Image.Image, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    smaller = picture.convert("RGB")
    smaller.thumbnail((WIDEST, 10 * WIDEST), Image.Resampling.LANCZOS)
    smaller.save(file, quality=QUALITY, method=6)
