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
from regard.explainers.class_token import ClassTokenAttention, attend, block_input, on_grid
from regard.explainers.explainer import Explainer, Found
from regard.explainers.gradients import of_targets
from regard.models import passes
from regard.models.classifier import Classifier
from regard.models.taps import Place, differentiable_from
from regard.models.transformer import LastBlock, Tokens, last_block, wide
from regard.question import Question
from regard.targets import Output

Terms = Literal["both", "value", "routing"]
Form = Literal["auto", "closed", "autograd"]

TAIL_TOLERANCE = 1e-3
"""Largest difference, relative to the largest logit, that the self-test takes for rounding (float32: about 1e-6)."""
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
        self.tokens = class_token_anatomy(classifier, self.name)
        self.terms = terms
        self.block = None if form == "autograd" else self._closed_block(fall_back=form == "auto")
        self.settings = {"terms": terms, "form": "autograd" if self.block is None else "closed"}
        if self.block is None and terms != "both":
            raise UnsupportedError(
                "value and routing terms are parts of the closed form", came=f"terms={terms!r} with autograd"
            )

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        if self.block is None:
            return self._by_autograd(pixels, question)
        attention = attend(self.block, block_input(self.classifier, self.tokens, pixels))
        scores, output = closed_form(self.block, attention, self.classifier, question, self.terms)
        return Found(on_grid(self.tokens, pixels, scores), output, on_grid(self.tokens, pixels, attention.weights))

    def _by_autograd(self, pixels: Tensor, question: Question) -> Found:
        """The definition: a leaf at the output of the last norm1; the residual keeps its own value."""
        place = Place(self.tokens.attention_input, "output")
        leaf, output = differentiable_from(self.classifier.module, place, lambda: self.classifier.respond(pixels))
        cotangents = question.cotangents(output)
        read = leaf.detach().float()
        scores = [(chunk.float() * read).sum(-1) for chunk in of_targets(output, leaf, cotangents)]
        return Found(on_grid(self.tokens, pixels, torch.cat(scores).transpose(0, 1)), _detached(output))

    def _closed_block(self, *, fall_back: bool) -> LastBlock | None:
        try:
            block = last_block(self.classifier.module, self.tokens)
            self._test_tail(block)
            return block
        except (UnsupportedError, AttributeError) as reason:
            if not fall_back:
                raise
            why = (reason.came if isinstance(reason, RegardError) else None) or str(reason)
            warnings.warn(f"CDAM differentiates the last block of {self.classifier.name}: {why}", stacklevel=4)
            return None

    def _test_tail(self, block: LastBlock) -> None:
        """Refuse the closed form where the re-entered tail does not give the network's own output.

        Guards against extra norms, several heads, post-norm and parallel blocks, and wrappers.
        """
        height, width = self.classifier.preparation.frame
        generator = torch.Generator().manual_seed(0)
        picture = torch.randn(1, self.classifier.preparation.channels, height, width, generator=generator)
        picture = picture.to(self.classifier.device)
        with self.classifier.untouched(), torch.inference_mode(False), torch.no_grad():
            entering = block_input(self.classifier, self.tokens, picture)
            attention = attend(block, entering)
            again = apply_head(self.classifier, block.tail(attention.attended, attention.residual), block.dtype)
            own = self.classifier.forward(picture)
        again_output = again.logits if again.logits is not None else again.embedding
        if again_output is None or again_output.shape != own.shape:
            raise UnsupportedError("the closed form does not hold here", came="its tail gives another output")
        rounding = 0.05 if self.classifier.precision == "bfloat16" else TAIL_TOLERANCE
        difference = float((again_output - own).abs().max() / own.abs().max().clamp(min=1e-12))
        if not difference <= rounding:
            raise UnsupportedError(
                "the closed form does not hold here",
                came=f"the tail after its last attention differs from the network's own output by {difference:.1e}",
            )


def class_token_anatomy(classifier: Classifier, method: str) -> Tokens:
    """The transformer's anatomy, or UnsupportedError where no class token is read."""
    tokens = classifier.tokens
    if tokens is None:
        raise UnsupportedError(
            f"{method} explains vision transformers; {classifier.name} has no blocks of tokens that regard knows",
            remedy="for a convolutional network use regard.GradCAM, on the command line --method grad-cam",
        )
    if not tokens.class_token or tokens.pooling not in ("token", ""):
        raise UnsupportedError(
            f"{method} follows the class token, and the head of {classifier.name} does not read one",
            came=f"pooling {tokens.pooling!r}, class token: {tokens.class_token}",
            expected="a head on the class token",
            remedy='timm: regard.load(name, global_pool="token") where the weights were trained so',
        )
    return tokens


