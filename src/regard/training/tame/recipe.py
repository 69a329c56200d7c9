"""What a training of TAME is made of."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from regard.attention.fusion import Variant
from regard.errors import UnsupportedError
from regard.models.stages import Read

Augmentation = Literal["none", "flip", "crop"]
Maps = Literal["own", "negatives", "cross-batch"]
Start = Literal["drawn", "head"]
Optimizer = Literal["adamw", "sgd"]


@dataclass(frozen=True)
class Recipe:
    """How an attention is trained.

    Attributes:
        variant: of the attention; see `FusionAttention`.
        layers: dotted paths of the layers read; None for the last `count` stages, see `stages_of`.
        count: stages that are read where no layers are named.
        at: where a transformer's blocks are read.
        gated: whether patches are multiplied by their class token.
        smoothing: of the attention, in cells of its coarsest layer; 0 for none.
        start: "head" begins as the classifier's class activation map, where that can be; "drawn" at random.
        mask: "soft" shows every pixel by σ(c), as published; "ranked" shows the top `share` of places, see
            `masks.ranked_mask`.
        share: of places that a ranked mask shows.
        edge: width of a ranked mask's edge, in standard deviations of the map.
        maps: whose areas and variations count: "own", of the picture's class; "negatives", of some other classes of
            the same picture, too, drawn by its content; "cross-batch", of the classes of all pictures of the batch, as
            published, so that the size of a batch changes the loss.
        negatives: other classes a picture.
        cross_entropy, area, variation: weights of the three terms; where own maps' area is held at a target, the
            second is that of the others' maps alone.
        exponent: of the area.
        area_target: the mean of own masks, at which a multiplier holds them in place of the area's weight on own maps;
            None for the weight, which closes the mask of a ranked one: there the class is kept whatever its size.
        optimizer: "adamw"; "sgd" with Nesterov momentum, no weight decay of biases.
        rate: the largest learning rate, of OneCycle.
        weight_decay: of all weights but biases.
        bias_rate: factor on the rate of biases.
        epochs, batch: how long, and photos a step.
        augmentation: "crop", a random part of the frame's size of the scaled photo, and flips, as published; "flip";
            "none".

    Raises:
        UnsupportedError: a word or a number that cannot be.
    """

    variant: Variant = "tied"
    layers: tuple[str, ...] | None = None
    count: int = 3
    at: Read = "norm"
    gated: bool = False
    smoothing: int = 1
    start: Start = "head"
    mask: Literal["soft", "ranked"] = "ranked"
    share: float = 0.5
    edge: float = 0.15
    maps: Maps = "negatives"
    negatives: int = 4
    cross_entropy: float = 1.5
    area: float = 2.0
    variation: float = 0.01
    exponent: float = 0.3
    area_target: float | None = 0.3
    optimizer: Optimizer = "adamw"
    rate: float = 5e-5
    weight_decay: float = 1e-4
    bias_rate: float = 1.0
    epochs: int = 2
    batch: int = 16
    augmentation: Augmentation = "flip"

    def __post_init__(self) -> None:
        words = {
            "variant": Variant,
            "at": Read,
            "start": Start,
            "mask": Literal["soft", "ranked"],
            "maps": Maps,
            "optimizer": Optimizer,
            "augmentation": Augmentation,
        }
        for name, known in words.items():
            if getattr(self, name) not in get_args(known):
                raise UnsupportedError(
                    f"no such {name} of a recipe", came=repr(getattr(self, name)), expected=", ".join(get_args(known))
                )
        if type(self.gated) is not bool:
            raise UnsupportedError("gated of a recipe is True or False", came=repr(self.gated))
        for name in ("count", "epochs", "batch"):
            self._check_number(name, whole=True, above=0)
        for name in ("smoothing", "negatives"):
            self._check_number(name, whole=True)
        for name in ("exponent", "edge", "rate", "bias_rate"):
            self._check_number(name, above=0)
        for name in ("cross_entropy", "area", "variation", "weight_decay"):
            self._check_number(name)
        for name in ("share",) if self.area_target is None else ("share", "area_target"):
            self._check_number(name, above=0, below=1)
        if self.maps == "negatives" and self.negatives < 1:
            raise UnsupportedError("there are negatives, or maps are the picture's own", came="negatives=0")

    def words(self) -> dict[str, Any]:
        """JSON values, for run and file."""
        return {**asdict(self), "layers": None if self.layers is None else list(self.layers)}

    def _check_number(
        self, name: str, *, whole: bool = False, above: float | None = None, below: float = math.inf
    ) -> None:
        """Refuse what is no finite number, or out of its bounds: at least 0 where `above` is None."""
        value = getattr(self, name)
        number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if not number or not (value >= 0 if above is None else value > above) or not value < below:
            bounds = "at least 0" if above is None else f"above {above:g}"
            raise UnsupportedError(
                f"{name} of a recipe cannot be that",
                came=repr(value),
                expected=f"a {'whole' if whole else 'finite'} number, {bounds}"
                + (f" and below {below:g}" if below < math.inf else ""),
            )
