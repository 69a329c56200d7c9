"""What a training for re-identification is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from regard.attention.triplets import check_margin
from regard.training.brnpa.recipe import BRNPA_RECIPES, BRNPARecipe


@dataclass(frozen=True)
class ReidRecipe(BRNPARecipe):
    """How a network that tells persons apart is built and trained.

    All that is said of a `BRNPARecipe`, but: `batch` counts persons of a step, which are some more where one would be
    left alone in an epoch's last; `epochs` counts times that each person is seen; `select` must be "norm", since what
    is drawn for each picture is compared with no other's; there are no `auxiliary` heads, which name persons learnt and
    find no others.

    Attributes:
        photos: of each person of a step, published 4, drawn anew in every epoch; of a person with fewer some twice.
        margin: of `hardest_triplets`; published 0.3 (Luo et al. 2019).
        frame: (H, W) that photos are squashed to, published 256×128; None for the preparation of the start.

    Raises:
        UnsupportedError: a number that cannot be.
    """

    epochs: int = 60
    photos: int = 4
    margin: float = 0.3
    frame: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_margin(self.margin)
        for name in ("photos", "batch"):
            value = getattr(self, name)
            self._check(name, type(value) is int and value > 1, "2, 3, …: with one there is nothing to compare")
        self._check("select", self.select == "norm", "norm")
        self._check("auxiliary", self.auxiliary == (), "none: heads name persons learnt, and find no others")
        sides = (1, 1) if self.frame is None else self.frame
        fits = isinstance(sides, tuple) and len(sides) == 2 and all(type(side) is int and side > 0 for side in sides)
        self._check("frame", fits, "(H, W) in pixels")

    def words(self) -> dict[str, Any]:
        return {**super().words(), "frame": None if self.frame is None else list(self.frame)}


def _as_published() -> ReidRecipe:
    published = BRNPA_RECIPES["paper"]
    shared = {each.name: getattr(published, each.name) for each in fields(published)}
    return ReidRecipe(**shared | {"epochs": ReidRecipe.epochs, "batch": ReidRecipe.batch}, frame=(256, 128))


REID_RECIPES: Mapping[str, ReidRecipe] = MappingProxyType({"default": ReidRecipe(), "paper": _as_published()})
"""`default` is regard's; `paper` what the authors train classification with (BR-NPA, 2.2), at the frame of their
re-identification (2.4), with persons and photos of a step as Luo et al. 2019 have them."""
