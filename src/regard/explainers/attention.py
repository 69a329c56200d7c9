"""The plain attention map: where the head looks, whatever it decides."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from regard.explainers.explainer import Explainer, Found
from regard.explainers.reading import anatomy, on_grid, queries_of
from regard.models.attention import recorded
from regard.models.classifier import Classifier
from regard.question import Question


class AttentionMap(Explainer):
    """Attention of the class token in the last block, or of a pool, averaged over heads; the same for every target.

        A[i] = 1/H Σ_h softmax_i( q_h,0 · k_h,i / √d )

    Non-negative; over all tokens each head sums to 1, so over patches it sums to 1 minus the prefix's
    share. Of several queries the first, the class token, counts. Per head it stands in `explanation.attention`.
    Cost: one forward, its last attention written out.

    Raises:
        UnsupportedError: no transformer, a head that reads the patches, or attention whose weights cannot be seen.
    """

    name: ClassVar[str] = "attention"
    summary: ClassVar[str] = "attention of the class token in the last block, or of a pool, averaged over heads"
    networks: ClassVar[str] = "vision transformers with a class token or an attention pool"
    per_target: ClassVar[bool] = False

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(classifier)
        self.tokens = anatomy(classifier, self.name)
        self.row = queries_of(classifier, self.tokens, self.name)[0]

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        with recorded(self.classifier.module, [self.tokens.reader]) as weights:
            output = self.classifier.respond(pixels)
        per_head = on_grid(self.tokens, pixels, weights[0][:, :, self.row].float())
        maps = per_head.mean(dim=1, keepdim=True).expand(-1, max(1, len(question.targets)), -1, -1)
        return Found(maps, output, per_head)
