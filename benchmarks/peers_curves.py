"""Curves by regard and by its peers: the same pictures, order, fill and steps, so the same values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import regard
from regard.compat import import_optional
from regard.fills import Inpaint, training_mean
from regard.metrics import curves
from regard.metrics.ranking import ranks
from regard.models import passes

Sides = dict[str, Callable[[], Tensor | None]]
"""What is timed side by side, regard first; each returns what should be equal, and NaN where it has no value."""
NETWORKS = {
    "EfficientNet-Lite0": ("regard:efficientnet-lite0", {}),
    "ResNet-18, random weights": ("torchvision:resnet18", {"pretrained": False}),
    "ViT-S/16": ("regard:vit-small", {}),
}
CHURCHES = ("church-3", "french-horn-4", "parachute-1", "church-5")
"""Photos of what the ViT-S/16 knows, ten classes."""
PHOTOS = ("bagel", "gondola", "harp", "indian-elephant", "pickup", "bell-cote", "book-jacket", "crock-pot")
FRAME, STEPS = 240, 30
"""57,600 pixels, 1,920 a step. Quantus counts the channels of a pixel apart and takes steps of so many features that
divide H·W: whole pixels need a frame and steps that 3 divides. Percentiles of ROAD are whole pixels here, too."""
LEVELS = 10
HALF_STEPS, HALF_FRAME = 10, 224
TORCHCAM_BATCH = 32


@dataclass(frozen=True)
class Judged:
    """Pictures and the order in which their places are removed, without ties: maps are −rank, a value a pixel."""

    classifier: regard.Classifier
    pixels: Tensor
    explanation: regard.Explanation

    @property
    def network(self) -> nn.Module:
        return self.classifier.network

    @property
    def plain(self) -> Tensor:
        return self.pixels.as_subclass(Tensor)

    @property
    def classes(self) -> list[int]:
        return [row[0].index or 0 for row in self.explanation.targets]


def classifier_of(network: str, frame: int, **arguments: object) -> regard.Classifier:
    """A network at a frame of our choice; peers get its module, convolutions in regard's layout of memory."""
    name, given = NETWORKS[network]
    torch.manual_seed(0)
    loaded = regard.load(name, **given, **arguments)
    loaded.network.requires_grad_(False)
    preparation = replace(loaded.preparation, size=frame)
    return regard.Classifier(loaded.network, preparation, name=name, precision=loaded.precision)


def photos(count: int, names: Sequence[str] = PHOTOS) -> list[Path]:
    found = {photo.path.stem: photo.path for photo in import_optional("regard_embedded", "embedded").photos()}
    return [found[name] for name in names[:count]]


def judged(classifier: regard.Classifier, paths: Sequence[Path]) -> Judged:
    pixels = classifier.prepare(paths)
    explained = regard.GradCAM(classifier)(pixels)
    return Judged(classifier, pixels, ordered(explained, pixels))


def ordered(explained: regard.Explanation, pixels: Tensor) -> regard.Explanation:
    """The explanation with maps that give every pixel a rank of its own: whole numbers, exact in float32."""
    size = (pixels.shape[2], pixels.shape[3])
    order = ranks(explained.to_pixels(size, mode="bilinear"), pixels.as_subclass(Tensor))
    return replace(explained, maps=-order.float().unflatten(2, size))


def both(network: str, pictures: int) -> Sides:
    """Insertion and deletion, (B, 2, S+1): the least relevant removed first, then the most relevant."""
    given = judged(classifier_of(network, FRAME), photos(pictures))

    def by_regard() -> Tensor:
        found = curves(given.classifier, given.pixels, given.explanation, fill=training_mean(3), steps=STEPS)
        return torch.stack([found.least_first[:, 0], found.deletion[:, 0]], dim=1)

    return {
        "regard": by_regard,
        "as many forwards, in regard's chunks": lambda: forwards(given),
        "torch-cam": lambda: by_torchcam(given, STEPS),
        "Quantus, once for each curve": lambda: by_quantus(given, STEPS),
    }


def forwards(given: Judged) -> None:
    """2 S plain forwards a picture and nothing else."""
    size, left = passes.chunk_size(given.classifier, given.plain[:1]), 2 * STEPS * len(given.plain)
    with torch.no_grad():
        while left:
            chunk = min(size, left)
            given.classifier.forward(given.plain[torch.arange(chunk) % len(given.plain)])
            left -= chunk


class Mapped:
    """What torch-cam's metric asks of its extractor, for maps that are there already."""

    def __init__(self, given: Judged) -> None:
        self.model, self.maps = given.network, given.explanation.maps[:, 0]

    def __call__(self, *_: Any, **__: Any) -> list[Tensor]:
        return [self.maps]

    def fuse_cams(self, maps: list[Tensor]) -> Tensor:
        return maps[0]

    def _hooks_off(self) -> Any:
        return torch.no_grad()


