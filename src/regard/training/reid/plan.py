"""What a training for re-identification is, settled before any photo is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from regard.attention.neck import Necked, with_neck
from regard.models.brnpa import BRNPAClassifier
from regard.models.classifier import Classifier
from regard.models.pooled_form import form_of_pooled
from regard.training.brnpa.plan import Plan
from regard.training.brnpa.recipe import BRNPARecipe
from regard.training.parts import Part
from regard.training.reid.recipe import ReidRecipe
from regard.training.reid.task import Reidentification


@dataclass(frozen=True)
class ReidPlan(Plan):
    """A training of a pooled network with a neck; make one with `ReidPlan.of`.

    Attributes:
        start: the network whose backbone was copied, at the frame of the training.
        recipe: how.
    """

    recipe: ReidRecipe

    @classmethod
    def of(
        cls, start: Classifier, teacher: Classifier | None, names: Sequence[str], recipe: BRNPARecipe, seed: int
    ) -> ReidPlan:
        """Build the network and draw its first weights; refuse what would fail later.

        Raises:
            UnsupportedError: as `Plan.of`; or a pooling that no file could hold.
            ClassifierError: as `Plan.of`; or a network that does not take the frame.
        """
        assert isinstance(recipe, ReidRecipe)
        bare = start.backbone if isinstance(start, BRNPAClassifier) else start
        plan = cast(ReidPlan, super().of(_framed(bare, recipe.frame), teacher, names, recipe, seed))
        made = plan.classifier
        width = made.head.in_features // recipe.maps
        made.network.pooling = with_neck(made.network.pooling, width).to(made.device)
        _take_on(made, start)
        form_of_pooled(made)
        return plan

    def task(self, learnt: Part) -> Reidentification:
        self.trainee.to_be_trained(self.recipe.batch_norm)
        return Reidentification(self.trainee, self.teacher, learnt, self.classifier, self.recipe, self.seed)


def _framed(start: Classifier, frame: tuple[int, int] | None) -> Classifier:
    """The same network for photos that are squashed to another frame."""
    if frame is None or (start.preparation.frame == frame and start.preparation.fit == "squash"):
        return start
    return Classifier(
        start.network,
        replace(start.preparation, size=frame, fit="squash", crop=1.0),
        labels=start.labels,
        outputs=start.outputs,
        head=start.head,
        name=start.name,
        precision=start.precision,
        source=start.source,
    )


def _take_on(made: BRNPAClassifier, start: Classifier) -> None:
    """A student begins with its teacher's neck and head, where persons, features and pooling are the same."""
    if not isinstance(start, BRNPAClassifier) or not isinstance(start.network.pooling, Necked):
        made.name += ", re-ID"
        return
    made.name = made.name.removesuffix(", BR-NPA")
    described = [
        (each.labels, repr(each.head), repr(each.network.pooling), each.network.features.layer)
        for each in (made, start)
    ]
    if described[0] == described[1]:
        made.network.pooling.load_state_dict(start.network.pooling.state_dict())
        made.head.load_state_dict(start.head.state_dict())
