from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from regard.drawing import SIGNED, draw_explanation, overlay, scale_of
from regard.errors import PhotoError
from regard.explanation import Explanation
from regard.images import Geometry
from regard.question import TargetAnswer

nan, inf = float("nan"), float("inf")
COLOUR = (200, 100, 0)
GREYED = (125, 100, 75)  # 3/4 of the mean, 100, and 1/4 of the colour
PALE = (241, 216, 191)  # 1/4 of the colour and 191


def explanation_of(images=2, targets=3, name="ant", **changes):
    draw = torch.Generator().manual_seed(0)
    answers = tuple(TargetAnswer(f"{name} {place}", place, 1.5, 0.25) for place in range(targets))
    plain = Explanation(
        maps=torch.randn(images, targets, 2, 3, generator=draw),
        targets=(answers,) * images,
        logits=None,
        geometries=(Geometry(photo=(40, 80), frame=(16, 24), box=(10.0, 0.0, 70.0, 40.0)),) * images,
        pictures=torch.randint(0, 256, (images, 16, 24, 3), generator=draw, dtype=torch.uint8),
        method="cdam",
        settings={},
        classifier="a_classifier$",
        classifier_hash="0f",
        signed=True,
        per_target=True,
    )
    return replace(plain, **changes)


def with_answers(*answers):
    return replace(explanation_of(1, len(answers)), targets=(answers,))


def photos_of(*sizes):
    return [Image.new("RGB", (width, height), COLOUR) for width, height in sizes]


def drawn(figure):
    FigureCanvasAgg(figure).draw()
    return figure


def panels(figure):
    return [axes for axes in figure.axes if axes.images]


def laid(value, strongest=2.0, signed=True):
    """The colour of one pixel with this value."""
    picture = np.full((1, 1, 3), COLOUR, np.uint8)
    scale = scale_of(torch.tensor([strongest, 0.0]), signed)
    return tuple(int(part) for part in overlay(picture, np.array([[value]], np.float32), scale, signed)[0, 0])


def mixed(share, colour):
    return tuple(
        pytest.approx((1 - share) * grey + share * part, abs=0.51) for grey, part in zip(GREYED, colour, strict=True)
    )


@pytest.mark.parametrize(
    ("maps", "signed", "limits"),
    [
        ([-3.0, 2.0], True, (-3, 3)),
        ([0.5, 2.0], True, (-2, 2)),
        ([0.5, 2.0], False, (0, 2)),
        ([0.0, 0.0], True, (-1, 1)),
        ([0.0, 0.0], False, (0, 1)),
        ([nan, nan], True, (-1, 1)),
        ([], False, (0, 1)),
        ([nan, -2.0, inf, 1.0, -inf], True, (-2, 2)),
        ([1e-30, 0.0], False, (0, pytest.approx(1e-30))),
    ],
)
def test_the_scale_reaches_to_the_strongest_finite_value_and_is_even_about_zero_if_signed(maps, signed, limits):
    scale = scale_of(torch.tensor(maps), signed)
    assert (scale.vmin, scale.vmax) == limits


def test_the_scale_of_fine_maps_ends_at_the_percentile_of_their_averages_over_small_cells():
    values = torch.randn(2, 224, 224, generator=torch.Generator().manual_seed(0))
    values[0, 0, 0] = 1e4
    cells = sorted(
        abs(float(maps[4 * row : 4 * row + 4, 4 * column : 4 * column + 4].mean()))
        for maps in values
        for row in range(56)
        for column in range(56)
    )
    place = 0.995 * (len(cells) - 1)
    below, share = int(place), place % 1
    end = (1 - share) * cells[below] + share * cells[below + 1]
    for signed in (True, False):
        scale = scale_of(values, signed)
        assert (scale.vmin, scale.vmax) == (pytest.approx(-end if signed else 0), pytest.approx(end))
        assert scale.said.endswith("scale ends at the 99.5th percentile")


