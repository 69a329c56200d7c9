"""Whether a network still knows what it shows when its last strides are taken out, for study_brnpa.py."""

from __future__ import annotations

from pathlib import Path

import torch
from study_brnpa_cases import LITE
from study_brnpa_measures import BATCH, Columns
from study_tame import listed

import regard
from regard.models.high_resolution import high_resolution

SHOWN, ANSWERS = "imagenet-1k-samples", "answers on a finer grid without training"
OWN = "7×7"
FINER = {
    f"{grid}, {how}": (strides, how == "dilated")
    for grid, strides in (("14×14", (1,)), ("28×28", (1, 1)))
    for how in ("dilated", "not dilated")
}


def right_untrained(data: Path, photos: int | None = None) -> Columns:
    """1 where EfficientNet-Lite0 is right, of photos of a class of ImageNet each: on its own grid and on finer ones."""
    classifier, folder = regard.load(LITE), data / SHOWN
    finer = {name: high_resolution(classifier, strides, dilation=dilated) for name, (strides, dilated) in FINER.items()}
    subjects = {OWN: classifier, **finer}
    found: Columns = {name: [] for name in subjects}
    rows = listed(folder)[:photos]
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        pixels = classifier.prepare([folder / row["file"] for row in part])
        classes = torch.tensor([int(row["class_index"]) for row in part])
        with torch.no_grad():
            for name, subject in subjects.items():
                found[name] += (subject(pixels).argmax(dim=1) == classes).float().tolist()
    return found
