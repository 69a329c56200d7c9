"""Mosaics: one foreground at a known place, all else background, nothing shared by the parts, the same in any batch."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.stats import chi2_contingency, chisquare

from regard.errors import NotFiniteError, UnsupportedError
from regard.exams.sdc import Arrangement, Items, arranged, task_called, task_names

from .item_sets import counted, task_of

LIKELY = 1e-3
"""Draws of a fixed seed that are less likely than this would be a fault."""


def task_of_counted(**settings):
    arrangement = Arrangement(**{"train": 600, "test": 400, "segments": 4, "seed": 5} | settings)
    return arranged("counted", counted(), counted(first=100), arrangement)


def everything(mosaics):
    return mosaics[torch.arange(len(mosaics))]


def same(one, other):
    pairs = [(getattr(one, name), getattr(other, name)) for name in vars(one)]
    return all(a is b is None or (a.dtype == b.dtype and torch.equal(a, b)) for a, b in pairs)


@pytest.mark.parametrize("name", task_names())
@pytest.mark.parametrize("segments", [None, 5, (2, 6)], ids=str)
def test_exactly_one_segment_is_foreground_and_its_class_is_the_label(name, segments, tmp_path):
    task = task_of(name, tmp_path, **{} if segments is None else {"segments": segments})
    for mosaics in (task.train, task.test):
        found, foreground = everything(mosaics), mosaics.items.foreground
        there = torch.ones_like(found.classes, dtype=torch.bool) if found.mask is None else found.mask
        assert (found.mask is None) == (not isinstance(segments, tuple))
        deciding = torch.isin(found.classes, torch.tensor(foreground))
        assert deciding.sum(dim=1).eq(1).all()
        assert torch.equal(deciding.int().argmax(dim=1), found.position)
        assert found.classes.gather(1, found.position[:, None])[:, 0].tolist() == [foreground[at] for at in found.label]
        assert torch.equal(found.classes >= 0, there)
        assert found.segments.shape == (len(mosaics), task.segments, *task.shape)
        assert found.segments.dtype == torch.float32
        assert task.labels == tuple(mosaics.items.names[number] for number in foreground)
    assert len(task.labels) == {"boxes-4": 6, "singletons": 2}.get(name, 3)


@pytest.mark.parametrize("name", ["d1", "d2", "boxes-1", "boxes-4", "singletons", "cifar-10", "folder"])
def test_positions_labels_and_backgrounds_are_drawn_alike_often_and_know_nothing_of_each_other(name, tmp_path):
    found = everything(task_of(name, tmp_path, train=3000).train)
    segments, kinds = found.classes.shape[1], found.classes.unique().tolist()
    positions, labels = found.position.bincount(minlength=segments), found.label.bincount()
    assert chisquare(positions).pvalue > LIKELY
    assert chisquare(labels).pvalue > LIKELY
    together = (found.position * len(labels) + found.label).bincount(minlength=segments * len(labels))
    assert chi2_contingency(together.view(segments, -1)).pvalue > LIKELY
    if len(kinds) > len(labels) + 1:
        others = found.classes.scatter(1, found.position[:, None], -1)
        table = torch.stack([(others[found.label == label] + 1).flatten().bincount()[1:] for label in labels.nonzero()])
        behind = table[:, table.sum(dim=0) > 0]
        assert chisquare(behind.sum(dim=0)).pvalue > LIKELY
        assert chi2_contingency(behind).pvalue > LIKELY


def test_every_item_of_a_class_is_drawn_alike_often_though_classes_differ_in_size():
    kinds = torch.tensor([0, 1, 2, 2, 2, 3, 0, 2, 3, 0], dtype=torch.int16)
    items = Items(torch.arange(10.0)[:, None], kinds, tuple("abcd"), (0, 1))
    found = everything(arranged("sizes", items, items, Arrangement(train=6000, segments=3)).train)
    drawn = Counter(found.segments.flatten().int().tolist())
    # a label is drawn 3,000 times, a background class 6,000 times; of their items each an equal share
    expected = {0: 1000, 6: 1000, 9: 1000, 1: 3000, **dict.fromkeys((2, 3, 4, 7), 1500), 5: 3000, 8: 3000}
    assert chisquare([drawn[item] for item in expected], [*expected.values()]).pvalue > LIKELY


@pytest.mark.parametrize("name", [name for name in task_names() if name != "singletons"])
def test_the_parts_share_no_item_unless_the_task_leaks(name, tmp_path):
    def used(mosaics):
        return {tuple(segment.flatten().tolist()) for segment in mosaics.items.taken(mosaics.index.unique())}

    task = task_of(name, tmp_path / "parted")
    assert used(task.train)
    assert used(task.test)
    assert not used(task.train) & used(task.test)
    leaky = task_of(name, tmp_path / "leaky", leaky=True)
    assert leaky.leaky
    assert not task.leaky
    assert leaky.test.items is leaky.train.items
    assert used(leaky.train) & used(leaky.test)
    assert not torch.equal(leaky.train.index[:100], leaky.test.index[:100])


def test_items_that_both_parts_have_are_a_leak_which_the_task_says():
    items, others, few = counted(), counted(first=100), Arrangement(train=20, test=20, segments=2)
    assert arranged("same", items, items, few).leaky
    assert arranged("equal", items, counted(), few).leaky
    assert arranged("one in common", items, counted(first=35), few).leaky
    assert not arranged("none", items, others, few).leaky
    # all background one point, the same in both parts, tells nothing by heart
    assert not arranged("a point", items, others, replace(few, spread=0.0)).leaky
    assert task_called("singletons").leaky


@pytest.mark.parametrize("name", task_names())
def test_a_seed_gives_the_same_task_and_another_seed_another(name, tmp_path):
    before = torch.random.get_rng_state()
    one, again, other = (everything(task_of(name, tmp_path, seed=seed).train) for seed in (3, 3, 4))
    assert same(one, again)
    assert not torch.equal(one.position, other.position)
    assert not torch.equal(one.segments, other.segments)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_first_mosaics_are_the_same_however_many_are_drawn():
    few, many = task_of_counted(train=10), task_of_counted(train=600)
    assert same(everything(few.train), many.train[:10])
    assert torch.equal(few.train.label, task_of_counted(train=10, segments=7).train.label)


def test_with_one_segment_it_is_plain_classification():
    task = task_of_counted(segments=1)
    found = everything(task.train)
    assert found.segments.shape == (600, 1, 1)
    assert not found.position.any()
    assert {*found.classes[:, 0].tolist()} == {4, 1, 2}
    alone = Items(torch.arange(3.0)[:, None], torch.arange(3, dtype=torch.int16), tuple("abc"), (0, 1, 2))
    assert arranged("no background", alone, alone, Arrangement(segments=1)).segments == 1


@settings(max_examples=30)
@given(indices=some.lists(some.integers(-600, 599), max_size=12))
@pytest.mark.parametrize("segments", [4, (1, 5)], ids=str)
def test_a_mosaic_is_the_same_to_the_bit_in_any_batch_and_as_put_together_by_hand(segments, indices):
    task = task_of_counted(segments=segments)
    mosaics, found = task.train, task.train[indices]
    assert found.segments.shape == (len(indices), task.segments, 1)
    for row, number in enumerate(indices):
        taken = mosaics.index[number].tolist()
        by_hand = [mosaics.items.values[item] if item >= 0 else torch.zeros(1) for item in taken]
        assert torch.equal(found.segments[row], torch.stack(by_hand))
        kinds = [int(mosaics.items.classes[item]) if item >= 0 else -1 for item in taken]
        assert found.classes[row].tolist() == kinds
        alone = mosaics[number]
        assert all(torch.equal(getattr(found, name)[row], getattr(alone, name)) for name in ("segments", "position"))
        assert int(found.label[row]) == mosaics.items.foreground.index(kinds[int(found.position[row])])
        if found.mask is not None:
            assert found.mask[row].tolist() == [item >= 0 for item in taken]


def test_pictures_are_the_same_lazily_and_materialised(tmp_path):
    mosaics = task_of("cifar-10", tmp_path, segments=3).train
    materialised = torch.stack(
        [
            torch.stack([mosaics.items.values[item].float() / 127.5 - 1 for item in row])
            for row in mosaics.index.tolist()
        ]
    )
    parts = torch.cat([mosaics[torch.arange(start, min(start + 70, 400))].segments for start in range(0, 400, 70)])
    assert torch.equal(everything(mosaics).segments, materialised)
    assert torch.equal(parts, materialised)
    assert materialised.min() == -1.0
    assert materialised.max() == 1.0


def test_thirty_thousand_mosaics_of_pictures_are_indices():
    pixels = torch.zeros(1000, 3, 32, 32, dtype=torch.uint8)
    items = Items(pixels, torch.arange(1000).remainder(10).short(), tuple("abcdefghij"), (0, 1, 2))
    task = arranged("zeros", items, items, Arrangement(train=30_000, test=1))
    held = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors_in(task)}
    assert held.pop(pixels.data_ptr()) == 1000 * 3 * 32 * 32
    # 9 items of 4 bytes, place and label of 2 a mosaic; and the classes of the items
    assert sum(held.values()) == 30_001 * (9 * 4 + 2 + 2) + 2 * 1000


def tensors_in(value):
    """All that anything holds, however deep."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict | tuple | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from tensors_in(each)
    elif hasattr(value, "__dict__"):
        yield from tensors_in(vars(value))


