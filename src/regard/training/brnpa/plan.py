"""What a training of a pooled network is, settled before any photo is looked at: network, first weights, teacher."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from regard.attention.poolings import POOLINGS, described, pooling_called
from regard.errors import ClassifierError, UnsupportedError
from regard.models.batch_norm import remeasured
from regard.models.brnpa import BRNPAClassifier
from regard.models.classifier import Classifier
from regard.seeds import check_seed, seed_for
from regard.training.brnpa.classification import Classification, Trainee
from regard.training.brnpa.recipe import BRNPARecipe
from regard.training.parts import Part
from regard.training.schedules import one_cycle
from regard.training.steps import Settings, Task

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
        anew: why a start that has a pooling gave its backbone alone, in words; empty where it gave more.
    """

    recipes: ClassVar[type[BRNPARecipe]] = BRNPARecipe
    """What makes a recipe of this training."""
    taught_by: ClassVar[type[Classifier]] = Classifier
    """What a teacher is."""
    ending: ClassVar[str] = ""
    """Of the names of its poolings; see `pooling_called`."""
    task_name: ClassVar[str] = ""
    """What its networks are called besides their pooling."""

    start: Classifier
    teacher: Classifier | None
    recipe: BRNPARecipe
    seed: int
    classifier: BRNPAClassifier
    trainee: Trainee
    start_hash: str
    teacher_hash: str | None
    anew: tuple[str, ...]

    @classmethod
    def of(
        cls, start: Classifier, teacher: Classifier | None, names: Sequence[str], recipe: BRNPARecipe, seed: int
    ) -> Self:
        """Build the network and draw its first weights; refuse what would fail later.

        Where start and recipe ask for the same network, it begins with the start's pooling and head. Settings of
        representatives that no recipe has (weights, temperature, negative, detach) are always a start's own.

        Raises:
            UnsupportedError: settings, strides or a network that do not go together, or weights in half precision.
            ClassifierError: a teacher of other classes, or that sees photos otherwise; or what is no classifier.
        """
        cls.check(start, teacher, recipe)
        check_seed(seed)
        begun = cls._begun(start, recipe)
        if teacher is not None:
            _check_teacher(teacher, begun, names)
        of_start = start if isinstance(start, BRNPAClassifier) else None
        classifier = cls._built(begun, of_start, names, recipe, seed)
        for weight in (*classifier.network.parameters(), *classifier.head.parameters()):
            weight.requires_grad_(True)
        trainee = cls._trainee(classifier, recipe, seed).to(classifier.device)
        differing = [] if of_start is None else _differing(classifier, of_start)
        if of_start is not None and not differing:
            classifier.network.pooling.load_state_dict(of_start.network.pooling.state_dict())
            classifier.head.load_state_dict(of_start.head.state_dict())
        height, width = classifier.network.read(classifier.picture()).shape[2:]
        classifier.name = start.name + ("" if recipe.strides is None else f", {height}×{width}")
        if of_start is None or differing:
            classifier.name += f", {CALLED[recipe.pooling]}{cls.task_name}"
        taught = None if teacher is None else teacher.hash
        return cls(start, teacher, recipe, seed, classifier, trainee, start.hash, taught, tuple(differing))

    @classmethod
    def check(cls, start: Classifier, teacher: Classifier | None, recipe: BRNPARecipe) -> None:
        """Refuse what is something else than it should be.

        Raises:
            ClassifierError: start or teacher is no classifier, or not of the kind that a teacher is here.
            UnsupportedError: a recipe of another training.
        """
        given = [("start", start, Classifier), *([] if teacher is None else [("teacher", teacher, cls.taught_by)])]
        for what, classifier, kind in given:
            if not isinstance(classifier, kind):
                raise ClassifierError(
                    f"the {what} of this training is no {kind.__name__}",
                    came=f"{getattr(classifier, 'name', classifier)!r:.100}",
                    remedy="regard.load(…) reads one from its file",
                )
        if not isinstance(recipe, cls.recipes):
            raise UnsupportedError(
                "this training has another recipe", came=f"{recipe!r:.100}", expected=f"a {cls.recipes.__name__}"
            )

    @classmethod
    def _begun(cls, start: Classifier, _: BRNPARecipe) -> Classifier:
        """Whose backbone is copied, with its preparation."""
        return start

    @classmethod
    def _built(
        cls,
        begun: Classifier,
        of_start: BRNPAClassifier | None,
        names: Sequence[str],
        recipe: BRNPARecipe,
        seed: int,
    ) -> BRNPAClassifier:
        """The network, its weights but the backbone's drawn from the seed."""
        half = next((name for name, weight in begun.module.named_parameters() if weight.dtype != torch.float32), None)
        if half is not None:
            raise UnsupportedError(
                "weights are trained in float32", came=f"{half!r} in another type", remedy="load it in float32"
            )
        kind = recipe.pooling + cls.ending
        asked = {"count": recipe.count, "select": recipe.select, "refine": recipe.refine, "classes": len(names)}

        def pooling(channels: int) -> nn.Module:
            settings = {
                **({} if of_start is None else described(of_start.network.pooling)),
                **asked,
                "channels": channels,
                "width": channels,
            }
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed_for(seed, "pooling"))
                return pooling_called(kind, **{name: settings[name] for name in POOLINGS[kind][1] if name in settings})

        return BRNPAClassifier(
            begun,
            list(names),
            strides=recipe.strides,
            dilation=recipe.dilation,
            layer=recipe.layer,
            dropout=recipe.dropout,
            bias=of_start is not None and of_start.head.bias is not None,
            seed=seed_for(seed, "first weights"),
            pooling=pooling,
        )

    @classmethod
    def _trainee(cls, classifier: BRNPAClassifier, recipe: BRNPARecipe, seed: int) -> Trainee:
        """What is trained of a classifier, and what helps in training alone."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_for(seed, "auxiliary heads"))
            return Trainee(classifier.network, classifier.head, recipe.auxiliary, recipe.maps)

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

    def task(self, learnt: Part) -> Task:
        """The task of the loop, its module in the modes that it is to be trained in."""
        self.trainee.to_be_trained(self.recipe.batch_norm)
        return Classification(self.trainee, self.teacher, learnt, self.classifier, self.recipe, self.seed)

    def measure(self, learnt: Part) -> None:
        """Measure batch norm anew, on photos as they are used, where filters see other distances than they learnt.

        Not where dilation makes up for the strides: there the statistics still fit the weights, and those of a hundred
        photos do not. EfficientNet-Lite0 trained on 100 garments, then at 14×14 and not trained again, was right on
        77 % of 60 others with the statistics that it had, and on 35 % with those measured anew.
        """
        changed = self.recipe.strides is not None and not self.classifier.backbone_source.finer[-1].dilation
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


def warn_of_anew(plan: Plan, main: bool) -> None:
    """Say, by the main process, what of a start with a pooling is not gone on with."""
    if plan.anew and main:
        why = "; ".join(plan.anew)
        warnings.warn(f"{plan.start.name} gives its backbone alone, pooling and head begin anew: {why}", stacklevel=3)


def _differing(made: BRNPAClassifier, start: BRNPAClassifier) -> list[str]:
    """What keeps a network from beginning with the start's pooling and head, in words."""

    def words(each: BRNPAClassifier) -> dict[str, Any]:
        own = {"classes": each.labels, "head": repr(each.head), "layer": each.network.features.layer}
        return {**own, **{f"pooling {name}": value for name, value in described(each.network.pooling).items()}}

    ours, theirs = words(made), words(start)
    return [
        f"{name} {ours.get(name)!r:.60}, not {theirs.get(name)!r:.60}"
        for name in {**ours, **theirs}
        if ours.get(name) != theirs.get(name)
    ]


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
