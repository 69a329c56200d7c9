"""Which metrics there are: each is made, documented and directed; other packages' join by entry points."""

import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest
import torch

import regard
from regard.errors import MetricError
from regard.metrics import registry
from regard.metrics.metric import MapMetric, Needs

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "metrics.md"


class Foreign(MapMetric):
    """Another package's metric."""

    name, summary, needs, rule, higher_is_better = "foreign", "the largest value", "maps", "raw", True

    def __init__(self, power: float = 1.0) -> None:
        super().__init__(power=power)
        self.power = power

    def measure(self, explanation):
        return explanation.maps.amax((2, 3)) ** self.power


def install(monkeypatch, **points):
    """A package whose entry points add these, by name, and `lost`, which points nowhere."""
    module = ModuleType("a_foreign_package")
    for name, value in points.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    entries = [metadata.EntryPoint(name, f"a_foreign_package:{name}", registry.GROUP) for name in (*points, "lost")]
    asked = []

    def entry_points(group):
        asked.append(group)
        return metadata.EntryPoints(entries)

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    return asked


@pytest.mark.parametrize("name", registry._OWN)
def test_every_metric_is_made_documented_and_directed(name):
    kind = registry.find(name)
    metric = kind()
    assert kind.name == name
    assert metric.column.startswith(name)
    assert kind.higher_is_better in (True, False, None)
    assert kind.needs in get_args(Needs)
    assert kind.summary
    assert "\n" not in kind.summary
    assert kind.rule
    assert kind.__doc__
    assert kind.is_differentiable is False
    with pytest.raises(MetricError, match="measured nothing"):
        metric.rows()
    better = {True: "higher", False: "lower", None: "neither"}[kind.higher_is_better]
    assert f"| `{name}` | {better} | {kind.needs} | {kind.summary} |" in REFERENCE.read_text()


def test_metrics_are_named_once_and_described():
    assert len(set(registry.names())) == len(registry.names())
    described = {metric.name: metric for metric in registry.metrics()}
    assert list(described) == registry.names()
    assert described["average-drop"].settings == {"share": 0.5}
    assert described["deletion"].settings == {}
    assert described["deletion"].higher_is_better is False
    assert described["rank-correlation"].higher_is_better is None
    assert described["randomisation"].settings == {"part": "head", "seed": 0}


def test_every_metric_of_the_package_is_registered():
    """No concrete metric is left out of the list."""
    for name in registry._OWN:
        registry.find(name)
    there = {
        kind.name
        for kind in all_subclasses(MapMetric)
        if not kind.__name__.startswith("_") and kind.__module__.startswith("regard.metrics.")
    }
    assert there == set(registry._OWN)


def all_subclasses(base):
    return {child for direct in base.__subclasses__() for child in {direct} | all_subclasses(direct)}


def test_the_package_names_what_it_has():
    for name in regard.metrics.__all__:
        assert getattr(regard.metrics, name) is not None
    assert regard.metrics.Deletion is registry.find("deletion")
    with pytest.raises(AttributeError, match="no 'Deletions'"):
        _ = regard.metrics.Deletions


def test_another_package_s_metric_is_found_described_and_measures(monkeypatch):
    asked = install(monkeypatch, foreign=Foreign)
    assert registry.names()[-2:] == ["foreign", "lost"]
    assert set(asked) == {"regard.metrics"}
    metric = registry.find("foreign")(power=2.0)

    class Explained:
        maps = torch.tensor([[[[1.0, 3.0]]]])

    metric.update(Explained)
    assert metric.rows()[0] == {
        "metric": "foreign-power-2",
        "image": 0,
        "target": 0,
        "value": 9.0,
        "higher_is_better": True,
        "rule": "raw",
        "power": 2.0,
        "nan_count": 0,
    }


def test_another_package_does_not_replace_a_metric_of_regard(monkeypatch):
    install(monkeypatch, deletion=Foreign)
    assert registry.find("deletion") is regard.metrics.Deletion
    assert registry.names().count("deletion") == 1


@pytest.mark.parametrize(
    "thing", [3, torch.nn.Identity, Foreign.measure, None], ids=["3", "module", "function", "None"]
)
def test_what_is_registered_and_no_metric_is_refused(monkeypatch, thing):
    install(monkeypatch, broken=thing)
    with pytest.raises(MetricError, match="'broken' is none"):
        registry.find("broken")


