"""TAME (Ntrougkas et al. 2023, arXiv 2301.07407) and T-TAME (arXiv 2403.04523): a small attention, trained once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from regard.errors import TargetError, UnsupportedError
from regard.explainers.explainer import Explainer, Found, OnNaN
from regard.explainers.gradients import detached
from regard.explainers.trained_attention import TrainedAttention, read_card
from regard.explanation import Explanation
from regard.images import Photo
from regard.labels import class_name
from regard.models.classifier import Classifier
from regard.models.stages import read_stages
from regard.question import Question
from regard.targets import Output

FEWEST_PHOTOS = 20
"""Photos of a class below which a row of its own has learnt next to nothing."""

_FORCED = "force=True (tame:FILE:force=true) shows the map all the same"


class TAME(Explainer):
    """Maps of every class from one pass, by an attention that was trained to keep the classifier's answer.

        m_y = sigmoid(c_y),   trained for the least of CE(f(m_y · x + (1 − m_y) · fill), y) + area(m_y) + variation(m_y)

    The map is c_y itself, raw: above zero the mask shows more than half of a pixel, below it hides more than half. The
    area that training asks for settles where zero lies, so what is hidden is no evidence against the class. Ranks are
    the same as the mask's, which loses digits near one.

    Where an attention's rows are their own, one of fewer than 20 photos has learnt next to nothing, and its map is not
    shown: a class that is named is refused; of the likeliest classes, such a one's map is NaN, and a note says why.

    Args:
        classifier: the one it was trained for.
        trained: the attention; default the one shipped for this classifier, if there is one.
        force: show maps of classes that training hardly saw, too; see `FEWEST_PHOTOS`.

    Cost: one forward; the attention adds Σ K_i² h_i w_i multiplications, and T · Σ K_i h_i w_i for T classes.

    Raises:
        UnsupportedError: none is shipped for the classifier, with the command that trains one; it was trained for
            another; or, when asked, the classifier's weights have changed since.
        TargetError: when asked for such a class by name, or where no class that was asked for has a map to be shown.
    """

    name: ClassVar[str] = "tame"
    summary: ClassVar[str] = "a small attention trained for the classifier to keep its answer: every class in one pass"
    answers: ClassVar[frozenset[str]] = frozenset({"class", "predicted", "per image"})
    networks: ClassVar[str] = "the one that its file, tame:FILE, was trained for"
    signed: ClassVar[bool] = True
    signs: ClassVar[tuple[str, str]] = ("hidden by the mask", "kept by the mask")
    zero_means: ClassVar[str] = "the mask shows half of every pixel, as if nothing had been learnt"
    made_by: ClassVar[str] = "regard train tame PHOTOS --classifier {classifier} --out {file}"

    def __init__(self, classifier: Classifier, trained: TrainedAttention | None = None, *, force: bool = False) -> None:
        super().__init__(classifier)
        self.trained = trained if trained is not None else _shipped_for(classifier)
        self.trained.card.check_belongs(classifier)
        self.force = force
        card = self.trained.card
        layers = [layer.layer for layer in self.trained.layers]
        self.settings = {"variant": card.variant, "layers": layers, "weights": self.trained.digest, **card.training}
        self._attention = self.trained.attention.folded()
        self._learned_from = classifier.hash

    @classmethod
    def load(cls, file: Path | str, classifier: Classifier, *, force: bool = False) -> TAME:
        """The explainer of a file that `save` or `regard train tame` wrote.

        Raises:
            FileFormatError: no such file, another kind of file, damaged, of a newer regard, or of another classifier.
        """
        return cls(classifier, TrainedAttention.load(Path(file), classifier), force=force)

    @classmethod
    def shipped(cls, classifier: Classifier) -> Path | None:
        """The file of the attention that is shipped for a classifier; None where there is none."""
        try:
            from regard_embedded import attentions
        except ImportError:
            return None
        files: list[Path] = attentions()
        return next((file for file in files if read_card(file).classifier_hash == classifier.hash), None)

    def save(self, file: Path | str) -> None:
        """Write the attention, with what it was trained for and on; nothing of the classifier."""
        self.trained.save(Path(file))

    def transferred(self, classifier: Classifier) -> TAME:
        """The same attention on a copy of its classifier whose weights were redrawn, without training: a sanity check.

        What it was trained to read is gone there, so its maps should be, too (Adebayo et al. 2018). The weights stay as
        they were trained; rows of "tied", which are made of the classifier's head, are made of the copy's. Only a
        variant that is tied sees a redrawn head: every other reads the layers before it. Maps say so in a note.

        Args:
            classifier: of the same layers, as `regard.models.randomised` makes it.
        """
        moved = copy.copy(self)
        moved.classifier = classifier
        moved.trained = self.trained.read_from(classifier)
        moved.notes = (f"the attention was trained for {self.trained.card.classifier}, whose weights are others",)
        moved._attention = moved.trained.attention.folded()
        moved._learned_from = classifier.hash
        return moved

    def __call__(
        self, photos: Photo | Sequence[Photo] | Tensor, targets: Any = None, *, on_nan: OnNaN = "error"
    ) -> Explanation:
        return self._shown(super().__call__(photos, targets, on_nan=on_nan))

    def question(self, targets: Any, images: int) -> Question:
        question = super().question(targets, images)
        named = [target for target in question.targets if target.kind != "predicted"]
        blank = Output(torch.zeros(()).expand(images, self.trained.card.classes), None)
        for target in named:
            indices = target.indices(blank)
            assert indices is not None  # all kinds that are answered are classes
            self._check_taught(indices)
        return question

    def _learn(self) -> None:
        if self.classifier.hash != self._learned_from:
            raise UnsupportedError(
                f"the weights of {self.classifier.name} have changed since this attention was trained for them",
                remedy=f"train it again: {self.made_by.format(classifier='CLASSIFIER', file='FILE')}",
            )

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        with torch.no_grad():
            features, output = read_stages(self.classifier, self.trained.layers, pixels, gated=self.trained.card.gated)
            found = [target.indices(output) for target in question.targets]
            classes = torch.stack([indices for indices in found if indices is not None], dim=1)
            asked = classes[0] if bool((classes == classes[:1]).all()) else classes
            return Found(self._attention.to(pixels.device)(features, asked), detached(output))

    def _shown(self, explanation: Explanation) -> Explanation:
        """An explanation without the maps that rows of too few photos gave: NaN, and a note for each such class.

        Raises:
            TargetError: none is left.
        """
        asked = [answer.index for row in explanation.targets for answer in row]
        classes = torch.tensor(asked).view(len(explanation), -1)
        poor = self._poor(classes)
        if not poor.any():
            return explanation
        if poor.all():
            raise self._refusal(int(classes[0, 0]))
        withheld = tuple(
            f"no map of {self._called(index)}: training saw {self.trained.card.photos_of_class[index]} photos of it, "
            f"fewer than {FEWEST_PHOTOS}; {_FORCED}"
            for index in classes[poor].unique().tolist()
        )
        lost = poor.any(dim=1).nonzero()[:, 0].tolist()
        return replace(
            explanation,
            maps=explanation.maps.masked_fill(poor[:, :, None, None], torch.nan),
            not_finite=tuple(sorted({*explanation.not_finite, *lost})),
            notes=explanation.notes + withheld,
        )

    def _check_taught(self, classes: Tensor) -> None:
        """Refuse classes that are named and whose rows saw too few photos."""
        poor = classes[self._poor(classes)]
        if len(poor):
            raise self._refusal(int(poor[0]))

    def _poor(self, classes: Tensor) -> Tensor:
        """Whether their rows are their own and saw too few photos."""
        if self.force or self.trained.card.variant == "tied":
            return torch.zeros_like(classes, dtype=torch.bool)
        return torch.tensor(self.trained.card.photos_of_class)[classes] < FEWEST_PHOTOS

    def _refusal(self, index: int) -> TargetError:
        return TargetError(
            f"this attention has hardly seen the class {self._called(index)}",
            came=f"{self.trained.card.photos_of_class[index]} photos in training",
            expected=f"{FEWEST_PHOTOS} or more, since its row is its own",
            remedy=f"{_FORCED}; the variant tied learns every class from every photo",
        )

    def _called(self, index: int) -> str:
        return str(index) if self.classifier.labels is None else repr(class_name(index, self.classifier))


def _shipped_for(classifier: Classifier) -> TrainedAttention:
    file = TAME.shipped(classifier)
    if file is None:
        raise UnsupportedError(
            f"no attention is shipped for {classifier.name}",
            expected="TAME.load(file, classifier), or tame:FILE",
            remedy=TAME.made_by.format(classifier=classifier.name, file="NAME.safetensors"),
        )
    return TrainedAttention.load(file, classifier)
