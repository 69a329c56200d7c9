"""Metrics that ask a method again: of moved pictures, of randomised weights. The method comes as a callable."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

from torch import Tensor

from regard.errors import MetricError
from regard.metrics.metric import MapMetric, Needs
from regard.metrics.randomisation import Method, held, randomisation_correlation
from regard.metrics.sensitivity import max_sensitivity
from regard.models.classifier import Classifier
from regard.models.randomised import cascade, randomised

Part = Literal["head", "last block", "cascade"]


class MaxSensitivity(MapMetric):
    """How far a map moves when its picture hardly does (Yeh et al. 2019). See `sensitivity.max_sensitivity`.

    Args:
        radius: of the moves, as a share of the picture's range; 0.02.
        samples: moves a picture; 10.
        seed: of the moves.
    """

    name: ClassVar[str] = "max-sensitivity"
    summary: ClassVar[str] = "largest relative change of the map when the picture hardly changes"
    needs: ClassVar[Needs] = "method"
    rule: ClassVar[str] = "Euclidean norm of the raw map"
    higher_is_better: bool | None = False

    def __init__(self, radius: float = 0.02, samples: int = 10, seed: int = 0) -> None:
        super().__init__(radius=float(radius), samples=samples, seed=seed)
        self.radius, self.samples, self.seed = float(radius), samples, seed

    def measure(self, method: Method, classifier: Classifier, pixels: Tensor, targets: Any) -> Tensor:
        explainer, asked = method(classifier), held(classifier, pixels, targets)
        return max_sensitivity(lambda moved: explainer(moved, asked).maps, pixels, self.radius, self.samples, self.seed)


class Randomisation(MapMetric):
    """|ρ| with the map of the same class once weights are shuffled, ρ the rank correlation (Adebayo et al. 2018).

    1: the map does not hang on those weights, or only turns its sign. See `randomisation.randomisation_correlation`.

    Args:
        part: "head"; "last block"; or "cascade": the mean of |ρ| over the steps of `models.randomised.cascade`, from
            the head alone to all weights; NaN where a step has none.
        seed: of the shuffling.
    """

    name: ClassVar[str] = "randomisation"
    summary: ClassVar[str] = "size of the rank correlation with the map after weights are shuffled"
    needs: ClassVar[Needs] = "method"
    rule: ClassVar[str] = "size of the correlation of ranks of the raw signed maps, ties averaged"
    higher_is_better: bool | None = False
    in_column: ClassVar[tuple[str, ...]] = ("part",)

    def __init__(self, part: Part = "head", seed: int = 0) -> None:
        if part not in get_args(Part):
            raise MetricError("there is no such part", came=repr(part), expected=", ".join(get_args(Part)))
        super().__init__(part=part, seed=seed)
        self.part, self.seed = part, seed

    def measure(self, method: Method, classifier: Classifier, pixels: Tensor, targets: Any) -> Tensor:
        if self.part == "cascade":
            copies = cascade(classifier, self.seed)
        else:
            copies = iter([randomised(classifier, self.part, self.seed)])
        return randomisation_correlation(method, classifier, pixels, copies, targets).abs().mean(dim=0)
