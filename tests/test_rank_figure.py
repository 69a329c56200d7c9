"""Ranks in colours over a photo, and what the legend says of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from regard.drawing import Scale
from regard.errors import PhotoError, UnsupportedError
from regard.question import TargetAnswer
from regard.rank_drawing import RANK_COLOURS, coloured, legend_of
from regard.ranks import Ranks

from .test_drawing import COLOUR, GREYED, PALE, drawn, explanation_of, mixed, panels, photos_of

nan, inf = float("nan"), float("inf")
KITE = TargetAnswer("red kite", 21, 8.0, 0.9)
CORGI = TargetAnswer("Welsh corgi, of Pembrokeshire", 263, 8.0, 0.9)


def ranked(maps=None, shares=((4.16, 2.4, 1.44),), answers=(KITE,), valid=None, **changes):
    """One image of one explanation; shares (T, K), None where nothing is known of them."""
    maps = torch.rand(3, 2, 3, generator=torch.Generator().manual_seed(0)) if maps is None else torch.tensor(maps)
    ranks = Ranks(
        maps=maps[None],
        valid=torch.tensor([[True] * len(maps) if valid is None else valid]),
        variation=torch.tensor([0.5]),
        shares=None if shares is None else torch.tensor([shares]),
    )
    return replace(explanation_of(1, len(answers)), targets=(tuple(answers),), ranks=ranks, signed=False, **changes)


def words(explanation):
    return [line.words for line in legend_of(explanation, 0)]


def one_cell(*values, strongest=2.0):
    """The colour of a pixel with these values of rank 1, 2, …"""
    picture = np.full((1, 1, 3), COLOUR, np.uint8)
    maps = np.array(values, np.float32).reshape(-1, 1, 1)
    return tuple(int(part) for part in coloured(picture, maps, range(len(values)), Scale(strongest, False))[0, 0])


@pytest.mark.parametrize(
    ("values", "light"),
    [
        ((2, 0, 0), (255, 0, 0)),
        ((0, 2, 0), (0, 255, 0)),
        ((0, 0, 2), (0, 0, 255)),
        ((2, 2, 0), (255, 255, 0)),
        ((2, 0, 1), (255, 0, 127.5)),
        ((2, 2, 2), (255, 255, 255)),
        ((0, 0, 0, 2), (255, 128, 0)),
    ],
)
def test_ranks_are_red_green_and_blue_and_add_up_as_light_does(values, light):
    assert one_cell(*values) == mixed(0.85, light)


def test_a_weaker_rank_covers_less_by_the_common_maximum():
    assert one_cell(1, 0, 0) == mixed(0.85 * 0.5**0.75, (255, 0, 0))
    assert one_cell(0, 0.5, 0) == mixed(0.85 * 0.25**0.75, (0, 255, 0))
    assert one_cell(0, 0, 0) == GREYED


def test_what_is_below_zero_or_no_number_has_no_colour_and_what_was_not_seen_is_pale():
    assert one_cell(-2, 0, 0) == one_cell(nan, 0, 0) == one_cell(inf, 0, 0) == GREYED
    assert one_cell(nan, nan, nan) == PALE
    assert one_cell(nan, 2, nan) == mixed(0.85, (0, 255, 0))
    assert one_cell(9, 0, 0) == one_cell(2, 0, 0)


def test_colours_are_distinct():
    assert len(set(RANK_COLOURS.values())) == len(RANK_COLOURS) >= 6


def shown(explanation, photos=None):
    return np.asarray(panels(drawn(explanation.rank_figure(photos)))[1].images[0].get_array()).astype(int)


def test_the_scale_is_common_to_all_ranks_of_a_picture_and_cells_are_drawn_as_they_are():
    explanation = ranked([[[4.0, 0, 0], [0, 0, 0]], [[0, 2.0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 1.0]]])
    explanation.pictures[:] = torch.tensor(COLOUR)
    picture = shown(explanation)
    assert picture.shape == (16, 24, 3)
    for (row, column), share, light in (
        ((0, 0), 0.85, (255, 0, 0)),
        ((0, 1), 0.85 * 0.5**0.75, (0, 255, 0)),
        ((1, 2), 0.85 * 0.25**0.75, (0, 0, 255)),
        ((1, 0), 0, (0, 0, 0)),
    ):
        cell = picture[8 * row : 8 * row + 8, 8 * column : 8 * column + 8].reshape(-1, 3)
        assert all(tuple(pixel) == mixed(share, light) for pixel in cell.tolist())


def test_over_the_whole_photo_what_the_crop_left_out_is_pale():
    picture = shown(ranked(), photos_of((80, 40)))
    assert picture.shape == (320, 640, 3)
    seen = (picture != PALE).any(axis=2)
    assert not seen[:, :80].any()
    assert not seen[:, 560:].any()
    assert seen[:, 80:560].all()


def test_a_rank_that_shows_nothing_new_is_named_and_not_drawn():
    explanation = ranked([[[2.0, 0, 0]] * 2, [[9.0, 9, 9]] * 2, [[0, 1.0, 0]] * 2], valid=[True, False, True])
    explanation.pictures[:] = torch.tensor(COLOUR)
    picture = shown(explanation)
    assert tuple(picture[0, 0]) == mixed(0.85, (255, 0, 0))
    assert tuple(picture[0, 23]) == GREYED
    assert words(explanation)[1] == "rank 2, nothing new: 30%"
    figure = drawn(explanation.rank_figure())
    assert panels(figure)[1].get_title() == "ranks 1, 3"
    assert colours_of(figure) == [(1, 0, 0, 1), (0, 0, 0, 0), (0, 0, 1, 1)]


def colours_of(figure):
    (legend,) = [axes.get_legend() for axes in figure.axes if axes.get_legend() is not None]
    return [patch.get_facecolor() for patch in legend.get_patches()]


def test_the_legend_says_what_each_rank_adds_to_the_logit():
    explanation = ranked()
    expected = ["rank 1: 52% of the logit of 'red kite', 8", "rank 2: 30%", "rank 3: 18%"]
    assert words(explanation) == expected
    figure = drawn(explanation.rank_figure())
    (legend,) = [axes.get_legend() for axes in figure.axes if axes.get_legend() is not None]
    assert [text.get_text() for text in legend.get_texts()] == expected
    assert colours_of(figure) == [(1, 0, 0, 1), (0, 1, 0, 1), (0, 0, 1, 1)]


@pytest.mark.parametrize(
    ("score", "shares", "said"),
    [
        (8.0, (9.0, 1.0, -2.0), ["rank 1: +9 of the logit of 'red kite', 8", "rank 2: +1", "rank 3: -2"]),
        (8.0, (7.2, 1.6, -0.8), ["rank 1: 90% of the logit of 'red kite', 8", "rank 2: 20%", "rank 3: -10%"]),
        (-2.0, (-1.0, -1.5, 0.5), ["rank 1: -1 of the logit of 'red kite', -2", "rank 2: -1.5", "rank 3: +0.5"]),
        (0.0, (0.0, 0.0, 0.0), ["rank 1: +0 of the logit of 'red kite', 0", "rank 2: +0", "rank 3: +0"]),
        (
            8.0,
            (4.0, 2.0, 1.2),
            ["rank 1: 50% of the logit of 'red kite', 8", "rank 2: 25%", "rank 3: 15%", "bias: 10%"],
        ),
    ],
)
def test_where_shares_are_no_parts_of_a_whole_they_are_said_as_they_are(score, shares, said):
    assert words(ranked(shares=(shares,), answers=(replace(KITE, score=score),))) == said


def test_a_score_that_is_no_logit_is_called_a_score():
    likeness = TargetAnswer("class 3 of the episode", None, 0.5, None)
    assert words(ranked(shares=((0.25, 0.125, 0.125),), answers=(likeness,)))[0] == (
        "rank 1: 50% of the score of 'class 3 of the episode', 0.5"
    )


def test_a_rank_alone_is_the_whole():
    whole = ranked([[[1.0, 2, 3]]], shares=((8.000001,),))
    assert words(whole) == ["rank 1: 100% of the logit of 'red kite', 8"]
    assert panels(drawn(whole.rank_figure()))[1].get_title() == "rank 1"


def test_each_target_has_its_lines_and_what_is_no_sum_has_none():
    chance = TargetAnswer("probability of red kite", None, 0.9, None)
    explanation = ranked(
        shares=((4.0, 4.0, 0.0), (nan, nan, nan), (1.0, 0.5, 0.5)),
        answers=(KITE, chance, TargetAnswer("b", 1, 2.0, 0.1)),
    )
    assert [line.rank for line in legend_of(explanation, 0)] == [0, 1, 2, 0, 1, 2]
    assert words(explanation)[3] == "rank 1: 50% of the logit of 'b', 2"
    assert words(ranked(shares=((nan, nan, nan),), answers=(chance,))) == [
        "rank 1",
        "rank 2",
        "rank 3",
        "what is asked is no sum over ranks",
    ]


def test_a_way_to_look_is_said_to_be_one():
    assert words(ranked(shares=None))[3:] == ["the classifier does not decide by these"]


@pytest.mark.parametrize("shares", [None, ((4.16, 2.4, 1.44),), ((nan, nan, nan),)], ids=["none", "a sum", "no sum"])
def test_a_legend_takes_the_room_that_its_words_need_and_no_more(shares):
    explanation = ranked(shares=shares, answers=(CORGI,))
    figure = drawn(explanation.rank_figure())
    (legend,) = [axes.get_legend() for axes in figure.axes if axes.get_legend() is not None]
    right = legend.get_window_extent().x1 / figure.bbox.width
    assert 0.85 < right <= 1
    assert [text.get_text().replace("\n", " ") for text in legend.get_texts()] == words(explanation)


def test_many_targets_are_cut_and_that_is_said():
    many = ranked(shares=((4.0, 2.0, 2.0),) * 30, answers=(KITE,) * 30)
    assert len(words(many)) == 19
    assert words(many)[-1] == "6 of 30 targets"
    flat = drawn(many.rank_figure([Image.new("RGB", (80, 40), COLOUR)]))
    (legend,) = [axes.get_legend() for axes in flat.axes if axes.get_legend() is not None]
    assert legend.get_window_extent().y0 >= 0


def test_more_ranks_than_colours_are_named_and_the_first_are_drawn():
    count = len(RANK_COLOURS) + 2
    many = ranked(torch.rand(count, 2, 3).tolist(), shares=None)
    figure = drawn(many.rank_figure())
    assert panels(figure)[1].get_title() == "ranks 1, 2, 3, 4, 5, 6, 7, 8"
    assert words(many)[count - 1] == f"rank {count}"
    assert colours_of(figure)[count - 1] == (0, 0, 0, 0)


@pytest.mark.parametrize("name", ["$x", r"$\frac{1}{$", "a_b^c_", "x" * 200, "two\nlines", "", "角 Straße"])
@pytest.mark.filterwarnings("ignore:Glyph")
def test_any_name_can_stand_in_a_legend(name):
    assert drawn(ranked(answers=(replace(KITE, name=name),)).rank_figure()) is not None


@pytest.mark.parametrize("maps", [[[[0.0] * 3] * 2] * 3, [[[nan] * 3] * 2] * 3, [[[-1.0] * 3] * 2] * 3])
def test_ranks_of_nothing_draw(maps):
    dead = ranked(maps, shares=((0.0,) * 3,), valid=[False] * 3, answers=(replace(KITE, score=0.0),))
    assert panels(drawn(dead.rank_figure()))[1].get_title() == "no rank"
    spoilt = replace(dead, not_finite=(0,))
    assert words(spoilt) == ["no map: NaN or infinity"]
    assert drawn(spoilt.rank_figure()) is not None


def test_a_row_an_image():
    one = ranked()
    several = replace(
        explanation_of(2, 1),
        targets=((KITE,),) * 2,
        ranks=Ranks.joined([one.ranks, one.ranks]),
    )
    figure = drawn(several.rank_figure())
    assert len(panels(figure)) == 4
    assert len(figure.axes) == 6
    assert figure.get_suptitle() == "cdam · a_classifier$"


def test_maps_without_ranks_and_other_photos_are_refused():
    with pytest.raises(UnsupportedError, match="have no ranks"):
        explanation_of(1).rank_figure()
    for photos in (photos_of((80, 41)), photos_of((80, 40), (80, 40))):
        with pytest.raises(PhotoError):
            ranked().rank_figure(photos)


def test_drawing_changes_no_number():
    whole, before = ranked(), ranked()
    for photos in (None, photos_of((80, 40))):
        drawn(whole.rank_figure(photos))
    assert whole.ranks.maps.equal(before.ranks.maps)
    assert whole.maps.equal(before.maps)
