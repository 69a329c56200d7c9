"""The figure of what a query finds: the order and the marks by plain loops, and what is left out."""

import math

import pytest
import torch

import regard
from regard.errors import PhotoError, UnsupportedError
from regard.training.reid.matches import answerable, draw_found
from regard.training.reid.sightings import Sighting, of_use

from .persons import LEARNT, picture, sightings, start

SEEN = sightings()


@pytest.fixture(scope="module")
def finder():
    return regard.BRNPAClassifier(start(), list(LEARNT), count=2)


def drawn(figure):
    """(title, words beneath) of each photo."""
    axes = figure.get_axes()
    return [(each.get_title(), each.texts[0].get_text()) for each in axes[: len(axes) // 2]]


def by_loops(finder, seen, query):
    """(cosine, right, camera) of each gallery photo that counts, the nearest first."""
    with torch.no_grad():
        asked = finder.embed(finder.prepare(query.photo))[0].tolist()
        found = []
        for each in of_use(seen, "gallery"):
            if (each.identity, each.camera) == (query.identity, query.camera):
                continue
            other = finder.embed(finder.prepare(each.photo))[0].tolist()
            dot = sum(a * b for a, b in zip(asked, other, strict=True))
            found.append((dot / math.hypot(*asked) / math.hypot(*other), each.identity == query.identity, each.camera))
    return sorted(found, key=lambda match: -match[0])


@pytest.mark.parametrize("query", [0, 2])
def test_matches_stand_in_the_order_of_their_cosines_and_are_marked(finder, query):
    expected = by_loops(finder, SEEN, of_use(SEEN, "query")[query])[:4]
    first, *matches = drawn(draw_found(finder, SEEN, query, count=4))
    assert first == ("query", "camera 0")
    assert matches == [
        (f"{'✓' if right else '✗'} {place} · {cosine:.2f}", f"camera {camera}")
        for place, (cosine, right, camera) in enumerate(expected, 1)
    ]


def test_photos_that_are_left_out_of_the_figures_are_not_drawn_as_wrong_ones(finder):
    gallery = [("dot", "0", 1), ("dot", "0", 2), ("dot", "1", 3), ("eve", "0", 4)]
    seen = [Sighting(picture("dot", 0, 0), "dot", "0", "query")]
    seen += [Sighting(picture(who, int(camera), seed), who, camera, "gallery") for who, camera, seed in gallery]
    _, *matches = drawn(draw_found(finder, seen))
    assert sorted((title[0], words) for title, words in matches) == [("✓", "camera 1"), ("✗", "camera 0")]
    with pytest.raises(PhotoError, match="no matches"):
        draw_found(finder, seen[:3])


def test_a_query_is_answerable_where_another_camera_of_the_gallery_saw_the_person():
    assert answerable(SEEN) == [0, 1, 2]
    assert answerable([each for each in SEEN if (each.identity, each.camera) != ("eve", "1")]) == [0, 2]
    assert answerable(of_use(SEEN, "query")) == []


@pytest.mark.parametrize("wrong", [{"query": 3}, {"query": -1}, {"query": True}, {"count": 0}, {"count": 1.5}], ids=str)
def test_queries_and_numbers_that_there_are_not_are_refused(finder, wrong):
    with pytest.raises(UnsupportedError, match="no such query"):
        draw_found(finder, SEEN, **wrong)
