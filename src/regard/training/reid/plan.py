"""What a training for re-identification is, settled before any photo is looked at."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import ClassVar

from regard.models.brnpa import BRNPAClassifier
from regard.models.classifier import Classifier
from regard.training.brnpa.plan import Plan
from regard.training.brnpa.recipe import BRNPARecipe
from regard.training.parts import Part
from regard.training.reid.recipe import ReidRecipe
from regard.training.reid.task import Reidentification
from regard.training.steps import Settings


@dataclass(frozen=True)
class ReidPlan(Plan):
    """A training of a pooled network with a neck; make one with `ReidPlan.of`.

    Attributes:
        recipe: how.
    """

    recipes: ClassVar[type[BRNPARecipe]] = ReidRecipe
    ending: ClassVar[str] = "-neck"
    task_name: ClassVar[str] = ", re-ID"

    recipe: ReidRecipe

    def settings(self, accumulate: int, checkpoint_every: int = Settings.checkpoint_every) -> Settings:
        """Those of the loop; steps are larger where one person would be left alone, who is compared with nobody."""
        settings, persons = super().settings(accumulate, checkpoint_every), len(self.classifier.labels or ())
        return replace(settings, batch=next(batch for batch in itertools.count(settings.batch) if persons % batch != 1))

    def task(self, learnt: Part) -> Reidentification:
        self.trainee.to_be_trained(self.recipe.batch_norm)
        return Reidentification(self.trainee, self.teacher, learnt, self.classifier, self.recipe, self.seed)

    @classmethod
    def _begun(cls, start: Classifier, recipe: BRNPARecipe) -> Classifier:
        """The same network, for photos that are squashed to the recipe's frame."""
        assert isinstance(recipe, ReidRecipe)
        frame, usual = recipe.frame, start.preparation
        if frame is None or (usual.frame == frame and usual.fit == "squash"):
            return start
        bare = start.backbone if isinstance(start, BRNPAClassifier) else start
        return Classifier(
            bare.network,
            replace(usual, size=frame, fit="squash", crop=1.0),
            labels=bare.labels,
            outputs=bare.outputs,
            head=bare.head,
            name=bare.name,
            precision=bare.precision,
            source=bare.source,
        )
