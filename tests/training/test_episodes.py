"""Episodes are the same for the same seed and number, of other photos for others, and never ask what they give."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from regard.errors import ClassifierError, UnsupportedError
from regard.training.few_shot.episodes import Episodes

LABELS = [number % 7 for number in range(70)]


def episodes(ways, shots, queries, count, seed):
    drawn = Episodes(LABELS, ways, shots, queries, seed)
    return [drawn.numbered(number) for number in range(count)]


@settings(max_examples=40, deadline=None)
@given(
    ways=some.integers(2, 7),
    shots=some.integers(1, 5),
    queries=some.integers(1, 5),
    seed=some.integers(-(2**63), 2**63 - 1),
    number=some.integers(0, 10**9),
)
def test_an_episode_has_different_photos_of_different_classes_a_class_a_row(ways, shots, queries, seed, number):
    found = Episodes(LABELS, ways, shots, queries, seed).numbered(number)
    assert len({*found.classes}) == ways
    assert [len(row) for row in found.support] == [shots] * ways
    assert [len(row) for row in found.queries] == [queries] * ways
    for label, known, asked in zip(found.classes, found.support, found.queries, strict=True):
        assert {LABELS[photo] for photo in (*known, *asked)} == {label}
        assert len({*known, *asked}) == shots + queries
    assert found.photos.tolist() == [[*a, *b] for a, b in zip(found.support, found.queries, strict=True)]


def test_an_episode_hangs_on_seed_and_number_alone():
    first = episodes(5, 1, 3, 6, seed=4)
    torch.rand(5)
    assert episodes(5, 1, 3, 6, seed=4) == first
    drawn = Episodes(LABELS, 5, 1, 3, seed=4)
    assert [drawn.numbered(number) for number in (5, 0, 3)] == [first[number] for number in (5, 0, 3)]
    others = episodes(5, 1, 3, 6, seed=5)
    assert all(one != other for one, other in itertools.combinations((*first, *others), 2))


def test_classes_and_photos_are_drawn_alike_often():
    counted = torch.zeros(70)
    for episode in episodes(3, 1, 2, 700, seed=1):
        counted[episode.photos.flatten()] += 1
    # each photo: 700 · 3/7 · 3/10 = 90 times, with a deviation below √90
    assert float((counted - 90).abs().max()) < 5 * 90**0.5
    assert float((counted.view(-1, 7).sum(dim=0) - 900).abs().max()) < 5 * 900**0.5


def test_classes_with_too_few_photos_are_refused_by_name():
    labels = [0] * 5 + [1] * 3 + [2] * 4
    with pytest.raises(ClassifierError, match="1 classes have too few photos") as refused:
        Episodes(labels, 2, 1, 3, 0, names=("ant", "bee", "cat"))
    assert refused.value.came == "bee (3)"
    assert "4 different photos" in refused.value.expected
    with pytest.raises(ClassifierError, match="too few classes for episodes of 5") as refused:
        Episodes(LABELS[:4], 5, 1, 1, 0)
    assert refused.value.came == "4"


@pytest.mark.parametrize(
    "wrong",
    [{"ways": 1}, {"ways": 2.0}, {"shots": 0}, {"shots": True}, {"queries": 0}, {"seed": 0.5}],
    ids=str,
)
def test_numbers_that_no_episode_has_are_refused(wrong):
    with pytest.raises(UnsupportedError):
        Episodes(LABELS, **{"ways": 2, "shots": 1, "queries": 1, "seed": 0} | wrong)
