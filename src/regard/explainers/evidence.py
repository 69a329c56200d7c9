"""S[i] = Σ_j u[i, j] · ∂f / ∂u[i, j] at any point: for tokens u as the reader reads them, and x as they enter its part.

The point need not be a picture's own: averages over noise and along paths ask for others. The network up to the
reader is never run again for them. Two forms: closed, from the weights of a plain attention; and the definition, by
differentiating the network's own code from there on, for every other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from regard.errors import UnsupportedError
from regard.explainers.gradients import detached, of_targets
from regard.explainers.reading import (
    HALF_ROUNDING,
    ROUNDING,
    ReadRows,
    attend,
    check_answer,
    entering_and_read,
    opened_reader,
)
from regard.models import passes
from regard.models.classifier import Classifier
from regard.models.reader import resumed
from regard.models.taps import Place, differentiable_from, read, replaced
from regard.models.transformer import Tokens
from regard.question import Question
from regard.targets import Output, at_least_float32

Terms = Literal["both", "value", "routing"]
Pooled = Literal["u+x", "paper", "exact"]

DIRECTION_BYTES = 96 * 2**20
"""Bytes that one chunk of targets may take in the closed form."""


@dataclass(frozen=True)
class Point:
    """Where evidence is asked.

    Attributes:
        entering: x, the tokens as they enter the reader's part, (B, N, D).
        read: u, the tokens as the reader reads them, (B, N, D).
        picture: any picture (1, 3, H, W) of their frame, whose pass is resumed: what depends on the grid, such as
            rotary positions, comes from it.
    """

    entering: Tensor
    read: Tensor
    picture: Tensor


def point_of(classifier: Classifier, tokens: Tokens, pixels: Tensor) -> Point:
    """The point of prepared pixels (B, 3, H, W) themselves: the network that far, and no further."""
    return Point(*entering_and_read(classifier, tokens, pixels), pixels[:1])


class Evidence(ABC):
    """Scores of all tokens for many targets at a point (x, u)."""

    def __init__(self, classifier: Classifier, tokens: Tokens) -> None:
        self.classifier, self.tokens = classifier, tokens

    @abstractmethod
    def __call__(self, point: Point, question: Question) -> tuple[Tensor, Output, Tensor | None]:
        """Scores (B, T, N), the answer there, and the attention of the first query (B, H, N) where it is known."""

    @abstractmethod
    def answer(self, point: Point) -> Output:
        """The classifier's answer at a point."""

    def normed(self, entering: Tensor, picture: Tensor) -> Tensor:
        """What the reader reads of tokens x that enter its part: u(x), by the network's own norm."""
        place = self.tokens.attention_input
        with resumed(self.classifier, self.tokens, entering):
            (u,), _ = read(self.classifier.module, [place], lambda: self.classifier.forward(picture), stop=True)
        return u

    def _resumed_answer(self, point: Point) -> Output:
        """The answer of the network's own code from x on, as many pictures at once as there are."""
        with resumed(self.classifier, self.tokens, point.entering):
            return self.classifier.respond(point.picture.expand(len(point.entering), -1, -1, -1))


class ByAutograd(Evidence):
    """The definition: leaves where the reader reads and, for heads that read patches, where x goes on beside it.

        S[i] = u_i · ∂f/∂u_i |_x   ( + x_i · ∂f/∂x_i |_u )          (CDAM, section 3.6, options A and B)

    Args:
        classifier: the classifier.
        tokens: its anatomy.
        pooled: for heads that read the patches themselves: "paper" is the first term, "u+x" both, norm output and
            residual taken as independent. Where the head reads the class token or a pool, patches have no second term.

    Raises:
        UnsupportedError: the network, resumed at its reader, does not give its own answer.
    """

    def __init__(self, classifier: Classifier, tokens: Tokens, pooled: Pooled) -> None:
        super().__init__(classifier, tokens)
        self.residual = pooled == "u+x" and tokens.rows is None and tokens.pool is None
        self._test()

    def __call__(self, point: Point, question: Question) -> tuple[Tensor, Output, Tensor | None]:
        own = [point.read.to(point.entering.dtype), point.entering] if self.residual else [point.read]
        leaf = torch.stack(own).detach().requires_grad_()
        with torch.enable_grad():
            entering = leaf[1] if self.residual else point.entering
            output = self.answer(Point(entering, leaf[0], point.picture))
        values = at_least_float32(leaf.detach())
        gradients = of_targets(output, leaf, question.cotangents(output))
        scores = torch.cat([(gradient * values).sum(dim=(1, 4)) for gradient in gradients])
        return scores.transpose(0, 1), detached(output), None

    def answer(self, point: Point) -> Output:
        with replaced(self.classifier.module, self.tokens.attention_input, lambda own: point.read.to(own.dtype)):
            return self._resumed_answer(point)

    def _test(self) -> None:
        picture = self.classifier.picture(noise=True)
        with self.classifier.untouched(), passes.uncounted(), torch.inference_mode(False), torch.no_grad():
            own = self.classifier.respond(picture)
            once = point_of(self.classifier, self.tokens, picture)
            another = self.classifier.picture()  # in its stead, so that what is not resumed shows
            again = self.answer(Point(once.entering.repeat(2, 1, 1), once.read.repeat(2, 1, 1), another))
        half = once.entering.dtype.itemsize < 4 or self.classifier.precision != "float32"
        check_answer(again, own, HALF_ROUNDING if half else ROUNDING, self.classifier)


