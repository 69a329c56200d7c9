"""What all metrics share: rows, merging, resetting, copies; numbers only."""

import gc
import io
import math
import pickle
import warnings
import weakref
from dataclasses import fields

import pytest
import torch
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as some

import regard
from regard.errors import MetricError
from regard.metrics.curves import DROPPING, Curves, curves
from regard.metrics.metric import MapMetric
from regard.metrics.of_curves import (
    AverageDrop,
    AverageGain,
    Deletion,
    Fidelity,
    IncreaseInConfidence,
    Insertion,
    TokenFidelity,
)
from regard.metrics.ranking import TIES
from regard.metrics.retention import SoftlyRetained

from ..explainers.networks import classifier_of, cnn, pixels_of
from .replicas import drawn_maps, given
from .two_processes import curves_of, measured

CURVE_METRICS = (Deletion, Insertion, Fidelity, AverageDrop, IncreaseInConfidence, AverageGain)
each_kind = pytest.mark.parametrize("kind", CURVE_METRICS, ids=lambda kind: kind.name)


class Told(MapMetric):
    """Is told its values."""

    name, summary, needs, rule, higher_is_better = "told", "what it is told", "maps", "as told", None

    def measure(self, values):
        return torch.as_tensor(values)


def shown(clean, half):
    """Curves of B pictures whose class has these probabilities, whole and by half."""
    clean, half = (torch.tensor(values)[:, None] for values in (clean, half))
    return Curves(
        counts=torch.tensor([0, 2, 4]),
        places=4,
        insertion=torch.stack([clean * 0, half, clean], dim=2),
        deletion=torch.stack([clean, half / 2, clean * 0], dim=2),
        retained={0.5: half, 0.15: half * 0},
        level="pixel",
        fill="Mean()",
        precision="float32",
    )


def test_metrics_of_curves_are_the_numbers_worked_by_hand():
    """Points 0, O, Y when shown and Y, O/2, 0 when removed, half a picture apart."""
    read = shown([0.8, 0.5, 0.2], [0.4, 0.6, 0.2])
    inserted, deleted = [0.4, 0.425, 0.15], [0.3, 0.275, 0.1]  # (0 + O + O + Y) / 4, (Y + O/2 + O/2 + 0) / 4
    expected = {
        Insertion: inserted,
        Deletion: deleted,
        Fidelity: [0.1, 0.15, 0.05],
        AverageDrop: [0.5, 0.0, 0.0],
        IncreaseInConfidence: [0.0, 1.0, 0.0],
        AverageGain: [0.0, 0.2, 0.0],
    }
    for kind, values in expected.items():
        metric = kind()
        metric.update(read)
        assert [row["value"] for row in metric.rows()] == pytest.approx(values, abs=1e-7)
        assert float(metric.compute()) == pytest.approx(sum(values) / 3, abs=1e-7)


def test_another_share_is_read_and_one_that_curves_do_not_hold_is_refused():
    read = shown([0.8], [0.4])
    metric = AverageDrop(0.15)
    metric.update(read)
    assert float(metric.compute()) == 1.0
    assert metric.column == "average-drop-0.15"
    with pytest.raises(MetricError, match="do not hold this share") as refusal:
        AverageDrop(1.0).update(read)
    assert refusal.value.expected == "0.5, 0.15"


def test_the_paper_s_masks_have_the_share_that_never_ranks():
    soft = SoftlyRetained(torch.tensor([[0.8]]), {1.0: torch.tensor([[0.2]])}, "Colour(black)", "float32")
    metric = AverageDrop(1.0)
    metric.update(soft)
    assert metric.rows() == [
        {
            "metric": "average-drop-1",
            "image": 0,
            "target": 0,
            "value": pytest.approx(0.75),
            "higher_is_better": False,
            "rule": AverageDrop.rule,
            "share": 1.0,
            "fill": "Colour(black)",
            "level": "pixel, soft min-max mask",
            "ties": TIES,
            "precision": "float32",
            "nan_count": 0,
        }
    ]


def test_a_row_says_all_that_its_value_depends_on():
    metric = measured(Deletion, [[7, 3]])
    first = curves_of([3])
    assert metric.rows()[0] == {
        "metric": "deletion",
        "image": 3,
        "target": 0,
        "value": float(first.area("deletion")[0, 0]),
        "higher_is_better": False,
        "rule": "places ranked by the raw signed map",
        "fill": "Mean()",
        "level": "grid",
        "ties": TIES,
        "precision": "float32",
        "steps": 4,
        "nan_count": 1,
    }
    assert [(row["image"], row["target"]) for row in metric.rows()] == [(3, 0), (3, 1), (7, 0), (7, 1)]


def test_values_that_are_nan_are_counted_in_every_row_and_left_out_of_the_mean():
    metric = Told()
    metric.update([[1.0, math.nan], [4.0, 7.0]])
    assert [row["nan_count"] for row in metric.rows()] == [1, 1, 1, 1]
    assert float(metric.compute()) == 4.0
    nothing = Told()
    nothing.update([[math.nan]])
    assert math.isnan(nothing.compute())