def by_torchcam(given: Judged, steps: int, answer: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    metrics = import_optional("torchcam.metrics", "baselines")
    kept = []

    class Keeping(metrics.DeletionInsertionMetric):
        """Also tells the curves, of which the metric itself keeps the mean areas."""

        def _compute_curves(self, *materials: Any) -> Any:
            kept.append(super()._compute_curves(*materials))
            return kept[-1]

    metric = Keeping(Mapped(given), answer or softmax, steps=steps, batch_size=TORCHCAM_BATCH)
    with torch.no_grad():
        metric.update(given.plain, given.classes)
    _, deletion, insertion = kept[0]
    return torch.stack([insertion.flip(1), deletion], dim=1)


def by_quantus(given: Judged, steps: int, *, probabilities: bool = True) -> Tensor:
    """Channels of a pixel follow each other: attributions are −(3·rank + channel), whole numbers below 2²⁴."""
    quantus = import_optional("quantus", "baselines")
    channels, places = given.plain.shape[1], given.plain[0, 0].numel()
    metric = quantus.PixelFlipping(
        features_in_step=channels * places // steps,
        abs=False,
        normalise=False,
        perturb_baseline=0.0,
        disable_warnings=True,
    )
    order = -given.explanation.maps.numpy()
    both_orders = [
        metric(
            model=given.network,
            x_batch=given.plain.numpy(),
            y_batch=np.array(given.classes),
            a_batch=-(channels * ranked + np.arange(channels, dtype=np.float32)[:, None, None]),
            channel_first=True,
            softmax=probabilities,
            device="cpu",
        )
        for ranked in (places - 1 - order, order)
    ]
    found = torch.tensor(np.array(both_orders)).transpose(0, 1)
    return torch.cat([torch.full_like(found[:, :, :1], torch.nan), found], dim=2)


def softmax(logits: Tensor) -> Tensor:
    return logits.softmax(dim=1)


def road(network: str, pictures: int) -> Sides:
    """The least and the most relevant 10 … 90 % removed and interpolated without noise, (B, 2, 9)."""
    given = judged(classifier_of(network, FRAME), photos(pictures))

    def by_regard() -> Tensor:
        found = curves(given.classifier, given.pixels, given.explanation, steps=LEVELS, fill=Inpaint(noise=0))
        return torch.stack([found.least_first[:, 0, 1:-1], found.deletion[:, 0, 1:-1]], dim=1)

    return {"regard": by_regard, "pytorch-grad-cam": lambda: road_by_grad_cam(given)}


def road_by_grad_cam(given: Judged) -> Tensor:
    """Their percentile is what stays. Maps lie in [0, 1], since they take 1 − map for the other order."""
    there = import_optional("pytorch_grad_cam.metrics.road", "baselines")
    targets_of = import_optional("pytorch_grad_cam.utils.model_targets", "baselines")
    targets = [targets_of.ClassifierOutputSoftmaxTarget(index) for index in given.classes]
    maps = 1 + given.explanation.maps[:, 0] / (given.plain[0, 0].numel() - 1)
    imputer = there.NoisyLinearImputer(noise=0)
    found = [
        [
            there.PerturbationConfidenceMetric(removed(percentile, imputer))(
                given.plain, maps.numpy(), targets, given.network, return_diff=False
            )
            for percentile in range(90, 0, -LEVELS)
        ]
        for removed in (there.RemoveLeastRelevantFirst, there.RemoveMostRelevantFirst)
    ]
    return torch.tensor(np.array(found)).permute(2, 0, 1)


class Weighted(nn.Module):
    """One answer, Σ w·x with small whole numbers for weights: every sum is exact in float32."""

    def __init__(self, size: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.weights = nn.Parameter(torch.randint(-8, 9, (3, size, size), generator=draw).float())

    def forward(self, pixels: Tensor) -> Tensor:
        return (pixels * self.weights).sum(dim=(1, 2, 3))[:, None]


def exact(pictures: int) -> Sides:
    """Pictures of 6×6 small whole numbers and a network that adds them up: the curves must be equal, not near."""
    size, steps = 6, 6
    network = Weighted(size).requires_grad_(False).eval()
    classifier = regard.Classifier(network, regard.Preparation(size=size), outputs="scalar")
    pixels = classifier.prepare(
        torch.randint(-4, 5, (pictures, 3, size, size), generator=torch.Generator().manual_seed(1)).float()
    )
    given = Judged(classifier, pixels, ordered(regard.Random(classifier)(pixels, 0), pixels))

    def by_regard() -> Tensor:
        found = curves(classifier, pixels, given.explanation, fill=training_mean(3), steps=steps, targets=0)
        return torch.stack([found.least_first[:, 0], found.deletion[:, 0]], dim=1)

    return {
        "regard": by_regard,
        "torch-cam": lambda: by_torchcam(given, steps, lambda output: output),
        "Quantus, once for each curve": lambda: by_quantus(given, steps, probabilities=False),
    }


def half_precision(network: str, paths: Sequence[Path]) -> dict[str, Tensor]:
    """|ΔAUC| to float32, on the same order and classes, of insertion and deletion (B, 2), by how bfloat16 is had."""
    given = judged(classifier_of(network, HALF_FRAME), paths)
    ways = {
        "float32": given.classifier,
        "weights converted, as `load` does": classifier_of(network, HALF_FRAME, precision="bfloat16"),
        "autocast, as of a network of one's own": regard.Classifier(
            given.network, given.classifier.preparation, precision="bfloat16"
        ),
    }
    areas = {}
    for way, classifier in ways.items():
        explanation = replace(given.explanation, classifier_hash=classifier.hash)
        found = curves(classifier, given.plain, explanation, steps=HALF_STEPS)
        areas[way] = torch.stack([found.area("insertion")[:, 0], found.area("deletion")[:, 0]], dim=1)
    exact_areas = areas.pop("float32")
    return {way: (found - exact_areas).abs() for way, found in areas.items()}
