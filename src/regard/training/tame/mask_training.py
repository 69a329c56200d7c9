"""The loss of TAME, as a task for the training loop: pictures seen through their own masks must keep their class."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from regard.attention.fusion import FusionAttention
from regard.attention.map_losses import area, variation
from regard.fills import Fill
from regard.images import Photo, Pixels, open_photo
from regard.models.classifier import Classifier
from regard.models.features import Features
from regard.models.stages import read_stages
from regard.seeds import seed_for
from regard.targets import log_probabilities
from regard.training.tame.masks import raised_to_mean, ranked_mask, soft_mask
from regard.training.tame.recipe import Recipe

STIFFNESS = 20.0
"""How firmly the size of a mask is held, besides the multiplier, which alone would swing about the target."""

FIRST = 64
"""Photos that say where own masks begin; the multiplier does the rest."""


@dataclass(frozen=True)
class Batch:
    """Some pictures of a step.

    Attributes:
        pixels: prepared, (b, 3, H, W).
        others: for each as many draws below C − 1 as it has negatives, (b, n): the classes but its own, counted on.
    """

    pixels: Tensor
    others: Tensor


class Trainee(nn.Module):
    """What is trained: the attention, and the multiplier of the area where one holds it.

    Attributes:
        attention: the attention.
        multiplier: λ, 0-d, of either sign, which ascends; None where the area has a weight.
    """

    def __init__(self, attention: FusionAttention, held: bool) -> None:
        super().__init__()
        self.attention = attention
        self.multiplier = nn.Parameter(torch.zeros(())) if held else None


class MaskTraining:
    """A task of `loop.fit`: pictures by index, and the loss of each.

        ℓ = w_ce · CE(f(m · x + (1 − m) · fill), y) + w_area · area + w_variation · variation,   y = argmax f(x)

    The class y is the classifier's own answer to the very picture; nobody labels anything. The masked picture is made
    in prepared units, which is the same as in colours, since preparation is linear and the fill is given in its units.

    Args:
        classifier: frozen, see `frozen`.
        stages: layers that the attention reads.
        attention: what is trained.
        photos: all of which can be read.
        marks: what each photo's draws hang on: its content, so that neither order nor name changes them.
        recipe: how.
        fill: what hidden pixels become; the same object as in evaluation.
        seed: of crops, flips and other classes.

    Cost for a picture: a forward of the classifier, then one with gradients to its pixels (2 more), the attention.
    """

    components: Sequence[str] = ("cross-entropy", "area", "variation", "own mask")

    def __init__(
        self,
        classifier: Classifier,
        stages: Sequence[Features],
        attention: FusionAttention,
        photos: Sequence[Photo],
        marks: Sequence[str],
        recipe: Recipe,
        fill: Fill,
        seed: int,
    ) -> None:
        self.classifier, self.stages, self.recipe, self.fill, self.seed = classifier, stages, recipe, fill, seed
        self.photos, self.marks = photos, marks
        self.module = Trainee(attention, recipe.area_target is not None)

    @property
    def examples(self) -> int:
        return len(self.photos)

    def batch(self, indices: Sequence[int], epoch: int) -> Batch:
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # decoding lets go of the interpreter
            pictures = list(pool.map(lambda index: self._picture(index, epoch), indices))
        return Batch(torch.cat(pictures).to(self.classifier.device), torch.stack([*map(self._others, indices)]))

    @torch.no_grad()
    def begin_at(self, mean: float) -> None:
        """Raise or lower all maps such that own masks of FIRST photos have a mean.

        Class activation maps are parts of logits, far above zero, where σ would begin near one and stay there.
        """
        attention = copy.deepcopy(self.module.attention).eval()  # batch statistics are left as they were
        own, count = [], min(self.examples, FIRST)
        for start in range(0, count, self.recipe.batch):
            features, classes = self._read(self.batch(range(start, min(start + self.recipe.batch, count)), 0).pixels)
            own.append(attention(features, classes[:, None]).flatten())
        self.module.attention.raise_by(float(raised_to_mean(torch.cat(own)[None], mean)))

    def losses(self, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        recipe, pixels = self.recipe, batch.pixels
        features, own = self._read(pixels)
        classes = self._classes(own, batch.others.to(own.device))
        maps = self.module.attention(features, classes)
        masks = maps.float().sigmoid()
        place = torch.arange(len(own), device=own.device) if recipe.maps == "cross-batch" else torch.zeros_like(own)
        picked = maps.gather(1, place.view(-1, 1, 1, 1).expand(-1, 1, *maps.shape[2:]))
        cross = self._cross_entropy(pixels, picked, own)
        areas, variations = area(masks, exponent=recipe.exponent), variation(masks)
        size = picked.float().sigmoid().mean(dim=(1, 2, 3))
        weighed = self._areas(areas, size, classes == own[:, None])
        loss = recipe.cross_entropy * cross + weighed + recipe.variation * self._variations(variations)
        own_area, own_variation = areas.gather(1, place[:, None])[:, 0], variations.gather(1, place[:, None])[:, 0]
        return loss, {"cross-entropy": cross, "area": own_area, "variation": own_variation, "own mask": size}

    def _read(self, pixels: Tensor) -> tuple[list[Tensor], Tensor]:
        """Features of the layers, and the classes that the classifier takes the pictures for (b,)."""
        with torch.no_grad(), self.classifier.untouched():
            features, output = read_stages(self.classifier, self.stages, pixels, gated=self.recipe.gated)
        assert output.logits is not None
        return features, output.logits.argmax(dim=1)

    def _picture(self, index: int, epoch: int) -> Tensor:
        """A prepared picture (1, 3, H, W), cropped and flipped by draws of its own."""
        photo, preparation = open_photo(self.photos[index]), self.classifier.preparation
        if self.recipe.augmentation == "none":
            return _plain(preparation([photo]))
        generator = torch.Generator().manual_seed(seed_for(self.seed, "augmentation", self.marks[index], epoch))
        down, across, flipped = torch.rand(3, generator=generator).tolist()
        corner = (down, across) if self.recipe.augmentation == "crop" else None
        pixels = _plain(preparation([photo], corner=corner))
        return pixels.flip(-1) if flipped < 0.5 else pixels

    def _others(self, index: int) -> Tensor:
        """Draws of other classes, of the photo alone: whatever its batch, its epoch and the processes are."""
        count = self.recipe.negatives if self.recipe.maps == "negatives" else 0
        generator = torch.Generator().manual_seed(seed_for(self.seed, "other classes", self.marks[index]))
        classes = self.classifier.class_count or 1
        return torch.randint(max(1, classes - 1), (count,), generator=generator)

    def _classes(self, own: Tensor, others: Tensor) -> Tensor:
        """Classes whose maps are made, (b, T): the own first; of a batch those of all its pictures."""
        if self.recipe.maps == "cross-batch":
            return own.expand(len(own), -1)
        return torch.cat([own[:, None], others + (others >= own[:, None])], dim=1)

    def _cross_entropy(self, pixels: Tensor, maps: Tensor, own: Tensor) -> Tensor:
        """−log p of the own class in what is left of each picture (b,)."""
        frame = (pixels.shape[2], pixels.shape[3])
        mask = (
            soft_mask(maps, frame)
            if self.recipe.mask == "soft"
            else ranked_mask(maps, frame, self.recipe.share, self.recipe.edge)
        )
        with self.classifier.untouched():
            logits = self.classifier.forward(self.fill(pixels, mask))
        return -log_probabilities(logits, self.classifier.outputs).gather(1, own[:, None])[:, 0]

    def _areas(self, areas: Tensor, size: Tensor, own: Tensor) -> Tensor:
        """The weighed area (b,), or what holds the own masks' size at its target, and the weighed area of the others.

        An augmented Lagrangian, λ · e + ½ · STIFFNESS · e² of the excess e, in which λ ascends while all else descends.
        """
        held = self.module.multiplier
        if held is None or self.recipe.area_target is None:
            return self.recipe.area * areas.mean(dim=1)
        excess = size - self.recipe.area_target
        others = (areas * ~own).sum(dim=1) / (~own).sum(dim=1).clamp(min=1)
        holding = held.detach() * excess - held * excess.detach() + STIFFNESS / 2 * excess.square()
        return holding + self.recipe.area * others

    def _variations(self, variations: Tensor) -> Tensor:
        """Of a cross-batch their sum, as published, which grows with the batch; else their mean."""
        return variations.sum(dim=1) if self.recipe.maps == "cross-batch" else variations.mean(dim=1)


def _plain(pixels: Pixels) -> Tensor:
    """Pixels without their geometry, which a training does not ask for."""
    return pixels.as_subclass(Tensor)
