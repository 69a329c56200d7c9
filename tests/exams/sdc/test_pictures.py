"""Pictures of arrays and folders become items: which, at what size, of which classes; and directions are implanted."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from regard.errors import ClassifierError, FileFormatError, PhotoError, UnsupportedError
from regard.exams.sdc import Items, task_called
from regard.exams.sdc.images import of_arrays, of_photos
from regard.exams.sdc.implanted import implanted

from .item_sets import pictures, write_arrays, write_photos


def test_pictures_of_arrays_have_channels_first_and_lie_between_minus_one_and_one(tmp_path):
    file = write_arrays(tmp_path, names=["plane", "car", "bird", "cat", "deer"])
    train, test = of_arrays(file, foreground=("bird", 0))
    arrays = np.load(file)
    for items, part in ((train, "train"), (test, "test")):
        assert (items.names[2], items.foreground, items.background) == ("bird", (2, 0), (1, 3, 4))
        assert items.values.dtype == torch.uint8
        assert items.classes.tolist() == arrays[f"y_{part}"].tolist()
        taken = items.taken(torch.tensor([7]))
        expected = arrays[f"x_{part}"][7].astype(np.float64).transpose(2, 0, 1) / 127.5 - 1
        assert taken.shape == (1, 3, 6, 6)
        assert np.abs(taken[0].double().numpy() - expected).max() < 1e-6


def test_grey_pictures_have_one_channel_and_classes_without_names_their_numbers(tmp_path):
    train, _ = of_arrays(write_arrays(tmp_path, shape=(5, 7)))
    assert train.values.shape == (20, 1, 5, 7)
    assert train.names == ("0", "1", "2", "3", "4")
    assert train.foreground == (0, 1, 2)


def test_a_picture_that_is_learnt_from_is_not_examined_with(tmp_path, caplog):
    file = write_arrays(tmp_path)
    arrays = dict(np.load(file))
    arrays["x_test"][[3, 8]] = arrays["x_train"][[0, 19]]
    np.savez(file, **arrays)
    train, test = of_arrays(file)
    assert len(train.values) == 20
    assert test.classes.tolist() == [number % 5 for number in range(20) if number not in (3, 8)]
    assert "2 pictures to be examined with are also learnt from" in caplog.text
    np.savez(file, **arrays | {"x_test": arrays["x_train"]})
    with pytest.raises(UnsupportedError, match="every item has numbers"):
        of_arrays(file)
    arrays["x_test"][arrays["y_test"] == 1] = arrays["x_train"][0]
    np.savez(file, **arrays)
    with pytest.raises(UnsupportedError, match="the foreground is made of different classes"):
        of_arrays(file)


@pytest.mark.parametrize(
    "wrong",
    [
        {"x_train": np.zeros((20, 6, 6, 3), np.float32)},
        {"x_test": np.zeros((20, 6, 6, 4), np.uint8)},
        {"x_test": np.zeros((20, 36), np.uint8)},
        {"y_train": np.zeros((20, 1), int)},
        {"y_train": np.zeros(19, int)},
        {"y_test": np.full(20, -1)},
        {"y_test": np.full(20, 40_000)},
        {"y_test": np.zeros(20)},
        {"x_train": np.zeros((0, 6, 6), np.uint8), "y_train": np.zeros(0, int)},
        {"x_train": np.array([{}], dtype=object)},
    ],
    ids=lambda wrong: " ".join(f"{name} {value.dtype} {value.shape}" for name, value in wrong.items()),
)
def test_files_with_other_arrays_are_refused(wrong, tmp_path):
    with pytest.raises(FileFormatError):
        of_arrays(write_arrays(tmp_path, **wrong))


def test_files_that_are_no_such_files_are_refused(tmp_path):
    np.savez(tmp_path / "few.npz", x_train=pictures(3, 0))
    np.save(tmp_path / "one.npy", pictures(3, 0))
    (tmp_path / "text.npz").write_text("no pictures")
    (tmp_path / "empty.npz").touch()
    for name in ("few.npz", "one.npy", "text.npz", "empty.npz", "missing.npz", "."):
        with pytest.raises(FileFormatError, match="cannot read pictures"):
            of_arrays(tmp_path / name)


@pytest.mark.parametrize("text", ['["a", "b"]', '{"a": 1}', "[1, 2, 3, 4, 5]", "no list", "\udcff"], ids=str)
def test_names_that_do_not_name_the_classes_are_refused(text, tmp_path):
    file = write_arrays(tmp_path)
    (tmp_path / "classes.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(FileFormatError, match=r"classes\.json"):
        of_arrays(file)


@pytest.mark.parametrize("which", ["eel", 5, -1, True, None], ids=str)
def test_a_class_that_there_is_not_is_refused_with_those_there_are(which, tmp_path):
    file = write_arrays(tmp_path, names=["ant", "bee", "cat", "dog", "elk"])
    with pytest.raises(UnsupportedError, match="no such class") as refused:
        of_arrays(file, foreground=(0, which))
    assert refused.value.expected == "0 ant, 1 bee, 2 cat, 3 dog, 4 elk"


def test_photos_of_folders_are_cut_to_squares_of_one_size(tmp_path):
    folder = tmp_path / "photos"
    write_photos(folder, each=8)
    wide = np.zeros((30, 90, 3), np.uint8)
    wide[:, 30:60] = (200, 100, 50)  # the square that is kept
    Image.fromarray(wide).save(folder / "ant" / "wide.png")
    parts = of_photos(folder, ("dog", "ant"), size=10)
    assert [items.values.shape[1:] for items in parts] == [(3, 10, 10)] * 2
    assert [len(items.values) for items in parts] == [25, 8]  # a quarter of each class is held out
    assert [(items.names, items.foreground) for items in parts] == [(("ant", "bee", "cat", "dog"), (3, 0))] * 2
    flat = torch.tensor([200, 100, 50], dtype=torch.uint8)[:, None, None].expand(3, 6, 6)
    assert any(torch.equal(picture[:, 2:-2, 2:-2], flat) for items in parts for picture in items.values)


def test_photos_keep_the_parts_of_their_source_and_else_hang_on_the_seed(tmp_path):
    write_photos(tmp_path / "parted" / "train", each=3)
    write_photos(tmp_path / "parted" / "val", each=2, size=(20, 20))
    train, test = of_photos(tmp_path / "parted")
    assert (len(train.values), len(test.values)) == (12, 8)
    folder = write_photos(tmp_path / "whole", each=6)
    parts = [of_photos(folder, seed=seed, size=4)[1].values for seed in (0, 0, 1)]
    assert torch.equal(parts[0], parts[1])
    assert not torch.equal(parts[0], parts[2])


def test_folders_without_photos_and_broken_photos_are_refused(tmp_path):
    with pytest.raises(PhotoError):
        of_photos(tmp_path / "none")
    folder = write_photos(tmp_path / "photos")
    (folder / "bee" / "2.png").write_bytes(b"no photo")
    with pytest.raises(PhotoError, match=r"2\.png"):
        of_photos(folder)
    with pytest.raises(UnsupportedError, match="number of pixels"):
        of_photos(folder, size=0)
    with pytest.raises(ClassifierError, match="share of the photos"):
        of_photos(folder, held_out=1.5)


def test_foreground_moves_along_the_directions_of_the_least_variance():
    draw = torch.Generator().manual_seed(3)
    scales = torch.tensor([5.0, 0.2, 3.0, 0.1, 2.0, 0.4, 4.0])
    turn = torch.linalg.qr(torch.randn(7, 7, generator=draw)).Q
    values = (torch.randn(400, 7, generator=draw) * scales) @ turn + 3
    items = Items(values, torch.arange(400).remainder(5).short(), tuple("abcde"), (3, 0))
    train, test = implanted(items, items, 0.5)
    centred = values.double().numpy() - values.double().numpy().mean(axis=0)
    rows = np.linalg.svd(centred)[2][::-1]  # the least singular value first
    for number, kind in enumerate(items.foreground):
        moved = (train.values - values)[items.classes == kind].double().numpy()
        lengths = 0.5 * np.linalg.norm(values[items.classes == kind].double().numpy(), axis=1)
        direction = rows[number] * np.sign(rows[number][np.abs(rows[number]).argmax()])
        assert np.abs(moved - lengths[:, None] * direction).max() < 1e-4
    behind = ~torch.isin(items.classes, torch.tensor(items.foreground))
    assert torch.equal(train.values[behind], values[behind])
    assert torch.equal(test.values, train.values)
    # 0.1 and 0.2 are the least scales: a rule that reads them off the turn, not off the data
    assert abs(rows[0] @ turn[3].double().numpy()) > 0.99
    assert abs(rows[1] @ turn[1].double().numpy()) > 0.99


def test_the_directions_are_those_of_the_training(tmp_path):
    file = write_arrays(tmp_path, shape=(3, 3), each=10)
    train, test = of_arrays(file)
    one, other = implanted(train, test, 0.1)
    again, _ = implanted(train, train, 0.1)
    assert torch.equal(one.values, again.values)
    assert other.values.shape == (50, 1, 3, 3)
    whole, dose = (task_called("implanted", file, gamma=gamma, train=9, test=9, segments=2) for gamma in (0, 0.1))
    assert torch.equal(whole.train.items.values, train.taken(torch.arange(50)))
    assert torch.equal(dose.test.items.values, other.values)


@pytest.mark.parametrize("gamma", [-0.1, float("nan"), float("inf"), "some"], ids=str)
def test_doses_that_are_none_and_too_few_directions_are_refused(gamma):
    items = Items(torch.zeros(4, 1), torch.arange(4).short(), tuple("abcd"), (0, 1))
    with pytest.raises(UnsupportedError, match="a dose"):
        implanted(items, items, gamma)
    with pytest.raises(UnsupportedError, match="a direction of its own"):
        implanted(items, items, 0.1)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "place", "labels", "shape"),
    [
        ("cifar-10", "cifar10-subset/cifar10_subset.npz", ("airplane", "automobile", "bird"), (3, 32, 32)),
        (
            "fashion-mnist",
            "fashion-mnist-subset/fashion_mnist_subset.npz",
            ("T-shirt/top", "Trouser", "Pullover"),
            None,
        ),
        ("mnist", "mnist-subset/mnist_t10k_subset.npz", ("0", "1", "2"), None),
    ],
)
def test_the_known_sets_of_pictures_make_tasks(name, place, labels, shape, shared_data):
    task = task_called(name, shared_data / place, train=500, test=500)
    assert task.labels == labels
    assert task.shape == (shape or (1, 28, 28))
    found = task.train[:250]
    assert found.segments.shape == (250, 9, *task.shape)
    arrays = np.load(shared_data / place)
    item = int(task.train.index[3, 4])
    whole = torch.from_numpy(arrays["x_train"][item].reshape(*task.shape[1:], -1)).permute(2, 0, 1)
    assert torch.equal(found.segments[3, 4], whole.float() / 127.5 - 1)
    assert int(found.classes[3, 4]) == int(arrays["y_train"][item])
    if name != "mnist":
        named = json.loads((shared_data / place).with_name("classes.json").read_text())
        assert task.train.items.names == tuple(named)
