"""Partial relevance: LRP from a logit down to the attention of the last block (papers: CDAM, section 4.4)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from regard.errors import UnsupportedError
from regard.explainers.explainer import Explainer, Found
from regard.explainers.gradients import of_many
from regard.explainers.reading import anatomy, on_grid, reads_prefix
from regard.models import passes
from regard.models.attention import recorded
from regard.models.classifier import Classifier
from regard.models.reader import exact, resumed
from regard.models.relevance import RelevanceRules
from regard.models.taps import read
from regard.question import Question
from regard.targets import Output


class PartialRelevance(Explainer):
    """Relevance of the last attention's weights (Voita et al. 2019, arXiv 1905.09418), positive part.

        S[i] = mean over heads h of relu( R(A)[h, r, i] ),   r: the tokens the head reads

    R is propagated by LRP with α = 1, β = 0 from R = 1 at the logit of one class; the rules are those of
    `regard.models.relevance`. They are for logits: where a class stands in the output is where relevance starts, so
    nothing but a class can be asked. Where the parts of a sum nearly cancel, R a / (a + b) raises rounding a
    thousandfold: so the network runs in float32 whatever the classifier's precision, and one picture at a time,
    since the last digits depend on how many share a pass.

    Cost: one forward, not shared by pictures; per target one backward through the last block.

    Raises:
        UnsupportedError: no transformer over one grid of tokens, a head that reads the patches, no head, attention
            whose weights cannot be seen, or an operation after it that has no rule.
    """

    name: ClassVar[str] = "partial-relevance"
    summary: ClassVar[str] = "relevance of the last block's attention, propagated back from a class, positive part"
    answers: ClassVar[frozenset[str]] = frozenset({"class", "predicted", "per image"})
    networks: ClassVar[str] = "vision transformers with a class token"

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(classifier)
        self.tokens = anatomy(classifier, self.name)
        self.rows = list(reads_prefix(classifier, self.tokens, self.name))
        if classifier.class_count is None:
            raise UnsupportedError(f"{self.name} begins at the logit of a class, and {classifier.name} has no head")
        self.learn()

    def _learn(self) -> None:
        """Run it once: an operation without a rule is met here, not at the first photo."""
        self.dtype, self.whole = exact(self.classifier, self.tokens)
        with self.classifier.untouched(), torch.inference_mode(False), torch.no_grad(), passes.uncounted():
            weights, output = self._run(self.classifier.picture(noise=True))
            assert output.logits is not None
            first = torch.zeros_like(output.logits)[None]
            first[..., 0] = 1
            next(of_many(output, weights, Output(first, None)))

    def _run(self, pixels: Tensor) -> tuple[list[Tensor], Output]:
        """The last attention's weights (B, H, N, N) and the answer, between which relevance flows."""
        for part in (self.classifier.module, self.classifier.head):
            if part is not None:
                part.requires_grad_(False)  # the base sets it back
        module, tokens = self.classifier.module, self.tokens
        (entering,), _ = read(module, [tokens.entry], lambda: self.classifier.forward(pixels), stop=True)
        leaf = entering.detach().to(self.dtype).requires_grad_()
        going_on = resumed(self.classifier, tokens, leaf)
        with torch.enable_grad(), RelevanceRules(), going_on, recorded(module, [tokens.reader]) as weights:
            output = self.whole(pixels)
        return weights, output

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        found = [self._one(picture, question.take([image])) for image, picture in enumerate(pixels.split(1))]
        maps, logits = zip(*found, strict=True)
        return Found(torch.cat(maps), Output(torch.cat(logits), None))

    def _one(self, picture: Tensor, question: Question) -> tuple[Tensor, Tensor]:
        """Maps (1, T, h, w) and logits (1, C) of one picture."""
        weights, output = self._run(picture)
        maps = []
        for (relevance,) in of_many(output, weights, question.cotangents(output)):
            to_patches = relevance[:, :, self.rows, self.tokens.prefix :].float()
            maps.append(to_patches.relu().mean(dim=(1, 2))[:, None])
        assert output.logits is not None
        return on_grid(self.tokens, picture, torch.cat(maps, dim=1)), output.logits.detach()
