"""Average precision and matches by rank across cameras: worked by hand, by plain loops, and by scikit-learn."""

import itertools
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regard.errors import MetricError, NotFiniteError
from regard.metrics.retrieval import (
    Shown,
    average_precision,
    average_precision_by_chance,
    matched_by_chance,
    matched_within,
    ranking,
)


def at(*degrees):
    """Embeddings that lie in these directions, of different lengths."""
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    lengths = torch.arange(1, len(degrees) + 1)[:, None]
    return lengths * torch.stack([angles.cos(), angles.sin()], dim=1)


def shown(degrees, persons, cameras):
    return Shown(at(*degrees), list(persons), list(cameras))


QUERY = shown([0], "A", "1")
GALLERY = shown([40, 5, 20, 10, 30], "AAABC", "31221")
"""From the nearest: A by the query's camera, B right behind it, A, C, A."""


def test_pictures_of_the_person_by_the_same_camera_are_neither_right_nor_wrong():
    """Worked by hand: what counts is B, A, C, A, so the precisions are 1/2 and 2/4."""
    found = ranking(QUERY, GALLERY)
    assert found.order.tolist() == [[3, 2, 4, 0, 1]]
    assert found.counted.tolist() == [[True] * 4 + [False]]
    assert found.right.tolist() == [[False, True, False, True, False]]
    assert average_precision(found).tolist() == [(1 / 2 + 2 / 4) / 2]
    assert matched_within(found, [1, 2, 5, 50]).tolist() == [[0, 1, 1, 1]]


def test_others_by_the_same_camera_count_as_wrong():
    found = ranking(QUERY, shown([10, 20], "BA", "12"))
    assert average_precision(found).tolist() == [1 / 2]
    assert matched_within(found, [1]).tolist() == [[0]]


def test_a_perfect_order_scores_one_and_the_worst_what_is_left():
    """Two right ones at the end of four: (1/3 + 2/4) / 2."""
    gallery = shown([10, 20, 30, 40], "AABB", "2222")
    assert average_precision(ranking(QUERY, gallery)).tolist() == [1]
    assert average_precision(ranking(shown([90], "A", "1"), gallery)).tolist() == [(1 / 3 + 2 / 4) / 2]


def test_a_query_without_a_right_match_has_no_figure():
    queries = shown([0, 0, 0], "ABC", "111")
    found = ranking(queries, shown([10, 20, 5], "ABA", "211"))
    assert found.answerable.tolist() == [True, False, False]
    for values in (average_precision(found), average_precision_by_chance(found)):
        assert values.isnan().tolist() == [False, True, True]
    for values in (matched_within(found, [1, 2]), matched_by_chance(found, [1, 2])):
        assert values.isnan().all(dim=1).tolist() == [False, True, True]


def test_a_gallery_that_is_left_out_altogether_is_not_divided_by():
    found = ranking(QUERY, shown([1], "A", "1"))
    assert average_precision(found).isnan().all()
    assert matched_by_chance(found, [1]).isnan().all()
    assert average_precision_by_chance(found).isnan().all()


@pytest.mark.parametrize("persons", ["ABBA", "AABB", "BBAA", "BAAB"])
def test_equal_cosines_stand_in_disfavour_whatever_the_gallerys_order(persons):
    """Right ones last: (1/3 + 2/4) / 2, of embeddings that are alike but for their length."""
    found = ranking(QUERY, Shown(torch.tensor([[1.0, 0.3]]) * torch.tensor([[1.0], [3], [7], [0.1]]), persons, "2222"))
    assert average_precision(found).tolist() == [(1 / 3 + 2 / 4) / 2]
    assert matched_within(found, [1, 2, 3]).tolist() == [[0, 0, 1]]


def test_all_is_by_chance_what_the_mean_over_all_orders_is():
    """Two of four right, and one beside that is left out: 4! orders."""
    orders = [[10 * place for place in order] + [1] for order in itertools.permutations(range(1, 5))]
    found = [ranking(QUERY, shown(order, "AABCA", "23111")) for order in orders]
    precision = torch.stack([average_precision(each) for each in found]).mean()
    matched = torch.cat([matched_within(each, [1, 2, 3, 9]) for each in found]).mean(dim=0)
    assert float(average_precision_by_chance(found[0])) == pytest.approx(float(precision))
    assert matched_by_chance(found[0], [1, 2, 3, 9])[0].tolist() == pytest.approx(matched.tolist())


def test_a_single_picture_is_found_by_chance():
    assert average_precision_by_chance(ranking(QUERY, shown([7], "A", "2"))).tolist() == [1]


