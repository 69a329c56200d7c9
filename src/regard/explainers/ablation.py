"""What a target loses when patch tokens are taken away: for every block, or for the last attention alone.

Scores are subtracted here, so the rounding of a map is that of the scores, which may be larger than the map.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from regard.errors import UnsupportedError
from regard.explainers.explainer import Explainer, Found
from regard.explainers.reading import (
    ReadRows,
    anatomy,
    attend,
    entering_and_read,
    on_grid,
    opened_reader,
    queries_of,
)
from regard.models.classifier import Classifier
from regard.models.dropping import dropped_answers
from regard.question import Question
from regard.targets import Output

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
        group: side of square groups of patches that are taken away together; what they lose is spread evenly over
            them. 1 for each patch by itself, 2 for a quarter of the passes.
        refine: coarse to fine: the share of groups, those that lose or gain most for any target, whose patches are
            then taken away one by one. 0 leaves all groups whole.

    Cost: one forward per group of patches at one group less, and one per patch of the refined groups, whatever the
    number of targets, in full chunks across images.

    Raises:
        UnsupportedError: no transformer over one grid of tokens, or one that cannot drop them.
    """

    name: ClassVar[str] = "token-ablation"
    summary: ClassVar[str] = "what the target loses without each patch's token"
    networks: ClassVar[str] = "vision transformers that can drop tokens"
    signed: ClassVar[bool] = True

    def __init__(self, classifier: Classifier, *, group: int = 1, refine: float = 0.0) -> None:
        super().__init__(classifier)
        if type(group) is not int or group < 1:
            raise UnsupportedError("a group of patches has a whole number of patches a side", came=repr(group))
        if not (isinstance(refine, (int, float)) and 0 <= refine <= 1) or (refine and group == 1):
            raise UnsupportedError(
                "a share of groups is refined",
                came=f"refine={refine!r}, group={group}",
                expected="0 to 1, group above 1",
            )
        self.tokens = anatomy(classifier, self.name)
        if self.tokens.cannot_drop is not None:
            raise UnsupportedError(f"{self.name} removes tokens", came=self.tokens.cannot_drop)
        self.group, self.refine = group, refine
        self.settings = {"group": group, "refine": refine}
        groups = self._groups(*self.tokens.grid(classifier.picture()))
        refined = groups.bincount().sort(descending=True).values[: self._refined(groups)].sum()
        self.forwards_each = len(groups.unique()) + int(refined) + WHOLE_PASSES + bool(refined)

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        output = self.classifier.respond(pixels)
        asked, groups = question.fixed(output), self._groups(*self.tokens.grid(pixels)).to(pixels.device)
        sizes = groups.bincount()
        owners = torch.arange(len(pixels), device=pixels.device).repeat_interleave(len(sizes))
        removed = [(groups == group).nonzero()[:, 0] for group in range(len(sizes))] * len(pixels)
        losses = self._losses(pixels, asked, output, owners, removed).unflatten(0, (len(pixels), len(sizes)))
        maps = (losses / sizes[:, None])[:, groups]
        count = self._refined(groups)
        if count:
            chosen = losses.abs().amax(dim=2).topk(count, dim=1).indices
            places = (groups[None, :, None] == chosen[:, None]).any(dim=2).nonzero()
            image, patch = places.T
            maps[image, patch] = self._losses(pixels, asked, output, image, list(patch[:, None]))
        notes = _rounded(maps, asked.scores(output), self.classifier)
        return Found(on_grid(self.tokens, pixels, maps.transpose(1, 2)), output, notes=notes)

    def _losses(
        self, pixels: Tensor, question: Question, output: Output, images: Tensor, removed: list[Tensor]
    ) -> Tensor:
        """What the targets lose when each job's patches are removed from its image, (jobs, T)."""
        everything = torch.arange(self.tokens.patches(pixels), device=pixels.device)
        kept = [everything[~torch.isin(everything, gone)] for gone in removed]
        answer = dropped_answers(self.classifier, pixels, images, kept)
        return question.scores(output)[images] - question.take(images.tolist()).scores(answer)

    def _groups(self, height: int, width: int) -> Tensor:
        """The number of each patch's group, (h·w,), row-major."""
        rows, columns = torch.arange(height) // self.group, torch.arange(width) // self.group
        return (rows[:, None] * (int(columns[-1]) + 1) + columns).flatten()

    def _refined(self, groups: Tensor) -> int:
        """How many groups are refined."""
        return round(self.refine * len(groups.unique()))


