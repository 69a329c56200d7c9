"""Pictures, the maps of them and what is asked: what must belong together before anything can be judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from regard.errors import MetricError, NotFiniteError
from regard.explanation import Explanation
from regard.models import passes
from regard.models.classifier import Classifier, finite_images
from regard.question import Question, ask
from regard.targets import Output, PerImage, Probability, exact


@dataclass(frozen=True)
class JudgedPictures:
    """Pictures, the maps that order them (B, M, h, w), and what is asked; M is 1 where no targets are told apart."""

    classifier: Classifier
    pixels: Tensor
    maps: Tensor
    question: Question
    clean: Tensor

    def values(self, output: Output, images: Tensor, rows: Tensor) -> Tensor:
        """Values of n jobs, of images (n,) and rows of maps (n,) → (n, T) where a map serves all targets, or (n, 1)."""
        values = _values(self.question.take(images.tolist()), output)
        return values if self.maps.shape[1] < values.shape[1] else values.gather(1, rows[:, None])

    def answers_to(self, pixels: Tensor) -> Tensor:
        """Values of as many other pictures, (B, T)."""
        return self.values_of(_answer(self.classifier, pixels))

    def values_of(self, output: Output) -> Tensor:
        """Values of the answers to as many pictures, (B, T)."""
        return _values(self.question, output)

    def by_target(self, found: Tensor) -> Tensor:
        """Values of points of images and rows, (B, M, points, T or 1) → (B, T, points), on the CPU."""
        serves_all = self.maps.shape[1] < len(self.question.targets)
        return (found[:, 0].mT if serves_all else found[..., 0]).cpu()


def judged_pictures(classifier: Classifier, pixels: Tensor, explanation: Explanation, targets: Any) -> JudgedPictures:
    """Check that pictures, maps and question belong together, and answer the whole pictures."""
    if explanation.classifier_hash != classifier.hash:
        raise MetricError(
            "these maps are of another classifier, or of other weights",
            came=explanation.classifier,
            expected=classifier.name,
        )
    prepared = classifier.prepare(pixels).as_subclass(Tensor)
    if len(prepared) != len(explanation):
        raise MetricError("every picture has its maps", came=f"{len(prepared)} pictures, {len(explanation)} maps")
    _check_pictures(classifier, prepared, explanation)
    answer = _answer(classifier, prepared)
    question = ask(_classes(explanation) if targets is None else targets, classifier, len(prepared)).fixed(answer)
    if len(question.targets) != explanation.maps.shape[1]:
        raise MetricError(
            "every target has its map",
            came=f"{len(question.targets)} targets, {explanation.maps.shape[1]} maps an image",
        )
    question = question.of_probabilities()
    maps = explanation.maps if explanation.per_target else explanation.maps[:, :1]
    return JudgedPictures(classifier, prepared, maps.to(prepared.device), question, _values(question, answer))


def _values(question: Question, output: Output) -> Tensor:
    """Values of all targets, (B, T), float64, a probability from softmax in float64: near 1 float32 leaves rounding."""
    precise = Output(None if output.logits is None else exact(output.logits), output.embedding)
    values = (target.scores(precise if isinstance(target, Probability) else output) for target in question.targets)
    return torch.stack([exact(value) for value in values], dim=1)


def _check_pictures(classifier: Classifier, prepared: Tensor, explanation: Explanation) -> None:
    """Refuse NaN, and pictures that the maps are not of: what the explanation keeps of them differs from what came."""
    bad = (~finite_images(prepared)).nonzero()[:, 0].tolist()
    if bad:
        raise NotFiniteError("a picture that holds NaN or infinity cannot be judged", came=f"image {bad[0]}")
    height, width = explanation.geometries[0].frame
    shown, seen = classifier.preparation.pictures(prepared[:, :, :height, :width]), explanation.pictures
    if shown.shape != seen.shape:
        raise MetricError(
            "the maps are of other pictures", came=f"{tuple(shown.shape)}", expected=f"{tuple(seen.shape)}"
        )
    others = (shown.int() - seen.int()).abs().amax((1, 2, 3)).gt(1).nonzero()[:, 0].tolist()
    if others:
        raise MetricError("the maps are of other pictures", came=f"image {others[0]} is not the one that was explained")


def _classes(explanation: Explanation) -> PerImage:
    indices = [[answer.index for answer in row] for row in explanation.targets]
    if any(index is None for row in indices for index in row):
        raise MetricError(
            "the maps explain targets that are no classes",
            came=", ".join(answer.name for answer in explanation.targets[0] if answer.index is None),
            remedy="pass the same targets= that the maps were asked for",
        )
    return PerImage(indices)


def _answer(classifier: Classifier, pixels: Tensor) -> Output:
    """Logits and embeddings of pictures, in chunks."""
    parts = passes.in_parts(classifier, len(pixels), pixels[:1], lambda numbers: classifier.respond(pixels[numbers]))
    joined = ([getattr(part, name) for part in parts] for name in ("logits", "embedding"))
    return Output(*(None if None in several else torch.cat(several) for several in joined))
