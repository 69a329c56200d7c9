"""Occlusion (Zeiler & Fergus 2014, arXiv 1311.2901): what the target loses behind a window that slides."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from regard.errors import UnsupportedError
from regard.explainers.explainer import Explainer, Found
from regard.explainers.perturbed import fill_of, masked_scores
from regard.fills import Fill
from regard.models.classifier import Classifier
from regard.question import Question

STRIDES = 14
"""Places of the window along each side by default, about: the window is two of them wide, a seventh of the frame."""


class Occlusion(Explainer):
    """The target's value minus its value with a window filled, averaged over the windows that cover a place.

        S[i] = 1/|W_i| Σ_{w ∈ W_i} ( f(x) − f(x without w) ),   W_i: the windows over place i

    Positive: what the window hides supports the target. A predicted class is that of the whole picture. Windows begin
    at the upper left corner, a stride apart; the last of a row or column reaches over the edge if the frame is no
    multiple, and is cut off there. Where windows, strides and frame have a common divisor, the average is constant
    over squares of it, and the map has a cell for each: at 224 pixels, with windows of 32 and strides of 16, 14×14.
    Scores are subtracted, so the rounding of a map is that of the scores, which may be larger than the map.

    Args:
        classifier: the classifier.
        window: side in pixels, or (height, width); default about a seventh of the frame, and of a transformer's
            whole patches.
        stride: pixels between windows, or (down, across), not above the window's; default half the window.
        fill: what the window shows; default the training set's mean colour.

    Cost: one forward, and one per window, whatever the number of targets.

    Raises:
        UnsupportedError: no such window, stride or fill.
    """

    name: ClassVar[str] = "occlusion"
    summary: ClassVar[str] = "what the target loses behind a sliding window"
    signed: ClassVar[bool] = True

    def __init__(
        self,
        classifier: Classifier,
        *,
        window: int | tuple[int, int] | None = None,
        stride: int | tuple[int, int] | None = None,
        fill: Fill | None = None,
    ) -> None:
        super().__init__(classifier)
        frame, tokens = classifier.preparation.frame, classifier.tokens
        patch = (1, 1) if tokens is None else tokens.patch
        usual = [_usual(side, unit) for side, unit in zip(frame, patch, strict=True)]
        windows = _sides(window, "window") or (usual[0], usual[1])
        strides = _sides(stride, "stride") or (_half(windows[0]), _half(windows[1]))
        self.sides = tuple(zip(windows, strides, strict=True))
        self.fill = fill_of(classifier, fill)
        self.settings = {"window": windows, "stride": strides, "fill": repr(self.fill)}
        down, across = self._lines(frame)
        self.forwards_each = down.count * across.count + 1

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        output = self.classifier.respond(pixels)
        asked = question.fixed(output)
        lines = self._lines((pixels.shape[2], pixels.shape[3]))
        counts = [line.count for line in lines]
        rows, columns = (line.covered().to(pixels.device) for line in lines)

        def kept(numbers: Tensor) -> Tensor:
            place = numbers % (counts[0] * counts[1])
            hidden = rows[place // counts[1], :, None] & columns[place % counts[1], None]
            return (~hidden[:, None]).float()

        images = torch.arange(len(pixels), device=pixels.device).repeat_interleave(counts[0] * counts[1])
        scores = masked_scores(self.classifier, pixels, images, kept, self.fill, asked)
        losses = asked.scores(output)[:, None, None] - scores.unflatten(0, (len(pixels), *counts))
        down, across = (line.averages().to(losses) for line in lines)
        return Found(torch.einsum("yr,brct,xc->btyx", down, losses, across), output)

    def _lines(self, frame: tuple[int, int]) -> tuple[Line, Line]:
        """Windows along both sides of a frame."""
        down, across = (Line(length, *sides) for length, sides in zip(frame, self.sides, strict=True))
        return down, across


@dataclass(frozen=True)
class Line:
    """Windows along one side of the frame, all lengths in pixels.

    Raises:
        UnsupportedError: the window is longer than the side, or strides leave gaps.
    """

    length: int
    window: int
    stride: int

    def __post_init__(self) -> None:
        if self.window > self.length:
            raise UnsupportedError("the window is larger than the frame", came=f"{self.window} of {self.length} pixels")
        if self.stride > self.window:
            raise UnsupportedError(
                "strides longer than the window leave places that no window covers",
                came=f"stride {self.stride}, window {self.window}",
                expected=f"a stride up to {self.window}",
            )

    @property
    def count(self) -> int:
        """Windows, the last of which reaches the end."""
        return math.ceil((self.length - self.window) / self.stride) + 1

    @property
    def cell(self) -> int:
        """Pixels of a cell of the map: no window begins or ends inside it."""
        return math.gcd(self.length, self.window, self.stride)

    def covered(self) -> Tensor:
        """Which pixels each window covers, (count, length)."""
        starts, pixels = torch.arange(self.count)[:, None] * self.stride, torch.arange(self.length)
        return (starts <= pixels) & (pixels < starts + self.window)

    def averages(self) -> Tensor:
        """The matrix that averages over the windows of each cell, (cells, count), float64."""
        covered = self.covered()[:, :: self.cell].T.double()
        return covered / covered.sum(dim=1, keepdim=True)


def _sides(given: int | tuple[int, int] | None, called: str) -> tuple[int, int] | None:
    """(down, across) of a setting; None where nothing is said."""
    if given is None:
        return None
    sides = tuple(given) if isinstance(given, (tuple, list)) else (given, given)
    if len(sides) != 2 or any(type(side) is not int or side < 1 for side in sides):
        raise UnsupportedError(
            f"a {called} has positive whole numbers of pixels",
            came=repr(given),
            expected="one number, or (down, across)",
        )
    return sides[0], sides[1]


def _usual(length: int, unit: int) -> int:
    """A window of about a seventh of a side, an even number of units; half of it divides the side if any such does."""
    units = length // unit
    near = [size for size in range(1, units + 1) if units % size == 0 and 0.7 <= units / size / STRIDES <= 1.4]
    half = min(near, key=lambda size: abs(units / size - STRIDES), default=max(1, round(units / STRIDES)))
    return min(2 * half, units) * unit


def _half(window: int) -> int:
    return max(1, window // 2)
