"""Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391), and what all class activation maps share."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from regard.explainers.explainer import Explainer, Found
from regard.explainers.gradients import detached, of_targets
from regard.models.classifier import Classifier
from regard.models.features import features_of
from regard.models.taps import differentiable_from
from regard.question import Question


class OnOneLayer(Explainer):
    """A map made of one layer's feature maps; neither divided by its maximum nor enlarged.

    Args:
        classifier: of a convolutional network, or of a transformer over one grid of tokens.
        layer: dotted path of the layer whose output is read, a grid or tokens. Default: the last grid that carries the
            decision; in a transformer what the last attention reads, or a pool after its blocks.

    Raises:
        UnsupportedError: the network has neither a grid to the end nor tokens on one.
        LayerError: the named layer does not exist, or its output is neither a grid nor tokens.
    """

    networks: ClassVar[str] = "convolutional networks and vision transformers"

    def __init__(self, classifier: Classifier, *, layer: str | None = None) -> None:
        super().__init__(classifier)
        self.features = features_of(classifier, layer)
        self.settings = {"layer": self.features.layer}


class ClassActivation(OnOneLayer):
    """A map made of one layer's feature maps and the target's gradients there; its positive part where not signed."""

    zero_means: ClassVar[str] = "no cell speaks for the target at this layer"

    def __init__(self, classifier: Classifier, *, layer: str | None = None) -> None:
        super().__init__(classifier, layer=layer)
        self.keeps_all = layer is not None  # one chosen by hand may be early; from the last on there is little to keep

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        module = self.classifier.module
        leaf, output = differentiable_from(module, self.features.place, lambda: self.classifier.respond(pixels))
        features = self.features.maps(leaf.detach().float(), pixels)
        parts = [
            self._combined(features, self.features.maps(gradients.float(), pixels))
            for gradients in of_targets(output, leaf, question.cotangents(output))
        ]
        maps = torch.cat(parts).transpose(0, 1)
        return Found(maps if self.signed else maps.relu(), detached(output))

    @abstractmethod
    def _combined(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Feature maps (B, K, h, w) and the gradients of t targets there (t, B, K, h, w) → (t, B, h, w)."""


class GradCAM(ClassActivation):
    """Feature maps weighed by the target's mean gradient, positive part.

        L = relu( Σ_k α_k A_k ),   α_k = mean over the grid of ∂f / ∂A_k       (paper, equations 1 and 2)

    A_k is a channel of the last grid of a convolutional network; of a transformer, a channel of the tokens that
    its last attention reads, patches laid on their grid and prefix tokens left out. Raw: neither divided by its
    maximum nor enlarged. An all-zero map means that every cell speaks against the target at this layer; a note says so.

    Args:
        classifier: of a convolutional network, or of a transformer over one grid of tokens.
        layer: dotted path of the layer whose output is weighed, a grid or tokens. Default: the last grid that carries
            the decision; in a transformer what the last attention reads, since the gradient at the last block's
            patches is zero where the head reads a class token.

    Cost: one forward; per target one backward from the output to that layer.

    Raises:
        UnsupportedError: the network has neither a grid to the end nor tokens on one.
        LayerError: the named layer does not exist, or its output is neither a grid nor tokens.
    """

    name: ClassVar[str] = "grad-cam"
    summary: ClassVar[str] = "last feature maps weighed by the target's mean gradient, positive part"

    def _combined(self, features: Tensor, gradients: Tensor) -> Tensor:
        return torch.einsum("tbk,bkhw->tbhw", gradients.mean(dim=(3, 4)), features)
