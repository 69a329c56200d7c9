"""Selective attention: a focus says which segment counts, a classifier answers for what it selects (papers/sdc.md, 1).

    s_i = f(x_i),   α = weights(s),   z = Σ_i α_i h_L(x_i),   logits = g(z)

h_L is what the focus f makes of a segment after its first L children: the segment itself for L = 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from regard.attention.weights import softmax
from regard.errors import UnsupportedError

Prediction = Literal["aggregate", "chosen", "mixture"]
"""What the answer is about: the average of all segments, as soft attention has it; the segment with the largest weight,
as hard attention has it; or all answers to single segments, averaged as probabilities."""


@dataclass(frozen=True, eq=False)
class Selected:
    """What a selective model says of n examples of m segments.

    Attributes:
        logits: (n, C), of the prediction that was asked for; of "mixture" they are logarithms of probabilities.
        weights: α (n, m), 0 where there is no segment.
        scores: s (n, m), −∞ where there is no segment.
        segment_logits: (n, m, C), the answer to each segment by itself; with "mixture" alone. Where there is no
            segment they are of no meaning.
    """

    logits: Tensor
    weights: Tensor
    scores: Tensor
    segment_logits: Tensor | None = None


class SelectiveModel(nn.Module):
    """A focus and a classifier, and how one selects for the other.

    Segments are folded into the batch, so each module runs once for all; what they do to one segment must not depend on
    the others beside it. Batch norm breaks that in training mode alone, and then sees only segments that are there; in
    eval mode it has its running statistics, so that evaluation does not depend on batch mates. A batch norm without
    running statistics is refused.

    Any modules will do. The focus gives (N, 1) or (N,) for N segments (N, …). To average at a later layer it is an
    `nn.Sequential`, whose first L children make h_L.

    Args:
        focus: f.
        classifier: g, from (N, …) as h_L has it to logits (N, C).
        weights: scores (n, m), −∞ where there is no segment, to weights (n, m); a module may learn, or differ in eval.
        layer: L.
        prediction: what is answered unless something else is asked for.

    Raises:
        UnsupportedError: a layer that the focus does not have, another prediction, or a batch norm as above.
    """

    def __init__(
        self,
        focus: nn.Module,
        classifier: nn.Module,
        *,
        weights: Callable[[Tensor], Tensor] = softmax,
        layer: int = 0,
        prediction: Prediction = "aggregate",
    ) -> None:
        super().__init__()
        _check_layer(focus, layer)
        _check_prediction(prediction)
        self.focus, self.classifier, self.weights = focus, classifier, weights
        self.layer, self.prediction = layer, prediction
        norms = [part for part in self.modules() if isinstance(part, _BatchNorm)]
        if any(norm.running_mean is None for norm in norms):
            raise UnsupportedError(
                "a batch norm without running statistics makes an answer depend on the batch",
                remedy="track_running_stats=True",
            )
        self._normed = bool(norms)

    def forward(self, segments: Tensor, mask: Tensor | None = None, prediction: Prediction | None = None) -> Selected:
        """Select and answer.

        Args:
            segments: (n, m, …).
            mask: bool (n, m), False where there is no segment: what stands there, NaN too, changes nothing. None: all
                are there.
            prediction: None for the model's own.

        Raises:
            UnsupportedError: shapes that do not fit, or a row without a segment: a score of −∞ is none.
            NotFiniteError: a score is NaN or +∞.
        """
        return self.answer(*self.read(segments, mask), mask, prediction)

    def read(self, segments: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Scores (n, m), −∞ where there is no segment, and what is averaged, h_L (n, m, …); as `forward`."""
        _check_segments(segments, mask)
        if mask is not None:
            segments = segments.masked_fill(_beside(~mask, segments), 0)
        features = segments
        if self.layer:
            assert isinstance(self.focus, nn.Sequential)
            features = self._apart(self.focus[: self.layer], segments, mask)
            scores = self._apart(self.focus[self.layer :], features, mask)
        else:
            scores = self._apart(self.focus, segments, mask)
        if scores.numel() != scores.shape[0] * scores.shape[1]:
            raise UnsupportedError(
                "a focus gives one score for each segment",
                came=f"{tuple(scores.shape[2:])} for one",
                expected="(1,) or ()",
            )
        scores = scores.reshape(segments.shape[:2])
        return (scores if mask is None else scores.masked_fill(~mask, -math.inf)), features

    def answer(
        self, scores: Tensor, features: Tensor, mask: Tensor | None = None, prediction: Prediction | None = None
    ) -> Selected:
        """What follows from scores and h_L, as `read` gives them; as `forward`."""
        prediction = self.prediction if prediction is None else prediction
        _check_prediction(prediction)
        weights = self.weights(scores)
        if prediction == "mixture":
            answers = self._apart(self.classifier, features, mask)
            return Selected(mixed(answers, self.log_weights(scores, weights)), weights, scores, answers)
        z = averaged(weights, features) if prediction == "aggregate" else chosen(weights, features)
        return Selected(self.classifier(z), weights, scores)

    def log_weights(self, scores: Tensor, weights: Tensor) -> Tensor:
        """log α (n, m), −∞ where a weight is 0, without a gradient there.

        Those of a softmax come from its scores, and are finite however small a weight is.
        """
        softened = self.weights.func if isinstance(self.weights, partial) else self.weights
        if softened is softmax:
            temperature = self.weights.keywords.get("temperature", 1.0) if isinstance(self.weights, partial) else 1.0
            return (scores / temperature).log_softmax(dim=1)
        there = weights > 0
        return weights.where(there, 1).log().masked_fill(~there, -math.inf)

    def _apart(self, module: nn.Module, inputs: Tensor, mask: Tensor | None) -> Tensor:
        """A module of every segment by itself: (n, m, …) → (n, m, …)."""
        if mask is None or not (self._normed and self.training):
            out: Tensor = module(inputs.flatten(0, 1))
            return out.reshape(*inputs.shape[:2], *out.shape[1:])
        there: Tensor = module(inputs[mask])  # the statistics of a batch are those of its segments
        return there.new_zeros(*mask.shape, *there.shape[1:]).masked_scatter(_beside(mask, there, 1), there)


