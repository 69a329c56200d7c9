"""The pictures of docs/sdc.md, and what it says of single mosaics: its two models trained, examined and intervened in.

    python examples/sdc_pictures.py fashion_mnist_subset.npz [--folder docs/images] [--epochs 1]

The file is the one that the page shows how to make.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from regard.attention.selective import SelectiveModel
from regard.exams.sdc import Examination, SelectiveTask, examine
from regard.exams.sdc.cell import Cell
from regard.exams.sdc.figures import mosaic_figure, region_figure
from regard.exams.sdc.interventions import with_weights_of
from regard.exams.sdc.outcomes import OUTCOMES
from regard.exams.sdc.studies import study, usual
from regard.training.selective.fit import TrainedSeed, fit_selective

GARMENTS = replace(
    usual("fashion-mnist"), focus="cnn-3", classifier="cnn-3", train=3000, test=1000, epochs=12, batch=100, stop=0.02
)
"""As the page's command has it."""
BOXES = study("boxes").default
SEEDS = range(10)
"""Of the boxes."""
SHOWN = 4
"""Mosaics of an outcome in the picture."""


def trained(cell: Cell, task: SelectiveTask, seeds: Sequence[int]) -> tuple[TrainedSeed, ...]:
    """A model of a cell for each seed."""
    return fit_selective(lambda seed: cell.build(task, seed), task.train, task.test, seeds, cell.recipe())


def garments(cell: Cell, data: Path, folder: Path) -> None:
    """Draw mosaics of all outcomes, and say of those that are right while looking elsewhere what they are right by."""
    task = cell.made_task(data)
    (one,) = trained(cell, task, [0])
    found = examine(one.model, task)
    print(found)
    mosaic_figure(found, SHOWN).savefig(folder / "sdc-mosaics.png")
    right_elsewhere = found.outcomes.argmax(dim=1) == OUTCOMES.index("FFPT")
    for number in right_elsewhere.nonzero()[:SHOWN, 0].tolist():
        print(intervened(one.model, found, number))


def intervened(model: SelectiveModel, found: Examination, number: int) -> str:
    """What a model says of a mosaic with all weight on its focus, and without the foreground's."""
    answered, mosaic = with_weights_of(model), found.mosaics[number : number + 1]
    assert answered is not None
    own, place = found.answers.weights[number], int(mosaic.position)
    focus = int(own.argmax())
    alone = torch.eye(len(own))[focus]
    others = own.index_fill(0, torch.tensor(place), 0)
    said = [
        found.labels[int(answered(mosaic.segments, weights[None].to(own)).argmax())]
        for weights in (alone, others / others.sum())
    ]
    looked_at = found.kinds[int(mosaic.classes[0, focus])]
    return (
        f"mosaic {number}: {found.labels[int(mosaic.label)]} has {own[place]:.0%}, {looked_at} {own[focus]:.0%}; "
        f"all weight on the {looked_at}: {said[0]}; without the foreground's weight: {said[1]}"
    )


def boxes(cell: Cell, folder: Path) -> None:
    """Draw the plane as the first seed sees it, and say what all of them do."""
    task = cell.made_task()
    every = trained(cell, task, SEEDS)
    for one in every:
        print(f"seed {one.seed}: {examine(one.model, task, seed=one.seed)}")
    region_figure(every[0].model, task).savefig(folder / "sdc-regions.png")


def main() -> None:
    """Draw both pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the npz file of garments")
    parser.add_argument("--folder", type=Path, default=Path("docs/images"), help="where pictures go")
    parser.add_argument("--epochs", type=int, help="fewer, to see whether it works")
    asked = parser.parse_args()
    fewer = {} if asked.epochs is None else {"epochs": asked.epochs}
    boxes(replace(BOXES, **fewer), asked.folder)
    garments(replace(GARMENTS, **fewer), asked.data, asked.folder)


if __name__ == "__main__":
    main()
