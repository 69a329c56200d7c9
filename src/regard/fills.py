"""What removed pixels become.

One object serves metrics, perturbation methods and training masks, so that "removed" means the same
wherever a number speaks of it. A fill works on prepared pixels (B, 3, H, W) and a mask of what
stays, (B, 1, H, W) with 1 = kept; values between 0 and 1 blend. It never looks at other images of
the batch. Dropping tokens is removal without a fill and lives in `regard.models.dropping`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from regard.compat import import_optional
from regard.errors import PixelsError
from regard.images import seed_of


class Fill(ABC):
    """Base of all fills: `fill(pixels, kept)` → pixels with the rest replaced. Its `repr` says all of its settings."""

    name: ClassVar[str]

    @abstractmethod
    def background(self, pixels: Tensor) -> Tensor:
        """What stands where nothing is kept, (B, 3, H, W); compute it once for many masks."""

    def __call__(self, pixels: Tensor, kept: Tensor, background: Tensor | None = None) -> Tensor:
        """kept · pixels + (1 − kept) · background, (B, 3, H, W); a background that is known need not be made again."""
        check_mask(pixels, kept)
        below = self.background(pixels) if background is None else background
        return torch.lerp(below, pixels, kept.to(pixels.dtype))


@dataclass(frozen=True)
class Mean(Fill):
    """Each image's own mean colour: removes structure, keeps the overall tone."""

    name: ClassVar[str] = "mean"

    def background(self, pixels: Tensor) -> Tensor:
        return pixels.mean(dim=(2, 3), keepdim=True).expand_as(pixels)


@dataclass(frozen=True)
class Colour(Fill):
    """One colour for every image, given in prepared units.

    `Colour.of(rgb, mean, std)` makes one from a colour in [0, 1]: black is (0, 0, 0), and the mean
    colour of the training set, which many papers write as "zero", is `mean` itself.
    """

    name: ClassVar[str] = "colour"
    prepared: tuple[float, ...]

    @classmethod
    def of(cls, rgb: Sequence[float], mean: Sequence[float], std: Sequence[float]) -> Colour:
        """The prepared value of a colour in [0, 1]: (rgb − mean) / std per channel."""
        if not len(rgb) == len(mean) == len(std):
            raise PixelsError(
                "the colour, mean and std do not have one value per channel",
                came=f"{len(rgb)}, {len(mean)} and {len(std)} values",
            )
        return cls(tuple((value - m) / s for value, m, s in zip(rgb, mean, std, strict=True)))

    def background(self, pixels: Tensor) -> Tensor:
        if len(self.prepared) != pixels.shape[1]:
            raise PixelsError(
                "the fill colour does not have one value per channel",
                came=f"{len(self.prepared)} values for {pixels.shape[1]} channels",
            )
        return pixels.new_tensor(self.prepared).view(1, -1, 1, 1).expand_as(pixels)


def black(mean: Sequence[float], std: Sequence[float]) -> Colour:
    """Black, in prepared units. What curves remove to if nothing is said (TAME, section 3.1)."""
    return Colour.of((0.0,) * len(mean), mean, std)


def training_mean(channels: int) -> Colour:
    """The mean colour of the training set: zero in prepared pixels. What methods mask with if nothing is said."""
    return Colour((0.0,) * channels)


@dataclass(frozen=True)
class Blur(Fill):
    """The image under a Gaussian of standard deviation `sigma` pixels, cut at 3σ, edges mirrored.

    Keeps colours and large shapes. Default 10: at 224 pixels a side, objects of a few patches vanish.
    """

    name: ClassVar[str] = "blur"
    sigma: float = 10.0

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise PixelsError("a blur needs a positive standard deviation", came=f"sigma={self.sigma}")

    def background(self, pixels: Tensor) -> Tensor:
        blurred = pixels
        for axis in (2, 3):
            blurred = _convolve_along(blurred, self._kernel(pixels), axis)
        return blurred

    def _kernel(self, pixels: Tensor) -> Tensor:
        radius = max(1, math.ceil(3 * self.sigma))
        distance = torch.arange(-radius, radius + 1, device=pixels.device, dtype=torch.float32)
        weights = torch.exp(-0.5 * (distance / self.sigma) ** 2)
        return weights / weights.sum()


@dataclass(frozen=True)
class Noise(Fill):
    """Gaussian noise of each image's own mean and standard deviation per channel.

    The draw is a function of the image and `seed` alone.
    """

    name: ClassVar[str] = "noise"
    seed: int = 0

    def background(self, pixels: Tensor) -> Tensor:
        mean, deviation = pixels.mean(dim=(2, 3), keepdim=True), pixels.std(dim=(2, 3), keepdim=True)
        return mean + deviation * torch.stack([self._draw(image) for image in pixels])

    def _draw(self, image: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seed_of(image, self.seed))
        return torch.randn(image.shape, generator=generator).to(image)


