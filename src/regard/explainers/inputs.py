"""One gradient of the target at one place of the network: with the tensor's own values, or alone."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from regard.errors import LayerError
from regard.explainers.explainer import Explainer, Found
from regard.explainers.gradients import detached, of_targets
from regard.explainers.reading import anatomy, on_grid
from regard.models.classifier import Classifier
from regard.models.features import Features, features_of
from regard.models.taps import Place, differentiable_from
from regard.question import Question
from regard.targets import Output, at_least_float32


def from_pixels(classifier: Classifier, pixels: Tensor) -> tuple[Tensor, Output]:
    """The answer to prepared pixels (B, 3, H, W) and the leaf it hangs on: a copy of them.

    The network receives a copy of the leaf, which it may change in place.
    """
    leaf = pixels.detach().clone().requires_grad_()
    with torch.enable_grad():
        return leaf, classifier.respond(leaf.clone())


class InputGradient(Explainer):
    """Input × gradient, x ⊙ ∂f/∂x, summed over channels (papers: CDAM, sections 3.2 and 4.9).

        S[i] = Σ_c x[i, c] ∂f/∂x[i, c]

    To first order what the target loses where cell i is scaled down to zero: the sum over any cells G is
    d/dα f(α x_G) at α = 1. Section 4.9 takes the mean over the three channels: the same map, a third as large.

    Args:
        classifier: the classifier.
        at: where x is read. "pixels", the default, since it exists in every network: the prepared picture, zero
            being the mean colour; a map of the frame's size. "tokens": what enters the first block, whose scale later
            norms forget in part, so that it says little. "last block":
            what enters the last block; where the head reads a class token this is zero up to rounding for every
            patch, since a norm does not see the scale of its token and the patches' own residual is not read.
            "attention": what the last attention reads, which is the definition of CDAM. Else the dotted path of
            a layer whose output is a grid (B, C, h, w) or (B, h, w, C), or the tokens (B, N, D) of all patches.

    Cost: one forward; per target one backward down to that place.

    Raises:
        UnsupportedError: tokens are asked of a network that has none.
        LayerError: the named layer does not exist, or its output is neither a grid nor tokens.
    """

    name: ClassVar[str] = "input-gradient"
    summary: ClassVar[str] = "pixels, or what a layer reads, times the target's gradient"
    signed: ClassVar[bool] = True

    def __init__(self, classifier: Classifier, *, at: str = "pixels") -> None:
        super().__init__(classifier)
        self.at = at
        self.settings = {"at": at}
        self.keeps_all = at not in ("last block", "attention")
        self.features = None if at == "pixels" else self._features(at)

    def _features(self, at: str) -> Features:
        if not isinstance(at, str):
            raise LayerError(
                "a place is named by a word",
                came=repr(at),
                expected="pixels, tokens, last block, attention or a layer",
            )
        if at not in ("tokens", "last block", "attention"):
            return features_of(self.classifier, at)
        tokens = anatomy(self.classifier, self.name)
        place = {
            "tokens": Place(tokens.blocks[0], "input"),
            "last block": Place(tokens.blocks[-1], "input"),
            "attention": tokens.attention_input,
        }[at]
        return Features(place, "last", tokens)

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        if self.features is None:
            leaf, output = from_pixels(self.classifier, pixels)
        else:
            leaf, output = differentiable_from(
                self.classifier.module, self.features.place, lambda: self.classifier.respond(pixels)
            )
        values = self._laid(at_least_float32(leaf.detach()), pixels)
        products = [
            (self._laid(at_least_float32(gradient), pixels) * values).sum(dim=-3)
            for gradient in of_targets(output, leaf, question.cotangents(output))
        ]
        return Found(torch.cat(products).transpose(0, 1), detached(output))

    def _laid(self, tensor: Tensor, pixels: Tensor) -> Tensor:
        """The tensor where x is read, or its gradients, as (…, K, h, w)."""
        return tensor if self.features is None else self.features.maps(tensor, pixels)


class TokenGradient(Explainer):
    """The target's gradient at what the last attention reads, averaged over channels: CDAM without the token.

        S[i] = 1/D Σ_c ∂f/∂u[i, c]       (papers: CDAM, section 4.9, there "PureGrad")

    It tells what the factor u adds in CDAM. Cost: one forward; per target one backward through the last block.

    Raises:
        UnsupportedError: no transformer over one grid of tokens.
    """

    name: ClassVar[str] = "token-gradient"
    summary: ClassVar[str] = "gradient at what the last attention reads, without the tokens' own values"
    networks: ClassVar[str] = "vision transformers"
    signed: ClassVar[bool] = True

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(classifier)
        self.tokens = anatomy(classifier, self.name)

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        place, module = self.tokens.attention_input, self.classifier.module
        leaf, output = differentiable_from(module, place, lambda: self.classifier.respond(pixels))
        means = [
            at_least_float32(gradient).mean(dim=-1)
            for gradient in of_targets(output, leaf, question.cotangents(output))
        ]
        return Found(on_grid(self.tokens, pixels, torch.cat(means).transpose(0, 1)), detached(output))
