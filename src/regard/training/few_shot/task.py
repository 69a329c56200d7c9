"""Few-shot classification as a task for the training loop: an example is an episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from regard.attention.branch import Branched
from regard.attention.cross_attention import CrossAttention
from regard.attention.distillation import distillation_loss
from regard.attention.prototypes import prototype_logits, prototypes
from regard.models.brnpa import BRNPAClassifier
from regard.models.classifier import Classifier
from regard.models.pooled import PooledNetwork
from regard.seeds import seed_for
from regard.targets import at_least_float32
from regard.training.brnpa.classification import Batch, Trainee
from regard.training.few_shot.episodes import Episodes
from regard.training.few_shot.recipe import FewShotRecipe
from regard.training.parts import Part


@dataclass(frozen=True)
class Described:
    """What a network finds in photos, one after the other.

    Attributes:
        compared: of which episodes are decided: vectors (n, K, C), or features (n, C, h, w) for cross attention.
        joined: what the head reads (n, K · C).
        branch: logits of the training classes (n, classes), of a pooling whose branch answers by itself; else None.
    """

    compared: Tensor
    joined: Tensor
    branch: Tensor | None = None


class Learner(Trainee):
    """What is trained: the network; cross attention, where it decides; and a head of the training classes.

    The head learns beside, on vectors to which it gives no gradient: it makes of the network a classifier of the
    classes trained on, which is what its file holds, and changes nothing of what episodes teach.

    Args:
        network: backbone, pooling and dropout.
        head: linear, of the training classes, on the joined vectors.
        recipe: how episodes are decided.
        crossed: where that is by cross attention.
    """

    def __init__(
        self, network: PooledNetwork, head: nn.Linear, recipe: FewShotRecipe, crossed: CrossAttention | None = None
    ) -> None:
        super().__init__(network, head)
        self.recipe, self.crossed = recipe, crossed

    def describe(self, pixels: Tensor) -> Described:
        """Prepared pixels (n, channels, H, W) → vectors or features, after dropout in training mode."""
        if self.crossed is not None:
            features: Tensor = self.network.dropout(self.network.read(pixels))
            return Described(features, self.network.pooling(features).joined())
        found = self.network.represent(pixels)
        joined: Tensor = self.network.dropout(found.joined())
        branch = found.logits if isinstance(found, Branched) else None
        return Described(joined.unflatten(1, found.vectors.shape[1:]), joined, branch)

    def decide(self, compared: Tensor) -> Tensor:
        """Logits (b, N · Q, N) of the queries of b episodes, whose photos are (b, N, shots + queries, …)."""
        if self.crossed is None:
            return decided(compared, self.recipe)
        support, queries = compared[:, :, : self.recipe.shots], compared[:, :, self.recipe.shots :]
        logits: Tensor = self.crossed(support.mean(dim=2), queries.flatten(1, 2)).logits(self.recipe.scale)
        return logits


def decided(vectors: Tensor, recipe: FewShotRecipe) -> Tensor:
    """Logits (b, N · Q, N) of the queries of b episodes by prototypes, of vectors (b, N, shots + queries, K, C)."""
    support, queries = vectors[:, :, : recipe.shots], vectors[:, :, recipe.shots :]
    return prototype_logits(queries.flatten(1, 2), prototypes(support), recipe.scale)


class FewShot:
    """A task of `loop.fit`: episodes by index, others in every epoch, and the loss of each, the mean of its queries'.

        ℓ = (1/NQ) Σ_q distillation_loss( z_q, t_q, n_q )   with a teacher,   CE( z_q, n_q ) without
            + the head's mean cross-entropy, on detached vectors
            + the branch's, of the training classes too, where there is one: its attention learns by them

    z_q are logits of the episode's N classes (`prototype_logits`), t_q the teacher's, of its own vectors of the very
    pixels: what the student is taught is never its own answer, as the published code has it.

    Batch norm that is trained sees all photos of a part of a step together, given and asked for; where it is examined,
    every photo is by itself. Then numbers depend on parts and processes; frozen, or without batch norm, they do not.

    Args:
        learner: what is trained, on its device.
        teacher: whose answers are learnt, too; it stays as it is. None for none.
        part: photos, marks of their content, and classes.
        subject: the classifier whose preparation and device are taken.
        recipe: how.
        seed: of episodes, which hang on their number, and of crops, flips and colours, which hang on that and a
            photo's content.
        names: of the classes, for what is refused. Default: their numbers.

    Raises:
        ClassifierError: too few classes, or photos of one.

    Cost of an episode: a forward and a backward, and the teacher's forward, for each of N · (shots + queries) photos.
    """

    def __init__(
        self,
        learner: Learner,
        teacher: BRNPAClassifier | None,
        part: Part,
        subject: Classifier,
        recipe: FewShotRecipe,
        seed: int,
        names: Sequence[str] | None = None,
    ) -> None:
        self.module, self.teacher, self.part, self.subject = learner, teacher, part, subject
        self.recipe, self.seed = recipe, seed
        self.episodes = Episodes(
            part.classes, recipe.ways, recipe.shots, recipe.queries, seed_for(seed, "training"), names
        )
        self.components: Sequence[str] = (
            "cross-entropy",
            *(("distillation",) if teacher is not None else ()),
            "head",
            *(("branch",) if recipe.pooling == "branch" else ()),
        )

    @property
    def examples(self) -> int:
        return self.recipe.episodes

    def batch(self, indices: Sequence[int], epoch: int) -> Batch:
        """The photos of some episodes, one after the other, and their classes among those trained on."""
        numbers = [epoch * self.examples + index for index in indices]
        shown = [
            (photo, number) for number in numbers for photo in self.episodes.numbered(number).photos.flatten().tolist()
        ]
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # decoding lets go of the interpreter
            pictures = list(pool.map(lambda each: self._picture(*each), shown))
        device = self.subject.device
        classes = torch.tensor([self.part.classes[photo] for photo, _ in shown], device=device)
        return Batch(torch.cat(pictures).to(device), classes)

    def losses(self, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        found = self.module.describe(batch.pixels)
        logits = at_least_float32(self.module.decide(self._by_episode(found.compared)))
        truth = truth_of(self.recipe).to(logits.device).expand(len(logits), -1)
        if self.teacher is None:
            losses = functional.cross_entropy(logits.mT, truth, reduction="none").mean(dim=1)
            components = {"cross-entropy": losses}
        else:
            taught = self._taught(batch.pixels)
            each = distillation_loss(
                logits.flatten(0, 1), taught.flatten(0, 1), truth.flatten(), self.recipe.temperature, self.recipe.share
            )
            losses, distilled, true = (values.view(truth.shape).mean(dim=1) for values in each)
            components = {"cross-entropy": true, "distillation": distilled}
        beside = {"head": self.module.head(found.joined.detach()), "branch": found.branch}
        for name, answers in beside.items():
            if answers is not None:
                components[name] = self._of_classes(answers, batch.classes)
                losses = losses + components[name]
        return losses, components

    def _of_classes(self, answers: Tensor, classes: Tensor) -> Tensor:
        """The mean cross-entropy of each episode's photos, (episodes,), of logits of the training classes."""
        each = functional.cross_entropy(at_least_float32(answers), classes, reduction="none")
        return self._by_episode(each).flatten(1).mean(dim=1)

    def _by_episode(self, values: Tensor) -> Tensor:
        """(photos, …) → (episodes, N, shots + queries, …)."""
        rows: Tensor = values.unflatten(0, (-1, self.recipe.ways, self.recipe.shots + self.recipe.queries))
        return rows

    def _taught(self, pixels: Tensor) -> Tensor:
        """The teacher's logits of the same episodes, in eval mode and its own precision."""
        assert self.teacher is not None
        with self.teacher.untouched(), torch.no_grad():
            found, _ = self.teacher.represent(pixels)
        return decided(self._by_episode(found.vectors), self.recipe)

    def _picture(self, photo: int, number: int) -> Tensor:
        drawn = seed_for(self.seed, "augmentation", self.part.marks[photo], number)
        return self.recipe.augmentation(self.part.photos[photo], self.subject.preparation, drawn)


def truth_of(recipe: FewShotRecipe) -> Tensor:
    """The class of each query of an episode (N · Q,)."""
    return torch.arange(recipe.ways).repeat_interleave(recipe.queries)
