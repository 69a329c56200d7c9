"""What a training of a pooled network is, settled before any photo is looked at: network, first weights, teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from regard.attention.poolings import described, pooling_called
from regard.errors import ClassifierError, UnsupportedError
from regard.images import check_seed
from regard.models.batch_norm import remeasured
from regard.models.brnpa import BRNPAClassifier
from regard.models.classifier import Classifier
from regard.training.brnpa.classification import Classification, Trainee
from regard.training.brnpa.recipe import BRNPARecipe
from regard.training.parts import Part
from regard.training.schedules import one_cycle
from regard.training.steps import Settings, seed_for

MEASURED = 256
"""Photos, at most, on which batch norm is measured anew."""

CALLED = {"representative": "BR-NPA", "bilinear": "B-CNN", "branch": "ABN", "mean": "mean"}
"""What a network with a pooling is called in its name."""


@dataclass(frozen=True)
class Plan:
    """A training of a pooled network; make one with `Plan.of`.

    Attributes:
        start: whose backbone is copied; it stays as it is.
        teacher: whose answers are learnt; it stays as it is. None for none.
        recipe: how.
        seed: of every draw.
        classifier: what is trained, with its first weights.
        trainee: its parts, and the auxiliary heads, on its device.
        start_hash, teacher_hash: of both as they must stay.
    """

    start: Classifier
    teacher: Classifier | None
    recipe: BRNPARecipe
    seed: int
    classifier: BRNPAClassifier
    trainee: Trainee
    start_hash: str
    teacher_hash: str | None

    @classmethod
    def of(
        cls, start: Classifier, teacher: Classifier | None, names: Sequence[str], recipe: BRNPARecipe, seed: int
    ) -> Plan:
        """Build the network and draw its first weights; refuse what would fail later.

        Raises:
            UnsupportedError: settings, strides or a network that do not go together, or weights in half precision.
            ClassifierError: a teacher of other classes, or that sees photos otherwise.
        """
        check_seed(seed)
        if teacher is not None:
            _check_teacher(teacher, start, names)
        classifier = _built(start, names, recipe, seed)
        for weight in (*classifier.network.parameters(), *classifier.head.parameters()):
            weight.requires_grad_(True)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_for(seed, "auxiliary heads"))
            trainee = Trainee(classifier.network, classifier.head, recipe.auxiliary, recipe.maps)
        trainee.to(classifier.device)
        taught = None if teacher is None else teacher.hash
        return cls(start, teacher, recipe, seed, classifier, trainee, start.hash, taught)

    def words(self) -> dict[str, Any]:
        """All that the training depends on but photos and their labels, as JSON values."""
        return {
            "start": self.start.name,
            "start_hash": self.start_hash,
            "teacher": None if self.teacher is None else self.teacher.name,
            "teacher_hash": self.teacher_hash,
            "recipe": self.recipe.words(),
            "seed": self.seed,
            "precision": self.classifier.precision,
        }

    def settings(self, accumulate: int, checkpoint_every: int = Settings.checkpoint_every) -> Settings:
        """Those of the loop."""
        recipe, precision = self.recipe, self.classifier.precision
        return Settings(recipe.epochs, recipe.batch, accumulate, checkpoint_every, seed=self.seed, precision=precision)

    def task(self, learnt: Part) -> Classification:
        """The task of the loop, its module in the modes that it is to be trained in."""
        self.trainee.to_be_trained(self.recipe.batch_norm)
        return Classification(self.trainee, self.teacher, learnt, self.classifier, self.recipe, self.seed)

    def measure(self, learnt: Part) -> None:
        """Measure batch norm anew, on photos as they are used, where filters see other distances than they learnt.

        Not where dilation makes up for the strides: there the statistics still fit the weights, and those of a hundred
        photos do not. EfficientNet-Lite0 trained on 100 garments, then at 14×14 and not trained again, was right on
        77 % of 60 others with the statistics that it had, and on 35 % with those measured anew.
        """
        changed = self.recipe.strides is not None and not self.classifier.dilation
        if not changed or not _has_batch_norm(self.classifier.network) or len(learnt) < 2:
            return
        pixels = self.classifier.prepare(learnt.photos[:MEASURED]).as_subclass(Tensor)
        self.classifier.network.load_state_dict(remeasured(self.classifier.network, pixels).state_dict())

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW, or SGD with momentum 0.9, over groups that differ in rate and weight decay."""
        recipe = self.recipe
        backbone = {id(weight) for weight in self.trainee.network.backbone.parameters()}
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for weight in self.trainee.parameters():
            rate = recipe.rate if id(weight) in backbone else recipe.rate * recipe.head_rate
            groups.setdefault((rate, recipe.weight_decay if weight.dim() > 1 else 0.0), []).append(weight)
        listed = [{"params": each, "lr": rate, "weight_decay": decay} for (rate, decay), each in groups.items()]
        if recipe.optimizer == "sgd":
            return torch.optim.SGD(listed, lr=recipe.rate, momentum=0.9)
        return torch.optim.AdamW(listed, lr=recipe.rate)

    def schedule(self, optimizer: torch.optim.Optimizer, examples: int) -> torch.optim.lr_scheduler.LRScheduler:
        """Of the recipe, over all steps on so many examples."""
        settings = self.settings(1)
        if self.recipe.schedule == "one-cycle":
            return one_cycle(optimizer, settings.steps(examples))
        every = 2 * settings.steps_an_epoch(examples)
        return torch.optim.lr_scheduler.StepLR(optimizer, every, gamma=0.9)

    def check_unchanged(self) -> None:
        """Refuse a teacher, or a start, that is no longer what it was.

        Raises:
            ClassifierError: a weight or buffer differs.
        """
        for each, before in ((self.start, self.start_hash), (self.teacher, self.teacher_hash)):
            if each is not None and each.hash_anew() != before:
                raise ClassifierError(
                    f"{each.name} has changed during the training, which must leave it as it is",
                    came="another hash of weights and buffers",
                    remedy="its forward must leave weights and buffers alone in eval mode; nothing else may train it",
                )