class ByDecomposition(Evidence):
    """The exact parts of a head that is linear in the tokens t after the last norm: S[i] = t_i · ∂f/∂t_i.

    With the logit of such a head, Σ_i S[i] over all tokens and the head's bias are the logit: what each token adds
    after the last attention has mixed them (CDAM, section 3.6, option C).

    Raises:
        UnsupportedError: no layer gives such tokens, or what follows them is not linear.
    """

    def __init__(self, classifier: Classifier, tokens: Tokens) -> None:
        super().__init__(classifier, tokens)
        self.place = self._last_tokens()

    def __call__(self, point: Point, question: Question) -> tuple[Tensor, Output, Tensor | None]:
        leaf, output = differentiable_from(self.classifier.module, self.place, lambda: self._resumed_answer(point))
        gradients = of_targets(output, leaf, question.cotangents(output))
        values = at_least_float32(leaf.detach())
        return torch.cat([(part * values).sum(-1) for part in gradients]).transpose(0, 1), detached(output), None

    def answer(self, point: Point) -> Output:
        return self._resumed_answer(point)

    def _last_tokens(self) -> Place:
        """The last layer whose output has all tokens, if the answer is affine in it."""
        picture, module = self.classifier.picture(noise=True), self.classifier.module
        with self.classifier.untouched(), passes.uncounted(), torch.inference_mode(False), torch.no_grad():
            point = point_of(self.classifier, self.tokens, picture)
            place = Place(self._last_of_shape(point.entering))
            leaf, answer = differentiable_from(module, place, lambda: self._value(point))
            direction = torch.randn(answer.shape, generator=torch.Generator().manual_seed(0)).to(answer)
            (gradient,) = torch.autograd.grad(answer, leaf, direction)
            with replaced(module, place, torch.zeros_like):
                empty = self._value(point)
        added = answer.detach() - empty
        parts, whole = float((gradient * leaf.detach()).sum()), float((added * direction).sum())
        half = point.entering.dtype.itemsize < 4 or self.classifier.precision != "float32"
        if abs(parts - whole) > (HALF_ROUNDING if half else ROUNDING) * float(added.abs().max()):
            raise UnsupportedError(
                "the head is not linear in its tokens, so there is no exact decomposition",
                came=f"{self.classifier.name} has a norm, or more, between pooling and its classes",
                remedy='pooled="u+x"',
            )
        return place

    def _value(self, point: Point) -> Tensor:
        output = self._resumed_answer(point)
        found = output.embedding if output.logits is None else output.logits
        assert found is not None
        return found

    def _last_of_shape(self, entering: Tensor) -> str:
        """The last block, or the last layer after it whose output has the shape of all tokens."""
        found: list[str] = []

        def note(path: str) -> Callable[..., None]:
            def hook(_: nn.Module, __: object, output: object) -> None:
                if isinstance(output, Tensor) and output.shape == entering.shape:
                    found.append(path)

            return hook

        with ExitStack() as stack:
            for path, module in self.classifier.module.named_modules():
                stack.callback(module.register_forward_hook(note(path)).remove)
            with resumed(self.classifier, self.tokens, entering):
                self.classifier.respond(self.classifier.picture())
        last = self.tokens.blocks[-1]
        return found[-1] if not found[-1].startswith(f"{last}.") else last


