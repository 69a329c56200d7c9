"""What maps are worth on photos kept from training: the numbers by which an epoch is chosen."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from regard.explainers.explainer import Explainer
from regard.fills import Fill
from regard.metrics.curves import curves
from regard.metrics.of_curves import AverageDrop, IncreaseInConfidence
from regard.training.readable import BATCH
from regard.training.tame.surveyed import Surveyed

CHOSEN_BY = "average_drop_50"
"""The number that is least in the best epoch."""

_MEASURES = {
    f"{measure.name.replace('-', '_')}_{share:.0%}".rstrip("%"): measure(share)
    for share in (0.5, 0.15)
    for measure in (AverageDrop, IncreaseInConfidence)
}


def held_out_figures(explainer: Explainer, photos: Surveyed, fill: Fill) -> Mapping[str, float]:
    """Means over photos of their own classes' maps: average drop and increase in confidence, and the mask's size.

    Binary retention: the top half, and the top 15 %, of pixels by rank, with the same fill as in training. `own_mask`
    is the mean of σ(map).

    Args:
        explainer: of raw maps whose sigmoid is the mask.
        photos: kept from training.
        fill: what hidden pixels become.

    Cost: 5 forwards a photo, 4 of them of masked pictures or the fill.
    """
    found: dict[str, list[torch.Tensor]] = {name: [] for name in (*_MEASURES, "own_mask")}
    for start in range(0, len(photos.photos), BATCH):
        pixels = explainer.classifier.prepare(photos.photos[start : start + BATCH])
        explanation = explainer(pixels)
        read = curves(explainer.classifier, pixels, explanation, fill=fill, steps=1)
        for name, measure in _MEASURES.items():
            found[name].append(measure.measure(read)[:, 0])
        found["own_mask"].append(explanation.maps[:, 0].sigmoid().mean(dim=(1, 2)).double().cpu())
    return {name: float(torch.cat(values).nanmean()) for name, values in found.items()}
