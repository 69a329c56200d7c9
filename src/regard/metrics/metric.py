"""What every metric is: numbers of single maps, kept as rows, merged and gathered without loss."""

from __future__ import annotations

import inspect
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torchmetrics import Metric

from regard.errors import MetricError

Needs = Literal["curves", "token curves", "maps", "region", "several targets", "other maps", "method"]


class MapMetric(Metric):
    """A measure of maps. It holds numbers only: never a network, a picture or a map.

    `update` measures some maps and keeps one row a map; `compute` is the mean of the rows that have a value. States of
    several processes are gathered by torchmetrics, for `rows` inside `sync_context()`, those of several parts of the
    work joined by `merge_state`: given the numbers of the pictures, the rows are the same, whoever computed them.

    Subclasses implement `measure`, which is pure, and say what they are.

    Class attributes:
        name: as the command line and tables write it.
        summary: one line.
        higher_is_better: None where neither is.
        needs: what `update` is given.
        rule: how a map becomes what is measured, in words.
        in_column: settings that `column` always names.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[Needs]
    rule: ClassVar[str]
    higher_is_better: bool | None
    in_column: ClassVar[tuple[str, ...]] = ()
    is_differentiable: bool | None = False
    full_state_update: bool | None = False
    measured: list[Tensor] | Tensor
    stated_as: list[Tensor] | Tensor

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.settings = settings
        self.set_dtype(torch.float64)
        self.add_state("measured", [], dist_reduce_fx="cat")
        self.add_state("stated_as", [], dist_reduce_fx="cat")

    @property
    def column(self) -> str:
        """What rows call it: the name, the values of `in_column`, and every other setting that is not its default."""
        return self.called()

    def called(self, **given: Any) -> str:
        """What a table calls it that says some settings once for all of its columns.

        Args:
            given: these settings; one that has another value here is named, the default too.
        """
        usual = {name: known.default for name, known in inspect.signature(type(self)).parameters.items()} | given
        parts = [self.name, *(_plain(self.settings[name]) for name in self.in_column)]
        for name, value in self.settings.items():
            if name not in self.in_column and (name not in usual or value != usual[name]):
                parts += [name, _plain(value)]
        return "-".join(parts).replace(" ", "-")

    @property
    def conditions(self) -> dict[str, Any] | None:
        """What all values were measured under, as rows state it; None before there are any.

        Raises:
            MetricError: values of several processes were measured under different ones.
        """
        lines = _text(_parts(self.stated_as)).splitlines()
        for line in lines[1:]:
            self._check_same(json.loads(line), json.loads(lines[0]))
        return json.loads(lines[0]) if lines else None

    @abstractmethod
    def measure(self, *materials: Any) -> Tensor:
        """Values (B, T), one a map; NaN where a map has none. Pure."""

    def stated(self, *materials: Any) -> Mapping[str, Any]:
        """What else the values depend on, for their rows: fill, steps, …"""
        return {}

    def update(self, *materials: Any, images: Sequence[int] | None = None) -> None:
        """Measure and keep.

        Args:
            materials: what the metric needs.
            images: a number for each picture, for the rows; default they are counted on.

        Raises:
            MetricError: other conditions than before, such as another fill: their mean would mean nothing.
        """
        values = self.measure(*materials).detach().double().cpu()
        line = json.dumps({"rule": self.rule, **self.settings, **self.stated(*materials)}, default=repr)
        known = self.conditions
        if known is not None:
            self._check_same(json.loads(line), known)
        if images is None:
            start = 1 + int(max((part.view(-1, 3)[:, 0].max() for part in _parts(self.measured)), default=-1))
            images = range(start, start + len(values))
        if len(images) != len(values):
            raise MetricError("every picture has a number", came=f"{len(images)} for {len(values)} pictures")
        image = torch.tensor(list(images), dtype=torch.float64)[:, None].expand_as(values)
        target = torch.arange(values.shape[1], dtype=torch.float64).expand_as(values)
        self._keep("measured", torch.stack([image, target, values], dim=2).flatten())
        if known is None:
            self._keep("stated_as", _numbers(line))

    def forward(self, *materials: Any, images: Sequence[int] | None = None) -> Tensor:
        """Measure and keep, and the mean of these maps alone."""
        before = len(_parts(self.measured))
        self.update(*materials, images=images)
        return torch.cat(_parts(self.measured)[before:]).view(-1, 3)[:, 2].nanmean()

    def compute(self) -> Tensor:
        """The mean over rows that have a value; NaN where none has."""
        measured, _ = self._kept()
        return measured[:, 2].nanmean()

    def rows(self) -> list[dict[str, Any]]:
        """One row a map: metric, image, target, value, how it was measured, and how many values are NaN in all.

        In the order of images and targets.
        """
        measured, conditions = self._kept()
        missing = int(measured[:, 2].isnan().sum())
        common = {"higher_is_better": self.higher_is_better, **conditions, "nan_count": missing}
        return [
            {"metric": self.column, "image": int(image), "target": int(target), "value": value, **common}
            for image, target, value in sorted(measured.tolist(), key=lambda row: row[:2])
        ]

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Take in the rows of another metric of the same kind, or its `metric_state`, measured in the same way.

        Raises:
            MetricError: another kind, or measured in another way.
        """
        state = incoming_state.metric_state if type(incoming_state) is type(self) else incoming_state
        if not isinstance(state, dict) or state.keys() != self._defaults.keys():
            came = getattr(state, "name", type(state).__name__)
            raise MetricError("only metrics of one kind can be merged", came=f"{self.name}, {came}")
        for line in _text(_parts(state["stated_as"])).splitlines():
            self._check_same(json.loads(line), self.conditions or json.loads(line))
        super().merge_state({name: _parts(kept) for name, kept in state.items()})
        self._computed = None
        self._update_count += 1

    def _check_same(self, conditions: Mapping[str, Any], known: Mapping[str, Any]) -> None:
        differing = [name for name in {**known, **conditions} if conditions.get(name) != known.get(name)]
        if differing:
            raise MetricError(
                f"{self.name} was measured in another way before",
                came=", ".join(f"{name} {conditions.get(name)!r}" for name in differing),
                expected=", ".join(f"{name} {known.get(name)!r}" for name in differing),
                remedy="a metric of its own for each way",
            )

    def _keep(self, state: str, numbers: Tensor) -> None:
        kept = getattr(self, state)
        assert isinstance(kept, list)
        kept.append(numbers.to(self.device))

    def _kept(self) -> tuple[Tensor, dict[str, Any]]:
        """All rows (n, 3) of image, target and value, and the conditions that they share."""
        parts, conditions = [part for part in _parts(self.measured) if len(part)], self.conditions
        if not parts or conditions is None:
            raise MetricError(f"{self.name} has measured nothing yet", remedy="update it first")
        return torch.cat(parts).view(-1, 3), conditions


def _parts(state: list[Tensor] | Tensor) -> list[Tensor]:
    """What a state holds: a list of parts, one tensor once it was gathered."""
    return state if isinstance(state, list) else [state]


def _numbers(line: str) -> Tensor:
    """A line of text as numbers, so that it is gathered with the values that it speaks of."""
    return torch.tensor([*line.encode(), ord("\n")], dtype=torch.float64)


def _text(parts: list[Tensor]) -> str:
    return bytes(int(number) for part in parts for number in part.tolist()).decode()


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
