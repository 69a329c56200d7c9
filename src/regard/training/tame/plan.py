"""What a training of TAME is, settled before any photo is looked at: layers, first weights, fill; and what follows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from regard.attention.fusion import FusionAttention
from regard.errors import ClassifierError, UnsupportedError
from regard.explainers.tame import FEWEST_PHOTOS
from regard.explainers.trained_attention import Card, TrainedAttention
from regard.fills import Fill, black
from regard.images import Photo
from regard.models.classifier import Classifier
from regard.models.features import Features
from regard.models.linear_head import head_of, last_linear, linear_head
from regard.models.stages import read_stages, stages_of
from regard.provenance import versions
from regard.seeds import check_seed, seed_for
from regard.training.processes import Processes
from regard.training.readable import Watched
from regard.training.steps import Settings
from regard.training.tame.mask_training import MaskTraining
from regard.training.tame.recipe import Recipe
from regard.training.tame.surveyed import Surveyed, surveyed


@dataclass(frozen=True)
class Plan:
    """A training of TAME; make one with `Plan.of`.

    Attributes:
        classifier: frozen while it is trained.
        recipe: how.
        fill: what hidden pixels become.
        seed: of every draw.
        stages: layers that the attention reads.
        attention: with its first weights, on the classifier's device, in training mode.
        classifier_hash: of the classifier as it must stay.
    """

    classifier: Classifier
    recipe: Recipe
    fill: Fill
    seed: int
    stages: tuple[Features, ...]
    attention: FusionAttention
    classifier_hash: str

    @classmethod
    def of(cls, classifier: Classifier, recipe: Recipe, fill: Fill | None, seed: int) -> Plan:
        """Find the layers and draw the first weights; refuse what would fail later.

        Raises:
            UnsupportedError: no two classes, no such layers, a start or a fill that does not fit.
        """
        check_seed(seed)
        _check_classes(classifier)
        preparation = classifier.preparation
        fill = black(preparation.mean, preparation.std) if fill is None else fill
        _check_fill(fill, classifier)
        stages = _stages(classifier, recipe)
        attention = _first(classifier, stages, recipe, seed).to(classifier.device).train()
        return cls(classifier, recipe, fill, seed, stages, attention, classifier.hash)

    def words(self) -> dict[str, Any]:
        """All that the training depends on but classifier, layers and photos, as JSON values."""
        return {
            "recipe": self.recipe.words(),
            "fill": repr(self.fill),
            "seed": self.seed,
            "precision": self.classifier.precision,
        }

    def reads(self) -> dict[str, Any]:
        """Which classifier, and where, as JSON values."""
        return {
            "classifier": self.classifier.name,
            "classifier_hash": self.classifier_hash,
            "layers": [[stage.place.layer, stage.place.at] for stage in self.stages],
        }

    def settings(self, accumulate: int, checkpoint_every: int = Settings.checkpoint_every) -> Settings:
        """Those of the loop."""
        recipe, precision = self.recipe, self.classifier.precision
        return Settings(recipe.epochs, recipe.batch, accumulate, checkpoint_every, seed=self.seed, precision=precision)

    def survey(
        self, photos: Sequence[Photo], marks: Sequence[str], held_out: float, tracked: Watched
    ) -> tuple[Surveyed, Surveyed, Mapping[str, str]]:
        """Photos to learn from, those held out, and why others cannot be read.

        What makes the outcome doubtful is said, by the main process, before it costs anything.

        Raises:
            ClassifierError: too few photos, or the classifier has changed as it was read.
        """
        known, unreadable = surveyed(self.classifier, photos, marks, tracked)
        self.check_unchanged()
        main = Processes.of(self.classifier.device).main
        if unreadable and main:
            listed = "; ".join(f"{photo}: {reason}" for photo, reason in list(unreadable.items())[:10])
            warnings.warn(f"{len(unreadable)} photos cannot be read and are left out: {listed}", stacklevel=3)
        learnt, judged = known.apart(held_out, self.seed)
        for doubt in self._doubts(known, learnt) if main else ():
            warnings.warn(doubt, stacklevel=3)
        return learnt, judged, unreadable

    def _doubts(self, known: Surveyed, learnt: Surveyed) -> list[str]:
        """What makes a training on these photos doubtful, with what to do, a sentence or two each."""
        doubts = []
        if len(set(known.classes)) == 1:
            doubts.append(
                f"{self.classifier.name} takes all {len(known.classes)} photos for one class, "
                f"{self._called(known.classes[0])}: nothing shows the attention what tells classes apart; add photos "
                "of others, or see whether the classifier is given its photos as it knows them"
            )
        most = max(learnt.of_class(self.attention.classes))
        if self.attention.variant != "tied" and most < FEWEST_PHOTOS:
            tied = last_linear(self.classifier) is not None
            doubts.append(
                f"the attention will show no map unless forced: it learns each class from photos of that class alone, "
                f"{FEWEST_PHOTOS} at least, and no class has more than {most}; give more photos"
                + (', or variant="tied" (--variant tied), which learns every class from every photo' if tied else "")
            )
        return doubts

    def _called(self, index: int) -> str:
        labels = self.classifier.labels
        return f"{index}" if labels is None else f"{labels[index]!r}"

    def task(self, learnt: Surveyed) -> MaskTraining:
        """The task of the loop; masks that start from the head begin at the target of their area, else half open."""
        task = MaskTraining(
            self.classifier,
            self.stages,
            self.attention,
            learnt.photos,
            learnt.marks,
            self.recipe,
            self.fill,
            self.seed,
        )
        if self.recipe.start == "head":
            task.begin_at(self.recipe.area_target or 0.5)
        return task

    def card(self, learnt: Surveyed, training: Mapping[str, Any]) -> Card:
        """What the file will say, but for the figures."""
        return Card(
            classifier=self.classifier.name,
            classifier_hash=self.classifier_hash,
            layers=tuple((stage.place.layer, stage.place.at) for stage in self.stages),
            gated=self.recipe.gated,
            variant=self.attention.variant,
            channels=self.attention.channels,
            classes=self.attention.classes,
            photos_of_class=learnt.of_class(self.attention.classes),
            training=training,
            figures={},
            versions=versions(),
            smoothing=self.recipe.smoothing,
        )

    def trained(self, card: Card) -> TrainedAttention:
        """The attention as it is now, under a card."""
        return TrainedAttention(self.attention, self.stages, card)

    def check_unchanged(self) -> None:
        """Refuse a classifier that is no longer what it was.

        Raises:
            ClassifierError: a weight or buffer differs.
        """
        if self.classifier.hash_anew() != self.classifier_hash:
            raise ClassifierError(
                f"{self.classifier.name} has changed as it was read, so no attention can belong to it",
                came="another hash of weights and buffers",
                remedy="its forward must leave weights and buffers alone in eval mode; nothing else may train it",
            )


def _stages(classifier: Classifier, recipe: Recipe) -> tuple[Features, ...]:
    """The layers that an attention of this recipe reads; see `stages_of`.

    Raises:
        UnsupportedError: the rule finds no such stages, with the settings that would.
    """
    try:
        return stages_of(classifier, recipe.count, recipe.layers, recipe.at)
    except UnsupportedError as reason:
        settings = "a recipe of fewer stages, count=N (--count N), or of layers by name, layers=… (--layers A,B)"
        raise UnsupportedError(
            reason.problem,
            came=reason.came,
            expected=reason.expected,
            remedy="; ".join(filter(None, [reason.remedy, settings])),
        ) from reason


def _first(classifier: Classifier, stages: Sequence[Features], recipe: Recipe, seed: int) -> FusionAttention:
    """The attention with first weights of the seed, or from the head."""
    assert classifier.class_count is not None
    with classifier.untouched(), torch.no_grad():
        features, _ = read_stages(classifier, stages, classifier.picture(), gated=recipe.gated)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_for(seed, "first weights"))
        attention = FusionAttention(
            [feature.shape[1] for feature in features],
            classifier.class_count,
            recipe.variant,
            head=_on_cpu(head_of(classifier, recipe.variant)),
            smoothing=recipe.smoothing,
        )
    if recipe.start == "head":
        _start_from_head(attention, classifier)
    return attention


def _on_cpu(head: torch.Tensor | None) -> torch.Tensor | None:
    return None if head is None else head.cpu()


def _start_from_head(attention: FusionAttention, classifier: Classifier) -> None:
    try:
        attention.start_from_head(linear_head(classifier).cpu())
    except UnsupportedError as reason:
        raise UnsupportedError(
            f"the attention cannot start from the head of {classifier.name}: {reason.problem}",
            came=reason.came,
            expected=reason.expected,
            remedy="start=drawn begins with random weights",
        ) from reason


def _check_classes(classifier: Classifier) -> None:
    if classifier.outputs not in ("softmax", "sigmoid") or (classifier.class_count or 0) < 2:
        raise UnsupportedError(
            f"{classifier.name} knows no classes whose answer a mask could keep",
            came=f"outputs={classifier.outputs!r}, {classifier.class_count or 'no'} classes",
            expected="softmax or sigmoid, two classes or more",
            remedy="regard train head makes a head of one's own classes",
        )


def _check_fill(fill: Fill, classifier: Classifier) -> None:
    """Refuse a fill that the mask learns nothing through."""
    picture = classifier.picture(noise=True)
    mask = torch.full_like(picture[:, :1], 0.5).requires_grad_()
    with torch.enable_grad():
        filled = fill(picture, mask)
    if not filled.requires_grad:
        raise UnsupportedError(
            "no gradient reaches the mask through this fill",
            came=repr(fill),
            expected="one that blends: black, training-mean, mean, blur, noise",
        )