def by_loops(queries, gallery):
    """(average precision, first right place) of each query, from the definition."""
    answers = []
    for q, person, camera in zip(queries.embeddings.tolist(), queries.persons, queries.cameras, strict=True):
        listed = []
        for g, other, by in zip(gallery.embeddings.tolist(), gallery.persons, gallery.cameras, strict=True):
            if other == person and by == camera:
                continue
            cosine = sum(a * b for a, b in zip(q, g, strict=True)) / math.hypot(*q) / math.hypot(*g)
            listed.append((-cosine, other == person))
        marks = [mark for _, mark in sorted(listed)]
        hits = [place for place, mark in enumerate(marks, 1) if mark]
        precisions = [sum(marks[:place]) / place for place in hits]
        answers.append((sum(precisions) / len(hits), hits[0]) if hits else (math.nan, math.inf))
    return answers


def drawn(seed, queries=6, gallery=25):
    draw, chance = torch.Generator().manual_seed(seed), random.Random(seed)
    return [
        Shown(torch.randn(count, 3, generator=draw), chance.choices("ABCDE", k=count), chance.choices("123", k=count))
        for count in (queries, gallery)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_it_is_what_plain_loops_find(seed):
    queries, gallery = drawn(seed)
    found = ranking(queries, gallery)
    expected = by_loops(queries, gallery)
    assert average_precision(found).tolist() == pytest.approx([value for value, _ in expected], nan_ok=True)
    first = matched_within(found, [1, 3]).tolist()
    assert [row for row in first if not math.isnan(row[0])] == [
        [float(place <= 1), float(place <= 3)] for value, place in expected if not math.isnan(value)
    ]


def test_the_average_precision_is_scikit_learns():
    sklearn = pytest.importorskip("sklearn.metrics", exc_type=ImportError)
    queries, gallery = drawn(9)
    found = ranking(queries, gallery)
    for query, value in enumerate(average_precision(found).tolist()):
        marks = found.right[query][found.counted[query]].numpy()
        expected = sklearn.average_precision_score(marks, -torch.arange(len(marks)).numpy())
        assert value == pytest.approx(expected)


@given(st.integers(0, 1000))
def test_order_and_lengths_of_a_gallery_change_nothing(seed):
    queries, gallery = drawn(seed, 3, 12)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed + 1)).tolist()
    lengths = torch.rand(12, 1, generator=torch.Generator().manual_seed(seed + 2)) + 0.1
    other = Shown(
        (gallery.embeddings * lengths)[order],
        [gallery.persons[place] for place in order],
        [gallery.cameras[place] for place in order],
    )
    one, another = ranking(queries, gallery), ranking(queries, other)
    assert torch.equal(average_precision(one).nan_to_num(-1), average_precision(another).nan_to_num(-1))
    places = torch.tensor(order)[another.order]
    assert torch.equal(places.where(another.counted, 0), one.order.where(one.counted, 0))


@pytest.mark.parametrize("as_sequence", [list, np.array, tuple], ids=["list", "array", "tuple"])
def test_persons_and_cameras_may_be_numbers(as_sequence):
    numbers = [ord(person) for person in GALLERY.persons], [int(camera) for camera in GALLERY.cameras]
    found = ranking(Shown(QUERY.embeddings, [ord("A")], [1]), Shown(GALLERY.embeddings, *map(as_sequence, numbers)))
    assert found.right.equal(ranking(QUERY, GALLERY).right)


@pytest.mark.parametrize("of", [torch.tensor, lambda values: [torch.tensor(value) for value in values]])
def test_tensors_which_are_never_equal_as_names_are_refused(of):
    embeddings, names = torch.ones(2, 3), ["A", "B"]
    for wrong in ((of([1, 2]), names), (names, of([1, 2])), ([None, "A"], names), (names, [0.5, 1.5])):
        with pytest.raises(MetricError, match="names or whole numbers"):
            Shown(embeddings, *wrong)


def test_what_is_no_retrieval_is_refused():
    with pytest.raises(MetricError, match="differently"):
        ranking(QUERY, Shown(torch.ones(1, 3), ["A"], ["2"]))
    with pytest.raises(MetricError, match="a person and a camera"):
        Shown(torch.ones(2, 3), ["A"], ["1", "2"])
    with pytest.raises(MetricError, match="a person and a camera"):
        Shown(torch.ones(0, 3), [], [])
    with pytest.raises(NotFiniteError, match="picture 1"):
        Shown(torch.tensor([[1.0], [math.nan]]), ["A", "B"], ["1", "1"])
    for ranks in ([], [0], [1.5], [True]):
        with pytest.raises(MetricError, match="counted from 1"):
            matched_within(ranking(QUERY, GALLERY), ranks)
