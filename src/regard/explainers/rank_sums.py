"""What each representative adds to a target's score, where the score is their sum."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from regard.attention.places import fine
from regard.concepts import Concept, Similarity
from regard.question import Question
from regard.targets import Difference, Output, Target, embedding_of


def shares_of(question: Question, output: Output, vectors: Tensor, weight: Tensor | None) -> Tensor:
    """A score that is a product of the joined vectors with a direction d, and a constant, by parts: d_k · v_k.

    So are logits of a linear head, with d a row of its weights and the bias for a constant; products and cosines with
    an embedding r, with d = r or r / (‖v‖ ‖r‖), or by ranks d_k = r_k / (K ‖v_k‖ ‖r_k‖); and differences of such
    scores. Exact: the parts and the constant sum to the score. NaN for any other target: a probability is no sum, and
    of a function it is not known.

    Args:
        question: T targets for B images.
        output: the answer to them; its embedding is the joined vectors.
        vectors: (B, K, C).
        weight: of a linear head (classes, K · C); None where the classifier has none.

    Returns:
        (B, T, K), float32 at least.
    """
    vectors = fine(vectors)
    unknown = torch.full(vectors.shape[:2], torch.nan, dtype=vectors.dtype, device=vectors.device)
    shares = []
    for target in question.targets:
        direction = _direction(target, output, weight)
        parts = None if direction is None else direction.to(vectors).unflatten(1, vectors.shape[1:])
        shares.append(unknown if parts is None else (parts * vectors).sum(dim=2))
    return torch.stack(shares, dim=1)


def _direction(target: Target, output: Output, weight: Tensor | None) -> Tensor | None:
    """What the embedding is multiplied with for the target's score, (B, K · C); None where it is not so made."""
    if isinstance(target, Difference):
        first, second = (_direction(part, output, weight) for part in (target.first, target.second))
        return None if first is None or second is None else first - second
    if isinstance(target, Similarity):
        return _towards(target.reference, target.measure != "dot", output)
    if isinstance(target, Concept):
        return _towards(target.direction, target.measure == "cosine", output)
    indices = None if weight is None else target.indices(output)
    return None if indices is None or weight is None else fine(weight)[indices]


def _towards(reference: Tensor, cosine: bool, output: Output) -> Tensor:
    """An embedding (K · C,) as the direction for each image; of a cosine also by ranks (K, C), of their mean."""
    embedding = fine(embedding_of(output))
    reference = reference.to(embedding)
    if not cosine:
        return reference.expand_as(embedding)
    ranks = reference.reshape(-1, reference.shape[-1])  # (1, K · C), or (K, C)
    own = embedding.unflatten(1, ranks.shape)
    lengths: Tensor = torch.linalg.vector_norm(own, dim=2, keepdim=True).clamp(min=1e-8)
    return (functional.normalize(ranks, dim=1, eps=1e-8) / lengths / len(ranks)).flatten(1)
