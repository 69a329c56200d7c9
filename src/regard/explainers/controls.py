"""Controls: maps that know nothing of the network. A method that does not beat them shows nothing."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as functional
from torch import Tensor

from regard.explainers.explainer import Explainer, Found
from regard.images import seed_of
from regard.models.classifier import Classifier
from regard.question import Question
from regard.seeds import check_seed

GRID = (14, 14)
"""Cells of a control's map where the network has no grid of its own: that of a ViT/16 at 224 pixels."""


def control_grid(classifier: Classifier, pixels: Tensor) -> tuple[int, int]:
    """A transformer's own grid, so that controls and methods are compared on equal cells; else 14×14."""
    return classifier.tokens.grid(pixels) if classifier.tokens is not None else GRID


class Random(Explainer):
    """Independent uniform draws in [0, 1) per cell, another for each picture, seed and target place.

    The draw is a function of the picture and the seed alone.
    """

    name: ClassVar[str] = "random"
    summary: ClassVar[str] = "control: uniform noise, seeded by the picture"

    def __init__(self, classifier: Classifier, *, seed: int = 0) -> None:
        super().__init__(classifier)
        check_seed(seed)
        self.seed = seed
        self.settings = {"seed": seed}

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        height, width = control_grid(self.classifier, pixels)
        targets = len(question.targets)
        generators = (torch.Generator().manual_seed(seed_of(picture, self.seed)) for picture in pixels)
        return Found(torch.stack([torch.rand(targets, height, width, generator=draw) for draw in generators]), None)


class Centre(Explainer):
    """A Gaussian blob in the middle, 1 at its top: what a photographer's habit alone explains.

    exp( −½ ((y − ½)² + (x − ½)²) / σ² ),   y, x in [0, 1] over the frame, σ = 0.25
    """

    name: ClassVar[str] = "centre"
    summary: ClassVar[str] = "control: a blob in the middle of the frame"
    per_target: ClassVar[bool] = False

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        height, width = control_grid(self.classifier, pixels)
        down, across = ((torch.arange(cells) + 0.5) / cells - 0.5 for cells in (height, width))
        blob = torch.exp(-0.5 * (down[:, None] ** 2 + across[None] ** 2) / 0.25**2)
        return Found(blob.expand(len(pixels), max(1, len(question.targets)), height, width), None)


class Edges(Explainer):
    """Where the picture's grey value changes: a map that any method which follows outlines comes close to.

        sqrt( Gx² + Gy² ),   Gx, Gy: the prepared picture's mean over channels under Sobel's 3×3 kernels

    Per pixel, in prepared units; the picture's border is repeated, so that the frame is no edge.
    """

    name: ClassVar[str] = "edges"
    summary: ClassVar[str] = "control: Sobel's edges of the picture"
    per_target: ClassVar[bool] = False
    zero_means: ClassVar[str] = "the picture is of one colour"

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        grey = functional.pad(pixels.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        slope, smooth = pixels.new_tensor([-1.0, 0.0, 1.0]), pixels.new_tensor([1.0, 2.0, 1.0])
        across = torch.outer(smooth, slope)
        changes = functional.conv2d(grey, torch.stack([across, across.T])[:, None])
        strength = changes.square().sum(dim=1, keepdim=True).sqrt()
        return Found(strength.expand(-1, max(1, len(question.targets)), -1, -1), None)


class Ones(Explainer):
    """One everywhere: what a metric gives to a map that says nothing, all places tied."""

    name: ClassVar[str] = "ones"
    summary: ClassVar[str] = "control: the same value everywhere"
    per_target: ClassVar[bool] = False

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        grid = control_grid(self.classifier, pixels)
        return Found(pixels.new_ones(len(pixels), max(1, len(question.targets)), *grid), None)
