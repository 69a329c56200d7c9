"""Whether a rank can mean anything: how much places differ in activity, and how alike what ranks hold is."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import torch
from study_brnpa_cases import LITE, NO_REFINING, ON_VIT, STUDENT, TEACHER, VIT, Study
from study_brnpa_crossed import crossed, in_numbers, in_percent, line, table, values_of
from study_brnpa_measures import BATCH, Columns, examined
from torch import Tensor
from torch.nn import functional

import regard
from regard.attention.representative import EVEN, Representatives, norm_variation
from regard.models.brnpa import BRNPAClassifier

LOOKED = (TEACHER, STUDENT, NO_REFINING, ON_VIT[TEACHER], ON_VIT[STUDENT])
UNTRAINED: Mapping[str, tuple[str, str | None]] = {
    "EfficientNet-Lite0 as it is shipped": (LITE, None),
    "ViT-S as it is shipped": (VIT, None),
    "ViT-S as it is shipped, behind its last norm": (VIT, "norm"),
}
"""Classifier, and the layer that is pooled where it is not the usual one."""
VARIATION, ALIKE, OVERLAP = FIGURES = ("variation of norms", "cosine of vectors", "overlap of weights")


def activity(study: Study, case: str, of: str, seed: int) -> Columns:
    """Of each photo the variation of its places' norms; over pairs of ranks the mean cosine of their vectors.

    And the mean overlap of their weights, Σ_p √(a_k a_l): 1 where two ranks weigh all places alike, 0 where none
    has weight in both (Bhattacharyya's coefficient).
    """
    network = _untrained(*UNTRAINED[case]) if case in UNTRAINED else study.network(case, of, seed)
    files, _, _ = examined(study, of, seed, TEACHER)
    found: defaultdict[str, list[float]] = defaultdict(list)
    for start in range(0, len(files), BATCH):
        pixels = network.prepare(files[start : start + BATCH])
        with network.untouched(), torch.no_grad():
            features = network.network.read(pixels)
            pooled, _ = network.represent(pixels)
        assert isinstance(pooled, Representatives)
        # a picture by itself: of several, the mean variation is warned of
        found[VARIATION] += torch.cat([norm_variation(one[None]) for one in features]).tolist()
        found[ALIKE] += alike(pooled.vectors).tolist()
        found[OVERLAP] += overlap(pooled.maps.flatten(2)).tolist()
    return dict(found)


def alike(vectors: Tensor) -> Tensor:
    """The mean cosine of every two of vectors (B, K, C), (B,)."""
    return _of_pairs(functional.cosine_similarity(vectors[:, :, None], vectors[:, None], dim=3))


def overlap(weights: Tensor) -> Tensor:
    """The mean of Σ_p √(a_k a_l) over every two of weights (B, K, P), (B,)."""
    roots = weights.clamp_min(0).sqrt()
    return _of_pairs(roots @ roots.mT)


def _of_pairs(values: Tensor) -> Tensor:
    """The mean over k < l of values (B, K, K)."""
    pairs = [values[:, one, other] for one, other in itertools.combinations(range(values.shape[1]), 2)]
    return torch.stack(pairs).mean(dim=0)


def _untrained(name: str, layer: str | None) -> BRNPAClassifier:
    return BRNPAClassifier(regard.load(name), ["any"], layer=layer)


def activities(study: Study) -> list[str]:
    """A line a network: below 0.1 the toolkit warns that the order of places is an accident."""
    columns = ["network", "photos", "seeds", *FIGURES, f"photos that vary by less than {EVEN}, %"]
    lines = []
    for case in (*LOOKED, *UNTRAINED):
        found = [values_of(study, f"activity of {case}", lambda row, name=name: row[name]) for name in FIGURES]
        if (first := crossed(found[0])).photos:
            even = np.where(np.isnan(found[0]), np.nan, found[0] < EVEN)
            said = (in_numbers(crossed(each)) for each in found)
            lines.append(line(case, first.photos, first.seeds, *said, in_percent(crossed(even))))
    return table("Whether ranks can mean anything", columns, lines)