class ClosedForm(Evidence):
    """The closed form of a plain attention, heads h, with a, λ, μ, o as in `reading.attend`.

    With g_h = ∂f/∂o_h, ω_h,i = (Wv_hᵀ g_h) · u_i (no value bias), and ω̄_h = Σ_i a_h,i ω_h,i over all tokens:

        S[i] = Σ_h a_h,i ( ω_h,i + (ω_h,i − ω̄_h) λ_h,i )      (CDAM, section 2.1)
               value term ──┘      └── routing term

    A token that queries acts through its query too: its own score gains Σ_h Σ_i a_h,i (ω_h,i − ω̄_h) μ_h,i.

    Cost: 26 D² + 6 H D N per image and 20 D² + 2 H D N per target, in float32 at least. More targets than channels
    read out the D directions of the embedding instead (every target is a direction there).

    Raises:
        UnsupportedError: the reader is not of the plain kind, or its own output comes out otherwise.
    """

    def __init__(self, classifier: Classifier, tokens: Tokens, terms: Terms) -> None:
        super().__init__(classifier, tokens)
        self.terms = terms
        self.reader, *_ = opened_reader(classifier, tokens)

    def __call__(self, point: Point, question: Question) -> tuple[Tensor, Output, Tensor | None]:
        rows = attend(self.reader, self.tokens, point.entering, point.read)
        scores, output = self._scored(rows, question)
        return scores, output, rows.weights[:, 0]

    def answer(self, point: Point) -> Output:
        rows = attend(self.reader, self.tokens, point.entering, point.read)
        return self.reader.tail(rows.attended, rows.residual)

    def _scored(self, rows: ReadRows, question: Question) -> tuple[Tensor, Output]:
        with torch.enable_grad():
            attended = rows.attended.detach().requires_grad_()
            answer = self.reader.tail(attended, rows.residual)
            output = detached(answer)
            head = self.classifier.head_module()
            if answer.embedding is None or not (isinstance(head, nn.Linear) and _is_plain(head)):
                gradients = of_targets(answer, attended, question.cotangents(output))
                return torch.cat([self._of_gradient(rows, part) for part in gradients], dim=1), output
            directions = question.directions(output, head.weight.detach().to(self.reader.dtype))
            targets, images, width = directions.shape
            if targets <= width:
                return self._of_directions(rows, answer.embedding, attended, directions), output
            units = torch.eye(width, dtype=directions.dtype, device=directions.device)[:, None].expand(-1, images, -1)
            return directions.transpose(0, 1) @ self._of_directions(rows, answer.embedding, attended, units), output

    def _of_directions(self, rows: ReadRows, embedding: Tensor, attended: Tensor, directions: Tensor) -> Tensor:
        """S of directions (T, B, D) of the embedding, (B, T, N), in chunks of targets."""
        images, count, width = rows.tokens.shape
        per_target = images * (4 * count + 12 * width) * attended.element_size()
        size = max(1, DIRECTION_BYTES // per_target)
        chunks = []
        for start in range(0, len(directions), size):
            part = directions[start : start + size]
            passes.count(backwards=len(part) * images)
            (gradient,) = torch.autograd.grad(embedding, attended, part, retain_graph=True, is_grads_batched=True)
            chunks.append(self._of_gradient(rows, gradient))
        return torch.cat(chunks, dim=1)

    def _of_gradient(self, rows: ReadRows, gradient: Tensor) -> Tensor:
        """The formula itself, row by row and head by head: g (T, B, R, H·d) → S (B, T, N)."""
        tokens, projected = rows.tokens.transpose(1, 2), self.reader.projections.value
        scores = tokens.new_zeros(len(tokens), len(gradient), tokens.shape[2])
        for row in range(gradient.shape[2]):
            for head, part in enumerate(gradient[:, :, row].chunk(len(projected), dim=2)):
                weights, routing = rows.weights[:, row, head, None], rows.routing[:, row, head, None]
                value = (part @ projected[head]).transpose(0, 1) @ tokens
                if self.terms != "routing":
                    scores.addcmul_(weights, value)
                if self.terms != "value":
                    turning = weights * rows.turning[:, row, head, None]
                    mean, turned = (value @ torch.cat([weights, turning], dim=1).transpose(1, 2)).split(1, dim=2)
                    scores.addcmul_(weights * routing, value - mean)
                    if self.reader.queries is None:
                        asking = (self.tokens.rows or ())[row]
                        scores[:, :, asking] += (turned - mean * turning.sum(dim=2, keepdim=True))[:, :, 0]
        return scores


def _is_plain(head: nn.Linear) -> bool:
    """Whether a layer's weight is all that it computes with: no subclass of its own forward, no hooks."""
    return type(head) is nn.Linear and not (head._forward_hooks or head._forward_pre_hooks)
