"""Photos with boxes, which no training has seen: where mass lies, and what a finer grid says without any training."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from study_brnpa_cases import LITE, VIT
from study_brnpa_measures import BATCH, COARSE, Columns, called
from study_tame import listed
from torch import Tensor

import regard
from regard.explainers.brnpa import BRNPA
from regard.metrics.common_grid import on_grid
from regard.metrics.curves import Curves, curves
from regard.metrics.placement import area_inside, mass_inside
from regard.metrics.regions import region_of_boxes
from regard.models.high_resolution import high_resolution

BOXED, AREA = "imagenette-224", "area of the boxes"
FINER, WITHIN = "a finer grid without training", "variance within cells of 7×7"
OWN_GRID, FINER_GRID, AVERAGED, FINEST_GRID = GRIDS = ("7×7", "14×14", "14×14 in cells of 7×7", "28×28")
STEPS = (16, 32)
"""Of curves: those of the study, and twice as many, of which each is less than two of the 49 places."""


@dataclass(frozen=True)
class Boxed:
    """Photos of a batch.

    Attributes:
        files: the photos.
        classes: as the classifier counts them.
        boxes: of each, in pixels of the photo.
    """

    files: list[Path]
    classes: list[int]
    boxes: list[Tensor]

    def regions(self, explanation: regard.Explanation) -> Tensor:
        """Shares of the frame's pixels that lie in boxes, (B, H, W)."""
        return torch.stack(
            [
                region_of_boxes(geometry.boxes_to_frame(boxes), geometry.frame)
                for geometry, boxes in zip(explanation.geometries, self.boxes, strict=True)
            ]
        )


def batches(data: Path, name: str, photos: int | None = None) -> Iterator[Boxed]:
    """The validation photos that have boxes, or the first of them."""
    folder = data / BOXED
    boxes: defaultdict[str, list[list[float]]] = defaultdict(list)
    with (folder / "boxes.csv").open(encoding="utf-8") as file:
        for box in csv.DictReader(file):
            boxes[box["file"]].append([float(box[corner]) for corner in ("x1", "y1", "x2", "y2")])
    rows = [row for row in listed(folder) if row["split"] == "val" and row["file"] in boxes][:photos]
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        yield Boxed(
            [folder / row["file"] for row in part],
            [int(row["imagenet_index" if name == LITE else "label"]) for row in part],
            [torch.tensor(boxes[row["file"]]) for row in part],
        )


def in_boxes(data: Path, name: str, photos: int | None = None) -> Columns:
    """Positive mass within the boxes, of maps of photos with boxes that no training has seen; and the boxes' area.

    The classifier has no representatives of its own: these are a way to look at it.
    """
    classifier = regard.load(name)
    ranked, other = BRNPA(classifier), (regard.CDAM if name == VIT else regard.GradCAM)(classifier)
    found: defaultdict[str, list[float]] = defaultdict(list)
    for batch in batches(data, name, photos):
        pixels = classifier.prepare(batch.files)
        shown, compared = ranked(pixels), other(pixels, regard.PerImage(batch.classes))
        assert shown.ranks is not None
        for rank in range(ranked.count):
            found[called(rank + 1)] += mass_inside(shown.ranks.maps[:, rank], batch.regions(shown)).tolist()
        found[called("mean")] += mass_inside(shown.ranks.maps.mean(dim=1), batch.regions(shown)).tolist()
        found[other.name] += mass_inside(compared.maps[:, 0], batch.regions(compared)).tolist()
        found[AREA] += area_inside(batch.regions(shown)).tolist()
    return dict(found)


def on_finer_grid(data: Path, photos: int | None = None) -> Columns:
    """EfficientNet-Lite0's mean of ranks on its own grid and on finer ones, and means over cells of one of these.

    The weights are the same. Maps are judged by the classifier on its own grid: areas under curves of the probability
    of the true class divided by that of the whole photo, NaN where it is wrong; and by their mass inside the boxes.
    """
    classifier = regard.load(LITE)
    subjects = (classifier, high_resolution(classifier, (1,)), high_resolution(classifier, (1, 1)))
    own, finer, finest = (BRNPA(each, rank="mean") for each in subjects)
    found: defaultdict[str, list[float]] = defaultdict(list)
    for batch in batches(data, LITE, photos):
        pixels, target = classifier.prepare(batch.files), regard.PerImage(batch.classes)
        coarse, fine = own(pixels, target), finer(pixels, target)
        each = coarse.maps, fine.maps, on_grid(fine.maps, COARSE).float(), finest(pixels, target).maps
        maps = dict(zip(GRIDS, each, strict=True))
        right = classifier(pixels).argmax(dim=1) == torch.tensor(batch.classes)
        regions = batch.regions(coarse)
        for grid, shown in maps.items():
            read = curves(classifier, pixels, replace(coarse, maps=shown), steps=max(STEPS))
            for name, values in _areas(read).items():
                found[f"{name}, {grid}"] += torch.where(right, values, math.nan).tolist()
            found[f"inside, {grid}"] += mass_inside(shown[:, 0], regions).tolist()
        found[WITHIN] += (1 - _spread(maps[AVERAGED]) / _spread(maps[FINER_GRID])).tolist()
        found[AREA] += area_inside(regions).tolist()
    return dict(found)


def _areas(read: Curves) -> dict[str, Tensor]:
    """Areas under curves of fewer and more steps, each (B,)."""
    found = {}
    for steps in STEPS:
        every = max(STEPS) // steps
        thinned = replace(
            read,
            counts=read.counts[::every],
            insertion=read.insertion[..., ::every],
            deletion=read.deletion[..., ::every],
        )
        for name in ("deletion", "insertion"):
            found[f"{name}, {steps} steps"] = (thinned.area(name) / read.clean)[:, 0]
    return found


def _spread(maps: Tensor) -> Tensor:
    """Variance over the places of maps (B, 1, h, w), (B,)."""
    return maps.flatten(1).var(dim=1, correction=0)
