"""An examination is drawn as it is: its outcomes, its words, and mosaics whose attention is the model's own."""

import pytest
import torch
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg

from regard.attention.selective import SelectiveModel
from regard.attention.selective_networks import classifier_called, focus_called
from regard.errors import UnsupportedError
from regard.exams.sdc import OUTCOMES, examine, task_called
from regard.exams.sdc.figures import mosaic_figure, region_figure, weight_figure
from tests.exams.sdc.hand_made import Attending, first_number
from tests.exams.sdc.item_sets import task_of


def d1(**settings):
    return task_called("d1", **{"train": 60, "test": 80, "segments": 4} | settings)


def model_of(task):
    width = "mlp-8"
    return SelectiveModel(focus_called(width, task.shape, 0), classifier_called(width, task.shape, len(task.labels), 0))


def drawn(figure):
    FigureCanvasAgg(figure).draw()
    return figure


def test_the_picture_of_an_examination_has_its_outcomes_and_its_diagnosis():
    task = d1()
    found = examine(model_of(task), task)
    figure = drawn(found.figure())
    parts = [part.get_width() for part in figure.axes[0].patches]
    assert parts == [found.figures[name] for name in OUTCOMES]
    words = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert any(found.diagnosis.because[:40] in line for line in words)
    titles = [axes.get_title()[:4] for axes in figure.axes[6:] if axes.axison]
    there = [name for name in OUTCOMES if found.figures[name]]
    assert titles[: len(there)] == there
    assert len(titles) == 4
    assert pyplot.get_fignums() == []


def test_histograms_count_every_mosaic_once():
    task = d1()
    found = examine(model_of(task), task)
    for name, axes in zip(OUTCOMES, drawn(weight_figure(found)).axes, strict=True):
        own = [row["max-weight"] for row in found.rows() if row[name]]
        assert axes.get_title() == f"{name} · {len(own) / 80:.1%}"
        heights = [
            100 * sum(low / 20 <= weight < (low + 1) / 20 for weight in own) / max(1, len(own)) for low in range(20)
        ]
        assert [bar.get_height() for bar in axes.patches] == pytest.approx(heights)


@pytest.mark.parametrize("segments", [4, (1, 5)], ids=["equal", "ragged"])
def test_mosaics_are_the_first_of_each_outcome_with_the_weights_that_the_model_gave(segments):
    task = d1(segments=segments)
    found = examine(model_of(task), task)
    panels = iter(axes for axes in drawn(mosaic_figure(found, 2)).axes if axes.axison)
    rows = found.rows()
    for name in OUTCOMES:
        for number in [number for number, row in enumerate(rows) if row[name]][:2]:
            axes, row = next(panels), rows[number]
            said = row["label"] if row["label"] == row["predicted"] else f"{row['label']}, said {row['predicted']}"
            assert axes.get_title() == f"{name} · {said}"
            present = int((found.answers.classes[number] >= 0).sum())
            circles = axes.collections[0]
            places = task.test[number : number + 1].segments[0, :present]
            assert torch.allclose(torch.tensor(circles.get_offsets().data).float(), places)
            assert (circles.get_sizes() / 900).tolist() == pytest.approx(
                found.answers.weights[number, :present].tolist()
            )
            assert axes.collections[2].get_offsets()[0].tolist() == pytest.approx(places[row["position"]].tolist())
    assert next(panels, None) is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [("cifar-10", "frames"), ("mnist", "frames"), ("d2", "bars"), ("singletons", "bars")],
)
def test_any_task_is_drawn(name, kind, tmp_path):
    pictured = {"segments": (1, 4)} if kind == "frames" else {"train": 30, "test": 30}
    task = task_of(name, tmp_path, **pictured)
    found = examine(
        Attending(lambda *given: (first_number(given[0])[:, :1] @ torch.ones(1, len(task.labels)), even(*given))), task
    )
    for figure in (found.figure(), mosaic_figure(found, 1)):
        drawn(figure)
        assert any(axes.images for axes in figure.axes) == (kind == "frames")


def even(segments, mask=None):
    there = torch.ones(segments.shape[:2]) if mask is None else mask.float()
    return there / there.sum(dim=1, keepdim=True)


def test_where_ties_are_shared_a_mosaic_is_of_the_outcome_that_it_is_most():
    found = examine(Attending(lambda segments: (first_number(segments)[:, :3], even(segments))), d1())
    titles = [axes.get_title()[:4] for axes in drawn(mosaic_figure(found, 1)).axes if axes.axison]
    assert titles == ["FFPT", "FFPF"]


@pytest.mark.parametrize("each", [0, -1, 1.5, True, None])
def test_no_mosaics_are_refused(each):
    task = d1()
    with pytest.raises(UnsupportedError, match="counted from 1"):
        mosaic_figure(examine(model_of(task), task), each)


@pytest.mark.parametrize("layer", [0, 1])
def test_regions_are_what_the_model_says_of_one_segment_alone(layer):
    task = task_called("boxes-2")
    focus = focus_called("mlp-8", (2,), 0)
    model = (
        SelectiveModel(focus, classifier_called("mlp-8", (2, 8)[layer : layer + 1], 3, 0), layer=layer).double().train()
    )
    figure = drawn(region_figure(model, task))
    assert model.training
    left, right, _ = figure.axes
    said = left.collections[0].get_array().reshape(201, 201)
    corners = torch.as_tensor(left.collections[0].get_coordinates()).double()
    middles = (corners[1:, 1:] + corners[:-1, :-1]) / 2
    shown = torch.tensor([line.get_xydata()[:100].tolist() for line in left.lines]).double()
    with torch.no_grad():
        expected = model.eval()(middles.flatten(0, 1)[:, None]).logits.argmax(dim=1)
        scores = focus(shown)
    assert (torch.as_tensor(said).flatten() == expected).all()
    assert float(right.collections[0].levels[-1]) >= float(scores.max())
    assert float(right.collections[0].levels[0]) == pytest.approx(float(scores.quantile(0.2)), abs=0.3)
    labels = {line.get_label() for line in left.lines}
    assert labels == {"background", *task.labels}
    total = sum(len(line.get_xdata()) for line in left.lines)
    assert 1000 < total <= 1500


def test_regions_of_other_models_and_segments_are_refused():
    with pytest.raises(UnsupportedError, match="points of the plane"):
        region_figure(model_of(d1()), task_called("d2"))
    with pytest.raises(UnsupportedError, match="points of the plane"):
        region_figure(Attending(lambda segments: None), d1())
    with pytest.raises(UnsupportedError, match="no such part"):
        region_figure(model_of(d1()), d1(), "validation")
