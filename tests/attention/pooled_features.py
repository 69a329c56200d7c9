"""Features to be pooled, and ways to pool them."""

import pytest
import torch

WAYS = {
    "as published": {},
    "no refining": {"refine": False},
    "softmax": {"weights": "softmax", "temperature": 0.3},
    "signs kept": {"negative": "signed"},
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))


def drawn(*shape, seed=0, signed=False):
    features = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return features if signed else features.relu()


def mask_of(*shape, seed=5):
    """At least one place counts."""
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) > 0.4
    mask.flatten(1)[:, 1] = True
    return mask