def _built(start: Classifier, names: Sequence[str], recipe: BRNPARecipe, seed: int) -> BRNPAClassifier:
    """The network, from the start's backbone, and from its pooling and head where they are what is asked for."""
    settings: dict[str, Any] = (
        {"select": recipe.select, "refine": recipe.refine} if recipe.pooling == "representative" else {}
    )
    made = BRNPAClassifier(
        start,
        list(names),
        count=recipe.maps,
        strides=recipe.strides,
        dilation=recipe.dilation,
        layer=recipe.layer,
        dropout=recipe.dropout,
        seed=seed_for(seed, "first weights"),
        **settings,
    )
    half = next((name for name, weight in made.network.named_parameters() if weight.dtype != torch.float32), None)
    if half is not None:
        raise UnsupportedError(
            "weights are trained in float32", came=f"{half!r} in another type", remedy="load it in float32"
        )
    if recipe.pooling != "representative":
        made.network.pooling = _drawn(made, recipe, seed).to(made.device).eval()
    _take_on(made, start, recipe)
    return made


def _drawn(made: BRNPAClassifier, recipe: BRNPARecipe, seed: int) -> nn.Module:
    """A pooling that is compared with, its weights drawn from the seed."""
    channels, classes = made.head.in_features // recipe.maps, made.head.out_features
    settings = {
        "bilinear": {"channels": channels, "count": recipe.count},
        "branch": {"channels": channels, "classes": classes},
    }
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_for(seed, "pooling"))
        return pooling_called(recipe.pooling, **settings.get(recipe.pooling, {}))


def _take_on(made: BRNPAClassifier, start: Classifier, recipe: BRNPARecipe) -> None:
    """A student begins with its teacher's pooling and head, where classes, features and pooling are the same."""
    height, width = made.network.read(made.picture()).shape[2:]
    grid = "" if recipe.strides is None else f", {height}×{width}"
    if isinstance(start, BRNPAClassifier) and _fits(made, start):
        made.network.pooling.load_state_dict(start.network.pooling.state_dict())
        made.head.load_state_dict(start.head.state_dict())
        made.name = f"{start.name}{grid}"
    else:
        made.name = f"{start.name}{grid}, {CALLED[recipe.pooling]}"


def _fits(made: BRNPAClassifier, start: BRNPAClassifier) -> bool:
    return (
        made.labels == start.labels
        and repr(made.head) == repr(start.head)
        and described(made.network.pooling) == described(start.network.pooling)
        and made.network.features.layer == start.network.features.layer
    )


def _check_teacher(teacher: Classifier, start: Classifier, names: Sequence[str]) -> None:
    if teacher.outputs != "softmax" or list(teacher.labels or ()) != list(names):
        listed = ", ".join(teacher.labels or ())[:200]
        raise ClassifierError(
            f"the teacher {teacher.name} does not answer about these classes",
            came=f"{teacher.outputs} outputs, labels {listed or 'unknown'}",
            expected=f"softmax outputs, labels {', '.join(names)[:200]}",
            remedy="train the teacher on the same labels",
        )
    if teacher.preparation != start.preparation:
        raise ClassifierError(
            "teacher and student must see the same pixels",
            came=f"prepared by {teacher.preparation} and by {start.preparation}",
            remedy="start the student from the teacher, or from a classifier with its preparation",
        )


def _has_batch_norm(network: nn.Module) -> bool:
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in network.modules())
