"""CDAM: class-discriminative attention maps of a vision transformer (Brocki et al., arXiv 2312.02364).

    S[i] = Σ_j u[i, j] · ∂f / ∂u[i, j]

f is the target, u (N, D) the tokens as the last attention reads them: the *output of norm1* of the last
block, not the block's input. The difference is the whole method: a norm forgets its input's scale, so
the same product at the block's input is zero for every patch up to rounding, and rounding still looks
like a map once it is stretched for display.
"""

from __future__ import annotations

import warnings
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from regard.errors import RegardError, UnsupportedError
from regard.explainers.class_token import (
    ReadRows,
    anatomy,
    check_same,
    on_grid,
    opened_block,
    read_rows,
    reads_prefix,
)
from regard.explainers.explainer import Explainer, Found
from regard.explainers.gradients import detached, of_targets
from regard.models import passes
from regard.models.classifier import Classifier
from regard.models.last_block import LastBlock
from regard.models.taps import differentiable_from
from regard.question import Question
from regard.targets import Output

Terms = Literal["both", "value", "routing"]
Form = Literal["auto", "closed", "autograd"]

DIRECTION_BYTES = 96 * 2**20
"""Bytes that one chunk of targets may take in the closed form."""


class CDAM(Explainer):
    """Which patches speak for or against a target in a class-token transformer; signed, one pass for all targets.

    Args:
        classifier: of a transformer whose head reads the class token.
        terms: "value": attention scaled by how much each token's value moves the target; "routing":
            through the attention weights; "both": their sum, which is CDAM.
        form: "closed": the formula below, less than a forward for any number of targets; "autograd":
            the definition, by differentiating the last block, for any kind of block; "auto": closed
            where a self-test shows that it holds, else autograd with a warning.

    Closed form, for heads h, with a, λ, o as in `class_token.attend`, g_h = ∂f/∂o_h, ω_h,i = (Wv_hᵀ g_h) · u_i
    (no value bias), and ω̄_h = Σ_i a_h,i ω_h,i over all tokens:

        S[i] = Σ_h a_h,i ( ω_h,i + (ω_h,i − ω̄_h) λ_h,i )
               value term ──┘      └── routing term

    Cost: the network up to its last block once, then 24 D² + 4 H D N per image and 20 D² + 2 H D N per
    target, in float32. More targets than channels read out the D directions of the embedding instead
    (every target is a direction there), so that a thousand classes cost D directions and one product.

    Raises:
        UnsupportedError: no transformer, no class token, or `form="closed"` where it does not hold.
    """

    name: ClassVar[str] = "cdam"
    summary: ClassVar[str] = "signed evidence of each patch for a target, through the last attention"
    networks: ClassVar[str] = "vision transformers with a class token"
    signed: ClassVar[bool] = True

    def __init__(self, classifier: Classifier, *, terms: Terms = "both", form: Form = "auto") -> None:
        super().__init__(classifier)
        if terms not in get_args(Terms):
            raise UnsupportedError("no such terms", came=repr(terms), expected=", ".join(get_args(Terms)))
        if form not in get_args(Form):
            raise UnsupportedError("no such form", came=repr(form), expected=", ".join(get_args(Form)))
        self.tokens = anatomy(classifier, self.name)
        reads_prefix(classifier, self.tokens, self.name)
        self.terms, self.form = terms, form
        self.learn()

    def _learn(self) -> None:
        self.block = None if self.form == "autograd" else self._closed_block(fall_back=self.form == "auto")
        self.settings = {"terms": self.terms, "form": "autograd" if self.block is None else "closed"}
        if self.block is None and self.terms != "both":
            raise UnsupportedError(
                "value and routing terms are parts of the closed form", came=f"terms={self.terms!r} with autograd"
            )

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        if self.block is None:
            return self._by_autograd(pixels, question)
        rows = read_rows(self.classifier, self.tokens, self.block, pixels)
        scores, output = closed_form(self.block, rows, self.classifier, question, self.terms)
        return Found(on_grid(self.tokens, pixels, scores), output, on_grid(self.tokens, pixels, rows.weights[:, 0]))

    def _by_autograd(self, pixels: Tensor, question: Question) -> Found:
        """The definition: a leaf where the last attention reads; the residual keeps its own value."""
        place, module = self.tokens.attention_input, self.classifier.module
        leaf, output = differentiable_from(module, place, lambda: self.classifier.respond(pixels))
        cotangents = question.cotangents(output)
        read = leaf.detach().float()
        scores = [(chunk.float() * read).sum(-1) for chunk in of_targets(output, leaf, cotangents)]
        return Found(on_grid(self.tokens, pixels, torch.cat(scores).transpose(0, 1)), detached(output))

    def _closed_block(self, *, fall_back: bool) -> LastBlock | None:
        try:
            block, rows, own, tolerance = opened_block(self.classifier, self.tokens)
            self._test_tail(block, rows, own, tolerance)
            return block
        except (RegardError, AttributeError, TypeError, RuntimeError) as reason:
            if isinstance(reason, RuntimeError) and passes.is_out_of_memory(reason):
                raise
            why = (reason.came if isinstance(reason, RegardError) else None) or str(reason)
            if not fall_back:
                raise UnsupportedError("the closed form does not hold here", came=why) from reason
            self.notes = (f"CDAM differentiates the last block of {self.classifier.name}: {why}",)
            warnings.warn(self.notes[0], stacklevel=5)
            return None

    def _test_tail(self, block: LastBlock, rows: ReadRows, own: Output, tolerance: float) -> None:
        """Refuse the closed form where the re-entered tail does not give the network's own output.

        Guards against extra norms, several heads, post-norm and parallel blocks, and wrappers.
        """
        with self.classifier.untouched(), torch.inference_mode(False), torch.no_grad():
            again = block.tail(rows.attended, rows.residual)
        for part, expected in ((again.logits, own.logits), (again.embedding, own.embedding)):
            if part is not None and expected is not None:
                check_same(part, expected, tolerance, "what follows its last attention", self.classifier)


