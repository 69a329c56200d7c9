"""Score-CAM (Wang et al. 2020, arXiv 1910.01279): each feature map is judged by the picture that it lets through."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as functional
from torch import Tensor

from regard.explainers.explainer import Found
from regard.explainers.gradcam import OnOneLayer
from regard.explainers.perturbed import fill_of, masked_scores
from regard.models import passes
from regard.models.classifier import Classifier
from regard.models.taps import read
from regard.question import Question


class ScoreCAM(OnOneLayer):
    """Feature maps weighed by the target's value on the picture multiplied by each of them, positive part.

        L = relu( Σ_k α_k A_k ),   α = softmax_k f(x ⊙ m_k),   m_k = (U_k − min U_k) / (max U_k − min U_k)

    U_k is A_k enlarged bilinearly to the frame; f is the target's own value, for a class its logit. The paper subtracts
    the value of an empty picture from f, which softmax does not see. A constant channel has no mask: it lets
    nothing through, m_k = 0. Masks multiply prepared pixels, so that hidden places become the mean colour.

    Channels that are constant, as dead ones after a ReLU are, share one pass, and so do identical ones; this is exact.
    Of EfficientNet-Lite0's 1,280 channels eight photos kept between 408 and 1,045 passes; tokens keep all.
    All targets are read from the same passes. The rounding of f, as it is, becomes a share of the weights.

    Args and errors as of `GradCAM`.

    Cost: one forward, and one per different channel: `forwards_each` is what it costs where no two are alike. Masks
    are made a chunk at a time.
    """

    name: ClassVar[str] = "score-cam"
    summary: ClassVar[str] = "feature maps weighed by the target on the picture seen through each"
    zero_means: ClassVar[str] = "the weighed features of this layer are below zero in every cell"

    def __init__(self, classifier: Classifier, *, layer: str | None = None) -> None:
        super().__init__(classifier, layer=layer)
        self.fill = fill_of(classifier, None)
        with classifier.untouched(), passes.uncounted(), torch.no_grad():
            self.forwards_each = self._maps(classifier.picture()).shape[1] + 1

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        module, place = self.classifier.module, self.features.place
        (tensor,), output = read(module, [place], lambda: self.classifier.respond(pixels))
        assert output is not None
        features = self.features.maps(tensor.float(), pixels)
        different, channels = zip(*(different_maps(maps) for maps in features), strict=True)
        maps = torch.cat(different)
        images = torch.arange(len(pixels), device=pixels.device).repeat_interleave(
            torch.tensor([len(own) for own in different], device=pixels.device)
        )
        scores = masked_scores(
            self.classifier,
            pixels,
            images,
            lambda numbers: as_masks(maps[numbers], (pixels.shape[2], pixels.shape[3])),
            self.fill,
            question.fixed(output),
        )
        of_image = scores.split([len(own) for own in different])
        weights = torch.stack([own[which].softmax(dim=0) for own, which in zip(of_image, channels, strict=True)])
        return Found(torch.einsum("bkt,bkhw->bthw", weights.float(), features).relu(), output)

    def _maps(self, pixels: Tensor) -> Tensor:
        (tensor,), _ = read(
            self.classifier.module, [self.features.place], lambda: self.classifier.forward(pixels), stop=True
        )
        return self.features.maps(tensor, pixels)


def different_maps(features: Tensor) -> tuple[Tensor, Tensor]:
    """The different ones among one picture's maps (K, h, w), all constant ones as zero: (U, h, w), and which, (K,)."""
    flat = features.flatten(1)
    constant = flat.amin(dim=1) == flat.amax(dim=1)
    different, which = torch.where(constant[:, None], 0, flat).unique(dim=0, return_inverse=True)
    return different.unflatten(1, features.shape[1:]), which


def as_masks(maps: Tensor, frame: tuple[int, int]) -> Tensor:
    """Maps (n, h, w) enlarged to the frame, each from 0 at its least to 1 at its largest: (n, 1, H, W); zero stays."""
    enlarged = functional.interpolate(maps[:, None], frame, mode="bilinear", align_corners=False)
    least, largest = (extreme(enlarged, dim=(2, 3), keepdim=True) for extreme in (torch.amin, torch.amax))
    return (enlarged - least) / (largest - least).clamp(min=torch.finfo(maps.dtype).tiny)
