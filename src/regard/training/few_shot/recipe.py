"""What a few-shot training is made of, besides network and descent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, get_args

from regard.attention.settings import is_number
from regard.training.brnpa.recipe import BRNPARecipe
from regard.training.few_shot.episodes import check_episodes

Comparison = Literal["prototypes", "cross-attention"]


@dataclass(frozen=True)
class FewShotRecipe(BRNPARecipe):
    """How a network learns to tell classes that it has never seen by a few photos of each.

    What a `BRNPARecipe` has counts here, too, with these differences: a step's `batch` is counted in episodes;
    `auxiliary` are sets of ranks, the first is 1, with which test episodes are decided besides, which takes no head;
    the branch of `pooling` "branch" learns by the classes trained on, beside the episodes.

    Features of either sign (of a LeakyReLU, say) are pooled by clamped cosines: opposite directions count as unrelated,
    so that no weight is negative and nothing that was explained grows again (`representative_pooling(negative=…)`).

    Attributes:
        ways: N, classes of an episode.
        shots: K, photos of each that are given.
        queries: photos of each that are asked for.
        episodes: of an epoch; every epoch has others.
        scale: of the cosines, see `prototype_logits`; published from 4 to 12.
        comparison: "prototypes", of the K vectors; or "cross-attention", the published one to compare with, of the
            places of the features, which goes with pooling "mean".
        chosen_by: episodes, always the same, by which the epoch is chosen.
        examined: episodes, always the same, that the figures are about.

    Raises:
        UnsupportedError: a word or a number that cannot be.
    """

    temperature: float = 8.0
    batch_norm: Literal["frozen", "trained"] = "trained"
    rate: float = 1e-3
    head_rate: float = 1.0
    epochs: int = 20
    batch: int = 1
    ways: int = 5
    shots: int = 1
    queries: int = 15
    episodes: int = 100
    scale: float = 10.0
    comparison: Comparison = "prototypes"
    chosen_by: int = 200
    examined: int = 600

    def __post_init__(self) -> None:
        super().__post_init__()
        check_episodes(self.ways, self.shots, self.queries)
        for name in ("episodes", "chosen_by", "examined"):
            value = getattr(self, name)
            self._check(name, type(value) is int and value > 0, "a whole number above 0")
        self._check("scale", is_number(self.scale) and self.scale > 0, "a number above 0")
        self._check("comparison", self.comparison in get_args(Comparison), ", ".join(get_args(Comparison)))
        crossed = self.comparison == "cross-attention"
        self._check("pooling", self.pooling == "mean" or not crossed, "'mean': cross attention reads single places")
        self._check("auxiliary", not (crossed and self.auxiliary), "none: cross attention has no ranks")


FEW_SHOT_RECIPES: Mapping[str, FewShotRecipe] = MappingProxyType(
    {
        "default": FewShotRecipe(),
        "paper": replace(
            FewShotRecipe(),
            shots=5,
            optimizer="sgd",
            schedule="stepped",
            rate=5e-3,
            weight_decay=0.0,
            dropout=0.5,
            epochs=50,
            scale=8.0,
            chosen_by=500,
        ),
    }
)
"""`default` is what worked for Conv-4 on drawings; `paper` is what is known of the authors' (BR-NPA, 2.3): 5 ways and 5
shots, T = 8, α = 0.5, 50 epochs, 500 episodes to choose by, and of rate, dropout and scale the middle of what they
searched; the schedule is that of classification."""