@pytest.mark.parametrize(("size", "fine"), [((64, 64), False), ((65, 64), True), ((40, 400), True), ((14, 14), False)])
def test_maps_of_more_than_64_by_64_cells_are_fine_and_raw_maps_stay(size, fine):
    values = torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(0))
    whole = replace(explanation_of(1, 1), maps=values)
    assert bool(scale_of(values, True).said) == fine
    assert (float(values.abs().max()) == scale_of(values, True).vmax) != fine
    labels = [axes.get_ylabel() for axes in drawn(whole.figure(photos_of((80, 40)))).axes]
    assert any("averaged over cells of 1/56 of the frame" in label for label in labels) == fine
    assert whole.maps is values
    assert values.equal(torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(("values", "limit"), [(0.0, 1), (nan, 1), (inf, 1), (-2.0, 2)])
def test_fine_maps_of_nothing_or_one_value_have_a_scale(values, limit):
    assert scale_of(torch.full((1, 80, 80), values), True).vmax == limit


def test_a_single_spot_on_a_fine_map_has_a_scale_and_is_seen():
    values = torch.zeros(1, 1, 224, 224)
    values[..., :4, :4] = 3.0
    assert scale_of(values, True).vmax == 3


@pytest.mark.parametrize("over_photo", [True, False])
def test_one_extreme_pixel_of_a_fine_map_hides_no_other_evidence(over_photo):
    values = torch.zeros(1, 1, 224, 224)
    values[..., 40:100, 40:100] = 1.0
    values[..., 200, 200] = 1000.0
    whole = replace(explanation_of(1, 1), maps=values)
    whole.pictures[:] = torch.tensor(COLOUR)
    figure = whole.figure(photos_of((80, 40)) if over_photo else None)
    shown = np.asarray(panels(figure)[1].images[0].get_array()).astype(int)
    high, wide = shown.shape[:2]
    row, column = int(high * 70 / 224), int(wide * (10 + 60 * 70 / 224) / 80 if over_photo else wide * 70 / 224)
    assert abs(shown[row, column] - GREYED).max() > 40


def test_where_a_map_says_nothing_the_photo_shows_through_greyed():
    assert laid(0.0) == laid(0.0, signed=False) == GREYED


def test_where_the_classifier_did_not_look_the_photo_is_pale():
    assert laid(nan) == laid(nan, signed=False) == PALE


def test_the_strongest_evidence_is_dark_red_for_and_dark_blue_against():
    assert laid(2.0) == mixed(0.85, (0x67, 0x00, 0x0D))
    assert laid(-2.0) == mixed(0.85, (0x08, 0x30, 0x6B))


def test_half_evidence_is_clear_red_or_blue_and_covers_less():
    red, blue = (255 * part for part in map(np.array, (SIGNED(0.75)[:3], SIGNED(0.25)[:3])))
    share = 0.85 * 0.5**0.75
    assert laid(1.0) == mixed(share, red)
    assert laid(-1.0) == mixed(share, blue)
    assert red[0] > red[2] + 50
    assert blue[2] > blue[0] + 50


@pytest.mark.parametrize("strength", [0.02, 0.1, 0.3, 0.6, 1.0])
def test_evidence_for_is_redder_than_evidence_against_at_every_strength(strength):
    warm, cold = laid(2 * strength), laid(-2 * strength)
    assert warm[0] - warm[2] > cold[0] - cold[2]


def test_an_unsigned_map_covers_from_zero_up():
    assert laid(2.0, signed=False) == mixed(0.85, (252.0, 254.6, 164.5))  # the last colour of inferno
    brightness = [sum(laid(value, signed=False)) for value in (0.5, 1.0, 1.5, 2.0)]
    assert brightness == sorted(brightness)


@pytest.mark.filterwarnings("ignore:overflow encountered in multiply")  # inside matplotlib, of infinity
def test_values_beyond_the_scale_are_drawn_as_its_ends_and_infinity_as_nothing():
    assert laid(9.0) == laid(2.0)
    assert laid(-9.0) == laid(-2.0)
    assert laid(inf) == laid(-inf) == GREYED


def test_one_nan_changes_no_other_pixel():
    picture = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    values = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)
    spoilt = values.copy()
    spoilt[1, 2] = nan
    scale, again = (scale_of(torch.from_numpy(part), True) for part in (values, spoilt))
    differ = (overlay(picture, values, scale, True) != overlay(picture, spoilt, again, True)).any(axis=2)
    assert np.argwhere(differ).tolist() == [[1, 2]]


@pytest.mark.parametrize(("images", "targets"), [(1, 1), (2, 3), (3, 1)])
def test_a_figure_has_a_picture_and_a_panel_a_target_for_every_image_and_a_bar_a_row(images, targets):
    figure = drawn(explanation_of(images, targets).figure())
    assert len(panels(figure)) == images * (targets + 1)
    assert len(figure.axes) == images * (targets + 2)


def test_each_row_shows_its_picture_then_its_maps_on_the_row_s_own_scale():
    whole = explanation_of()
    whole = replace(whole, maps=whole.maps * torch.tensor([1.0, 100.0])[:, None, None, None])
    shown = panels(draw_explanation(whole))
    for row in range(2):
        picture, *maps = shown[4 * row : 4 * row + 4]
        assert np.array_equal(picture.images[0].get_array(), whole.pictures[row])
        scale = scale_of(whole.maps[row], True)
        for place, panel in enumerate(maps):
            values = whole.to_pixels()[row, place].numpy()
            expected = overlay(whole.pictures[row].numpy(), values, scale, True)
            assert np.array_equal(panel.images[0].get_array(), expected)


