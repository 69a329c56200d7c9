"""Figures of an exam hold the numbers that were given, worked out by hand, and refuse what is none."""

import numpy as np
import pytest
import torch
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb

from regard.errors import UnsupportedError
from regard.exam_drawing import OUTCOME_COLOURS, draw_curves, draw_largest_weights, draw_regions

nan = float("nan")


def epoch(train, test):
    """Shares of FTPT, FFPT, FTPF, FFPF of both parts, and a figure that nobody asked for."""
    parts = {"train": train, "test": test}
    return {
        f"{part} {name}": share for part in parts for name, share in zip(OUTCOME_COLOURS, parts[part], strict=True)
    } | {"train loss": 9.0}


START = epoch((0.1, 0.2, 0.3, 0.4), (0.25, 0.25, 0.25, 0.25))
MIDDLE = epoch((0.5, 0.3, 0.2, 0.0), (0.5, 0.5, 0.0, 0.0))
END = epoch((0.9, 0.1, 0.0, 0.0), (0.8, 0.2, 0.0, 0.0))


def lines(axes, colour, thick):
    found = [line for line in axes.lines if to_hex(line.get_color()) == colour and line.get_marker() == "None"]
    return [list(line.get_ydata()) for line in found if (line.get_linewidth() > 2) == thick]


def test_curves_are_in_per_cent_and_an_ended_seed_keeps_its_last_figures_in_the_mean():
    train, test = draw_curves([[START, MIDDLE, END], [START, MIDDLE]]).axes
    assert (train.get_title(), test.get_title()) == ("train", "test")
    assert lines(train, OUTCOME_COLOURS["FTPT"], thick=False) == [pytest.approx([10, 50, 90]), pytest.approx([10, 50])]
    assert lines(train, OUTCOME_COLOURS["FTPT"], thick=True) == [pytest.approx([10, 50, 70])]
    assert lines(test, OUTCOME_COLOURS["FFPT"], thick=True) == [pytest.approx([25, 50, 35])]
    assert lines(train, OUTCOME_COLOURS["FFPF"], thick=True) == [pytest.approx([40, 0, 0])]
    ends = [line for line in train.lines if line.get_marker() == "."]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in ends[:2]] == [(2, pytest.approx(90)), (1, 50)]
    assert list(train.lines[0].get_xdata()) == [0, 1, 2]


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ([], "without epochs"),
        ([[START], []], "without epochs"),
        ([[{"train FTPT": 0.5}]], "no share 'train FFPT'"),
        ([[START, {**END, "test FTPF": nan}]], "nan in epoch 1"),
        ([[{name: 100 * value for name, value in END.items()}]], "no share 'train FTPT'(.|\n)*90"),
    ],
    ids=["no seeds", "an empty seed", "no outcomes", "not a number", "per cent"],
)
def test_curves_of_something_else_are_refused(seeds, said):
    with pytest.raises(UnsupportedError, match=said):
        draw_curves(seeds)


def test_histograms_are_in_per_cent_of_each_outcome():
    counts = torch.tensor([[1.0, 2.0, 3.0, 2.0], [0.0, 0.0, 0.5, 1.5], [0.0] * 4, [0.0, 0.0, 0.0, 6.0]])
    panels = draw_largest_weights(counts).axes
    assert [axes.get_title() for axes in panels] == ["FTPT · 50.0%", "FFPT · 12.5%", "FTPF · 0.0%", "FFPF · 37.5%"]
    heights = [[bar.get_height() for bar in axes.patches] for axes in panels]
    assert heights == [[12.5, 25, 37.5, 25], [0, 0, 25, 75], [0, 0, 0, 0], [0, 0, 0, 100]]
    assert [(bar.get_x(), bar.get_width()) for bar in panels[0].patches] == [
        (left, 0.25) for left in (0, 0.25, 0.5, 0.75)
    ]
    assert [to_hex(axes.patches[0].get_facecolor()) for axes in panels] == [*OUTCOME_COLOURS.values()]


@pytest.mark.parametrize("counts", [torch.ones(3, 5), torch.ones(4), -torch.ones(4, 2), torch.zeros(4, 2)])
def test_counts_that_are_none_are_refused(counts):
    with pytest.raises(UnsupportedError, match="four outcomes"):
        draw_largest_weights(counts)
    with pytest.raises(UnsupportedError, match="four outcomes"):
        draw_largest_weights(torch.full((4, 2), nan))


