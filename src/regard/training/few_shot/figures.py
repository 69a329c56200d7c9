"""What a few-shot network is worth: how many queries of new classes' episodes it tells rightly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from regard.models.brnpa import BRNPAClassifier
from regard.seeds import seed_for
from regard.statistics import bootstrap_interval
from regard.training.brnpa.classification import called
from regard.training.brnpa.figures import AGREEMENT
from regard.training.few_shot.episodes import Episodes
from regard.training.few_shot.recipe import FewShotRecipe
from regard.training.few_shot.task import Learner, decided, truth_of
from regard.training.figures import figure_of_words
from regard.training.parts import Part
from regard.training.readable import BATCH

DECIDED_TOGETHER = 16
"""Episodes."""


@dataclass(frozen=True)
class EpisodeFigure:
    """A share of queries.

    Attributes:
        name: of what.
        episodes: that the value is about.
        value: the mean over episodes.
        interval: 95 % of the bootstrap over episodes; None where all are alike. It says how far other episodes of these
            photos would lead; what other classes or another training would give varies by more.
        chance: 1 / N.
    """

    name: str
    episodes: int
    value: float
    interval: tuple[float, float] | None
    chance: float


@dataclass(frozen=True)
class FewShotWorth:
    """Figures of episodes of classes that were neither trained on nor chosen by.

    Attributes:
        examined: the accuracy.
        beside: that of some ranks alone ("ranks 1+2") and, where there was one, of the teacher ("teacher"); and the
            share of queries for which student and teacher answer the same (`AGREEMENT`).
        accuracies: of each episode, in their order. Of the same photos, split, seed and recipe of episodes, other
            networks are asked the same episodes, so differences can be tested in pairs.
    """

    examined: EpisodeFigure
    beside: tuple[EpisodeFigure, ...]
    accuracies: tuple[float, ...]

    @classmethod
    def of_words(cls, words: Mapping[str, Any]) -> FewShotWorth:
        """The inverse of `dataclasses.asdict`, after JSON."""
        examined, *beside = (figure_of_words(EpisodeFigure, each) for each in (words["examined"], *words["beside"]))
        return cls(examined, tuple(beside), tuple(words["accuracies"]))


class Asked:
    """Photos as a network, and its teacher, find them, and episodes of them, which are always the same.

    Every photo is looked at once, in eval mode, however many episodes it is in.

    Args:
        subject: the classifier whose network is examined.
        learner: its parts.
        teacher: None for none.
        part: photos and classes.
        count: episodes.
        seed: of them.
        names: of the classes, for what is refused.

    Raises:
        ClassifierError: too few classes, or photos of one.

    Cost: a forward a photo, and one of the teacher; what is found of all photos is kept while it lives.
    """

    def __init__(
        self,
        subject: BRNPAClassifier,
        learner: Learner,
        teacher: BRNPAClassifier | None,
        part: Part,
        count: int,
        seed: int,
        names: Sequence[str] | None = None,
    ) -> None:
        self.recipe, self.learner = learner.recipe, learner
        self._places = places_of(part, self.recipe, count, seed, names)
        found, taught = [], []
        for start in range(0, len(part), BATCH):
            pixels = subject.prepare(part.photos[start : start + BATCH]).as_subclass(Tensor)
            with subject.untouched(), torch.no_grad():
                found.append(learner.describe(pixels).compared)
            if teacher is not None:
                with teacher.untouched(), torch.no_grad():
                    taught.append(teacher.represent(pixels)[0].vectors)
        self._found = torch.cat(found)
        self._taught = torch.cat(taught) if taught else None

    def student(self) -> Tensor:
        """Logits (episodes, N · Q, N), on the CPU."""
        return self._logits(self.learner.decide, self._found)

    def teacher(self) -> Tensor | None:
        """Those of the teacher; None where there is none."""
        return None if self._taught is None else self._logits(self._by_prototypes, self._taught)

    def ranks(self, ranks: Sequence[int]) -> Tensor:
        """Those of some ranks alone."""
        return self._logits(self._by_prototypes, self._found[:, [rank - 1 for rank in ranks]])

    def _by_prototypes(self, vectors: Tensor) -> Tensor:
        return decided(vectors, self.recipe)

    @torch.no_grad()
    def _logits(self, decide: Any, found: Tensor) -> Tensor:
        parts = self._places.to(found.device).split(DECIDED_TOGETHER)
        return torch.cat([decide(found[places]).float().cpu() for places in parts])


def places_of(part: Part, recipe: FewShotRecipe, count: int, seed: int, names: Sequence[str] | None = None) -> Tensor:
    """The photos of the first `count` episodes of a part, (count, N, shots + queries)."""
    drawn = Episodes(part.classes, recipe.ways, recipe.shots, recipe.queries, seed_for(seed, "examined"), names)
    return torch.stack([drawn.numbered(number).photos for number in range(count)])


def episode_figures(asked: Asked) -> dict[str, float]:
    """What is said of an epoch: cross-entropy, accuracy, and the share of answers that are the teacher's."""
    logits, taught = asked.student(), asked.teacher()
    truth = truth_of(asked.recipe).expand(len(logits), -1)
    figures = {
        "cross_entropy": float(functional.cross_entropy(logits.mT.double(), truth)),
        "accuracy": float(_rightly(logits, truth).mean()),
    }
    if taught is not None:
        figures["agreement"] = float(_rightly(logits, taught.argmax(dim=2)).mean())
    return figures


def few_shot_worth(asked: Asked, seed: int) -> FewShotWorth:
    """Figures with intervals.

    Args:
        asked: of a part that was kept from training and from every choice.
        seed: of the bootstrap.
    """
    logits, taught = asked.student(), asked.teacher()
    truth = truth_of(asked.recipe).expand(len(logits), -1)
    right = _rightly(logits, truth)

    def figure(name: str, values: Tensor) -> EpisodeFigure:
        return EpisodeFigure(
            name, len(values), float(values.mean()), bootstrap_interval(values, seed), 1 / asked.recipe.ways
        )

    beside = [figure(f"ranks {called(ranks)}", _rightly(asked.ranks(ranks), truth)) for ranks in asked.recipe.auxiliary]
    if taught is not None:
        beside.append(figure("teacher", _rightly(taught, truth)))
        beside.append(figure(AGREEMENT, _rightly(logits, taught.argmax(dim=2))))
    return FewShotWorth(figure("new classes", right), tuple(beside), tuple(right.tolist()))


def _rightly(logits: Tensor, wanted: Tensor) -> Tensor:
    """The share of each episode's queries (episodes, N · Q) that are answered so, (episodes,)."""
    return (logits.argmax(dim=2) == wanted).double().mean(dim=1)
