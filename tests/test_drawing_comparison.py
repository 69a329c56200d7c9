"""The picture of a comparison."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from regard.drawing import Panel, PanelRow, draw_comparison, overlay, scale_of
from regard.explanation import SIGNS

from .test_drawing import COLOUR, PALE, drawn, nan, panels, photos_of


def row_of(title="cdam\na_classifier", targets=2, strongest=1.0, signed=True, seed=0):
    maps = torch.randn(targets, 40, 80, generator=torch.Generator().manual_seed(seed)) * strongest
    maps[:, :, :10] = nan
    panels = tuple(Panel(f"ant {place}\n25.0%", values, "compactness 0.5") for place, values in enumerate(maps))
    return PanelRow(title, "between targets 0.10", panels, scale_of(maps, signed), signed, SIGNS)


def alike_of(rows, targets=2):
    matrix = torch.linspace(-1, 1, rows * rows, dtype=torch.float64).view(rows, rows)
    return [(f"overlap {place}", matrix) for place in range(targets + 1)]


def compared(*rows, targets=2):
    (photo,) = photos_of((80, 40))
    return drawn(draw_comparison(photo, rows, alike_of(len(rows), targets), "photo.jpg"))


def titles_of(figure):
    return [axes.get_title() for axes in panels(figure)]


def words_of(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts if text.get_text()]


NO_MAP = PanelRow(
    "grad-cam on a_classifier", "it has no feature map", (), scale_of(torch.zeros(1), False), False, SIGNS
)


def test_a_comparison_has_the_photo_and_every_map_on_the_row_s_own_scale_with_one_bar_a_row():
    rows = [
        replace(row_of(), signs=("hidden", "kept")),
        row_of("rollout\na_classifier", strongest=50.0, signed=False, seed=1),
    ]
    figure = compared(*rows)
    assert titles_of(figure) == [
        "A · cdam\na_classifier",
        "ant 0\n25.0%",
        "ant 1\n25.0%",
        "B · rollout\na_classifier",
        "ant 0\n25.0%",
        "ant 1\n25.0%",
        "overlap 0",
        "overlap 1",
        "overlap 2",
    ]
    picture = np.full((40, 80, 3), COLOUR, np.uint8)
    for place, row in enumerate(rows):
        photo, *maps = panels(figure)[3 * place : 3 * place + 3]
        shown = np.asarray(photo.images[0].get_array())
        assert (shown[:, :10] == PALE).all()
        assert (shown[:, 10:] == COLOUR).all()
        for panel, axes in zip(row.panels, maps, strict=True):
            expected = overlay(picture, panel.values.numpy(), row.scale, row.signed)
            assert np.array_equal(axes.images[0].get_array(), expected)
    bars = [axes.get_ylim() for axes in figure.axes if "→" in axes.get_ylabel()]
    assert bars == [(rows[0].scale.vmin, rows[0].scale.vmax), (0.0, rows[1].scale.vmax)]
    labels = [label for axes in figure.axes if "→" in (label := axes.get_ylabel())]
    assert labels == ["kept →\n← hidden", "attention →"]


def test_a_map_of_another_unit_is_drawn_on_its_own_scale():
    row = row_of(targets=1)
    scale = scale_of(torch.tensor([9.0]), True)
    apart = Panel("concept", row.panels[0].values, "scale to 9", scale)
    shown = panels(compared(replace(row, panels=(*row.panels, apart))))
    picture = np.full((40, 80, 3), COLOUR, np.uint8)
    assert np.array_equal(shown[2].images[0].get_array(), overlay(picture, apart.values.numpy(), scale, True))


def test_what_has_no_map_says_why_and_takes_part_in_no_correlation():
    gap = replace(row_of(), panels=(row_of().panels[0], Panel("bee\n", None, "no class is called 'bee'")))
    figure = compared(gap, NO_MAP, row_of(seed=2))
    words = words_of(figure)
    assert "no class is called 'bee'" in words
    assert "grad-cam on a_classifier\nit has no feature map" in words
    assert [title[:1] for title in titles_of(figure) if "cdam" in title] == ["A", "B"]
    matrix = next(axes for axes in figure.axes if axes.get_title() == "overlap 0")
    assert [text.get_text() for text in matrix.texts] == ["0.50"]  # row 2, column 0 of −1, −0.75, …, 1
    assert [label.get_text() for label in (*matrix.get_xticklabels(), *matrix.get_yticklabels())] == ["A", "B"]


def test_correlations_stand_below_the_diagonal_and_missing_ones_are_dashes():
    rows = [row_of(seed=place) for place in range(3)]
    matrix = torch.tensor([[1.0, nan, -0.001], [nan, 1.0, 0.5], [-0.001, 0.5, 1.0]], dtype=torch.float64)
    (photo,) = photos_of((80, 40))
    figure = draw_comparison(photo, rows, [("overlap", matrix)] * 3, "photo.jpg")
    axes = next(axes for axes in figure.axes if axes.get_title() == "overlap")
    assert [text.get_text() for text in axes.texts] == ["–", "0.00", "0.50"]


def test_correlations_are_coloured_from_minus_one_to_one_and_zero_is_pale():
    rows = [row_of(seed=place) for place in range(3)]
    matrix = torch.tensor([[1.0, -0.8, 0.0], [-0.8, 1.0, 0.8], [0.0, 0.8, 1.0]], dtype=torch.float64)
    (photo,) = photos_of((80, 40))
    figure = draw_comparison(photo, rows, [("overlap", matrix)] * 3, "photo.jpg")
    shown = next(axes for axes in figure.axes if axes.get_title() == "overlap").images[0]
    assert shown.get_clim() == (-1, 1)
    colours = shown.cmap(shown.norm(np.array([-1.0, -0.8, 0.0, 0.8, 1.0])))[:, :3]
    (red, _, blue) = colours.T
    assert colours[2].min() > 0.9
    assert (blue[:2] > red[:2] + 0.3).all()
    assert (red[3:] > blue[3:] + 0.3).all()
    luminance = colours @ [0.2126, 0.7152, 0.0722]
    assert luminance.min() > 0.3  # black numbers stay readable


def test_one_method_alone_has_no_correlations():
    assert not any(title.startswith("overlap") for title in titles_of(compared(row_of())))


@pytest.mark.parametrize(
    ("rows", "targets", "columns", "said"),
    [(2, 3, 3, []), (3, 20, 8, ["8 of 20 targets"]), (15, 3, 2, ["12 of 15 methods", "2 of 3 targets"])],
)
def test_a_comparison_of_many_shows_no_more_than_a_person_can_look_at_and_says_so(rows, targets, columns, said):
    (photo,) = photos_of((80, 40))
    many = [replace(row_of(targets=1), panels=row_of(targets=1).panels * targets)] * rows
    figure = draw_comparison(photo, many, alike_of(rows, targets), "photo.jpg")
    heading = figure.get_suptitle()
    assert [part for part in heading.split(" · ") if " of " in part] == said
    assert titles_of(figure).count("ant 0\n25.0%") == min(rows, 12) * columns
    assert max(figure.get_size_inches()) < 50


@pytest.mark.parametrize("size", [(80, 40), (40, 120)], ids=["wide", "tall"])
def test_all_words_of_a_comparison_lie_within_the_figure_and_on_no_other(size):
    (photo,) = photos_of(size)
    values = torch.rand(size[1], size[0], generator=torch.Generator().manual_seed(0))
    long = "timm:vit_small_patch14_reg4_dinov2.lvd142m"[:40]
    panel = Panel(long + "\n100.0% · score -10.00", values, "compactness 0.99 · Gini 0.99 · scale to 1.2e+03")
    scale = scale_of(values, True)
    row = PanelRow("attention-grad-cam\n" + long, "between targets -0.99", (panel,) * 2, scale, True, SIGNS)
    why = replace(NO_MAP, words="it has no feature map to weigh, and much else to say of that " * 12)
    figure = drawn(draw_comparison(photo, [row, why, row], alike_of(3), "photo.jpg"))
    draw = figure.canvas.get_renderer()
    boxes = [
        text.get_window_extent(draw) for axes in figure.axes for text in (axes.title, *axes.texts) if text.get_text()
    ]
    frame = figure.bbox
    for box in boxes:
        assert frame.x0 <= box.x0 + 1
        assert box.x1 - 1 <= frame.x1
        assert frame.y0 <= box.y0 + 1
        assert box.y1 - 1 <= frame.y1
    assert sum(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place]) == 0
