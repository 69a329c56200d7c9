"""Re-identification as a task for the training loop: an example is a person with some photos (Hermans et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from regard.attention.triplets import hardest_triplets
from regard.models.classifier import Classifier
from regard.models.taps import Place, read
from regard.seeds import seed_for
from regard.training.brnpa.classification import Batch, Classification, Trainee
from regard.training.parts import Part
from regard.training.reid.recipe import ReidRecipe

NECK = Place("network.pooling.neck", "input")


class Reidentification(Classification):
    """A task of `loop.fit`: persons by index, each with some of their photos, and the mean loss of these.

        ℓ = loss of `Classification`, with persons as classes, read behind the neck
            + `hardest_triplets` of the joined vectors in front of it, over the photos that are passed together

    Which photos of a person are taken hangs on seed, person and epoch alone. Triplets and the neck's batch norm couple
    the photos of a part of a step: more processes or accumulations are another training, repeatable with as many.

    Args:
        trainee: its network's pooling has a neck.
        teacher: whose answers about the same persons are learnt, too. None for none.
        part: of every person two photos or more; classes are persons, all from 0 on.
        subject: the classifier whose preparation and device are taken.
        recipe: how.
        seed: of photos, and of how they are shown.
    """

    recipe: ReidRecipe

    def __init__(
        self,
        trainee: Trainee,
        teacher: Classifier | None,
        part: Part,
        subject: Classifier,
        recipe: ReidRecipe,
        seed: int,
    ) -> None:
        super().__init__(trainee, teacher, part, subject, recipe, seed)
        self.components = (*self.components, "triplet")
        self.photos_of = [
            [place for place, person in enumerate(part.classes) if person == one]
            for one in range(1 + max(part.classes))
        ]

    @property
    def examples(self) -> int:
        return len(self.photos_of)

    def batch(self, indices: Sequence[int], epoch: int) -> Batch:
        return super().batch([photo for person in indices for photo in self._drawn(person, epoch)], epoch)

    def losses(self, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        (vectors,), found = read(self.module, [NECK], lambda: super(Reidentification, self).losses(batch))
        losses, components = cast(tuple[Tensor, Mapping[str, Tensor]], found)
        triplets = hardest_triplets(vectors, batch.classes, self.recipe.margin)
        each = {**components, "triplet": triplets}
        return self._of_persons(losses + triplets), {name: self._of_persons(values) for name, values in each.items()}

    def _of_persons(self, values: Tensor) -> Tensor:
        """Values of photos → their means over each person's."""
        means: Tensor = values.unflatten(0, (-1, self.recipe.photos)).mean(dim=1)
        return means

    def _drawn(self, person: int, epoch: int) -> list[int]:
        """Photos of a person: all different where there are enough, else each as often as the others, or once less."""
        own = self.photos_of[person]
        draw = torch.Generator().manual_seed(seed_for(self.seed, "photos", person, epoch))
        rounds = -(-self.recipe.photos // len(own))
        order = torch.cat([torch.randperm(len(own), generator=draw) for _ in range(rounds)])
        return [own[place] for place in order[: self.recipe.photos].tolist()]
