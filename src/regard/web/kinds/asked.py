"""What a request names → classifier, photo, target, removal; and how an answer is written down."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from torch import Tensor

from regard.concepts import Concept
from regard.errors import TargetError
from regard.evaluate.asked import fill_called
from regard.fills import Fill
from regard.images import Geometry
from regard.models.classifier import Classifier
from regard.models.preparation import Preparation
from regard.models.transformer import Tokens
from regard.question import TargetAnswer
from regard.targets import Class, Difference, Predicted, Probability, Target
from regard.web import schema, told
from regard.web.visitors import KeptConcept, Visitor


def target_of(asked: schema.Target, visitor: Visitor) -> tuple[Target, tuple[KeptConcept, ...]]:
    """The target, and the concepts that it is made of."""
    match asked:
        case schema.ClassTarget():
            return Class(asked.index), ()
        case schema.PredictedTarget():
            return Predicted(asked.rank), ()
        case schema.DifferenceTarget():
            return Difference(Class(asked.first), Class(asked.second)), ()
        case schema.ProbabilityTarget():
            return Probability(Class(asked.index)), ()
        case schema.ConceptTarget():
            kept = visitor.concept(asked.concept)
            return kept.concept, (kept,)
        case schema.ConceptDifferenceTarget():
            first, second = visitor.concept(asked.first), visitor.concept(asked.second)
            return Difference(first.concept, second.concept), (first, second)


def concepts_in(target: Target) -> tuple[Concept, ...]:
    """The concepts that a target is made of."""
    parts = (target.first, target.second) if isinstance(target, Difference) else (target,)
    return tuple(part for part in parts if isinstance(part, Concept))


def fill_of(removal: schema.Removal, preparation: Preparation) -> Fill | None:
    """What stands where something is removed; None where tokens are left out."""
    return None if removal == "tokens" else fill_called(removal, preparation)


def tokens_to_drop(classifier: Classifier) -> Tokens:
    """The anatomy of a transformer that can do without some of its tokens.

    Raises:
        TargetError: another network.
    """
    tokens = classifier.tokens
    problem = "it is no transformer" if tokens is None else tokens.cannot_drop
    if tokens is None or problem is not None:
        raise TargetError("this classifier cannot drop tokens", came=problem, remedy="remove by black, mean or blur")
    return tokens


def packed(values: Tensor, kind: str = "<f4") -> str:
    """base64 of numbers, row by row, little-endian."""
    return base64.b64encode(np.ascontiguousarray(values.detach().cpu().numpy(), dtype=kind).tobytes()).decode()


def numbers(values: Tensor) -> list[float | None]:
    """A vector as plain numbers, which the schema makes null where they are NaN."""
    found: list[float | None] = values.double().tolist()
    return found


def frame_of(geometry: Geometry) -> told.Frame:
    """As it travels."""
    return told.Frame(box=list(geometry.box), photo=list(geometry.photo), size=list(geometry.frame))


def target_facts(answer: TargetAnswer) -> told.TargetFacts:
    """As it travels."""
    return told.TargetFacts(**vars(answer))


def class_answers(answers: Any) -> list[told.ClassAnswer]:
    """Answers about classes as they travel."""
    return [
        told.ClassAnswer(index=each.index, label=each.name, score=each.score, probability=each.probability)
        for each in answers
    ]