def test_an_object_in_place_of_a_class_is_refused(monkeypatch):
    install(monkeypatch, broken=Foreign())
    with pytest.raises(MetricError, match="'broken' is none"):
        registry.find("broken")


@pytest.mark.parametrize("needs", ["photographs", None, 3], ids=str)
def test_a_metric_that_needs_what_there_is_not_is_refused_in_words(monkeypatch, needs):
    install(monkeypatch, hungry=type("Hungry", (Foreign,), {"needs": needs}))
    with pytest.raises(MetricError, match="'hungry' of another package needs what nothing gives") as refusal:
        registry.find("hungry")
    assert repr(needs) in refusal.value.came
    assert "several targets" in refusal.value.expected


def test_a_metric_that_does_not_say_what_it_needs_is_refused(monkeypatch):
    class Silent(MapMetric):
        name = "silent"

    install(monkeypatch, silent=Silent)
    with pytest.raises(MetricError, match="needs what nothing gives"):
        registry.find("silent")


@pytest.mark.parametrize(
    ("metric", "column"),
    [
        (regard.metrics.AverageDrop(), "average-drop-0.5"),
        (regard.metrics.AverageDrop(0.15), "average-drop-0.15"),
        (regard.metrics.Compactness(), "compactness"),
        (regard.metrics.Compactness(0.1), "compactness-threshold-0.1"),
        (regard.metrics.ClassSensitivity(), "class-sensitivity-second"),
        (regard.metrics.ClassSensitivity("least"), "class-sensitivity-least"),
        (regard.metrics.MaxSensitivity(), "max-sensitivity"),
        (regard.metrics.MaxSensitivity(0.1, seed=3), "max-sensitivity-radius-0.1-seed-3"),
        (regard.metrics.Randomisation(), "randomisation-head"),
        (regard.metrics.Randomisation("last block", 5), "randomisation-last-block-seed-5"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_column_names_what_is_measured_and_every_setting_that_is_not_its_default(metric, column):
    assert metric.column == column


def test_metrics_that_differ_in_one_setting_never_share_a_column():
    sensitivity, randomisation = regard.metrics.MaxSensitivity, regard.metrics.Randomisation
    several = [sensitivity(), sensitivity(samples=3), sensitivity(seed=3), sensitivity(radius=3)]
    several += [randomisation(part, seed) for part in ("head", "last block", "cascade") for seed in (0, 1)]
    assert len({metric.column for metric in several}) == len(several)


def test_the_class_that_is_second_or_least_is_compared():
    one, second, least = (
        torch.tensor([[1.0, 2.0, 3.0]]),
        torch.tensor([[1.0, 3.0, 2.0]]),
        torch.tensor([[3.0, 2.0, 1.0]]),
    )

    class Explained:
        maps = torch.stack([one, second, least])[None]

    assert float(regard.metrics.ClassSensitivity().measure(Explained)) == pytest.approx(0.5)
    assert float(regard.metrics.ClassSensitivity("least").measure(Explained)) == pytest.approx(-1)
    for other in (1, -1, "third"):
        with pytest.raises(MetricError, match="no such other class"):
            regard.metrics.ClassSensitivity(other)


def test_a_metric_that_cannot_be_loaded_is_refused_with_the_reason(monkeypatch):
    install(monkeypatch)
    with pytest.raises(MetricError, match="'lost' of another package cannot be loaded") as refusal:
        registry.find("lost")
    assert "AttributeError" in refusal.value.came


@pytest.mark.parametrize(
    ("asked", "near"), [("Deletion", "deletion"), ("giny", "gini"), ("average_drop", "average-drop")]
)
def test_an_unknown_metric_is_answered_with_the_known_ones_and_the_near(asked, near):
    with pytest.raises(MetricError, match="no metric") as refusal:
        registry.find(asked)
    assert near in refusal.value.remedy
    assert refusal.value.expected.startswith("average-drop, ")


@pytest.mark.parametrize("asked", ["", "no such thing at all", "deletion; insertion", "../deletion"])
def test_nonsense_is_answered_too(asked):
    with pytest.raises(MetricError, match="no metric"):
        registry.find(asked)
