"""BR-NPA's pooling (arXiv 2106.02566): the most active places of a feature map, each with all that resembles it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from regard.attention.choosing import Select, chosen
from regard.attention.places import NEGLIGIBLE, OnNaN, Places, first
from regard.attention.pooled import Pooled
from regard.attention.settings import is_number
from regard.errors import LayerError, UnsupportedError

Weights = Literal["sum", "softmax"]
Negative = Literal["clamp", "signed", "error"]

SETTINGS = ("count", "select", "refine", "weights", "temperature", "negative", "detach")
"""Of `RepresentativePooling`."""

EVEN = 0.1
"""Standard deviation of norms, as a share of their mean, below which the most active place is an accident."""


@dataclass(frozen=True)
class Representatives(Pooled):
    """What `representative_pooling` found, in the order in which it was found: rank 1 first.

    Attributes:
        vectors: (B, K, C), the pooled vectors v_k, of the features' type.
        maps: (B, K, h, w), of tokens (B, K, N): the weights a_k, which sum to 1. They say what is alike, not how
            active it is: to be looked at, they are multiplied by `norms`.
        valid: (B, K) bool: something of the place was left that no earlier rank had explained, and its weights are
            similarities; where not, a vector tells nothing new.
        norms: (B, h, w), of tokens (B, N): ‖f_p‖.
        indices: (B, K) int64, the places i_k in row-major order.
        scores: (B, K), the selection's score of each place; with "norm" what was left of its norm, which no later
            rank exceeds.

    Maps, scores and norms are float32, of float64 features float64. Scores carry no gradient.
    """

    indices: Tensor
    scores: Tensor


def representative_pooling(
    features: Tensor,
    count: int = 3,
    *,
    select: Select = "norm",
    refine: bool = True,
    weights: Weights = "sum",
    temperature: float = 1.0,
    negative: Negative = "clamp",
    detach: bool = False,
    mask: Tensor | None = None,
    seeds: Sequence[int] | None = None,
    on_nan: OnNaN = "error",
) -> Representatives:
    """Pool features around K places, without a parameter.

        s_1 = ‖f‖;   for k = 1 … K:
            i_k = argmax s_k,   r_k = f at i_k
            σ_k = cosine( f, r_k ),   a_k = σ_k / Σ σ_k,   v_k = Σ_p a_k f_p
            s_{k+1} = s_k · (1 − σ_k), between 0 and 1

    A place of a norm at most `NEGLIGIBLE` times the picture's largest is as one of zero: it resembles nothing and has
    no weight ("softmax" gives it that of a similarity of 0) and no gradient, in place of the paper's 1e-5 added to
    every norm. Where nothing is left of any place, or the place taken is zero, weights are as computed, uniform where
    they cannot be, and `valid` is False. Gradients flow through similarities and features, not through the choice of
    places. Ties are taken in row-major order.

    Sums are in float32 at least, also under autocast. Features are copied only where they must be cast; K + 2 times
    they are gone through, of which 3 are recorded for gradients.

    Args:
        features: (B, C, h, w) or tokens (B, N, C); of a transformer before its last norm (see `norm_variation`).
        count: K; published 3. It may exceed the number of places: the rest is not valid.
        select: "norm", as above; "random", the published ablation: scores drawn from U(0, 1) anew in every round; or a
            function of features (B, N, C), what is left of each place's norm s_k (B, N) and the rank, from 0, which
            gives finite scores (B, N).
        refine: False for v_k = r_k, the published ablation; the maps are the same.
        weights: "sum", as above; "softmax": a_k = softmax( σ_k / temperature ) over all places.
        temperature: of "softmax" alone: towards 0 the representative alone is left, towards infinity the mean.
        negative: what a cosine below zero counts, which features after a ReLU never have. "clamp": nothing.
            "signed": its own value, as published; weights may then be negative and, where similarities all but
            cancel, far above 1. "error": negative features are refused.
        detach: True to hold r_k constant in the similarities: their gradient then flows through f_p alone.
        mask: (B, h, w) or (B, N) bool, True where a place counts; all others have no weight. Default: all.
        seeds: of "random" alone, and needed there: one for each picture, whose draw depends on nothing else.
        on_nan: what NaN, infinity or a norm beyond float32 does: "error" names its place; "propagate" makes all vectors
            of that picture NaN, as it is inside a network, whose caller knows what to do.

    Returns:
        `Representatives`. A picture's does not depend on the others of its batch.

    Raises:
        LayerError: features or mask of another form, a picture of which no place counts, or, for "error", negative
            features; with the place.
        NotFiniteError: for "error" NaN, infinity or a norm beyond float32, with the place, also where the mask hides
            it; scores of a function. What is traced or compiled knows no values and refuses none.
        UnsupportedError: a setting that there is not.
    """
    _check_settings(count, select, weights, temperature, negative, on_nan)
    with torch.autocast(features.device.type, enabled=False):
        places = Places.of(features, mask, on_nan)
        if negative == "error":
            _check_sign(features)
        indices, scores, anything = chosen(places, count, select, seeds)
        units = places.units(indices)
        similarities = places.similarities(units.detach() if detach else units)
        if negative == "clamp":
            similarities = similarities.clamp(min=0)
        maps, usable = _weighted(similarities, places.inside[:, None], weights, temperature)
        vectors = places.weighted(maps) if refine else places.at(indices)
        vectors = vectors.where(places.finite[:, None, None], torch.nan)
    grid = features.shape[2:] if features.dim() == 4 else features.shape[1:2]
    return Representatives(
        vectors=vectors.to(features.dtype),
        maps=maps.unflatten(2, grid),
        valid=anything & usable,
        norms=places.norms.unflatten(1, grid),
        indices=indices,
        scores=scores,
    )


class RepresentativePooling(nn.Module):
    """`representative_pooling` with its settings kept, all of them but mask, seeds and on_nan.

    forward(features, mask=None, seeds=None, on_nan="error") → `Representatives`

    Args:
        count: K.

    Raises:
        UnsupportedError: a setting that there is not.
    """

    def __init__(
        self,
        count: int = 3,
        *,
        select: Select = "norm",
        refine: bool = True,
        weights: Weights = "sum",
        temperature: float = 1.0,
        negative: Negative = "clamp",
        detach: bool = False,
    ) -> None:
        super().__init__()
        _check_settings(count, select, weights, temperature, negative)
        self.count, self.select, self.refine, self.weights = count, select, refine, weights
        self.temperature, self.negative, self.detach = temperature, negative, detach

    def forward(
        self,
        features: Tensor,
        mask: Tensor | None = None,
        seeds: Sequence[int] | None = None,
        on_nan: OnNaN = "error",
    ) -> Representatives:
        return representative_pooling(
            features,
            self.count,
            select=self.select,
            refine=self.refine,
            weights=self.weights,
            temperature=self.temperature,
            negative=self.negative,
            detach=self.detach,
            mask=mask,
            seeds=seeds,
            on_nan=on_nan,
        )

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in SETTINGS)


def norm_variation(features: Tensor, mask: Tensor | None = None) -> Tensor:
    """How much activity differs between the places of each picture: standard deviation of ‖f_p‖ over their mean.

    Warns where it is below `EVEN`, 0.1, on average over the pictures: the order of places is then an accident. So it is
    behind a transformer's last norm, which makes tokens equally long.

    Args:
        features: (B, C, h, w) or (B, N, C).
        mask: as of `representative_pooling`.

    Returns:
        (B,), float32 at least; 0 of a picture of zeros.

    Raises:
        LayerError, NotFiniteError: as `representative_pooling`.
    """
    with torch.autocast(features.device.type, enabled=False):
        places = Places.of(features.detach(), mask)
    norms, inside = places.norms, places.inside
    counted = inside.sum(dim=1)
    mean = norms.where(inside, 0).sum(dim=1) / counted
    spread = ((norms - mean[:, None]).where(inside, 0).square().sum(dim=1) / counted).sqrt()
    variation = spread / torch.where(mean > 0, mean, 1)
    if len(variation) and variation.mean() < EVEN:
        warnings.warn(
            f"all places are about equally active (norms vary by {float(variation.mean()):.3f} of their mean, below "
            f"{EVEN}): which ones represent the picture is an accident. Of a transformer, read the last block's output "
            "before the final norm",
            stacklevel=2,
        )
    return variation


def _weighted(similarities: Tensor, inside: Tensor, weights: Weights, temperature: float) -> tuple[Tensor, Tensor]:
    """Weights (B, K, N) which sum to 1, and whether they are similarities (B, K): where those cancel, they are even."""
    if weights == "softmax":
        maps = (similarities / temperature).masked_fill(~inside, -math.inf).softmax(dim=2)
        return maps, torch.ones_like(maps[..., 0], dtype=torch.bool)
    total = similarities.sum(dim=2, keepdim=True)
    usable = total.abs() > NEGLIGIBLE * similarities.abs().sum(dim=2, keepdim=True)
    even = inside / inside.sum(dim=2, keepdim=True).to(total)
    return torch.where(usable, similarities / total.where(usable, 1), even), usable[..., 0]


def _check_settings(
    count: int, select: Select, weights: str, temperature: float, negative: str, on_nan: str = "error"
) -> None:
    if type(count) is not int or count < 1:
        raise UnsupportedError("the number of representatives is a whole number", came=repr(count), expected="1, 2, …")
    if select not in ("norm", "random") and not callable(select):
        raise UnsupportedError("no such selection", came=repr(select), expected="norm, random or a function")
    words = (("weights", weights, Weights), ("negative", negative, Negative), ("on_nan", on_nan, OnNaN))
    for name, value, known in words:
        if value not in get_args(known):
            raise UnsupportedError(f"no such {name}", came=repr(value), expected=", ".join(get_args(known)))
    if not (is_number(temperature) and temperature > 0):
        raise UnsupportedError("a temperature is a number above zero", came=repr(temperature))


def _check_sign(features: Tensor) -> None:
    if not torch.compiler.is_compiling() and (features < 0).any():
        raise LayerError(
            "the features are negative somewhere",
            came=first(features < 0),
            remedy='negative="clamp" counts opposite directions as unrelated',
        )
