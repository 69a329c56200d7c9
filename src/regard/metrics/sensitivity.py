"""How far a map moves when its picture hardly does."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from regard.errors import MetricError, NotFiniteError, PixelsError
from regard.images import Pixels, drawn_as, seed_of
from regard.metrics.maps import check_maps
from regard.seeds import check_seed


def max_sensitivity(
    method: Callable[[Tensor], Tensor], pixels: Tensor, radius: float = 0.02, samples: int = 10, seed: int = 0
) -> Tensor:
    """The largest change of a map under perturbations too small to see (Yeh et al. 2019, "max-sensitivity").

        max over δ of ‖φ(x + δ) − φ(x)‖ / ‖φ(x)‖,   each |δ| ≤ radius · (max x − min x)

    The largest of `samples` uniform draws: a lower bound of the true maximum, higher the more are drawn. Relative to
    the map itself, since maps of different methods have no common unit. A method that draws by `images.seed_of`, as
    SmoothGrad and RISE do, draws for a moved picture what it draws for the picture itself: else new draws would be
    measured, and the figure would not go to 0 with the radius. Steady alone is not good: a map that knows nothing of
    the picture scores 0, and so does `random`, whose map is its draws.

    Args:
        method: pixels (B, 3, H, W) → maps (B, T, h, w), for example `lambda pixels: cdam(pixels, targets).maps`. Name
            the targets, or hold them by `PerImage`: where the likeliest class changes, another map would answer.
        pixels: (B, 3, H, W), prepared.
        radius: half the side of the cube that δ is drawn from, as a share of each picture's own range of values, so
            that it means the same under every preparation; 0.02, about five of 256 grey levels, is captum's.
        samples: draws a picture.
        seed: of the draws, which depend on it and the picture alone.

    Returns:
        (B, T), float64, at least 0; lower is steadier. NaN where the map of the picture itself is all zero.

    Raises:
        MetricError: a radius or number of samples that is none, or a method that gives no maps of these pictures.
        PixelsError: no pictures.
        NotFiniteError: NaN or infinity in the pixels or in a map.

    Cost: `samples` + 1 maps a picture.
    """
    _check(pixels, radius, samples, seed)
    plain = pixels.detach().as_subclass(Tensor)
    reach = radius * (plain.amax(dim=(1, 2, 3), keepdim=True) - plain.amin(dim=(1, 2, 3), keepdim=True))
    generators = [torch.Generator().manual_seed(seed_of(picture, seed)) for picture in plain]
    maps = _maps(method, pixels, None)
    largest = maps.new_zeros(maps.shape[:2])
    for _ in range(samples):
        draws = torch.stack([torch.rand(plain.shape[1:], generator=generator) for generator in generators])
        moved = plain + reach * (2 * draws - 1).to(plain)
        with drawn_as(moved, plain):
            change = _maps(method, _like(pixels, moved), maps.shape) - maps
        largest = largest.maximum(_norm(change))
    return largest / _norm(maps)


def _norm(maps: Tensor) -> Tensor:
    return maps.square().sum(dim=(2, 3)).sqrt()


def _like(pixels: Tensor, values: Tensor) -> Tensor:
    """Values with the geometries and the preparation of pixels that remember theirs."""
    return Pixels.of(values, pixels.geometries, pixels.prepared_by) if isinstance(pixels, Pixels) else values


def _maps(method: Callable[[Tensor], Tensor], pixels: Tensor, expected: torch.Size | None) -> Tensor:
    """What the method gives for the pixels, checked, float64."""
    maps = method(pixels)
    if not isinstance(maps, Tensor) or maps.dim() != 4 or len(maps) != len(pixels):
        came = f"{tuple(maps.shape)}" if isinstance(maps, Tensor) else type(maps).__name__
        raise MetricError(
            "the method does not give one row of maps for each picture",
            came=came,
            expected=f"a tensor ({len(pixels)}, T, h, w)",
            remedy="of an explanation take .maps",
        )
    if expected is not None and maps.shape != expected:
        raise MetricError(
            "the maps of perturbed pictures have another shape",
            came=f"{tuple(maps.shape)}",
            expected=f"{tuple(expected)}, as of the pictures themselves",
        )
    check_maps(maps)
    return maps.detach().double()


def _check(pixels: Tensor, radius: float, samples: int, seed: int) -> None:
    check_seed(seed)
    if not 0 < radius < math.inf:
        raise MetricError("the radius is a share of the picture's range of values", came=repr(radius), expected="> 0")
    if type(samples) is not int or samples < 1:
        raise MetricError("samples are counted", came=repr(samples), expected="a whole number, at least 1")
    if pixels.dim() != 4 or not pixels.is_floating_point() or 0 in pixels.shape:
        raise PixelsError(
            "the pictures are not prepared pixels",
            came=f"{pixels.dtype} {tuple(pixels.shape)}",
            expected="float32 (B, 3, H, W)",
        )
    if not bool(pixels.isfinite().all()):
        image = int((~pixels.isfinite()).nonzero()[0, 0])
        raise NotFiniteError("the pixels hold NaN or infinity", came=f"in image {image}")
