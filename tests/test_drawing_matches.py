"""A query and its matches as a figure: maps of three ranks in their colours, right and wrong by frame and by sign."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

import regard
from regard.drawing_matches import RIGHT, WRONG, draw_matches
from regard.errors import PhotoError, UnsupportedError

from .explainers.networks import classifier_of, cnn


@pytest.fixture(scope="module")
def classifier():
    return regard.BRNPAClassifier(classifier_of(cnn()), ["ann", "bob"], count=4)


def photos(count=3):
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (60, 30, 3), np.uint8) for _ in range(count)]


@pytest.fixture(scope="module")
def explanation(classifier):
    pixels = classifier.prepare(photos())
    return regard.BRNPA(classifier)(pixels, regard.Similarity(classifier.embed(pixels)[0]))


def columns(figure):
    """(photo's axes, maps' axes) of each column."""
    places = figure.get_axes()
    return list(zip(places[: len(places) // 2], places[len(places) // 2 :], strict=True))


def frame_of(axes):
    frames = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    return [to_hex(frame.get_edgecolor()) for frame in frames]


def words_of(axes):
    return [text.get_text() for text in axes.texts]


def test_right_and_wrong_are_told_by_frame_and_by_sign(explanation):
    figure = draw_matches(explanation, [True, False])
    query, first, second = columns(figure)
    assert query[0].get_title() == "query"
    assert (frame_of(query[0]), frame_of(first[0]), frame_of(second[0])) == ([], ["#1a9641"], ["#d7191c"])
    scores = [targets[0].score for targets in explanation.targets]
    assert first[0].get_title() == f"✓ 1 · {scores[1]:.2f}"
    assert second[0].get_title() == f"✗ 2 · {scores[2]:.2f}"
    assert RIGHT[1] != WRONG[1]
    assert float(scores[0]) == pytest.approx(1, abs=1e-5)


def test_beneath_a_match_stands_what_the_ranks_drawn_add_and_beneath_the_query_their_colours(explanation):
    query, first, _ = columns(draw_matches(explanation, [True, False], words=["camera 1", "camera 2", "camera 3"]))
    shares = explanation.ranks.shares[1, 0, :3].tolist()
    assert words_of(first[1]) == [" ".join(f"{share:+.2f}" for share in shares)]
    assert words_of(query[1]) == ["1 red, 2 green, 3 blue"]
    assert (words_of(query[0]), words_of(first[0])) == (["camera 1"], ["camera 2"])


def only(explanation, rank):
    """The same with one rank's maps alone, everywhere 1."""
    maps = torch.zeros_like(explanation.ranks.maps)
    maps[:, rank] = 1
    return replace(explanation, ranks=replace(explanation.ranks, maps=maps, valid=torch.ones_like(maps[..., 0, 0]) > 0))


@pytest.mark.parametrize("rank", range(3))
def test_the_first_three_ranks_are_red_green_and_blue(rank, explanation):
    for _, maps in columns(draw_matches(only(explanation, rank), [True, True])):
        drawn = np.asarray(maps.images[0].get_array()).reshape(-1, 3).mean(axis=0)
        assert drawn.argmax() == rank
        assert drawn[rank] > 2 * np.delete(drawn, rank).max()


def test_a_fourth_rank_and_one_that_is_not_valid_are_not_drawn(explanation):
    plain = draw_matches(only(explanation, 3), [True, True])
    none = only(explanation, 0)
    hidden = draw_matches(replace(none, ranks=replace(none.ranks, valid=none.ranks.valid & False)), [True, True])
    for figure in (plain, hidden):
        for _, maps in columns(figure):
            picture = np.asarray(maps.images[0].get_array()).astype(float)
            assert picture.std(axis=2).max() < 40  # greyed, without a rank's colour
    assert words_of(columns(hidden)[0][1]) == [""]


def test_it_is_drawn_over_the_photos_and_can_be_saved(explanation, tmp_path):
    figure = draw_matches(explanation, [True, False], photos())
    height, width, _ = columns(figure)[0][0].images[0].get_array().shape
    assert height == 2 * width
    figure.savefig(tmp_path / "matches.png", dpi=40)
    assert (tmp_path / "matches.png").stat().st_size > 1000


def test_without_a_target_that_is_a_sum_there_are_no_numbers(classifier):
    pixels = classifier.prepare(photos(2))
    for targets in (regard.Probability(0), [regard.Class(0), regard.Class(1)]):
        _, first = columns(draw_matches(regard.BRNPA(classifier)(pixels, targets), [True]))
        assert words_of(first[1]) == [""]


def test_what_does_not_belong_together_is_refused(classifier, explanation):
    with pytest.raises(UnsupportedError, match="1 marks for 2 matches"):
        draw_matches(explanation, [True])
    with pytest.raises(UnsupportedError, match="2 for 3 photos"):
        draw_matches(explanation, [True, True], words=["a", "b"])
    with pytest.raises(PhotoError, match="no matches"):
        draw_matches(explanation[0], [])
    with pytest.raises(PhotoError, match="not those of the explanation"):
        draw_matches(explanation, [True, True], photos(2))
    with pytest.raises(UnsupportedError, match="have no ranks"):
        draw_matches(replace(explanation, ranks=None), [True, True])
