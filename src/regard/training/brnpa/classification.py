"""Classification as a task for the training loop: photos with labels, and a teacher where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from regard.attention.branch import Branched
from regard.attention.distillation import distillation_loss
from regard.attention.pooled import Pooled
from regard.models.classifier import Classifier
from regard.models.pooled import PooledNetwork
from regard.seeds import seed_for
from regard.targets import at_least_float32
from regard.training.brnpa.recipe import BRNPARecipe
from regard.training.parts import Part


@dataclass(frozen=True)
class Batch:
    """Some photos of a step.

    Attributes:
        pixels: prepared, (b, 3, H, W): what student and teacher see.
        classes: the true ones (b,).
    """

    pixels: Tensor
    classes: Tensor


class Trainee(nn.Module):
    """What is trained: network and head, and auxiliary heads that only watch.

    Attributes:
        network: backbone, pooling and dropout.
        head: linear, on the joined vectors.
        auxiliary: a linear head for each set of ranks, by name: "1+2".
    """

    def __init__(
        self, network: PooledNetwork, head: nn.Linear, auxiliary: Sequence[tuple[int, ...]] = (), maps: int = 1
    ) -> None:
        super().__init__()
        self.network, self.head = network, head
        self.ranks = {called(ranks): [rank - 1 for rank in ranks] for ranks in auxiliary}
        width = head.in_features // maps
        self.auxiliary = nn.ModuleDict(
            {name: nn.Linear(len(ranks) * width, head.out_features) for name, ranks in self.ranks.items()}
        )

    def to_be_trained(self, batch_norm: str) -> None:
        """Training mode; the backbone's batch norms in eval mode where they are "frozen"."""
        self.train()
        for part in self.network.backbone.modules():
            if batch_norm == "frozen" and isinstance(part, _BatchNorm):
                part.eval()

    def watched(self, found: Pooled) -> dict[str, Tensor]:
        """Logits of the auxiliary heads; they pass no gradient on to the vectors."""
        vectors = found.vectors.detach()
        return {name: head(vectors[:, self.ranks[name]].flatten(1)) for name, head in self.auxiliary.items()}


class Classification:
    """A task of `loop.fit`: photos by index, and the loss of each.

        ℓ = distillation_loss( z, t, y )   with a teacher,   CE( z, y ) without
            + CE of each auxiliary head, and of the branch where there is one

    Args:
        trainee: what is trained, on its device.
        teacher: whose answers are learnt, too; it stays as it is. None for none.
        part: photos, marks of their content, and classes.
        subject: the classifier whose preparation and device are taken.
        recipe: how.
        seed: of crops, flips and colours, which hang on a photo's content and the epoch alone.

    Cost for a photo: a forward and a backward, and a forward of the teacher.
    """

    def __init__(
        self,
        trainee: Trainee,
        teacher: Classifier | None,
        part: Part,
        subject: Classifier,
        recipe: BRNPARecipe,
        seed: int,
    ) -> None:
        self.module, self.teacher, self.part, self.subject = trainee, teacher, part, subject
        self.recipe, self.seed = recipe, seed
        self.components: Sequence[str] = (
            "cross-entropy",
            *(("distillation",) if teacher is not None else ()),
            *(("auxiliary",) if recipe.auxiliary else ()),
            *(("branch",) if recipe.pooling == "branch" else ()),
        )

    @property
    def examples(self) -> int:
        return len(self.part.photos)

    def batch(self, indices: Sequence[int], epoch: int) -> Batch:
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # decoding lets go of the interpreter
            pictures = list(pool.map(lambda index: self._picture(index, epoch), indices))
        device = self.subject.device
        classes = torch.tensor([self.part.classes[index] for index in indices], device=device)
        return Batch(torch.cat(pictures).to(device), classes)

    def losses(self, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        found = self.module.network.represent(batch.pixels)
        logits = at_least_float32(self.module.head(self.module.network.dropout(found.joined())))
        if self.teacher is None:
            losses = functional.cross_entropy(logits, batch.classes, reduction="none")
            components = {"cross-entropy": losses}
        else:
            losses, distilled, true = distillation_loss(
                logits, self._taught(batch.pixels), batch.classes, self.recipe.temperature, self.recipe.share
            )
            components = {"cross-entropy": true, "distillation": distilled}
        if self.recipe.auxiliary:
            components["auxiliary"] = sum(
                (_cross_entropy(each, batch.classes) for each in self.module.watched(found).values()),
                torch.zeros_like(losses),
            )
            losses = losses + components["auxiliary"]
        if isinstance(found, Branched):
            components["branch"] = _cross_entropy(found.logits, batch.classes)
            losses = losses + components["branch"]
        return losses, components

    def _taught(self, pixels: Tensor) -> Tensor:
        """The teacher's logits, in eval mode and its own precision."""
        assert self.teacher is not None
        with self.teacher.untouched(), torch.no_grad():
            return self.teacher.forward(pixels)

    def _picture(self, index: int, epoch: int) -> Tensor:
        drawn = seed_for(self.seed, "augmentation", self.part.marks[index], epoch)
        return self.recipe.augmentation(self.part.photos[index], self.subject.preparation, drawn)


def called(ranks: Sequence[int]) -> str:
    """The name of a set of ranks: "1+2"."""
    return "+".join(map(str, ranks))


def _cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    return functional.cross_entropy(at_least_float32(logits), classes, reduction="none")
