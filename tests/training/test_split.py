"""The split keeps some of every class from training, by content alone."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as some

from regard.errors import ClassifierError
from regard.training.split import held_out_marks

PHOTOS = some.lists(
    some.tuples(some.integers(0, 999).map(str), some.sampled_from("abc")),
    min_size=1,
    max_size=40,
    unique_by=lambda p: p[0],
)


@given(PHOTOS, some.floats(0.01, 0.99), some.randoms())
def test_of_every_class_of_two_photos_some_are_held_out_and_some_not_whatever_the_order(photos, share, random):
    counts = Counter(stratum for _, stratum in photos)
    prints, strata = zip(*photos, strict=True)
    if max(counts.values()) < 2:
        with pytest.raises(ClassifierError, match="too few photos"):
            held_out_marks(prints, strata, share, "0")
        return
    marks = held_out_marks(prints, strata, share, "0")
    held = Counter(stratum for stratum, mark in zip(strata, marks, strict=True) if mark)
    for stratum, count in counts.items():
        assert held[stratum] == (0 if count == 1 else min(max(1, round(share * count)), count - 1))
    shuffled = random.sample(photos, len(photos))
    again = held_out_marks(*zip(*shuffled, strict=True), share, "0")
    assert dict(zip(prints, marks, strict=True)) == dict(zip([p for p, _ in shuffled], again, strict=True))


@given(some.lists(some.tuples(some.integers(0, 9).map(str), some.sampled_from("abc")), min_size=2, max_size=30))
def test_photos_of_the_same_content_fall_together_whatever_their_classes(photos):
    prints, strata = zip(*photos, strict=True)
    first = {content: min(stratum for same, stratum in photos if same == content) for content in prints}
    sizes = Counter(first.values())
    if max(sizes.values()) < 2:
        with pytest.raises(ClassifierError, match="too few photos"):
            held_out_marks(prints, strata, 0.3, "0")
        return
    marks = dict(zip(prints, held_out_marks(prints, strata, 0.3, "0"), strict=True))
    assert [marks[content] for content in prints] == held_out_marks(prints, strata, 0.3, "0")
    assert Counter(first[content] for content, mark in marks.items() if mark) == {
        stratum: max(1, round(0.3 * size)) for stratum, size in sizes.items() if size > 1
    }


def test_equal_photos_fall_together_and_another_draw_takes_others():
    prints = [str(number // 2) for number in range(40)]
    marks = held_out_marks(prints, ["one"] * 40, 0.25, "0")
    assert sum(marks) == 10
    assert marks[::2] == marks[1::2]
    assert marks != held_out_marks(prints, ["one"] * 40, 0.25, "1")
