"""One photo, several methods on several classifiers: what each answered, and how much the answers are alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard.cli.columns import Column

if TYPE_CHECKING:
    from torch import Tensor

    from regard.errors import RegardError
    from regard.explainers.explainer import Explainer
    from regard.explanation import Explanation
    from regard.question import TargetAnswer


@dataclass(frozen=True)
class Contender:
    """A method on a classifier.

    Attributes:
        method: as a person wrote it.
        classifier: the classifier's name, as a person gave it.
        place: of the classifier among those compared.
        explainer: None where the method cannot explain the classifier.
        reason: why it cannot.
        file_digest: of a trained method's file.
    """

    method: str
    classifier: str
    place: int
    explainer: Explainer | None
    reason: str = ""
    file_digest: str | None = None

    @property
    def name(self) -> str:
        """What rows and tables call it."""
        return f"{self.method} on {self.classifier}"

    def targets(self, columns: Sequence[Column]) -> list[Any]:
        """For each column the classifier's target, or why it has none."""
        return [column.targets[self.place] for column in columns]

    def asked(self, columns: Sequence[Column]) -> list[Any]:
        """For each column the target that the explainer can be asked, or why there is none."""
        return [self.reason or self._asked(target) for target in self.targets(columns)]

    def _asked(self, target: Any) -> Any:
        """A method that does not tell targets apart has a map also where the classifier has no such class."""
        from regard.errors import TargetError
        from regard.targets import Predicted

        if self.explainer is None:
            return target
        if isinstance(target, str):
            if self.explainer.per_target or self.explainer.classifier.class_count is None:
                return target
            target = Predicted()
        try:
            self.explainer.question([target], images=1)
        except TargetError as reason:
            return reason.problem
        return target


@dataclass(frozen=True)
class Compared:
    """What a contender answered about one photo.

    Attributes:
        contender: who.
        explanation: of that photo alone; None where there is none.
        panels: for each column, the place of its map in the explanation, or why there is no map.
        unknown: for each column, why the classifier has no such target, of which only a method that does not tell
            targets apart has a map; "" where it has one.
        failed: whether what should have worked did not.
    """

    contender: Contender
    explanation: Explanation | None
    panels: tuple[int | str, ...]
    unknown: tuple[str, ...]
    failed: bool = False

    def map_of(self, column: int) -> Tensor | None:
        """The raw map (h, w) of a column, where there is one."""
        place = self.panels[column]
        return None if self.explanation is None or isinstance(place, str) else self.explanation.maps[0, place]

    def answer(self, column: int) -> TargetAnswer | None:
        """What the map of a column speaks about, where there is one and the classifier has that target."""
        place = self.panels[column]
        if self.explanation is None or isinstance(place, str) or self.unknown[column]:
            return None
        return self.explanation.targets[0][place]

    def why(self) -> str:
        """Why maps are missing, in words."""
        return "; ".join(dict.fromkeys(panel for panel in self.panels if isinstance(panel, str)))


@dataclass(frozen=True)
class Alike:
    """Rank correlations of the maps of one photo, NaN where a map is missing or constant.

    Attributes:
        overlap: (T, R, R): between every two of R contenders on the same target, on their common grid.
        between_targets: (R, T, T): between every two targets of the same contender, on its own grid.
    """

    overlap: Tensor
    between_targets: Tensor

    def mean_overlap(self) -> Tensor:
        """Over the targets that both have, (R, R)."""
        return self.overlap.nanmean(dim=0)

    def mean_between_targets(self) -> Tensor:
        """Over every two targets, (R,)."""
        import torch

        itself = torch.eye(self.between_targets.shape[-1], dtype=torch.bool)
        return self.between_targets.masked_fill(itself, math.nan).flatten(1).nanmean(dim=-1)


def answered(contender: Contender, columns: Sequence[Column], photo: Path) -> Compared:
    """Ask one contender all that it can be asked about a photo.

    Raises:
        PhotoError: the photo cannot be read, by whomever.
    """
    from regard.errors import PhotoError, RegardError

    asked = contender.asked(columns)
    unknown = tuple(target if isinstance(target, str) else "" for target in contender.targets(columns))
    targets = [target for target in asked if not isinstance(target, str)]
    if contender.explainer is None or not targets:
        return Compared(contender, None, tuple(asked), unknown)
    try:
        explanation = contender.explainer(photo, targets)
    except PhotoError:
        raise
    except RegardError as reason:
        return Compared(contender, None, (_sentence(reason),) * len(asked), unknown, failed=True)
    places = iter(range(len(targets)))
    panels = tuple(target if isinstance(target, str) else next(places) for target in asked)
    return Compared(contender, explanation, panels, unknown)


def likeness(rows: Sequence[Compared], columns: int) -> Alike:
    """How much the maps are alike, each pair on the grid common to these two, so that no third changes a number."""
    import torch

    overlap = torch.full((columns, len(rows), len(rows)), math.nan, dtype=torch.float64)
    between = torch.full((len(rows), columns, columns), math.nan, dtype=torch.float64)
    for one, first in enumerate(rows):
        for other in range(one, len(rows)):
            for column in range(columns):
                overlap[column, [one, other], [other, one]] = _correlation(first, column, rows[other], column)
        for left in range(columns):
            for right in range(left, columns):
                between[one, [left, right], [right, left]] = _correlation(first, left, first, right)
    return Alike(overlap, between)


def _correlation(first: Compared, column: int, second: Compared, other: int) -> float:
    from regard.metrics.common_grid import on_common_grid
    from regard.metrics.rank_correlation import rank_correlation

    one, two = first.map_of(column), second.map_of(other)
    if one is None or two is None or first.explanation is None or second.explanation is None:
        return math.nan
    geometries = [first.explanation.geometries[0], second.explanation.geometries[0]]
    return float(rank_correlation(*on_common_grid([one, two], geometries)))


def _sentence(reason: RegardError) -> str:
    return f"{reason.problem} ({reason.came})" if reason.came else reason.problem
