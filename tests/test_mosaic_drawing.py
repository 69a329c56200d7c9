"""Mosaics are drawn with the attention that they were given: frames, circles and bars measured by hand."""

import numpy as np
import pytest
import torch
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb

from regard.errors import UnsupportedError
from regard.exam_drawing import MEANINGS, OUTCOME_COLOURS
from regard.mosaic_drawing import ATTENTION, DrawnMosaic, draw_examination, draw_mosaics, framed

VIOLET = [round(255 * part) for part in to_rgb(ATTENTION)]
SHARES = {"FTPT": 60.0, "FFPT": 30.0, "FTPF": 5.0, "FFPF": 5.0}


def mosaic(segments, weights=None, position=0, outcome="FTPT", words="ant"):
    weights = [1 / len(segments)] * len(segments) if weights is None else weights
    return DrawnMosaic(segments, torch.tensor(weights), position, outcome, words)


def pictures(count, channels=3, size=32):
    """Picture number k is all of one shade, k / count of the way from black to white."""
    return torch.linspace(-1, 1, count)[:, None, None, None].expand(-1, channels, size, size)


def points(*places):
    return torch.tensor(places or [(0.0, 0.0), (4.0, 2.0)])


def panels(figure):
    return [axes for axes in figure.axes if axes.axison]


def drawn(figure):
    FigureCanvasAgg(figure).draw()
    return figure


def said(axes):
    return [text.get_text() for text in axes.texts if text.get_text()]


def star(axes):
    """Where the segment that decides is marked."""
    (found,) = [each for each in axes.collections if each.get_sizes().size == 1 and each.get_linewidth()[0] == 0.7]
    return found.get_offsets()[0].tolist()


@pytest.mark.parametrize(
    ("weight", "thick"), [(1.0, 10), (0.5, 5), (0.1, 1), (0.02, 1), (0.01, 1), (0.009, 0), (0.0, 0)]
)
def test_a_frame_is_as_thick_as_its_weight_is_large(weight, thick):
    cell = framed(np.zeros((64, 64, 3), np.uint8), weight)
    assert cell.shape == (84, 84, 3)
    colours = cell[42, :10].tolist()
    assert colours == [[255] * 3] * (10 - thick) + [VIOLET] * thick
    assert not cell[10:-10, 10:-10].any()
    assert (cell == cell[::-1]).all()
    assert (cell == cell.transpose(1, 0, 2)).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_stand_in_a_grid_in_their_order_and_colours(channels):
    figure = drawn(draw_mosaics([[mosaic(pictures(5, channels), [0.5, 0.3, 0.2, 0.0, 0.0], position=4)]]))
    (axes,) = panels(figure)
    whole = axes.images[0].get_array()
    assert whole.shape == (2 * 84, 3 * 84, 3)
    middles = whole[42::84, 42::84, 0]
    assert middles.tolist() == [[0, 64, 128], [191, 255, 255]]
    assert said(axes) == ["50", "30", "20"]
    across, upward = star(axes)
    assert 84 < across < 84 + 42
    assert 84 < upward < 84 + 42
    assert axes.get_title() == "FTPT · ant"


def test_mosaics_of_different_sizes_have_cells_of_one_size_and_nothing_where_there_is_no_segment():
    one, four = mosaic(pictures(1), position=0), mosaic(pictures(4), position=3)
    small, large = (axes.images[0].get_array() for axes in panels(drawn(draw_mosaics([[one, four]]))))
    assert small.shape == large.shape == (168, 168, 3)
    assert (small[:84, 84:] == 255).all()
    assert (small[84:] == 255).all()


@pytest.mark.parametrize("count", [1, 2, 9, 10, 50, 300])
def test_any_number_of_segments_is_drawn(count):
    drawn(draw_mosaics([[mosaic(pictures(count, size=8), position=count - 1)]]))


@pytest.mark.parametrize(("size", "cell"), [(8, 84), (28, 76), (64, 84), (100, 84), (224, 84)])
def test_pictures_of_any_size_have_frames_that_can_be_seen(size, cell):
    (axes,) = panels(draw_mosaics([[mosaic(pictures(1, size=size))]]))
    assert axes.images[0].get_array().shape == (cell, cell, 3)


def test_numbers_are_left_out_where_they_could_not_be_read():
    few, many = mosaic(pictures(9)), mosaic(pictures(100))
    assert len(said(panels(draw_mosaics([[few] * 4]))[0])) == 9
    assert said(panels(draw_mosaics([[many] * 4]))[0]) == []