def test_mosaics_are_iterated_and_end_and_what_is_taken_may_be_written_to():
    mosaics = task_of_counted(train=5, spread=0.5).train
    assert [int(each.position) for each in mosaics] == mosaics.position.tolist()
    before = mosaics[2].segments.clone()
    mosaics[2].segments.zero_()
    assert torch.equal(mosaics[2].segments, before)
    with pytest.raises(IndexError):
        mosaics[5]


def test_ragged_mosaics_have_every_length_alike_often_and_zeros_behind():
    found = everything(task_of_counted(train=3000, segments=(2, 6)).train)
    lengths = found.mask.sum(dim=1)
    assert chisquare(lengths.bincount()[2:]).pvalue > LIKELY
    assert torch.equal(found.mask, torch.arange(6) < lengths[:, None])
    assert (found.segments[~found.mask] == 0).all()
    assert found.mask.gather(1, found.position[:, None]).all()
    for length in range(2, 7):
        assert chisquare(found.position[lengths == length].bincount(minlength=length)).pvalue > LIKELY


@pytest.mark.parametrize("skew", [0.0, 0.4, 1.0])
def test_a_skewed_foreground_stands_first_in_a_share_and_else_anywhere(skew):
    positions = everything(task_of_counted(train=4000, skew=skew).train).position.bincount(minlength=4)
    expected = [4000 * (skew + (1 - skew) / 4), *[4000 * (1 - skew) / 4] * 3]
    assert positions[1:].sum() == 0 if skew == 1 else chisquare(positions, expected).pvalue > LIKELY