def averaged(weights: Tensor, features: Tensor) -> Tensor:
    """z = Σ_i α_i h_i: weights (n, m), features (n, m, …) → (n, …)."""
    rows = weights[:, None].to(features.dtype) @ features.flatten(2)
    return rows.reshape(len(features), *features.shape[2:])


def chosen(weights: Tensor, features: Tensor) -> Tensor:
    """h of the segment with the largest weight, of equal ones the first: (n, m), (n, m, …) → (n, …)."""
    return features[torch.arange(len(features), device=features.device), weights.argmax(dim=1)]


def mixed(segment_logits: Tensor, log_weights: Tensor) -> Tensor:
    """log Σ_i α_i softmax(g_i): (n, m, C), log α (n, m) → (n, C), the logarithms of probabilities."""
    return (log_weights[..., None] + segment_logits.log_softmax(dim=2)).logsumexp(dim=1)


def aggregated_shape(focus: nn.Module, shape: tuple[int, ...], layer: int) -> tuple[int, ...]:
    """The shape of what is averaged at a layer: what a classifier for it must take.

    Args:
        focus: as of a `SelectiveModel`; tried on zeros, in eval mode.
        shape: of a segment.
        layer: L.

    Raises:
        UnsupportedError: no such layer, or segments that the focus cannot read.
    """
    _check_layer(focus, layer)
    if not layer:
        return shape
    assert isinstance(focus, nn.Sequential)
    first = focus[:layer]
    modes = [(part, part.training) for part in first.modules()]
    parameter = next(first.parameters(), torch.empty(0))
    try:
        with torch.no_grad():
            return tuple(first.eval()(parameter.new_zeros(1, *shape)).shape[1:])
    except RuntimeError as reason:
        raise UnsupportedError(
            "the focus cannot read these segments", came=f"{shape}: {str(reason).splitlines()[0]}"
        ) from reason
    finally:
        for part, training in modes:
            part.training = training


def _beside(mask: Tensor, values: Tensor, lead: int = 2) -> Tensor:
    """A mask (n, m) that broadcasts over the rest of each segment's values, whose first `lead` dims are of segments."""
    return mask[(...,) + (None,) * (values.dim() - lead)]


def _check_layer(focus: nn.Module, layer: int) -> None:
    if type(layer) is not int or layer < 0:
        raise UnsupportedError("a layer is counted from 0, the segments themselves", came=repr(layer))
    if layer and not (type(focus) is nn.Sequential and layer < len(focus)):
        children = f"{len(focus)} children" if isinstance(focus, nn.Sequential) else type(focus).__name__
        raise UnsupportedError(
            "the focus has no such layer to average at",
            came=f"layer {layer} of {children}",
            expected="an nn.Sequential with more children than that, or layer 0",
        )


def _check_prediction(prediction: str) -> None:
    if prediction not in get_args(Prediction):
        raise UnsupportedError("no such prediction", came=repr(prediction), expected=", ".join(get_args(Prediction)))


def _check_segments(segments: Tensor, mask: Tensor | None) -> None:
    if segments.dim() < 3 or not segments.is_floating_point() or not segments.shape[1]:
        raise UnsupportedError(
            "examples are made of segments",
            came=f"{segments.dtype} {tuple(segments.shape)}",
            expected="floats (n, m, …), m from 1 on",
        )
    if mask is not None and (mask.dtype is not torch.bool or mask.shape != segments.shape[:2]):
        raise UnsupportedError(
            "the mask does not fit the segments",
            came=f"{mask.dtype} {tuple(mask.shape)}",
            expected=f"torch.bool {tuple(segments.shape[:2])}",
        )