def test_titles_say_target_probability_score_and_the_photo_s_size():
    answers = (
        TargetAnswer("tabby, tabby cat", 281, 9.876, 0.625),
        TargetAnswer("concept horn", None, -0.123456, None),
        TargetAnswer("any target", None, None, None),
    )
    figure = drawn(with_answers(*answers).figure())
    titles = [axes.get_title() for axes in panels(figure)]
    assert titles == ["photo 80×40", "tabby, tabby cat\n62.5% · score 9.88", "concept horn\nscore -0.123", "any target"]
    assert figure.get_suptitle() == "cdam · a_classifier$"


@pytest.mark.filterwarnings("ignore:Glyph")
def test_any_name_can_be_a_title_and_none_is_read_as_a_formula():
    names = ["$", "$x", r"$\frac{1}{$", "a_b^c_", r"\alpha$_$", "角 Straße – ×", "%s {} %", "line\nbreak", "x" * 40]
    long = " ".join(map(str, range(40)))
    answers = [TargetAnswer(name, None, 1.0, None) for name in [*names, "", long]]
    titles = [axes.get_title() for axes in panels(drawn(with_answers(*answers).figure()))[1:]]
    assert titles[:9] == [f"{' '.join(name.split())}\nscore 1" for name in names]
    assert titles[9] == "\nscore 1"
    assert titles[10].startswith("0 1 2 3 4 5 6 7 8 9 10")
    assert titles[10].endswith("…\nscore 1")
    assert len(titles[10]) <= 40 + len("\nscore 1")


@pytest.mark.parametrize("name", ["w" * 60, "n02123045_tabby_cat_of_the_house_and_of_the_garden"], ids=["w", "n"])
def test_a_long_name_without_spaces_is_cut_and_still_seen(name):
    title = panels(with_answers(TargetAnswer(name, None, 1.0, None)).figure())[1].get_title()
    assert title.startswith(name[:20])


def test_over_the_whole_photo_what_the_crop_left_out_is_pale():
    whole = explanation_of(1, 1)
    picture, panel = panels(draw_explanation(whole, photos_of((80, 40))))
    assert (picture.images[0].get_array() == COLOUR).all()
    shown = np.asarray(panel.images[0].get_array())
    assert shown.shape == (320, 640, 3)
    seen = (shown != PALE).any(axis=2)
    assert not seen[:, :80].any()
    assert not seen[:, 560:].any()
    assert seen[:, 80:560].all()


@pytest.mark.parametrize("sizes", [[(80, 40)], [(80, 40)] * 3, [(80, 40), (40, 80)], [(80, 40), (81, 40)], []])
def test_other_photos_than_those_explained_are_refused(sizes):
    with pytest.raises(PhotoError, match=r"was explained|of the explanation"):
        explanation_of(2).figure(photos_of(*sizes))


@pytest.mark.parametrize(("value", "colour"), [(0.0, GREYED), (nan, PALE)])
@pytest.mark.parametrize("signed", [True, False])
def test_maps_of_nothing_draw(value, colour, signed):
    whole = explanation_of(1, 2, signed=signed, maps=torch.full((1, 2, 2, 3), value))
    whole.pictures[:] = torch.tensor(COLOUR)
    for panel in panels(drawn(whole.figure()))[1:]:
        assert (panel.images[0].get_array() == colour).all()


def test_a_map_that_is_not_there_is_said_and_the_others_are_drawn():
    whole = explanation_of(1, 2, signs=("hidden", "kept"))
    whole.maps[0, 1] = nan
    first, second = panels(figure := drawn(whole.figure()))[1:]
    assert [text.get_text() for text in first.texts] == []
    assert [text.get_text() for text in second.texts] == ["no map"]
    assert "kept →\n← hidden" in [axes.get_ylabel() for axes in figure.axes]


@pytest.mark.filterwarnings("ignore:overflow encountered in multiply")
@pytest.mark.parametrize("value", [inf, -inf, 1e-38, 1e30])
def test_extreme_maps_draw(value):
    whole = explanation_of(1, 1)
    whole.maps[0, 0, 0, 0] = value
    assert len(panels(drawn(whole.figure()))) == 2


def test_drawing_changes_no_number():
    whole, before = explanation_of(), explanation_of()
    whole.maps[0, 0, 0, 0] = before.maps[0, 0, 0, 0] = nan
    for photos in (None, photos_of((80, 40), (80, 40))):
        drawn(whole.figure(photos))
    assert whole.maps.nan_to_num(-7).equal(before.maps.nan_to_num(-7))
    assert whole.pictures.equal(before.pictures)
    assert whole.targets == before.targets


def test_a_figure_shows_no_more_targets_than_a_person_can_look_at():
    many = explanation_of()
    many = replace(
        many, maps=many.maps[:, :1].expand(-1, 60, -1, -1), targets=tuple(row[:1] * 60 for row in many.targets)
    )
    figure = many.figure()
    assert "24 of 60 targets" in figure.get_suptitle()
    assert sum(bool(axes.get_title()) for axes in figure.axes) == 25 * len(many)