class LastBlockAblation(Explainer):
    """What the target loses without patch i in the last attention alone, in closed form (CDAM, section 4.8).

        o_h^(−i) = (o_h − a_h,i v_h,i) / (1 − a_h,i),   score = f(o) − f(o^(−i))

    The finite counterpart of CDAM, exact for any target. From the last attention on it computes in float64, since
    scores are subtracted that may be a thousand times a map. Cost: the network up to its last attention, and one pass
    of what follows it per patch (18 D² each), whatever the number of targets.

    Raises:
        UnsupportedError: no transformer, a head that reads the patches, or an attention that is not the plain one.
    """

    name: ClassVar[str] = "last-block-ablation"
    summary: ClassVar[str] = "what the target loses without each patch in the last attention"
    networks: ClassVar[str] = "vision transformers with a class token or an attention pool"
    signed: ClassVar[bool] = True

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(classifier)
        self.tokens = anatomy(classifier, self.name)
        queries_of(classifier, self.tokens, self.name)
        self.learn()

    def _learn(self) -> None:
        self.reader, *_ = opened_reader(self.classifier, self.tokens, torch.float64)

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        rows = attend(self.reader, self.tokens, *entering_and_read(self.classifier, self.tokens, pixels))
        output = self.reader.tail(rows.attended, rows.residual)
        asked = question.fixed(output)
        losses = []
        for image in range(len(pixels)):
            without = self._without(rows, image)
            residual = rows.residual[image].expand(len(without), -1, -1)
            scores = [
                asked.take([image] * len(part)).scores(self.reader.tail(part, residual[: len(part)]))
                for part in without.split(TAIL_ROWS)
            ]
            losses.append(asked.scores(output)[image] - torch.cat(scores))
        maps = torch.stack(losses).transpose(1, 2)
        return Found(on_grid(self.tokens, pixels, maps), output)

    def _without(self, rows: ReadRows, image: int) -> Tensor:
        """Heads' outputs without each patch, (patches, R, H·d).

        1 − a has no digits left where a is nearly 1; without the token that a head sees most, which alone can be
        that, its softmax is taken again. Of a single token nothing is left, and heads give nothing.
        """
        values = torch.einsum("nD,hdD->nhd", rows.tokens[image], self.reader.projections.value)
        values = values + self.reader.projections.value_bias
        weights, prefix = rows.weights[image], self.tokens.prefix
        whole = rows.attended[image].unflatten(1, values.shape[1:])
        own = weights[:, :, prefix:].permute(2, 0, 1)[..., None]
        rest: Tensor = (whole - own * values[prefix:, None]) / (1 - own).clamp(min=torch.finfo(own.dtype).eps)
        most = weights.argmax(dim=-1, keepdim=True)
        others = rows.routing[image].scatter(-1, most, -torch.inf).softmax(dim=-1).nan_to_num()
        row, head = (most[..., 0] >= prefix).nonzero(as_tuple=True)
        rest[most[row, head, 0] - prefix, row, head] = torch.einsum("rhn,nhd->rhd", others, values)[row, head]
        return rest.flatten(2)


def _rounded(maps: Tensor, scores: Tensor, classifier: Classifier) -> tuple[str, ...]:
    """A note where half precision leaves maps (B, patches, T) of scores (B, T) few digits: less than four bits."""
    weights = next(classifier.module.parameters(), scores)
    if classifier.precision == "float32" and weights.dtype.itemsize >= 4:
        return ()
    rounding = scores.abs() * torch.finfo(torch.bfloat16).eps
    if bool((maps.abs().amax(dim=1) >= 16 * rounding).all()):
        return ()
    return ("half precision rounds scores by about as much as patches change them: take float32",)