def closed_form(
    block: LastBlock, attention: ClassTokenAttention, classifier: Classifier, question: Question, terms: Terms
) -> tuple[Tensor, Output]:
    """Scores of all tokens, (B, T, N), and the classifier's answer. The class token's own entry means nothing.

    It also acts through the query, which the formula leaves out; callers drop the prefix.
    """
    with torch.enable_grad():
        attended = attention.attended.detach().requires_grad_()
        embedding = block.tail(attended, attention.residual)
        output = apply_head(classifier, embedding.detach(), block.dtype)
        directions = _directions(classifier, embedding.detach(), question.cotangents(output), block.dtype)
        targets, images, width = directions.shape
        if targets <= width:
            return _scores(block, attention, embedding, attended, directions, terms), output
        units = torch.eye(width, dtype=block.dtype, device=directions.device)[:, None].expand(-1, images, -1)
        readout = _scores(block, attention, embedding, attended, units, terms)
        return directions.transpose(0, 1) @ readout, output


def _directions(classifier: Classifier, embedding: Tensor, cotangents: Output, dtype: torch.dtype) -> Tensor:
    """Every target's gradient with respect to the embedding, (T, B, D): its direction there."""
    total = 0.0 if cotangents.embedding is None else cotangents.embedding.to(dtype)
    if cotangents.logits is not None:
        total = total + _through_head(classifier, embedding, cotangents.logits.to(dtype), dtype)
    assert isinstance(total, Tensor)
    return total


def _through_head(classifier: Classifier, embedding: Tensor, cotangents: Tensor, dtype: torch.dtype) -> Tensor:
    head = classifier.head_module()
    if isinstance(head, torch.nn.Linear):
        return cotangents @ head.weight.detach().to(dtype)
    leaf = embedding.detach().requires_grad_()
    logits = apply_head(classifier, leaf, dtype).logits
    return torch.cat(list(of_targets(Output(logits, None), leaf, Output(cotangents, None))))


def _scores(
    block: LastBlock,
    attention: ClassTokenAttention,
    embedding: Tensor,
    attended: Tensor,
    directions: Tensor,
    terms: Terms,
) -> Tensor:
    """S of directions (T, B, D) of the embedding, (B, T, N), in chunks of targets."""
    images, heads, count = attention.weights.shape
    width = attention.tokens.shape[2]
    per_target = images * (3 * heads * count + heads * width + 12 * width) * attended.element_size()
    size = max(1, DIRECTION_BYTES // per_target)
    chunks = []
    for start in range(0, len(directions), size):
        part = directions[start : start + size]
        passes.count(backwards=len(part) * images)
        (gradient,) = torch.autograd.grad(embedding, attended, part, retain_graph=True, is_grads_batched=True)
        chunks.append(_of_gradient(block, attention, gradient, terms))
    return torch.cat(chunks, dim=1)


def _of_gradient(block: LastBlock, attention: ClassTokenAttention, gradient: Tensor, terms: Terms) -> Tensor:
    """The formula itself: g (T, B, H·d) → S (B, T, N)."""
    weights, routing, tokens = attention.weights, attention.routing, attention.tokens
    heads = weights.shape[1]
    folded = torch.einsum("tbhd,hdD->bthD", gradient.unflatten(2, (heads, -1)), block.value)
    value = (folded.flatten(1, 2) @ tokens.transpose(1, 2)).unflatten(1, folded.shape[1:3])
    if terms == "value":
        return torch.einsum("bhn,bthn->btn", weights, value)
    centred = value - torch.einsum("bhn,bthn->bth", weights, value)[..., None]
    routed = torch.einsum("bhn,bthn->btn", weights * routing, centred)
    return routed if terms == "routing" else routed + torch.einsum("bhn,bthn->btn", weights, value)


def apply_head(classifier: Classifier, embedding: Tensor, dtype: torch.dtype) -> Output:
    """The classifier's answer for embeddings (B, D), computed in `dtype`."""
    head = classifier.head_module()
    if head is not None:
        return Output(wide(head, dtype)(embedding), embedding)
    return Output(None, embedding)


def _detached(output: Output) -> Output:
    return Output(*(None if part is None else part.detach() for part in (output.logits, output.embedding)))
