"""Maps by regard and by its peers: the same network, layer or windows, target and picture."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from peers_curves import Sides, classifier_of, photos
from torch import Tensor

import regard
from regard.compat import import_optional
from regard.explainers.rise import Masks, enlarging

FRAME = 224
WINDOW, STRIDE = 32, 16
SAMPLES, CELLS = 1000, 7
MASKS, EVERY = 20, 100
"""Masks of a chunk, and of how many one is looked at."""


def score_cam(network: str, pictures: int) -> Sides:
    return by_grad_cam(network, pictures, regard.ScoreCAM, "ScoreCAM")


def ablation_cam(network: str, pictures: int) -> Sides:
    return by_grad_cam(network, pictures, regard.AblationCAM, "AblationCAM")


def by_grad_cam(network: str, pictures: int, kind: Callable[..., regard.Explainer], peer: str) -> Sides:
    """Maps of the predicted classes, as pytorch-grad-cam scales and enlarges its own, (B, H, W)."""
    there = import_optional("pytorch_grad_cam", "baselines")
    targets_of = import_optional("pytorch_grad_cam.utils.model_targets", "baselines")
    scaled = import_optional("pytorch_grad_cam.utils.image", "baselines").scale_cam_image
    classifier = classifier_of(network, FRAME)
    pixels = classifier.prepare(photos(pictures))
    plain, explainer = pixels.as_subclass(Tensor), kind(classifier)
    classes = classifier.forward(plain).argmax(dim=1).tolist()
    layer = classifier.network.get_submodule(str(explainer.settings["layer"]))

    def by_peer() -> Tensor:
        targets = [targets_of.ClassifierOutputTarget(index) for index in classes]
        with (
            contextlib.redirect_stderr(io.StringIO()),  # their progress bar
            getattr(there, peer)(model=classifier.network, target_layers=[layer]) as method,
        ):
            return torch.from_numpy(method(plain, targets))

    def by_regard() -> Tensor:
        maps = explainer(pixels, regard.PerImage([[index] for index in classes])).maps[:, 0]
        return torch.from_numpy(scaled(maps.numpy(), (FRAME, FRAME)))

    return {"regard": by_regard, "pytorch-grad-cam": by_peer}


def occlusion(network: str, pictures: int) -> Sides:
    """Logit of class 0 behind windows of 32 pixels, 16 apart, (B, H, W)."""
    peer = import_optional("captum.attr", "baselines")
    classifier = classifier_of(network, FRAME)
    pixels = classifier.prepare(photos(pictures))
    plain, own = pixels.as_subclass(Tensor), regard.Occlusion(classifier, window=WINDOW, stride=STRIDE)
    theirs = peer.Occlusion(classifier.network)
    classifier.forward(plain[:1])  # what a first pass takes belongs to neither

    def by_captum(at_once: int) -> Tensor:
        with torch.no_grad():
            found: Tensor = theirs.attribute(
                plain,
                target=0,
                sliding_window_shapes=(3, WINDOW, WINDOW),
                strides=(3, STRIDE, STRIDE),
                perturbations_per_eval=at_once,
            )
        return found[:, 0]

    return {
        "regard": lambda: own(pixels, 0).to_pixels((FRAME, FRAME), mode="nearest")[:, 0],
        "captum, a window a pass": lambda: by_captum(1),
        "captum, 16 windows a pass": lambda: by_captum(16),
    }


def rise_masks(samples: int = SAMPLES) -> Sides:
    """Masks of RISE, made in chunks and dropped, as they are used; of every hundredth the pixels, (n, H, W)."""
    resize = import_optional("skimage.transform", "baselines").resize
    draw = torch.Generator().manual_seed(0)
    step = -(-FRAME // CELLS)
    grids = (torch.rand(samples, CELLS, CELLS, generator=draw) < 0.5).float()
    shifts = torch.randint(step, (samples, 2), generator=draw)
    masks = Masks(grids, shifts, enlarging(CELLS, FRAME), enlarging(CELLS, FRAME))
    larger = ((CELLS + 1) * step,) * 2

    def one_by_one(enlarged: Callable[[Tensor], Tensor]) -> Tensor:
        kept = []
        for number, (grid, (down, across)) in enumerate(zip(grids, shifts.tolist(), strict=True)):
            mask = enlarged(grid)[down : down + FRAME, across : across + FRAME]
            if number % EVERY == 0:
                kept.append(mask.clone())
        return torch.stack(kept)

    def by_interpolate(grid: Tensor) -> Tensor:
        return functional.interpolate(grid[None, None], larger, mode="bilinear", align_corners=False)[0, 0]

    def by_resize(grid: Tensor) -> Tensor:
        return torch.from_numpy(resize(grid.numpy(), larger, order=1, mode="edge", anti_aliasing=False))

    return {
        "regard": lambda: torch.cat(
            [masks.made(part)[part % EVERY == 0, 0] for part in torch.arange(samples).split(MASKS)]
        ),
        "interpolate and crop, a mask at a time": lambda: one_by_one(by_interpolate),
        "skimage's resize and crop, a mask at a time": lambda: one_by_one(by_resize),
    }


def correlation(found: Tensor, expected: Tensor) -> float:
    """Pearson's, over all values."""
    return float(np.corrcoef(_flat(found), _flat(expected))[0, 1])


def _flat(values: Any) -> np.ndarray:
    return np.asarray(values, dtype=np.float64).ravel()