def closed_form(
    block: LastBlock, rows: ReadRows, classifier: Classifier, question: Question, terms: Terms
) -> tuple[Tensor, Output]:
    """Scores of all tokens, (B, T, N), and the classifier's answer. The entries of the rows read mean nothing.

    They also act through their queries, which the formula leaves out; callers drop the prefix.
    """
    with torch.enable_grad():
        attended = rows.attended.detach().requires_grad_()
        answer = block.tail(attended, rows.residual)
        output = detached(answer)
        head = classifier.head_module()
        if answer.embedding is None or not (isinstance(head, torch.nn.Linear) and _is_plain(head)):
            gradients = of_targets(answer, attended, question.cotangents(output))
            return torch.cat([_of_gradient(block, rows, part, terms) for part in gradients], dim=1), output
        directions = question.directions(output, head.weight.detach().to(block.dtype))
        targets, images, width = directions.shape
        if targets <= width:
            return _scores(block, rows, answer.embedding, attended, directions, terms), output
        units = torch.eye(width, dtype=block.dtype, device=directions.device)[:, None].expand(-1, images, -1)
        return directions.transpose(0, 1) @ _scores(block, rows, answer.embedding, attended, units, terms), output


def _scores(
    block: LastBlock, rows: ReadRows, embedding: Tensor, attended: Tensor, directions: Tensor, terms: Terms
) -> Tensor:
    """S of directions (T, B, D) of the embedding, (B, T, N), in chunks of targets."""
    images, count, width = rows.tokens.shape
    per_target = images * (4 * count + 12 * width) * attended.element_size()
    size = max(1, DIRECTION_BYTES // per_target)
    chunks = []
    for start in range(0, len(directions), size):
        part = directions[start : start + size]
        passes.count(backwards=len(part) * images)
        (gradient,) = torch.autograd.grad(embedding, attended, part, retain_graph=True, is_grads_batched=True)
        chunks.append(_of_gradient(block, rows, gradient, terms))
    return torch.cat(chunks, dim=1)


def _of_gradient(block: LastBlock, rows: ReadRows, gradient: Tensor, terms: Terms) -> Tensor:
    """The formula itself, row by row and head by head: g (T, B, R, H·d) → S (B, T, N)."""
    tokens = rows.tokens.transpose(1, 2)
    heads = rows.weights.shape[2]
    scores = tokens.new_zeros(len(tokens), len(gradient), tokens.shape[2])
    for row in range(gradient.shape[2]):
        for head, part in enumerate(gradient[:, :, row].chunk(heads, dim=2)):
            weights, routing = rows.weights[:, row, head, None], rows.routing[:, row, head, None]
            value = (part @ block.projections.value[head]).transpose(0, 1) @ tokens
            if terms != "routing":
                scores.addcmul_(weights, value)
            if terms != "value":
                scores.addcmul_(weights * routing, value - value @ weights.transpose(1, 2))
    return scores


def _is_plain(head: torch.nn.Linear) -> bool:
    """Whether a layer's weight is all that it computes with: no subclass of its own forward, no hooks."""
    return type(head) is torch.nn.Linear and not (head._forward_hooks or head._forward_pre_hooks)
