"""Targets in the space of embeddings: things shown by example, and likeness to one reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from torch import Tensor
from torch.nn import functional

from regard.errors import NotFiniteError, TargetError
from regard.labels import Subject
from regard.targets import Output, Target, embedding_of, no_embedding

if TYPE_CHECKING:
    from regard.models.classifier import Classifier

Measure = Literal["dot", "cosine", "contrast"]
Likeness = Literal["cosine", "dot", "by ranks"]


@dataclass(frozen=True, eq=False)
class Concept(Target):
    """Likeness to something shown by example photos, in the classifier's own embedding.

    With e the image's embedding (D,), c the mean embedding of the examples, and m that of other photos:

        dot        e · c              the paper's form (CDAM, section "concept"); large norms count more
        cosine     e · c / (|e| |c|)  direction only; zero map for an example explained by itself alone
        contrast   e · (c − m)        what the examples have and the other photos lack

    A concept belongs to the weights it was made with, by hash: another classifier refuses it.
    """

    kind: ClassVar[str] = "concept"
    name: str
    direction: Tensor = field(repr=False)
    measure: Measure
    classifier_hash: str

    @classmethod
    def from_images(
        cls,
        classifier: Classifier,
        photos: Any,
        name: str,
        measure: Measure = "dot",
        others: Any = None,
    ) -> Concept:
        """Embed example photos (or prepared pixels), one or more, and keep their mean.

        Args:
            classifier: whose embedding; needs no head.
            photos: examples of the concept.
            name: in words.
            measure: how likeness is measured; see the class.
            others: photos without the concept, for `contrast` only.
        """
        _check_measure(measure, others is not None)
        embeddings, without = (
            None if given is None else classifier.embed(classifier.prepare(given)) for given in (photos, others)
        )
        assert embeddings is not None
        return cls.from_embeddings(classifier, embeddings, name, measure, without)

    @classmethod
    def from_embeddings(
        cls,
        classifier: Classifier,
        embeddings: Tensor,
        name: str,
        measure: Measure = "dot",
        others: Tensor | None = None,
    ) -> Concept:
        """The same from embeddings (n, D) that `classifier.embed` gave: many concepts from photos embedded once."""
        _check_measure(measure, others is not None)
        direction = _mean(embeddings, name)
        if classifier.width is not None and len(direction) != classifier.width:
            raise TargetError(
                f"the embeddings of {name!r} are not this classifier's",
                came=f"width {len(direction)}",
                expected=f"width {classifier.width}",
            )
        if others is not None:
            direction = direction - _mean(others, f"photos without {name}")
        return cls(name, direction, measure, classifier.hash)

    def bind(self, subject: Subject) -> Concept:
        if self.classifier_hash != subject.hash:
            raise TargetError(
                f"the concept {self.name!r} was made with another classifier: its direction means nothing here",
                came=f"weights {self.classifier_hash[:12]}",
                expected=f"weights {subject.hash[:12]}",
                remedy="make it again with Concept.from_images(this_classifier, …)",
            )
        return self

    def scores(self, output: Output) -> Tensor:
        return likeness(embedding_of(output), self.direction, "cosine" if self.measure == "cosine" else "dot")

    def names(self, subject: Subject, images: int) -> list[str]:
        return [f"concept {self.name}"] * images


@dataclass(frozen=True, eq=False)
class Similarity(Target):
    """Likeness of the embedding e to a reference r: an episode's prototype, a gallery image, a text.

        cosine     e · r / (|e| |r|)                     since retrieval compares directions
        dot        e · r
        by ranks   (1/K) Σ_k e_k · r_k / (|e_k| |r_k|)   of K vectors joined, as `prototype_logits` tells classes apart

    In a cosine of joined vectors ranks count by their lengths, so the most active one the most; by ranks all alike.

    Args:
        reference: embedding (D,), as `classifier.embed` gives it; by ranks (K, C), K · C = D, as `prototypes` gives it.
        measure: how likeness is measured.
        name: in words.
    """

    kind: ClassVar[str] = "similarity"
    reference: Tensor = field(repr=False)
    measure: Likeness = "cosine"
    name: str = "similarity"

    def bind(self, subject: Subject) -> Similarity:
        if self.measure not in get_args(Likeness):
            raise TargetError("no such measure", came=repr(self.measure), expected=", ".join(get_args(Likeness)))
        by_ranks = self.measure == "by ranks"
        if (
            not isinstance(self.reference, Tensor)
            or self.reference.dim() != 1 + by_ranks
            or not self.reference.is_floating_point()
        ):
            shape = tuple(self.reference.shape) if isinstance(self.reference, Tensor) else self.reference
            raise TargetError(
                "Similarity takes one embedding",
                came=f"{shape!r:.60}, measure={self.measure!r}",
                expected="(K, C)" if by_ranks else "(D,)",
                remedy="classifier.embed(pixels)[0]; by ranks classifier.represent(pixels)[0].vectors[0]",
            )
        if subject.width is None:
            raise no_embedding()
        if self.reference.numel() != subject.width:
            raise TargetError(
                "the reference is not an embedding of this classifier",
                came=f"width {self.reference.numel()}",
                expected=f"width {subject.width}",
            )
        if not bool(self.reference.isfinite().all()):
            raise NotFiniteError("the reference embedding holds NaN or infinity")
        return self

    def scores(self, output: Output) -> Tensor:
        return likeness(embedding_of(output), self.reference, self.measure)

    def names(self, subject: Subject, images: int) -> list[str]:
        return [self.name] * images


def likeness(embedding: Tensor, reference: Tensor, measure: Likeness) -> Tensor:
    """Of each image (B, D) to a reference (D,) or, by ranks, (K, C): (B,) in float32; see `Similarity`."""
    embedding = embedding.float()
    reference = reference.to(embedding)
    if measure == "dot":
        return embedding @ reference
    ranks = reference.reshape(-1, reference.shape[-1])  # (1, D), or (K, C)
    return functional.cosine_similarity(embedding.unflatten(1, ranks.shape), ranks, dim=2).mean(dim=1)


def _check_measure(measure: str, with_others: bool) -> None:
    if measure not in ("dot", "cosine", "contrast"):
        raise TargetError("no such measure", came=repr(measure), expected="dot, cosine or contrast")
    if with_others != (measure == "contrast"):
        raise TargetError(
            "contrast, and only contrast, compares with other photos",
            came=f"measure={measure!r}, {'with' if with_others else 'without'} others",
        )


def _mean(embeddings: Tensor, name: str) -> Tensor:
    if embeddings.dim() != 2 or len(embeddings) == 0:
        raise TargetError(
            f"the embeddings of {name!r} are not one row a photo",
            came=f"{tuple(embeddings.shape)}",
            expected="(n, D), as classifier.embed gives them",
        )
    if not bool(embeddings.isfinite().all()):
        raise NotFiniteError(f"the embedding of the photos of {name!r} holds NaN or infinity")
    return embeddings.detach().float().mean(dim=0).cpu()
