"""Metrics that read curves: how faithful maps are to the classifier's answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from regard.errors import MetricError
from regard.metrics import retention
from regard.metrics.curves import DROPPING, RETAINED, Curves
from regard.metrics.metric import MapMetric, Needs
from regard.metrics.retention import PAPER, SoftlyRetained


class _OfCurves(MapMetric):
    """Reads curves and states how they were made."""

    needs: ClassVar[Needs] = "curves"
    rule: ClassVar[str] = "places ranked by the raw signed map"

    def stated(self, read: Curves | SoftlyRetained) -> Mapping[str, Any]:
        words = {name: getattr(read, name) for name in ("fill", "level", "ties", "precision")}
        return words | ({"steps": read.steps} if isinstance(read, Curves) else {})


class Deletion(_OfCurves):
    """Area under the deletion curve: how soon the class goes as its most relevant places are removed."""

    name: ClassVar[str] = "deletion"
    summary: ClassVar[str] = "area under the probability as the most relevant places are removed"
    higher_is_better: bool | None = False

    def measure(self, read: Curves) -> Tensor:
        return read.area("deletion")


class Insertion(_OfCurves):
    """Area under the insertion curve: how soon the class comes as its most relevant places are shown."""

    name: ClassVar[str] = "insertion"
    summary: ClassVar[str] = "area under the probability as the most relevant places are shown"
    higher_is_better: bool | None = True

    def measure(self, read: Curves) -> Tensor:
        return read.area("insertion")


class Fidelity(_OfCurves):
    """Area between removing the least and the most relevant places first (CDAM, section 5.2).

    ∫ (LIF − MIF),  which with one fill is insertion − deletion; 0 for a random order on average.
    """

    name: ClassVar[str] = "fidelity"
    summary: ClassVar[str] = "area between least and most important first"
    higher_is_better: bool | None = True

    def measure(self, read: Curves) -> Tensor:
        return read.area("least_first") - read.area("deletion")


class TokenFidelity(Fidelity):
    """The same area where the patches' tokens are dropped: no fill stands in for them."""

    name: ClassVar[str] = "token-fidelity"
    summary: ClassVar[str] = "area between least and most important first, by dropping tokens"
    needs: ClassVar[Needs] = "token curves"

    def measure(self, read: Curves) -> Tensor:
        if read.fill != DROPPING:
            raise MetricError(f"{self.name} reads curves that drop tokens", came=f"curves filled by {read.fill}")
        return super().measure(read)


class _Retained(_OfCurves):
    """Reads the answer to a part of the picture.

    Args:
        share: of the places, the most relevant ones, that are shown as they are: 0.5 or 0.15. All of them never rank
            anything: with a soft mask a random map then beats real ones.
    """

    rule: ClassVar[str] = "binary: the top share of places by rank"
    in_column: ClassVar[tuple[str, ...]] = ("share",)

    def __init__(self, share: float = 0.5) -> None:
        if share not in (*RETAINED, *PAPER):
            raise MetricError(
                "this share of a picture is not retained",
                came=f"share={share!r}",
                expected=", ".join(f"{known:g}" for known in sorted({*RETAINED, *PAPER})),
            )
        super().__init__(share=float(share))
        self.share = float(share)

    def _shown(self, read: Curves | SoftlyRetained) -> Tensor:
        if self.share not in read.retained:
            raise MetricError(
                "the curves do not hold this share",
                came=f"{self.share:g}",
                expected=", ".join(f"{share:g}" for share in read.retained),
            )
        return read.retained[self.share]


class AverageDrop(_Retained):
    """What share of its probability a class loses where only the most relevant places are shown."""

    name: ClassVar[str] = "average-drop"
    summary: ClassVar[str] = "share of the probability lost where only the top share is shown"
    higher_is_better: bool | None = False

    def measure(self, read: Curves | SoftlyRetained) -> Tensor:
        return retention.average_drop(read.clean, self._shown(read))


class IncreaseInConfidence(_Retained):
    """Share of pictures whose class becomes likelier where only the most relevant places are shown."""

    name: ClassVar[str] = "increase-in-confidence"
    summary: ClassVar[str] = "share of pictures that gain where only the top share is shown"
    higher_is_better: bool | None = True

    def measure(self, read: Curves | SoftlyRetained) -> Tensor:
        return retention.increase_in_confidence(read.clean, self._shown(read))


class AverageGain(_Retained):
    """How much of the missing probability a class gains where only the most relevant places are shown."""

    name: ClassVar[str] = "average-gain"
    summary: ClassVar[str] = "share of the missing probability gained where only the top share is shown"
    higher_is_better: bool | None = True

    def measure(self, read: Curves | SoftlyRetained) -> Tensor:
        return retention.average_gain(read.clean, self._shown(read))