def test_the_frame_of_a_mosaic_is_its_outcome():
    rows = [[mosaic(points(), outcome=outcome)] for outcome in OUTCOME_COLOURS]
    found = [to_hex(axes.spines["left"].get_edgecolor()) for axes in panels(draw_mosaics(rows))]
    assert found == [*OUTCOME_COLOURS.values()]


def test_points_have_circles_whose_areas_are_weights_on_one_scale_for_all():
    far = mosaic(points((1.0, 1.0), (10.0, 10.0)), [0.25, 0.75], position=1, outcome="FFPT")
    first, second = panels(drawn(draw_mosaics([[mosaic(points(), [0.9, 0.1]), far]])))
    assert first.get_xlim() == second.get_xlim() == pytest.approx((-1.5, 11.5))
    circles = second.collections[0]
    assert circles.get_offsets().tolist() == [[1, 1], [10, 10]]
    sizes = circles.get_sizes()
    assert sizes[1] / sizes[0] == pytest.approx(3)
    assert first.collections[0].get_sizes()[0] / sizes[1] == pytest.approx(0.9 / 0.75)
    assert star(second) == [10, 10]
    assert sorted(said(second)) == ["25", "75"]


def test_of_other_segments_the_weights_are_bars():
    (axes,) = panels(drawn(draw_mosaics([[mosaic(torch.zeros(3, 5), [0.2, 0.7, 0.1], position=2)]])))
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([0.2, 0.7, 0.1])
    assert star(axes)[0] == 2
    assert said(axes) == ["20", "70", "10"]


def test_a_name_is_written_as_it_is_and_cut():
    (axes,) = panels(drawn(draw_mosaics([[mosaic(points(), words="$a_1$ " + 99 * "x")]])))
    assert axes.get_title().startswith("FTPT · $a_1$ xxx")
    assert axes.get_title().endswith("…")


def examination(**changes):
    given = {
        "shares": SHARES,
        "counts": torch.ones(4, 5),
        "mosaics": [mosaic(points()), mosaic(points(), outcome="FFPT")],
    }
    return draw_examination("d1 · test", "class-coded focus: it $says$ so\n- a note", **{**given, **changes})


def all_words(figure):
    return [text.get_text() for text in figure.findobj(match=lambda each: hasattr(each, "get_text"))]


def test_the_picture_of_an_examination_has_all_of_it():
    figure = drawn(examination())
    bar = figure.axes[0]
    assert [part.get_width() for part in bar.patches] == [60, 30, 5, 5]
    assert [part.get_x() for part in bar.patches] == [0, 60, 90, 95]
    assert [to_hex(part.get_facecolor()) for part in bar.patches] == [*OUTCOME_COLOURS.values()]
    assert said(bar) == ["60.0 %", "30.0 %"]
    words = all_words(figure)
    assert "class-coded focus: it $says$ so\n- a note" in words
    assert {f"{name}: {meaning}" for name, meaning in MEANINGS.items()} <= {*words}
    assert {"d1 · test", "FTPT · 25.0%", "FTPT · ant", "FFPT · ant"} <= {*words}


def test_no_window_knows_of_a_figure():
    assert examination().get_figwidth() == draw_mosaics([[mosaic(points())]]).get_figwidth() == 9
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize(
    ("weights", "position", "outcome"),
    [
        ([0.5, 0.3, 0.2], 0, "FTPT"),
        ([1.0], 0, "FTPT"),
        ([0.5, 0.5], 2, "FTPT"),
        ([0.5, 0.5], -1, "FTPT"),
        ([1.5, -0.5], 0, "FTPT"),
        ([float("nan"), 1.0], 0, "FTPT"),
        ([0.5, 0.5], 0, "TPFT"),
    ],
)
def test_a_mosaic_that_is_none_is_refused(weights, position, outcome):
    with pytest.raises(UnsupportedError):
        mosaic(points(), weights, position, outcome)


@pytest.mark.parametrize("rows", [[], [[]], [[mosaic(points()), mosaic(pictures(2))]]])
def test_mosaics_of_no_or_of_two_kinds_are_refused(rows):
    with pytest.raises(UnsupportedError, match="of one kind"):
        draw_mosaics(rows)


@pytest.mark.parametrize(
    "shares", [{}, {**SHARES, "FFPF": 50.0}, {**SHARES, "FFPF": float("nan")}, dict(reversed(SHARES.items()))]
)
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(UnsupportedError, match="four outcomes"):
        examination(shares=shares)
