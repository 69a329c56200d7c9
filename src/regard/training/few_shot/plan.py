"""What a few-shot training is, settled before any photo is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from regard.attention.cross_attention import CrossAttention
from regard.models.brnpa import BRNPAClassifier
from regard.models.classifier import Classifier
from regard.seeds import seed_for
from regard.training.brnpa.plan import Plan
from regard.training.brnpa.recipe import BRNPARecipe
from regard.training.few_shot.recipe import FewShotRecipe
from regard.training.few_shot.task import FewShot, Learner
from regard.training.parts import Part


@dataclass(frozen=True)
class FewShotPlan(Plan):
    """A training of a pooled network on episodes; make one with `FewShotPlan.of`.

    Attributes:
        teacher: whose prototypes answer the same episodes; it stays as it is. None for none.
        recipe: how.
        trainee: network, a head that learns beside, and cross attention where it decides.
    """

    recipes: ClassVar[type[BRNPARecipe]] = FewShotRecipe
    taught_by: ClassVar[type[Classifier]] = BRNPAClassifier

    teacher: BRNPAClassifier | None
    recipe: FewShotRecipe
    trainee: Learner

    def task(self, learnt: Part) -> FewShot:
        self.trainee.to_be_trained(self.recipe.batch_norm)
        names = self.classifier.labels
        return FewShot(self.trainee, self.teacher, learnt, self.classifier, self.recipe, self.seed, names)

    @classmethod
    def _trainee(cls, classifier: BRNPAClassifier, recipe: BRNPARecipe, seed: int) -> Learner:
        assert isinstance(recipe, FewShotRecipe)
        network, crossed = classifier.network, None
        if recipe.comparison == "cross-attention":
            height, width = network.read(classifier.picture()).shape[2:]
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed_for(seed, "cross attention"))
                crossed = CrossAttention(height * width)
        return Learner(network, classifier.head, recipe, crossed)