def test_pictures_are_counted_on_or_numbered_by_the_caller():
    metric = Told()
    metric.update([[1.0], [2.0]])
    metric.update([[3.0]])
    assert [row["image"] for row in metric.rows()] == [0, 1, 2]
    metric.update([[5.0], [4.0]], images=[9, 5])
    metric.update([[6.0]])
    assert [(row["image"], row["value"]) for row in metric.rows()][3:] == [(5, 4.0), (9, 5.0), (10, 6.0)]
    with pytest.raises(MetricError, match="every picture has a number"):
        metric.update([[1.0]], images=[1, 2])
    assert len(metric.rows()) == 6


@drawn(some.permutations(range(6)), some.integers(1, 5))
@settings(max_examples=25)
def test_neither_order_nor_split_of_the_pictures_matters(order, cut):
    one = measured(Deletion, [list(range(6))])
    other = measured(Deletion, [order[:cut], order[cut:]])
    assert repr(other.rows()) == repr(one.rows())
    assert float(other.compute()) == pytest.approx(float(one.compute()), abs=1e-14)


@each_kind
def test_parts_that_are_merged_are_the_whole(kind):
    whole = measured(kind, [list(range(6))])
    first, second, third = (measured(kind, parts) for parts in ([[0, 4], [3]], [[1, 2, 5]], []))
    first.merge_state(second)
    first.merge_state(third)
    third.merge_state(first.metric_state)
    for merged in (first, third):
        assert repr(merged.rows()) == repr(whole.rows())
        assert float(merged.compute()) == pytest.approx(float(whole.compute()), abs=1e-14)
    assert len(second.rows()) == 6


def test_what_was_computed_before_merging_is_not_said_again():
    one, other = Told(), Told()
    one.update([[1.0]])
    other.update([[3.0]], images=[1])
    assert float(one.compute()) == 1.0
    one.merge_state(other)
    assert float(one.compute()) == 2.0


