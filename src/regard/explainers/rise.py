"""RISE (Petsiuk, Das & Saenko 2018, arXiv 1806.07421): what random masks that keep a place have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from regard.errors import UnsupportedError
from regard.explainers.explainer import Explainer, Found
from regard.explainers.perturbed import fill_of, masked_scores
from regard.fills import Fill
from regard.images import seed_of
from regard.models.classifier import Classifier
from regard.question import Question
from regard.seeds import check_seed


class RISE(Explainer):
    """Random masks, each weighed by what the classifier answers through it; of pixels, (B, T, H, W).

        S = 1/(n·p) Σ_i ( f_i − f̄ ) m_i,   f_i = f(x ⊙ m_i),   f̄ = 1/n Σ_i f_i      (paper, equation 6, without f̄)

    m_i is a grid of cells, each kept with probability p, enlarged bilinearly to one cell more than the frame and cut
    to the frame at a random shift of less than a cell (section 3.2). f is the class's probability where the target
    is a class and the classifier gives probabilities, as in the paper; of any other target its own value. For a
    class's logit ask `Score(lambda logits: logits[:, index])`.

    The paper's S is the target's mean value while a place is kept: an offset f̄ that no place stands out from, and
    the noise of the masks' own mean times it. Without both, S is by how much the target's mean value is higher while a
    place is kept than over all masks, signed; a constant target has a map of zeros instead of the masks' noise, and the
    order of places is the paper's but for that noise.

    Args:
        classifier: the classifier.
        samples: n; 1000 as a compromise: the paper takes 4000 (VGG-16) and 8000 (ResNet-50).
        cells: of a mask along each side; 7 as in the paper.
        kept: p; 0.5 as in the paper.
        seed: of the masks, joined with the picture.
        fill: what masked pixels become; default the training set's mean colour, as in the paper.

    Cost: samples + 1 forwards, shared by all targets. Masks are made a chunk at a time, by two small matrices each;
    the sum needs none of them, see `Masks.weighted`.

    Raises:
        UnsupportedError: a setting that cannot be.
    """

    name: ClassVar[str] = "rise"
    summary: ClassVar[str] = "how much higher the target is, on average, under random masks that keep a place"
    signed: ClassVar[bool] = True

    def __init__(
        self,
        classifier: Classifier,
        *,
        samples: int = 1000,
        cells: int = 7,
        kept: float = 0.5,
        seed: int = 0,
        fill: Fill | None = None,
    ) -> None:
        super().__init__(classifier)
        check_seed(seed)
        smallest = min(classifier.preparation.frame)
        if type(samples) is not int or samples < 1:
            raise UnsupportedError("samples are a positive whole number", came=repr(samples))
        if type(cells) is not int or not 2 <= cells <= smallest:
            raise UnsupportedError(
                "a mask has cells of whole pixels",
                came=f"cells={cells!r}",
                expected=f"a whole number from 2 to {smallest}",
            )
        if type(kept) not in (int, float) or not 0 < kept < 1:
            raise UnsupportedError(
                "cells are kept with a probability", came=f"kept={kept!r}", expected="above 0, below 1"
            )
        self.samples, self.cells, self.kept, self.seed = samples, cells, kept, seed
        self.fill = fill_of(classifier, fill)
        self.settings = {"samples": samples, "cells": cells, "kept": kept, "seed": seed, "fill": repr(self.fill)}
        self.forwards_each = samples + 1

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        output = self.classifier.respond(pixels)
        asked = question.fixed(output).of_probabilities()
        masks = [self._drawn(picture) for picture in pixels]
        made = joined(masks).to(pixels.device).made
        images = torch.arange(len(pixels), device=pixels.device).repeat_interleave(self.samples)
        scores = masked_scores(self.classifier, pixels, images, made, self.fill, asked).cpu().split(self.samples)
        sums = [own.weighted(part - part.mean(dim=0)) for own, part in zip(masks, scores, strict=True)]
        return Found(torch.stack(sums) / (self.samples * self.kept), output)

    def _drawn(self, picture: Tensor) -> Masks:
        """The masks of one picture (3, H, W)."""
        draw = torch.Generator().manual_seed(seed_of(picture, self.seed))
        grids = torch.rand(self.samples, self.cells, self.cells, generator=draw) < self.kept
        bands = [enlarging(self.cells, side) for side in picture.shape[1:]]
        shifts = [torch.randint(len(band), (self.samples,), generator=draw) for band in bands]
        return Masks(grids.float(), torch.stack(shifts, dim=1), bands[0], bands[1])


@dataclass(frozen=True)
class Masks:
    """Random masks as what makes them: 49 cells and two shifts each, instead of 50,176 pixels.

    Attributes:
        grids: what is kept of each mask, 0 or 1, (n, cells, cells).
        shifts: by how many pixels it is shifted up and to the left, (n, 2).
        down: the matrices that enlarge columns, for each shift, (steps, H, cells); see `enlarging`.
        across: those that enlarge rows, (steps, W, cells).
    """

    grids: Tensor
    shifts: Tensor
    down: Tensor
    across: Tensor

    def to(self, device: torch.device) -> Masks:
        """The same masks on another device."""
        return Masks(*(part.to(device) for part in (self.grids, self.shifts, self.down, self.across)))

    def made(self, numbers: Tensor) -> Tensor:
        """Masks of those numbers, (n, 1, H, W): D · G · Aᵀ, two small matrices each."""
        shifts = self.shifts[numbers]
        rows, columns = self.down[shifts[:, 0]], self.across[shifts[:, 1]]
        return (rows @ self.grids[numbers] @ columns.transpose(1, 2))[:, None]

    def weighted(self, scores: Tensor) -> Tensor:
        """Σ_i scores[i, t] · mask_i, (T, H, W), without making a mask.

        Masks of equal shift are enlarged by the same two matrices, so their weighted grids are added first:

            Σ_i s_i D(y_i) G_i A(x_i)ᵀ = Σ_yx D(y) ( Σ_{i: shift y, x} s_i G_i ) A(x)ᵀ = D · C · Aᵀ

        with D = [D(0), D(1), …] side by side and C the inner sums as one matrix. At 224 pixels and 7 cells that is 49
        additions a mask and target, then 2 · 224³ multiplications a target, instead of 224² a mask and target.
        """
        cells, steps = self.grids.shape[1], (len(self.down), len(self.across))
        place = self.shifts[:, 0] * steps[1] + self.shifts[:, 1]
        rows, columns = (band.transpose(0, 1).flatten(1).to(scores) for band in (self.down, self.across))
        sums = []
        for score in scores.T:
            inner = scores.new_zeros(steps[0] * steps[1], cells, cells)
            inner.index_add_(0, place, score[:, None, None] * self.grids.to(scores))
            together = inner.unflatten(0, steps).transpose(1, 2).reshape(steps[0] * cells, steps[1] * cells)
            sums.append(rows @ together @ columns.T)
        return torch.stack(sums)


def joined(masks: Sequence[Masks]) -> Masks:
    """Masks of several pictures of one frame as one list."""
    grids, shifts = torch.cat([own.grids for own in masks]), torch.cat([own.shifts for own in masks])
    return replace(masks[0], grids=grids, shifts=shifts)


def enlarging(cells: int, length: int) -> Tensor:
    """Matrices that enlarge a line of cells bilinearly and cut it to `length`, for each shift: (steps, length, cells).

    A cell has ⌈length / cells⌉ pixels, and there are as many shifts; the line is enlarged to cells + 1 of them, its
    ends repeated. Pixel y of shift s lies at (y + s + ½) · cells / ((cells + 1) · step) − ½ among the cells' centres.
    Rows sum to 1, so that the mean of a mask is p everywhere.
    """
    step = -(-length // cells)
    pixels = torch.arange(step)[:, None] + torch.arange(length, dtype=torch.float64) + 0.5
    places = (pixels * cells / ((cells + 1) * step) - 0.5).clamp(0, cells - 1)
    return (1 - (places[..., None] - torch.arange(cells)).abs()).clamp(min=0).float()
