"""What a training of BR-NPA, or of a network that it is compared with, is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal, get_args

from regard.attention.distillation import check_distillation
from regard.attention.poolings import PoolingName
from regard.attention.settings import is_number
from regard.errors import UnsupportedError
from regard.training.brnpa.augmentation import Augmentation

BatchNorm = Literal["frozen", "trained"]
Optimizer = Literal["adamw", "sgd"]
Schedule = Literal["one-cycle", "stepped"]
Selection = Literal["norm", "random"]

PAPER_HEADS = ((1,), (2,), (3,), (1, 2), (2, 3))
"""Ranks that the published auxiliary heads read, of three (BR-NPA, 3)."""


def _tuples(value: object) -> object:
    """Lists as tuples, which compare and do not change."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _counts(value: object) -> bool:
    """Whether it is some whole numbers above 0."""
    return isinstance(value, tuple) and len(value) > 0 and all(type(each) is int and each > 0 for each in value)


@dataclass(frozen=True)
class BRNPARecipe:
    """How a network that ends in a pooling is built and trained.

    Attributes:
        pooling: see `pooling_called`.
        count: K, of "representative" and "bilinear"; the others have one map.
        select: of "representative"; "random" is the published ablation.
        refine: of "representative"; False is the published ablation.
        strides, dilation, layer: see `BRNPAClassifier`.
        dropout: of the joined vectors.
        temperature, share: of the distillation, where there is a teacher; see `distillation_loss`.
        auxiliary: sets of ranks, the first is 1, each with a linear head of its own on their vectors, which learns
            beside and moves nothing else: it measures what the ranks carry.
        batch_norm: of the backbone: "frozen" at the statistics that it has, which small batches cannot spoil, or
            "trained" with the network. Its weights and biases are trained either way; the pooling's own norms always.
        optimizer: "adamw", or "sgd" with momentum 0.9.
        schedule: "one-cycle" (see `schedules.one_cycle`); "stepped": times 0.9 after every second epoch, as published.
        rate: the largest learning rate, of the backbone.
        head_rate: factor on it, of all that is not the backbone.
        weight_decay: of all weights but biases and norms.
        epochs, batch: how long, and photos a step.
        augmentation: how photos are shown; teacher and student see the same.

    Raises:
        UnsupportedError: a word or a number that cannot be.
    """

    pooling: PoolingName = "representative"
    count: int = 3
    select: Selection = "norm"
    refine: bool = True
    strides: tuple[int, ...] | None = None
    dilation: bool | None = None
    layer: str | None = None
    dropout: float = 0.0
    temperature: float = 4.0
    share: float = 0.5
    auxiliary: tuple[tuple[int, ...], ...] = ()
    batch_norm: BatchNorm = "frozen"
    optimizer: Optimizer = "adamw"
    schedule: Schedule = "one-cycle"
    rate: float = 1e-4
    head_rate: float = 10.0
    weight_decay: float = 1e-2
    epochs: int = 15
    batch: int = 16
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        strides = _tuples(self.strides)
        object.__setattr__(self, "strides", (strides,) if isinstance(strides, int) else strides)
        object.__setattr__(self, "auxiliary", _tuples(self.auxiliary))
        words = {
            "pooling": PoolingName,
            "select": Selection,
            "batch_norm": BatchNorm,
            "optimizer": Optimizer,
            "schedule": Schedule,
        }
        for name, known in words.items():
            self._check(name, getattr(self, name) in get_args(known), ", ".join(get_args(known)))
        for name in ("count", "epochs", "batch"):
            value = getattr(self, name)
            self._check(name, type(value) is int and value > 0, "a whole number above 0")
        for name in ("rate", "head_rate"):
            self._check(name, is_number(getattr(self, name)) and getattr(self, name) > 0, "a number above 0")
        self._check("weight_decay", is_number(self.weight_decay) and self.weight_decay >= 0, "a number from 0 on")
        self._check("dropout", is_number(self.dropout) and 0 <= self.dropout < 1, "a share from 0, and below 1")
        self._check("refine", type(self.refine) is bool, "True or False")
        self._check("dilation", self.dilation is None or type(self.dilation) is bool, "True, False or None")
        self._check("layer", self.layer is None or isinstance(self.layer, str), "a dotted path")
        self._check("strides", self.strides is None or _counts(self.strides), "whole numbers: (1, 1)")
        self._check("augmentation", isinstance(self.augmentation, Augmentation), "an Augmentation")
        check_distillation(self.temperature, self.share)
        self._check_pooling()
        self._check_auxiliary()

    @property
    def maps(self) -> int:
        """K: how many maps and vectors there are."""
        return self.count if self.pooling in ("representative", "bilinear") else 1

    def words(self) -> dict[str, Any]:
        """JSON values, for run and file."""
        return {
            **asdict(self),
            "strides": None if self.strides is None else list(self.strides),
            "auxiliary": [list(ranks) for ranks in self.auxiliary],
        }

    def _check_auxiliary(self) -> None:
        listed, expected = self.auxiliary, f"sets of ranks from 1 to {self.maps}: ((1,), (2, 3)), as an option 1,2+3"
        self._check("auxiliary", isinstance(listed, tuple) and all(map(_counts, listed)), expected)
        for ranked in listed:
            self._check("auxiliary", len({*ranked}) == len(ranked) and max(ranked) <= self.maps, expected)
        self._check("auxiliary", len({*listed}) == len(listed), "each set once")

    def _check_pooling(self) -> None:
        """Refuse what a pooling would not heed."""
        usual = {each.name: each.default for each in fields(self)}
        if self.pooling != "representative":
            for name in ("select", "refine"):
                self._check(
                    name, getattr(self, name) == usual[name], f"{usual[name]!r}: {self.pooling} chooses no place"
                )
        if self.maps == 1 and self.count not in (1, usual["count"]):
            self._check("count", False, f"1: {self.pooling} has one map")
        self._check("dilation", self.dilation is None or self.strides is not None, "None where no stride changes")

    def _check(self, name: str, fits: bool, expected: str) -> None:
        if not fits:
            raise UnsupportedError(
                f"{name} of a recipe cannot be that", came=repr(getattr(self, name)), expected=expected
            )


BRNPA_RECIPES: Mapping[str, BRNPARecipe] = MappingProxyType(
    {
        "default": BRNPARecipe(),
        "paper": BRNPARecipe(
            temperature=1.0,
            share=1.0,
            batch_norm="trained",
            optimizer="sgd",
            schedule="stepped",
            rate=1e-3,
            head_rate=1.0,
            weight_decay=0.0,
            epochs=50,
            batch=12,
        ),
    }
)
"""`default` is what worked for EfficientNet-Lite0 on a hundred photos; `paper` are the authors' defaults, from which
they searched on (BR-NPA, 2.2), with hundreds of times as many."""
