"""What a target loses when patch tokens are taken away: for every block, or for the last attention alone.

Scores are subtracted here, so the rounding of a map is that of the scores, which may be larger than the map.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from regard.errors import UnsupportedError
from regard.explainers.class_token import ReadRows, anatomy, on_grid, opened_block, read_rows, reads_prefix
from regard.explainers.explainer import Explainer, Found
from regard.models import passes
from regard.models.classifier import Classifier
from regard.question import Question

WHOLE_PASSES = 2
"""Passes of whole pictures: for the answer, and for the tokens that enter the blocks."""
TAIL_ROWS = 4096
"""Rows of one pass through what follows the last attention: 8·D numbers each."""


class TokenAblation(Explainer):
    """Token ablation map: the score with all tokens minus the score without patch i (papers: CDAM, section 4.7).

    The token is removed physically before the first block, after its position was added; the class token and
    all other positions stay. Positive: the patch supports the target. A predicted class is that of the whole picture.

    Args:
        classifier: of a transformer that can drop tokens.
        group: side of square groups of patches that are taken away together and share their score; 1 for each patch
            by itself, 2 for a quarter of the passes.

    Cost: one forward per group of patches at one group less, whatever the number of targets, in full chunks across
    images.

    Raises:
        UnsupportedError: no transformer over one grid of tokens, or one that cannot drop them.
    """

    name: ClassVar[str] = "token-ablation"
    summary: ClassVar[str] = "what the target loses without each patch's token"
    networks: ClassVar[str] = "vision transformers that can drop tokens"
    signed: ClassVar[bool] = True

    def __init__(self, classifier: Classifier, *, group: int = 1) -> None:
        super().__init__(classifier)
        if type(group) is not int or group < 1:
            raise UnsupportedError("a group of patches has a whole number of patches a side", came=repr(group))
        self.tokens = anatomy(classifier, self.name)
        if self.tokens.cannot_drop is not None:
            raise UnsupportedError(f"{self.name} removes tokens", came=self.tokens.cannot_drop)
        self.group = group
        self.settings = {"group": group}
        groups = self._groups(*self.tokens.grid(classifier.picture()))
        self.forwards_each = int(groups.max()) + 1 + WHOLE_PASSES

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        output = self.classifier.respond(pixels)
        asked, groups = question.fixed(output), self._groups(*self.tokens.grid(pixels))
        count = int(groups.max()) + 1
        images = torch.arange(len(pixels)).repeat_interleave(count)
        kept = [(groups != place).nonzero()[:, 0] for place in range(count)] * len(pixels)
        answer = passes.dropped_answers(self.classifier, pixels, images, kept)
        without = asked.take(images.tolist()).scores(answer).unflatten(0, (len(pixels), count))
        losses = asked.scores(output)[:, None] - without
        maps = losses[:, groups.to(losses.device)].transpose(1, 2)
        return Found(on_grid(self.tokens, pixels, maps), output)

    def _groups(self, height: int, width: int) -> Tensor:
        """The number of each patch's group, (h·w,), row-major."""
        rows, columns = torch.arange(height) // self.group, torch.arange(width) // self.group
        return (rows[:, None] * (int(columns[-1]) + 1) + columns).flatten()


class LastBlockAblation(Explainer):
    """What the target loses without patch i in the last attention alone, in closed form (CDAM, section 4.8).

        o_h^(−i) = (o_h − a_h,i v_h,i) / (1 − a_h,i),   score = f(o) − f(o^(−i))

    The finite counterpart of CDAM, exact for any target. Cost: the network up to its last attention, and one pass
    of what follows it per patch (18 D² each), whatever the number of targets.

    Raises:
        UnsupportedError: no transformer, a head that reads the patches, or an attention that is not the plain one.
    """

    name: ClassVar[str] = "last-block-ablation"
    summary: ClassVar[str] = "what the target loses without each patch in the last attention"
    networks: ClassVar[str] = "vision transformers with a class token"
    signed: ClassVar[bool] = True

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(classifier)
        self.tokens = anatomy(classifier, self.name)
        reads_prefix(classifier, self.tokens, self.name)
        self.learn()

    def _learn(self) -> None:
        self.block, *_ = opened_block(self.classifier, self.tokens)

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        rows = read_rows(self.classifier, self.tokens, self.block, pixels)
        output = self.block.tail(rows.attended, rows.residual)
        asked = question.fixed(output)
        losses = []
        for image in range(len(pixels)):
            without = self._without(rows, image)
            residual = rows.residual[image].expand(len(without), -1, -1)
            scores = [
                asked.take([image] * len(part)).scores(self.block.tail(part, residual[: len(part)]))
                for part in without.split(TAIL_ROWS)
            ]
            losses.append(asked.scores(output)[image] - torch.cat(scores))
        maps = torch.stack(losses).transpose(1, 2)
        return Found(on_grid(self.tokens, pixels, maps), output)

    def _without(self, rows: ReadRows, image: int) -> Tensor:
        """Heads' outputs without each patch, (patches, R, H·d). A head that sees one token alone keeps nothing."""
        values = torch.einsum("nD,hdD->nhd", rows.tokens[image, self.tokens.prefix :], self.block.projections.value)
        values = values + self.block.projections.value_bias
        weights = rows.weights[image, :, :, self.tokens.prefix :].permute(2, 0, 1)[..., None]
        whole = rows.attended[image].unflatten(1, values.shape[1:])
        rest = whole - weights * values[:, None]
        kept: Tensor = (rest / (1 - weights).clamp(min=torch.finfo(rest.dtype).eps)).flatten(2)
        return kept
