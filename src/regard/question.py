"""What a person asked, in the one form that explainers and metrics see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from regard.errors import TargetError
from regard.labels import Subject, class_count, class_names
from regard.targets import (
    Class,
    ImageClasses,
    Images,
    Output,
    PerImage,
    Predicted,
    Probability,
    Target,
    at_least_float32,
    log_probabilities,
    single,
    top,
)


@dataclass(frozen=True)
class TargetAnswer:
    """One target on one image, answered: what the map speaks about.

    Attributes:
        name: in words.
        index: class index, None where the target is no single class.
        score: the target's value; a logit for a class.
        probability: of the class, where the classifier gives one.
    """

    name: str
    index: int | None
    score: float | None
    probability: float | None


@dataclass(frozen=True)
class Question:
    """T targets for B images, checked against one classifier."""

    targets: tuple[Target, ...]
    subject: Subject = field(repr=False)

    def scores(self, output: Output) -> Tensor:
        """Values of all targets, (B, T), float32; float64 where the answer is."""
        return torch.stack([at_least_float32(target.scores(output)) for target in self.targets], dim=1)

    def cotangents(self, output: Output) -> Output:
        """Gradients of every target with respect to the output, as (T, B, C) and (T, B, D), float32.

        Logits of classes are one-hot and written by one scatter, so that a thousand of them
        cost no autograd at all; every other target is differentiated through the output alone.
        A part that no target reads is None.
        """
        logits, embedding = (
            None if part is None else part.detach().float() for part in (output.logits, output.embedding)
        )
        plain = Output(logits, embedding)
        of_logits = None if logits is None else logits.new_zeros(len(self.targets), *logits.shape)
        of_embedding = None if embedding is None else embedding.new_zeros(len(self.targets), *embedding.shape)
        reads_logits = reads_embedding = False
        for place, target in enumerate(self.targets):
            indices = target.indices(plain)
            if indices is not None:
                assert of_logits is not None
                of_logits[place].scatter_(1, indices[:, None], 1.0)
                reads_logits = True
                continue
            by_logits, by_embedding = _gradient(target, plain)
            if by_logits is not None and of_logits is not None:
                of_logits[place], reads_logits = by_logits, True
            if by_embedding is not None and of_embedding is not None:
                of_embedding[place], reads_embedding = by_embedding, True
        return Output(of_logits if reads_logits else None, of_embedding if reads_embedding else None)

    def directions(self, output: Output, weight: Tensor) -> Tensor:
        """Gradients of every target with respect to the embedding, through a linear head (C, D): (T, B, D).

        The logit of a class is a row of the head, so a thousand of them are one gather instead of a
        product of T·B·C·D.
        """
        indices = [target.indices(output) for target in self.targets]
        if all(chosen is not None for chosen in indices):
            return weight[torch.stack([chosen for chosen in indices if chosen is not None])]
        found = self.cotangents(output)
        parts = [] if found.logits is None else [found.logits.to(weight) @ weight]
        parts += [] if found.embedding is None else [found.embedding.to(weight)]
        return torch.stack(parts).sum(dim=0)

    def take(self, images: Images) -> Question:
        """The same question about some of the images, in that order."""
        return replace(self, targets=tuple(target.take(images) for target in self.targets))

    def fixed(self, output: Output) -> Question:
        """The same question with predicted classes held fast, so that it can be asked of perturbed pictures."""
        return replace(self, targets=tuple(target.fixed(output) for target in self.targets))

    def of_probabilities(self) -> Question:
        """The same question with probabilities in place of the logits of classes, where the classifier gives them."""
        outputs = self.subject.outputs
        if outputs not in ("softmax", "sigmoid"):
            return self
        asked = (
            Probability(target, outputs) if isinstance(target, (Class, Predicted, ImageClasses)) else target
            for target in self.targets
        )
        return replace(self, targets=tuple(asked))

    def answers(self, output: Output) -> tuple[tuple[TargetAnswer, ...], ...]:
        """Per image, per target: name, class index, score, probability."""
        known = output.logits if output.logits is not None else output.embedding
        assert known is not None
        chances = self._probabilities(output)
        classes = class_names(range(self.subject.class_count or 0), self.subject)
        columns = [self._column(target, output, chances, classes, len(known)) for target in self.targets]
        return tuple(zip(*columns, strict=True))

    def _probabilities(self, output: Output) -> Tensor | None:
        if output.logits is None or self.subject.outputs not in ("softmax", "sigmoid"):
            return None
        return log_probabilities(output.logits, self.subject.outputs).exp()

    def _column(
        self, target: Target, output: Output, chances: Tensor | None, classes: list[str], images: int
    ) -> list[TargetAnswer]:
        scores = target.scores(output).float().tolist()
        indices = target.indices(output)
        if indices is None:
            names = target.names(self.subject, images)
            return [TargetAnswer(name, None, score, None) for name, score in zip(names, scores, strict=True)]
        chosen: list[int] = indices.tolist()
        known = [None] * images if chances is None else chances.gather(1, indices[:, None])[:, 0].tolist()
        return [
            TargetAnswer(classes[index], index, score, chance)
            for index, score, chance in zip(chosen, scores, known, strict=True)
        ]


def ask(targets: Any, subject: Subject, images: int) -> Question:
    """What a person wrote as targets → a `Question` that fits the classifier and the images.

    Args:
        targets: an index, a label, a target, a list of those (applied to every image), a
            `PerImage`, or None for the likeliest class.
        subject: the classifier.
        images: how many there are.

    Raises:
        TargetError: unknown, ambiguous, negative, out of range, ragged, a bare tensor, or
            something this classifier cannot be asked.
    """
    if isinstance(targets, PerImage):
        columns: Sequence[Target] = targets.columns(images)
    else:
        columns = _listed(default_targets(subject, 1) if targets is None else targets)
    if not columns:
        raise TargetError("the list of targets is empty")
    return Question(tuple(target.bind(subject) for target in columns), subject)


def kinds(targets: Any) -> frozenset[str]:
    """Kinds of the targets that a person wrote, as `ask` takes them; none where nothing was asked.

    Raises:
        TargetError: what is no target.
    """
    if isinstance(targets, PerImage):
        return frozenset({ImageClasses.kind})
    return frozenset(target.kind for target in _listed([] if targets is None else targets))


def default_targets(subject: Subject, count: int) -> list[Target]:
    """What is asked when nothing is asked: the `count` likeliest classes, or the first measurements.

    Raises:
        TargetError: the classifier has no head.
    """
    classes = class_count(subject)
    if subject.outputs == "scalar":
        return [Class(index) for index in range(min(count, classes))]
    return top(min(count, classes))


def _listed(targets: Any) -> list[Target]:
    if isinstance(targets, (list, tuple)):
        return [target for item in targets for target in _listed(item)]
    return [single(targets)]


def _gradient(target: Target, output: Output) -> tuple[Tensor | None, Tensor | None]:
    """Gradient of the sum over images of a target's scores, with respect to logits and embedding.

    The sum is a shortcut for "of each image's own score" only where images do not touch each
    other, which targets promise.
    """
    with torch.enable_grad():
        leaves = [None if part is None else part.clone().requires_grad_() for part in (output.logits, output.embedding)]
        scores = target.scores(Output(*leaves))
        present = [leaf for leaf in leaves if leaf is not None]
        if not scores.requires_grad:
            raise TargetError(
                "the target does not depend on the output in a way that can be differentiated",
                remedy="a function must be made of torch operations on its argument",
            )
        gradients = iter(torch.autograd.grad(scores.sum(), present, allow_unused=True))
    by_logits, by_embedding = (None if leaf is None else next(gradients) for leaf in leaves)
    return by_logits, by_embedding
