"""Metrics as they are written on the command line."""

from importlib import metadata

import pytest

from regard.errors import MetricError, UnsupportedError
from regard.evaluate.measures import OF_PROBABILITIES, measurable, metrics_asked
from regard.metrics.metric import MapMetric
from regard.metrics.registry import names

from ..explainers.networks import classifier_of, vit
from .pictures import tiny_cnn, tiny_vit


@pytest.fixture(scope="module")
def preparation():
    return tiny_cnn().preparation


def seeds(metrics):
    return {type(metric).name: metric.seed for metric in metrics if hasattr(metric, "seed")}


def test_all_are_every_metric(preparation):
    assert {type(metric).name for metric in metrics_asked(["all"], preparation)} == set(names())


def test_the_seed_reaches_every_metric_that_draws_unless_one_is_written(preparation):
    assert seeds(metrics_asked(["all"], preparation, 7)) == {"max-sensitivity": 7, "randomisation": 7}
    written = metrics_asked(["max-sensitivity:seed=3,randomisation:part=last block"], preparation, 7)
    assert seeds(written) == {"max-sensitivity": 3, "randomisation": 7}


@pytest.mark.parametrize("name", ["average-drop", "increase-in-confidence", "average-gain"])
def test_the_papers_share_of_the_whole_picture_is_refused_with_the_reason(preparation, name):
    with pytest.raises(UnsupportedError, match="retained by rank") as refusal:
        metrics_asked([f"{name}:share=1"], preparation)
    assert f"{name}:share=0.15" in refusal.value.expected
    assert "softly_retained" in refusal.value.remedy


def test_shares_of_a_probability_are_left_out_where_a_classifier_gives_none(preparation):
    wanted = metrics_asked(["average-drop,deletion,average-gain,gini"], preparation)
    plain, scalar = tiny_cnn(), tiny_cnn(outputs="scalar")
    assert [metric.column for metric in measurable(wanted, [plain, scalar])] == ["deletion", "gini"]
    assert [metric.column for metric in measurable(wanted, [scalar])] == ["deletion", "gini"]
    for outputs in ("softmax", "sigmoid"):
        found = measurable(wanted, [tiny_cnn(outputs=outputs)])
        assert [metric.column for metric in found] == [metric.column for metric in wanted]


def test_metrics_of_which_none_is_left_and_networks_without_a_head_are_refused(preparation):
    wanted = metrics_asked(["average-drop"], preparation)
    assert isinstance(wanted[0], OF_PROBABILITIES)
    with pytest.raises(UnsupportedError, match="shares of a probability"):
        measurable(wanted, [tiny_cnn(outputs="scalar")])
    with pytest.raises(UnsupportedError, match="bare has no head"):
        measurable(wanted, [tiny_vit(), classifier_of(vit(num_classes=0), name="bare")])


def test_a_metric_that_needs_what_nobody_gives_is_refused(preparation, monkeypatch):
    class Odd(MapMetric):
        name, summary, rule, higher_is_better, needs = "odd", "", "", None, "a second opinion"

        def measure(self, *materials):
            pytest.fail("what is refused measures nothing")

    class Point:
        name = "odd"

        @staticmethod
        def load():
            return Odd

    plain = metadata.entry_points
    monkeypatch.setattr(
        metadata, "entry_points", lambda **about: [Point] if about == {"group": "regard.metrics"} else plain(**about)
    )
    with pytest.raises(MetricError, match="odd"):
        metrics_asked(["odd"], preparation)
