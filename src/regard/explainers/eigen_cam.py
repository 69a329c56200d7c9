"""Class activation maps by principal components."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from regard.explainers.explainer import Found, OnNaN
from regard.explainers.gradcam import ClassActivation, OnOneLayer
from regard.explanation import Explanation
from regard.models.taps import read
from regard.question import Question
from regard.targets import exact

NEAR = 0.1
"""By how much the extremes of a map differ in size, as a share of the larger, for its sign to be no coin toss."""


class EigenCAM(OnOneLayer):
    """Eigen-CAM (Muhammad and Yeasin 2020, arXiv 2008.00299): the same for every target; signed, its sum is zero.

        L = Ā v,   Ā = the cells' features (hw, K) less their mean,   v = the first right singular vector of Ā

    Less the mean, as pytorch-grad-cam has it; the paper's, without, mostly shows the mean. Of the two signs of v that
    one is taken for which the value farthest from zero is positive; where the largest and the least value differ in
    size by less than 10 %, that is a coin toss, and a note names the images. So values above zero are cells whose
    features leave the mean the way the strongest cell's do, those below the other way: neither is for or against a
    class. Not through pytorch-grad-cam, which builds the whole K×K basis: 272 ms a map of 2,048 channels where this
    takes 5.

    Args and errors as of `GradCAM`. Cost: one forward.
    """

    name: ClassVar[str] = "eigen-cam"
    summary: ClassVar[str] = "first principal component of the last feature maps, the same for every target"
    signed: ClassVar[bool] = True
    signs: ClassVar[tuple[str, str]] = ("unlike the strongest place", "like the strongest place")
    per_target: ClassVar[bool] = False
    zero_means: ClassVar[str] = "features at this layer are the same in all cells"

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        module, place = self.classifier.module, self.features.place
        (tensor,), output = read(module, [place], lambda: self.classifier.respond(pixels))
        maps = first_component(self.features.maps(tensor.float(), pixels))
        highest, lowest = maps.amax(dim=(1, 2), keepdim=True), maps.amin(dim=(1, 2), keepdim=True)
        maps = torch.where(highest < -lowest, -maps, maps)
        return Found(maps[:, None].expand(-1, max(1, len(question.targets)), -1, -1), output)

    def _chunk(self, pixels: Tensor, images: slice, question: Question, on_nan: OnNaN) -> Explanation:
        found = super()._chunk(pixels, images, question, on_nan)
        return replace(found, notes=(*found.notes, *_on_signs(found.maps[:, 0], images.start)))


class EigenGradCAM(ClassActivation):
    """Eigen-CAM of gradient × features (as in pytorch-grad-cam): class-discriminative; signed, its sum is zero.

        L = M̄ v,   M = g ⊙ A as (hw, K),   M̄ = M less its mean over cells,   v = the first right singular vector of M̄

    Of the two signs of v that one is taken for which L is high where HiRes-CAM, Σ_k M_k, is: Σ_ij L Σ_k M_k ≥ 0. Not
    through pytorch-grad-cam, for the reason that Eigen-CAM gives.

    Args and errors as of `GradCAM`. Cost: one forward; per target one backward from the output to that layer.
    """

    name: ClassVar[str] = "eigen-grad-cam"
    summary: ClassVar[str] = "first principal component of feature maps times the target's gradient"
    signed: ClassVar[bool] = True
    zero_means: ClassVar[str] = "features times gradients at this layer are the same in all cells"

    def _combined(self, features: Tensor, gradients: Tensor) -> Tensor:
        products = features * gradients
        maps = first_component(products)
        agreement = (maps * products.sum(dim=-3)).sum(dim=(-2, -1), keepdim=True)
        return torch.where(agreement < 0, -maps, maps)


def _on_signs(maps: Tensor, start: int) -> tuple[str, ...]:
    """A note that names the images whose maps (B, h, w) are nearly as far above zero as below."""
    highest, lowest = maps.amax(dim=(1, 2)), maps.amin(dim=(1, 2))
    tossed = ((highest + lowest).abs() <= NEAR * highest) & (highest > 0)
    named = [f"image {start + image}" for image in tossed.nonzero()[:, 0].tolist()]
    if not named:
        return ()
    return (f"the sign of the map is a coin toss in {', '.join(named)}: it reaches nearly as far below zero as above",)


def first_component(maps: Tensor) -> Tensor:
    """K maps (…, K, h, w) → the cells' projection on their first principal component (…, h, w), of either sign.

    NaN where a picture's maps are not all finite.
    """
    cells = exact(maps.flatten(-2).mT)  # in float64 cells that are all the same are then exactly their mean
    finite = cells.isfinite().all(dim=-1).all(dim=-1)[..., None, None]
    centred = torch.where(finite, cells - cells.mean(dim=-2, keepdim=True), 0.0)
    left, values, _ = torch.linalg.svd(centred, full_matrices=False)
    found = torch.where(finite[..., 0], left[..., 0] * values[..., :1], torch.nan)
    laid: Tensor = found.to(maps).unflatten(-1, maps.shape[-2:])
    return laid