@dataclass(frozen=True)
class Inpaint(Fill):
    """Noisy linear imputation: each removed pixel is the weighted mean of its eight neighbours, plus noise.

    The direct neighbours weigh 1/6 each, the diagonal ones 1/12; at the picture's edge the weights
    that are there are scaled to sum to 1. The removed pixels solve one sparse linear system, so a
    hole closes smoothly and its outline tells nothing of its content (Rong et al. 2022, "A
    consistent and efficient evaluation strategy for attribution methods", ROAD, section 4.2).

    Attributes:
        noise: standard deviation of the Gaussian noise on removed pixels, prepared units; 0.01 as
            in the paper.
        seed: seed of the noise, joined with the image.
    """

    name: ClassVar[str] = "inpaint"
    noise: float = 0.01
    seed: int = 0

    def background(self, pixels: Tensor) -> Tensor:
        """With nothing kept there is nothing to interpolate from: the mean colour, as in `Mean`."""
        return Mean().background(pixels)

    def __call__(self, pixels: Tensor, kept: Tensor, background: Tensor | None = None) -> Tensor:
        """Removed pixels (kept < 0.5) solved from their surroundings; kept ones unchanged."""
        check_mask(pixels, kept)
        removed = (kept < 0.5).expand(len(pixels), -1, -1, -1)[:, 0]
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # the solver lets go of the interpreter
            return torch.stack(list(pool.map(self._filled, pixels, removed)))

    def _filled(self, image: Tensor, holes: Tensor) -> Tensor:
        if bool(holes.all()):
            return self.background(image[None])[0]
        if not bool(holes.any()):
            return image
        result = image.clone()
        solved = torch.from_numpy(_interpolate(image.detach().cpu().double().numpy(), holes.cpu().numpy())).to(image)
        generator = torch.Generator().manual_seed(seed_of(image, self.seed))
        result[:, holes] = solved + self.noise * torch.randn(solved.shape, generator=generator).to(image)
        return result


def _interpolate(image: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """Solve the holes (H, W) of an image (3, H, W) → values (3, n) in row-major order of the holes.

    One row per hole, Σ w·x_hole − Σ w·x_neighbour = 0 with neighbours outside the picture left out;
    known neighbours move to the right side. Assembled at once for all holes and neighbours.
    """
    sparse, solver = import_optional("scipy.sparse", "evaluate"), import_optional("scipy.sparse.linalg", "evaluate")
    rows, columns = np.nonzero(holes)
    count = len(rows)
    number = np.full(holes.shape, -1)
    number[rows, columns] = np.arange(count)
    diagonal = np.zeros(count)
    right_side = np.zeros((count, len(image)))
    entries: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for down, across in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
        weight = 1 / 6 if down == 0 or across == 0 else 1 / 12
        y, x = rows + down, columns + across
        inside = np.flatnonzero((y >= 0) & (y < holes.shape[0]) & (x >= 0) & (x < holes.shape[1]))
        diagonal[inside] += weight
        neighbour = number[y[inside], x[inside]]
        unknown, known = inside[neighbour >= 0], inside[neighbour < 0]
        entries.append((unknown, neighbour[neighbour >= 0], np.full(len(unknown), -weight)))
        right_side[known] += weight * image[:, y[known], x[known]].T
    entries.append((np.arange(count), np.arange(count), diagonal))
    i, j, values = (np.concatenate(part) for part in zip(*entries, strict=True))
    matrix = sparse.csc_matrix((values, (i, j)), shape=(count, count))
    factors = solver.splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    return np.ascontiguousarray(factors.solve(right_side).T)


def _convolve_along(pixels: Tensor, kernel: Tensor, axis: int) -> Tensor:
    """Convolve (B, 3, H, W) with a 1-D kernel along axis 2 or 3, edges mirrored, in float32."""
    channels, radius = pixels.shape[1], len(kernel) // 2
    index = torch.arange(-radius, pixels.shape[axis] + radius, device=pixels.device)
    period = max(1, 2 * (pixels.shape[axis] - 1))
    index = index.remainder(period)
    mirrored = torch.minimum(index, period - index).clamp(max=pixels.shape[axis] - 1)
    extended = pixels.float().index_select(axis, mirrored)
    shape = (channels, 1, len(kernel), 1) if axis == 2 else (channels, 1, 1, len(kernel))
    weights = kernel.view(1, 1, *shape[2:]).expand(shape)
    return functional.conv2d(extended, weights, groups=channels).to(pixels.dtype)


def check_mask(pixels: Tensor, kept: Tensor) -> None:
    """Refuse a mask that is not (B or 1, 1, H, W) over the pixels."""
    if (
        kept.dim() != 4
        or kept.shape[1] != 1
        or kept.shape[0] not in (1, len(pixels))
        or kept.shape[2:] != pixels.shape[2:]
    ):
        raise PixelsError(
            "the mask does not fit the pixels",
            came=f"{tuple(kept.shape)}",
            expected=f"({len(pixels)} or 1, 1, {pixels.shape[2]}, {pixels.shape[3]})",
        )
