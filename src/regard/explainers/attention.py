"""The plain attention map: where the class token looks, whatever it decides."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from regard.explainers.class_token import anatomy, attend, on_grid, opened_block, reads_prefix
from regard.explainers.explainer import Explainer, Found
from regard.models.classifier import Classifier
from regard.models.taps import Place, read
from regard.question import Question


class AttentionMap(Explainer):
    """Attention of the class token in the last block, averaged over heads; the same for every target.

        A[i] = 1/H Σ_h softmax_i( q_h,0 · k_h,i / √d )

    Non-negative; over all tokens each head sums to 1, so over patches it sums to 1 minus the prefix's
    share. Per head it stands in `explanation.attention`. Computed from the one query that matters,
    so fused attention kernels are no obstacle. Cost: one forward.

    Raises:
        UnsupportedError: no transformer, no class token, or an attention that is not the plain one.
    """

    name: ClassVar[str] = "attention"
    summary: ClassVar[str] = "class-token attention of the last block, averaged over heads"
    networks: ClassVar[str] = "vision transformers with a class token"
    per_target: ClassVar[bool] = False

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(classifier)
        self.tokens = anatomy(classifier, self.name)
        reads_prefix(classifier, self.tokens, self.name)
        self.learn()

    def _learn(self) -> None:
        self.block, *_ = opened_block(self.classifier, self.tokens)

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        places = [Place(self.tokens.blocks[-1], "input"), self.tokens.attention_input]
        (entering, u), output = read(self.classifier.module, places, lambda: self.classifier.respond(pixels))
        dtype = self.block.dtype
        rows = attend(self.block.projections, entering.to(dtype), u.to(dtype), self.tokens)
        per_head = on_grid(self.tokens, pixels, rows.weights[:, 0])
        maps = per_head.mean(dim=1, keepdim=True).expand(-1, max(1, len(question.targets)), -1, -1)
        return Found(maps, output, per_head)
