"""Attention weights, propagated from the tokens that the head reads back to the patches, or weighed by gradients.

Of the product over blocks only the rows of those tokens are needed, so the products are of a row and a
matrix, 2 L N² operations instead of 2 L N³, and no N×N product is formed (papers: CDAM, sections 4.2 and 4.5).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from regard.explainers.explainer import Explainer, Found
from regard.explainers.gradients import detached, of_many
from regard.explainers.reading import anatomy, on_grid, queries_of
from regard.models.attention import recorded
from regard.models.classifier import Classifier
from regard.models.taps import Place, differentiable_from
from regard.models.transformer import Tokens
from regard.question import Question


def all_attentions(tokens: Tokens) -> list[str]:
    """The attention modules in the order in which they run; a pool is the last."""
    return [*tokens.attentions, *([tokens.pool] if tokens.pool else [])]


def first_row(tokens: Tokens, count: int, like: Tensor) -> Tensor:
    """Where propagation begins, (N,): evenly on the tokens that the head reads, of which all patches count as one.

    How a head weighs the patches that it reads (a mean, a maximum) is not seen: they are taken alike.
    """
    before = [token for token in tokens.reads if token < tokens.prefix]
    patches = [token for token in tokens.reads if token >= tokens.prefix]
    if len(patches) > 1 and patches[-1] - patches[0] + 1 == len(patches):
        patches = list(range(tokens.prefix, count))  # all of them, in a frame of any size
    row, parts = like.new_zeros(count), len(before) + bool(patches)
    row[before] = 1 / parts
    if patches:
        row[patches] = 1 / parts / len(patches)
    return row


class Rollout(Explainer):
    """Attention rollout (Abnar and Zuidema 2020, arXiv 2005.00928): the same for every target.

        Q_l = rows of (mean_h A_l + I) scaled to sum 1      r ← r Q_l, from the last block to the first

    Non-negative; over all tokens it sums to 1. r begins evenly on the tokens that the head reads, all patches counting
    as one; a pool's own attention is where it begins there. Cost: one forward with
    attention written out, L·B·H·N² weights.

    Raises:
        UnsupportedError: no transformer over one grid of tokens, or attention whose weights cannot be seen.
    """

    name: ClassVar[str] = "rollout"
    summary: ClassVar[str] = "attention of all blocks multiplied through, residuals included"
    networks: ClassVar[str] = "vision transformers"
    per_target: ClassVar[bool] = False
    keeps_all = True

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(classifier)
        self.tokens = anatomy(classifier, self.name)

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        with recorded(self.classifier.module, all_attentions(self.tokens)) as weights:
            output = self.classifier.respond(pixels)
        count = weights[0].shape[-1]
        row = first_row(self.tokens, count, weights[0].float()).expand(len(pixels), 1, -1)
        if self.tokens.pool:
            row = weights.pop().float().mean(dim=(1, 2))[:, None]
        for attention in reversed(weights):
            mixed = attention.float().mean(dim=1) + torch.eye(count, device=row.device)
            row = row @ (mixed / mixed.sum(dim=-1, keepdim=True))
        maps = on_grid(self.tokens, pixels, row).expand(-1, max(1, len(question.targets)), -1, -1)
        return Found(maps, output)


class RelevancePropagation(Explainer):
    """Relevance propagated through attention (Chefer et al. 2021, arXiv 2103.15679, rules 5 and 6).

        Ā_l = mean_h relu( A_l ⊙ ∂f/∂A_l )      r ← r + r Ā_l, from the last block to the first

    Non-negative. A pool's Ā is where r begins. Cost: one forward with attention written out; per target one backward
    through all blocks, since the gradients of all weights together are L·B·H·N² numbers.

    Raises:
        UnsupportedError: no transformer over one grid of tokens, or attention whose weights cannot be seen.
    """

    name: ClassVar[str] = "relevance"
    summary: ClassVar[str] = "attention of all blocks, weighed by the target's gradients and multiplied through"
    networks: ClassVar[str] = "vision transformers"
    keeps_all = True

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(classifier)
        self.tokens = anatomy(classifier, self.name)

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        place, module = Place(self.tokens.blocks[0], "input"), self.classifier.module
        with recorded(module, all_attentions(self.tokens)) as weights:
            _, output = differentiable_from(module, place, lambda: self.classifier.respond(pixels))
        begin = first_row(self.tokens, weights[0].shape[-1], weights[0].detach().float())
        maps = []
        for gradients in of_many(output, weights, question.cotangents(output)):
            relevant = [
                (attention.detach().float() * gradient.float()).relu().mean(dim=1)
                for attention, gradient in zip(weights, gradients, strict=True)
            ]
            row = begin.expand(len(pixels), 1, -1)
            if self.tokens.pool:
                row = relevant.pop().mean(dim=1, keepdim=True)
            for matrix in reversed(relevant):
                row = row + row @ matrix
            maps.append(on_grid(self.tokens, pixels, row))
        return Found(torch.cat(maps, dim=1), detached(output))


class AttentionGradCAM(Explainer):
    """Grad-CAM on the attention of the last block (as in Chefer et al. 2021, arXiv 2012.09838, baseline "GradCAM").

        relu( mean_h α_h A[h, r, i] ),   α_h = mean over patches i of ∂f / ∂A[h, r, i],   r: the queries the head reads

    α averages over all patches while attention sits on few, so a map may lie on another class's object: on
    two-photo pictures 57 % of its mass is on the right half (docs/two-photos.md). Here for comparison.

    Cost: one forward; per target one backward through the last block.

    Raises:
        UnsupportedError: no transformer over one grid of tokens, a head that reads the patches, or attention whose
            weights cannot be seen.
    """

    name: ClassVar[str] = "attention-grad-cam"
    summary: ClassVar[str] = (
        "attention of the last block, each head weighed by the target's mean gradient, positive part"
    )
    networks: ClassVar[str] = "vision transformers with a class token or an attention pool"

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(classifier)
        self.tokens = anatomy(classifier, self.name)
        self.rows = queries_of(classifier, self.tokens, self.name)

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        module = self.classifier.module
        with recorded(module, [self.tokens.reader]) as weights:
            _, output = differentiable_from(module, self.tokens.entry, lambda: self.classifier.respond(pixels))
        attention = self._patches(weights[0].detach())
        maps = []
        for (gradient,) in of_many(output, weights, question.cotangents(output)):
            importance = self._patches(gradient).mean(dim=-1, keepdim=True)
            maps.append((importance * attention).mean(dim=(1, 2)).relu()[:, None])
        return Found(on_grid(self.tokens, pixels, torch.cat(maps, dim=1)), detached(output))

    def _patches(self, attention: Tensor) -> Tensor:
        """(B, H, N, N) → (B, H, R, patches), float32: from the tokens that the head reads to the patches."""
        return attention[:, :, self.rows, self.tokens.prefix :].float()
