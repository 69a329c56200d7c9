"""Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from regard.explainers.explainer import Explainer, Found
from regard.explainers.gradients import detached, of_targets
from regard.models.classifier import Classifier
from regard.models.convolutional import feature_map, last_feature_map
from regard.models.taps import Place, differentiable_from
from regard.question import Question


class GradCAM(Explainer):
    """Feature maps of a convolutional layer, weighed by the target's mean gradient, positive part.

        L = relu( Σ_k α_k A_k ),   α_k = mean over the grid of ∂f / ∂A_k       (paper, equations 1 and 2)

    Raw: neither divided by its maximum nor enlarged. An all-zero map means that every cell speaks
    against the target at this layer.

    Args:
        classifier: of a convolutional network.
        layer: dotted path of the layer whose output is weighed; default the last that keeps a grid.

    Cost: one forward; per target one backward from the output to that layer.

    Raises:
        UnsupportedError: no layer keeps a grid to the end, as in transformers.
        LayerError: the named layer does not exist, or its output is no grid.
    """

    name: ClassVar[str] = "grad-cam"
    summary: ClassVar[str] = "last feature maps weighed by the target's mean gradient, positive part"
    networks: ClassVar[str] = "convolutional networks"

    def __init__(self, classifier: Classifier, *, layer: str | None = None) -> None:
        super().__init__(classifier)
        chosen = last_feature_map(classifier) if layer is None else feature_map(classifier, layer)
        self.layer = chosen.layer
        self.keeps_all = layer is not None  # one chosen by hand may be early; from the last on there is little to keep
        self.settings = {"layer": self.layer}

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        place = Place(self.layer, "output")
        leaf, output = differentiable_from(self.classifier.module, place, lambda: self.classifier.respond(pixels))
        features = leaf.detach().float()
        maps = [
            torch.einsum("tbk,bkhw->bthw", chunk.float().mean(dim=(3, 4)), features).relu()
            for chunk in of_targets(output, leaf, question.cotangents(output))
        ]
        return Found(torch.cat(maps, dim=1), detached(output))
