"""Class activation maps beside Grad-CAM: adapters of pytorch-grad-cam.

pytorch-grad-cam gives the rules: how activations and gradients become a map. What it would do to a model does
not happen, since it never gets one: it overwrites `.grad`, leaves modules in eval mode, and swallows an IndexError.
Activations and gradients are regard's, those of all targets from one graph.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from regard.compat import import_optional
from regard.explainers.gradcam import ClassActivation
from regard.models.classifier import Classifier


class _Adapted(ClassActivation):
    """One of pytorch-grad-cam's rules, on activations and gradients that it is given."""

    rule: ClassVar[str]

    def __init__(self, classifier: Classifier, *, layer: str | None = None) -> None:
        super().__init__(classifier, layer=layer)
        kind = getattr(import_optional("pytorch_grad_cam", "baselines"), self.rule)
        self.theirs: Any = kind(nn.LayerNorm(1), target_layers=[])  # it wants a model: one that draws no numbers

    def _combined(self, features: Tensor, gradients: Tensor) -> Tensor:
        return torch.stack([self._image(features, of_target) for of_target in gradients])

    def _image(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Feature maps and one target's gradients, both (B, K, h, w) → (B, h, w), as pytorch-grad-cam has it."""
        arrays = (tensor.cpu().numpy() for tensor in (features, gradients))
        image = self.theirs.get_cam_image(None, None, None, *arrays, eigen_smooth=False)
        return torch.from_numpy(image).to(features)


class _ByWeights(_Adapted):
    """A rule that weighs whole channels, and whose weights are made for features that are nowhere negative.

    Where some are, as in transformers, ConvNeXt or before an activation, it is told |A|: the same for the others, and
    the sum of a channel, by which it divides, cannot come near zero while its cells do not. Unrepaired, Grad-CAM++
    maps of tiny transformers moved by up to 2.5e-4 with their batch mates.
    """

    def _image(self, features: Tensor, gradients: Tensor) -> Tensor:
        arrays = (tensor.cpu().numpy() for tensor in (features.abs(), gradients))
        weights = torch.from_numpy(self.theirs.get_cam_weights(None, None, None, *arrays))
        return torch.einsum("bk,bkhw->bhw", weights.to(features), features)


class GradCAMPlusPlus(_ByWeights):
    """Grad-CAM++ (Chattopadhay et al. 2018, arXiv 1710.11063), through pytorch-grad-cam; positive part, unsigned.

        L = relu( Σ_k w_k A_k ),   w_k = Σ_ij relu(g_kij) / (2 + g_kij Σ_ab |A_kab|),   g = ∂f / ∂A

    The weight of a positive gradient is equation 19 with f in the exponent, as the paper has it, and with |A|, which
    is A wherever the paper's formula is sound.

    pytorch-grad-cam adds 1e-6 to 2 g² + g³ Σ A, which hides gradients below a thousandth, as they are where many cells
    are averaged. The map does not change where g is multiplied and A divided by the same number; so numbers are chosen
    for which that constant says nothing.

    Args and errors as of `GradCAM`; MissingDependencyError: grad-cam is not installed.

    Cost: one forward; per target one backward from the output to that layer.
    """

    name: ClassVar[str] = "grad-cam++"
    summary: ClassVar[str] = "last feature maps weighed by the target's positive gradients, each by how rare they are"
    rule: ClassVar[str] = "GradCAMPlusPlus"
    LARGEST: ClassVar[float] = 1e4
    """What an image's largest gradient is scaled to: its square then is 1e14 times their constant."""

    def _image(self, features: Tensor, gradients: Tensor) -> Tensor:
        largest = gradients.abs().amax(dim=(1, 2, 3), keepdim=True)
        scale = torch.where(largest > 0, self.LARGEST / largest, 1.0)
        return super()._image(features / scale, gradients * scale)


class LayerCAM(_Adapted):
    """Layer-CAM (Jiang et al. 2021, IEEE TIP 30), through pytorch-grad-cam; positive part, unsigned.

        L = relu( Σ_k relu(g_k) ⊙ A_k ),   g = ∂f / ∂A

    Weights are each cell's own, so that maps of early layers are fine and clean.

    Args and errors as of `GradCAM`; MissingDependencyError: grad-cam is not installed.

    Cost: one forward; per target one backward from the output to that layer.
    """

    name: ClassVar[str] = "layer-cam"
    summary: ClassVar[str] = "feature maps, each cell weighed by its own positive gradient, positive part"
    rule: ClassVar[str] = "LayerCAM"


class HiResCAM(_Adapted):
    """HiRes-CAM (Draelos and Carin 2020, arXiv 2011.08891), through pytorch-grad-cam; signed.

        L = Σ_k g_k ⊙ A_k,   g = ∂f / ∂A

    Where the rest of the network is linear its sum is f without the biases. In a transformer, at the default
    layer, the definition of CDAM.

    Args and errors as of `GradCAM`; MissingDependencyError: grad-cam is not installed.

    Cost: one forward; per target one backward from the output to that layer.
    """

    name: ClassVar[str] = "hires-cam"
    summary: ClassVar[str] = "feature maps times the target's gradient, cell by cell"
    signed: ClassVar[bool] = True
    rule: ClassVar[str] = "HiResCAM"


class XGradCAM(_ByWeights):
    """XGrad-CAM (Fu et al. 2020, arXiv 2008.02312), through pytorch-grad-cam; signed.

        L = Σ_k α_k A_k,   α_k = Σ_ij g_kij |A_kij| / Σ_ij |A_kij|,   g = ∂f / ∂A

    With |A|, which is A in the paper, whose features are nowhere negative; there its sum is that of HiRes-CAM (the
    axiom of conservation).

    Args and errors as of `GradCAM`; MissingDependencyError: grad-cam is not installed.

    Cost: one forward; per target one backward from the output to that layer.
    """

    name: ClassVar[str] = "x-grad-cam"
    summary: ClassVar[str] = "feature maps weighed by the target's gradient, averaged where the features are strong"
    signed: ClassVar[bool] = True
    rule: ClassVar[str] = "XGradCAM"