def test_merging_into_a_fresh_metric_is_no_use_before_update():
    one, other = Told(), Told()
    other.update([[3.0]])
    one.merge_state(other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert float(one.compute()) == 3.0


def test_other_conditions_are_refused_in_words_and_leave_no_trace():
    metric = measured(Deletion, [[0, 1]])
    with pytest.raises(MetricError, match="another way") as refusal:
        metric.update(curves_of([2], "Blur(sigma=2.0)"))
    assert refusal.value.came == "fill 'Blur(sigma=2.0)'"
    assert refusal.value.expected == "fill 'Mean()'"
    for incoming in (blurred := measured(Deletion, [[2]], "Blur(sigma=2.0)"), blurred.metric_state):
        with pytest.raises(MetricError, match="another way"):
            metric.merge_state(incoming)
    assert repr(metric.rows()) == repr(measured(Deletion, [[0, 1]]).rows())


@pytest.mark.parametrize(
    "change",
    [{"level": "pixel"}, {"precision": "bfloat16"}, {"ties": "by place"}, {"counts": torch.tensor([0, 8, 16])}],
    ids=lambda change: next(iter(change)),
)
def test_every_condition_of_a_curve_counts(change):
    metric, other = measured(Insertion, [[0]]), curves_of([1])
    values = {field.name: getattr(other, field.name) for field in fields(other)} | change
    points = len(values["counts"])
    values |= {"insertion": other.insertion[..., :points], "deletion": other.deletion[..., :points]}
    with pytest.raises(MetricError, match=next(iter(change)).replace("counts", "steps")):
        metric.update(Curves(**values))


def test_metrics_of_another_kind_or_share_are_not_merged():
    metric = measured(Deletion, [[0]])
    for other in (measured(Insertion, [[1]]), Told(), torch.nn.Identity(), {}, {"measured": []}, None):
        with pytest.raises(MetricError, match="one kind"):
            metric.merge_state(other)
    half, less = AverageDrop(0.5), AverageDrop(0.15)
    for each in (half, less):
        each.update(curves_of([0]))
    with pytest.raises(MetricError, match=r"share 0\.15"):
        half.merge_state(less)


def test_a_metric_that_was_reset_is_as_new():
    metric = measured(Deletion, [[0, 1]])
    metric.reset()
    with pytest.raises(MetricError, match="measured nothing"):
        metric.rows()
    metric.update(curves_of([5], "Blur(sigma=2.0)"))
    assert [(row["image"], row["fill"]) for row in metric.rows()] == [(0, "Blur(sigma=2.0)")] * 2


@each_kind
def test_nothing_measured_yet_is_said(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics warns, too
        with pytest.raises(MetricError, match=f"{kind.name} has measured nothing"):
            kind().compute()
    with pytest.raises(MetricError, match="measured nothing"):
        kind().rows()


@each_kind
def test_copies_hold_the_same_rows_and_go_their_own_way(kind):
    metric = measured(kind, [[0, 3], [1]])
    saved = io.BytesIO()
    metric.persistent(True)
    torch.save(metric.state_dict(), saved)
    restored = kind()
    restored.persistent(True)
    restored.load_state_dict(torch.load(io.BytesIO(saved.getvalue()), weights_only=True))
    before = repr(metric.rows())
    for copy in (metric.clone(), pickle.loads(pickle.dumps(metric)), restored):
        assert repr(copy.rows()) == before
        copy.update(curves_of([4]), images=[4])
        assert len(copy.rows()) == 8
        with pytest.raises(MetricError, match="another way"):
            copy.update(curves_of([5], "Noise()"))
    assert repr(metric.rows()) == before


def test_calling_a_metric_measures_keeps_and_gives_the_mean_of_these_maps():
    metric = Told()
    assert float(metric([[1.0], [3.0]])) == 2.0
    assert float(metric([[7.0]])) == 7.0
    assert [(row["image"], row["value"]) for row in metric.rows()] == [(0, 1.0), (1, 3.0), (2, 7.0)]
    assert float(metric.compute()) == pytest.approx(11 / 3)
    read = measured(Deletion, [[0]])
    with pytest.raises(MetricError, match="another way"):
        read(curves_of([1], "Blur()"))


def test_numbers_are_kept_in_float64():
    """Two of float32's neighbours, and the number of a picture that float32 cannot count to."""
    metric = Told()
    metric.update(torch.tensor([[1 / 3]], dtype=torch.float64), images=[2**40 + 1])
    metric.float()
    metric.half()
    assert metric.rows()[0]["value"] == 1 / 3
    assert metric.rows()[0]["image"] == 2**40 + 1
    assert metric.compute().dtype is torch.float64


def test_the_mean_of_many_small_values_beside_a_large_one_is_exact():
    metric = Told()
    metric.update(torch.cat([torch.tensor([1e8]), torch.ones(10_000)])[:, None])
    assert float(metric.compute()) == (1e8 + 10_000) / 10_001


def test_a_metric_holds_neither_network_nor_pictures_nor_maps_nor_curves():
    classifier, pixels = classifier_of(cnn()), pixels_of(2)
    metrics = [kind() for kind in CURVE_METRICS]
    read = curves(classifier, pixels, given(classifier, pixels, drawn_maps(2, 1, (7, 7))), steps=4)
    for metric in metrics:
        metric.update(read)
    held = [weakref.ref(thing) for thing in (classifier, classifier.network, read, read.insertion)]
    del classifier, read
    gc.collect()
    assert [reference() for reference in held] == [None] * 4
    for metric in metrics:
        assert metric.measured[0].numel() == 2 * 3
        assert not list(metric.parameters())
        assert not any(isinstance(value, (torch.nn.Module, regard.Classifier)) for value in vars(metric).values())


@each_kind
def test_a_metric_says_what_it_is(kind):
    assert kind.higher_is_better in (True, False)
    assert kind.summary
    assert kind.rule
    assert kind.needs == "curves"
    assert kind().column.startswith(kind.name)


def test_fidelity_is_insertion_minus_deletion_and_dropping_is_its_own_metric():
    read = curves_of([0, 1])
    values = [measured(kind, [[0, 1]]).rows() for kind in (Fidelity, Insertion, Deletion)]
    for fidelity, inserted, deleted in zip(*values, strict=True):
        assert fidelity["value"] == pytest.approx(inserted["value"] - deleted["value"], abs=1e-7)
    with pytest.raises(MetricError, match="drop tokens"):
        TokenFidelity().update(read)
    dropped = TokenFidelity()
    dropped.update(curves_of([0, 1], DROPPING))
    assert [row["value"] for row in dropped.rows()] == [row["value"] for row in values[0]]
    with pytest.raises(MetricError, match="another way"):
        Fidelity().merge_state(_fidelity_of_both(dropped))


def _fidelity_of_both(dropped):
    """A fidelity of filled pixels, then one of dropped tokens: never one mean."""
    metric = measured(Fidelity, [[0]])
    metric.update(curves_of([1], DROPPING))
    return metric


@pytest.mark.parametrize("values", [torch.tensor([[True]]), torch.tensor([[3]]), torch.tensor([[0.5]]).bfloat16()])
def test_values_of_any_dtype_become_numbers(values):
    metric = Told()
    metric.update(values)
    assert metric.rows()[0]["value"] == float(values)


def test_values_are_kept_without_their_graph():
    metric = Told()
    metric.update(torch.ones(1, 1, requires_grad=True) * 2)
    assert not metric.measured[0].requires_grad
    assert not metric.compute().requires_grad


def test_settings_that_are_no_plain_values_are_stated_in_words():
    class Odd(Told):
        def __init__(self):
            super(Told, self).__init__(levels=(1, 2), of=torch.float32)

    one, other = Odd(), Odd()
    for image, metric in enumerate((one, other, one)):
        metric.update([[float(image)]])
    one.merge_state(other)
    assert (one.rows()[0]["levels"], one.rows()[0]["of"]) == ([1, 2], "torch.float32")