def test_label_noise_gives_a_share_of_the_training_other_labels_and_the_test_keeps_the_truth():
    clean, noisy = task_of_counted(train=3000), task_of_counted(train=3000, label_noise=0.3)
    changed = clean.train.label != noisy.train.label
    assert 0.27 < changed.double().mean() < 0.33
    assert torch.equal(clean.train.index, noisy.train.index)
    assert torch.equal(clean.test.label, noisy.test.label)
    pairs = Counter(zip(clean.train.label[changed].tolist(), noisy.train.label[changed].tolist(), strict=True))
    assert len(pairs) == 6
    assert chisquare([*pairs.values()]).pvalue > LIKELY


WRONG = [
    {"train": 0},
    {"test": 2.0},
    {"segments": 0},
    {"segments": (3, 2)},
    {"segments": (1, 2, 3)},
    {"segments": 40_000},
    {"segments": True},
    {"seed": 0.5},
    {"leaky": 1},
    {"skew": 1.5},
    {"skew": float("nan")},
    {"label_noise": -0.1},
    {"spread": float("inf")},
    {"overlap": "some"},
    {"segmens": 9},
    {"gamma": 0.1},
    {"path": "pictures.npz"},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(UnsupportedError):
        task_called("d1", **wrong)


def test_unknown_tasks_and_pictures_without_a_path_are_refused():
    with pytest.raises(UnsupportedError, match="no such task") as refused:
        task_called("d3")
    assert "fashion-mnist" in refused.value.expected
    with pytest.raises(UnsupportedError, match="'mnist' needs pictures"):
        task_called("mnist")


ITEMS = {"values": torch.zeros(4, 2), "classes": torch.tensor([0, 1, 2, 2]).short(), "names": ("a", "b", "c")}


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ({"values": torch.zeros(4, 2).double()}, "float32 or uint8"),
        ({"classes": torch.tensor([0, 1, 2, 2])}, "int16"),
        ({"values": torch.zeros(4)}, "numbers and a class"),
        ({"values": torch.zeros(3, 2)}, "numbers and a class"),
        ({"classes": torch.tensor([0, 1, 2, 3]).short()}, "without a name"),
        ({"foreground": (0, 0)}, "different classes"),
        ({"foreground": ()}, "different classes"),
        ({"foreground": (0, 3)}, "different classes"),
        ({"classes": torch.tensor([0, 0, 2, 2]).short()}, "different classes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_items_that_are_none_are_refused(fault, problem):
    with pytest.raises(UnsupportedError, match=problem):
        Items(**{**ITEMS, "foreground": (0, 1), **fault})


def test_nan_items_foreground_alone_and_parts_that_differ_are_refused():
    with pytest.raises(NotFiniteError, match="NaN or infinity") as refused:
        Items(**ITEMS | {"values": torch.tensor([0.0, 1.0, float("nan"), 0.0])[:, None]}, foreground=(0, 1))
    assert refused.value.came == "item 2"
    items = Items(**ITEMS, foreground=(0, 1))
    all_of_them = Items(**ITEMS, foreground=(0, 1, 2))
    with pytest.raises(UnsupportedError, match="no background"):
        arranged("bare", all_of_them, all_of_them, Arrangement())
    with pytest.raises(UnsupportedError, match="other classes or forms"):
        arranged("two", items, Items(**ITEMS, foreground=(1, 0)), Arrangement())
    with pytest.raises(UnsupportedError, match="other classes or forms"):
        arranged("two", items, Items(**ITEMS | {"values": torch.zeros(4, 3)}, foreground=(0, 1)), Arrangement())
