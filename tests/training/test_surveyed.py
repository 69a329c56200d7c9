"""What a classifier takes photos for, and which of them are held out."""

from collections import Counter

import pytest
import torch
from torch import nn

from regard.errors import ClassifierError, NotFiniteError, PhotoError
from regard.training.embeddings import fingerprint
from regard.training.tame.surveyed import Surveyed, digest_of, surveyed

from .mask_trainings import photos_of, tiny


def looked_at(photos, subject=None, **settings):
    marks = [fingerprint(photo) for photo in photos]
    return surveyed(subject or tiny(), photos, marks, **{"tracked": lambda _, parts: parts} | settings)


def known(counts):
    """So many different photos of each class."""
    classes = [index for index, count in enumerate(counts) for _ in range(count)]
    marks = tuple(f"{place:064x}" for place in range(len(classes)))
    return Surveyed(tuple(f"{mark}.png" for mark in marks), marks, tuple(classes))


def test_photos_have_the_class_that_the_classifier_takes_them_for_and_their_order_is_that_of_their_content():
    photos, subject = photos_of(40), tiny()
    found, unreadable = looked_at(photos, subject)
    assert not unreadable
    assert looked_at(photos[::-1], subject)[0].classes == found.classes
    assert list(found.marks) == sorted(found.marks)
    expected = [int(subject(subject.prepare(photo)).argmax()) for photo in found.photos]
    assert list(found.classes) == expected
    assert found.of_class(5) == tuple(expected.count(index) for index in range(5))


def test_photos_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no")
    missing = tmp_path / "missing.png"
    found, unreadable = looked_at([*photos_of(3), tmp_path / "bad.png", missing])
    assert len(found.photos) == 3
    assert {name.rpartition("/")[2] for name in unreadable} == {"bad.png", "missing.png"}
    with pytest.raises(PhotoError, match="no photo can be read"):
        looked_at([missing])


def test_an_answer_of_nan_names_the_photo():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(5))

        def forward(self, pixels):
            means = pixels.mean((1, 2, 3))[:, None]
            return torch.where(means == 0, 1.0, torch.nan) * self.scale

    from ..explainers.networks import classifier_of

    with pytest.raises(NotFiniteError, match="answers a photo with NaN"):
        looked_at(photos_of(2), classifier_of(Broken()))


@pytest.mark.parametrize(
    ("counts", "share", "held"),
    [
        ([100, 50], 0.1, {0: 10, 1: 5}),
        ([1] * 100, 0.1, 10),  # a photo each: every tenth all the same
        ([2, 3, 1] * 30, 0.1, 18),  # not one of every two
        ([40, *[1] * 60], 0.1, 10),
        ([1, 1], 0.1, 1),
        ([2], 0.9, 1),
    ],
    ids=str,
)
def test_about_the_share_is_held_out_however_few_photos_a_class_has(counts, share, held):
    learnt, judged = known(counts).apart(share, seed=0)
    assert not set(learnt.marks) & set(judged.marks)
    assert len(learnt.marks) + len(judged.marks) == sum(counts)
    if isinstance(held, dict):
        assert Counter(judged.classes) == held
    else:
        assert len(judged.marks) == held


def test_photos_of_one_content_stay_together_and_another_seed_draws_others():
    photos = known([30])
    twice = Surveyed(photos.photos * 2, photos.marks * 2, photos.classes * 2)
    learnt, judged = twice.apart(0.2, seed=0)
    assert not set(learnt.marks) & set(judged.marks)
    assert (len(learnt.marks), len(judged.marks)) == (48, 12)
    assert set(photos.apart(0.2, seed=1)[1].marks) != set(photos.apart(0.2, seed=0)[1].marks)


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan"), "0.1", None])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ClassifierError, match="held_out is a share"):
        known([4]).apart(share, 0)


def test_two_photos_of_one_content_are_too_few():
    one = known([1])
    with pytest.raises(ClassifierError, match="too few photos"):
        Surveyed(one.photos * 2, one.marks * 2, one.classes * 2).apart(0.5, 0)


def test_a_digest_is_of_content_and_not_of_order():
    assert digest_of(["b", "a"]) == digest_of(["a", "b"]) != digest_of(["a", "b", "b"])
