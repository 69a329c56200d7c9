"""What a trained network with a pooling is worth on photos kept from training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from regard.training.brnpa.answers import Answered
from regard.training.figures import Figure, HeldOut, examined, figure_of_words
from regard.training.parts import Part

AGREEMENT = "agreement with the teacher"


@dataclass(frozen=True)
class Worth:
    """Figures of photos that were neither trained on nor chosen by.

    Attributes:
        held_out: accuracy, of all classes and of each.
        beside: accuracy of each auxiliary head ("ranks 1+2") and, where there was one, of the teacher ("teacher"); and
            the share of photos for which student and teacher answer the same class (`AGREEMENT`), whose `chance` is the
            share that the teacher takes for the class most frequent in training.
    """

    held_out: HeldOut
    beside: tuple[Figure, ...]

    @classmethod
    def of_words(cls, words: Mapping[str, Any]) -> Worth:
        """The inverse of `dataclasses.asdict`, after JSON."""
        held_out = dict(words["held_out"])
        if held_out["overall"] is not None:
            held_out["overall"] = figure_of_words(Figure, held_out["overall"])
        held_out["each"] = tuple(figure_of_words(Figure, each) for each in held_out["each"])
        held_out["unexamined"] = tuple(held_out["unexamined"])
        if held_out["confusion"] is not None:
            held_out["confusion"] = tuple(map(tuple, held_out["confusion"]))
        return cls(HeldOut(**held_out), tuple(figure_of_words(Figure, each) for each in words["beside"]))


def epoch_figures(answers: Answered, part: Part) -> dict[str, float]:
    """What is said of an epoch: cross-entropy, accuracy, and the share of answers that are the teacher's."""
    truth = torch.tensor(part.classes)
    said = answers.student.argmax(dim=1)
    figures = {
        "cross_entropy": float(functional.cross_entropy(answers.student.double(), truth)),
        "accuracy": float((said == truth).double().mean()),
    }
    if answers.teacher is not None:
        figures["agreement"] = float((said == answers.teacher.argmax(dim=1)).double().mean())
    return figures


def worth_of(answers: Answered, part: Part, learnt: Part, names: Sequence[str], seed: int) -> Worth:
    """Figures with intervals; see `figures.examined` for chance.

    Args:
        answers: of the part.
        part: kept from training and from every choice.
        learnt: trained on.
        names: of the classes.
        seed: of the bootstrap.
    """
    truth, frequent = torch.tensor(part.classes), torch.tensor(learnt.classes)

    def shares(logits: Tensor, wanted: Tensor) -> HeldOut:
        return examined("softmax", logits, wanted, frequent, names, seed)

    def overall(name: str, logits: Tensor, wanted: Tensor) -> Figure:
        figure = shares(logits, wanted).overall
        assert figure is not None
        return replace(figure, name=name)

    beside = [overall(f"ranks {name}", logits, truth) for name, logits in answers.watched.items()]
    if answers.teacher is not None:
        beside.append(overall("teacher", answers.teacher, truth))
        beside.append(overall(AGREEMENT, answers.student, answers.teacher.argmax(dim=1)))
    return Worth(shares(answers.student, truth), tuple(beside))