POINTS = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 4.0], [10.0, 4.0], [5.0, 2.0]])
LABELS = torch.tensor([0, 0, 1, 1, -1])
NAMES = ["below", "above"]


def below_two(points):
    return torch.stack([2 - points[:, 1], points[:, 1] - 2], dim=1)


def regions(points=POINTS, labels=LABELS, answer=below_two, focus=lambda points: points[:, 0]):
    return draw_regions(points, labels, NAMES, answer, focus)


def test_regions_have_the_colour_of_the_label_that_is_given_there():
    left = regions().axes[0]
    (mesh,) = left.collections
    said = mesh.get_array().reshape(201, 201)
    across = np.linspace(-0.8, 10.8, 201)
    upward = np.linspace(-0.32, 4.32, 201)
    assert (said == (upward[:, None] > 2)).all(axis=1).sum() >= 200  # the row at 2 itself may be either
    assert left.get_xlim()[0] == pytest.approx(across[0], abs=0.1)
    colours = [mesh.cmap(mesh.norm(label)) for label in (0, 1)]
    points = {line.get_label(): line for line in left.lines}
    assert [*points] == ["background", *NAMES]
    for name, region in zip(NAMES, colours, strict=True):
        own = np.array(to_rgb(points[name].get_color()))
        assert region[:3] == pytest.approx(0.7 + 0.3 * own, abs=0.01)
    assert points["above"].get_xydata().tolist() == [[0, 4], [10, 4]]
    assert points["background"].get_xydata().tolist() == [[5, 2]]
    assert points["below"].get_marker() != points["above"].get_marker()


def test_contours_of_the_focus_stand_where_its_scores_are():
    _, right, bar = regions().axes
    filled = right.collections[0]
    levels = filled.levels
    assert levels[-1] == pytest.approx(10, abs=0.02)
    for level, path in zip(right.collections[1].levels[1:-1], right.collections[1].get_paths()[1:-1], strict=True):
        assert path.vertices[:, 0] == pytest.approx(level, abs=1e-6)
    darkest, palest = filled.cmap(1.0), filled.cmap(0.0)
    assert sum(darkest[:3]) < sum(palest[:3])
    assert "looked at" in bar.get_ylabel()


@pytest.mark.parametrize("upward", [0.5, 1.0, 1.4, 3.0])
def test_the_planes_fill_the_figure_whatever_their_form(upward):
    """Of a plane that is far higher than wide the scales differ, so that the figure stays on a page."""
    figure = regions(points=POINTS * torch.tensor([1.0, 2.5 * upward]))
    FigureCanvasAgg(figure).draw()
    left, right, _ = figure.axes
    boxes = [axes.get_position() for axes in (left, right)]
    assert sum(box.width for box in boxes) > 0.8
    assert all(box.height > 0.6 for box in boxes)
    assert figure.get_figheight() < 7.5
    assert (left.get_aspect() == 1) == (1.0 <= upward < 3)


def test_a_focus_that_is_the_same_everywhere_is_drawn_too():
    FigureCanvasAgg(regions(focus=lambda points: torch.zeros(len(points)))).draw()


@pytest.mark.parametrize(
    "changed",
    [
        {"points": torch.zeros(5, 3)},
        {"points": torch.zeros(0, 2), "labels": torch.zeros(0)},
        {"labels": torch.zeros(4)},
        {"answer": lambda points: below_two(points)[:, :1]},
        {"answer": lambda points: below_two(points) * nan},
        {"focus": lambda points: points},
        {"focus": lambda points: points[:, 0] / 0},
    ],
    ids=["space", "no points", "a label less", "one logit", "no number", "two scores", "infinity"],
)
def test_regions_of_something_else_are_refused(changed):
    with pytest.raises(UnsupportedError, match="of the plane"):
        regions(**changed)


def test_no_window_knows_of_a_figure_and_all_are_as_wide_as_a_page():
    figures = [draw_curves([[START, END]]), draw_largest_weights(torch.ones(4, 3), "$a$"), regions()]
    for figure in figures:
        FigureCanvasAgg(figure).draw()
        assert figure.get_figwidth() == 9
    assert pyplot.get_fignums() == []
