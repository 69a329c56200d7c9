"""Folders of classes and CSV files are read as documented, and what is wrong in them is named with its line."""

import pytest

from regard.errors import FileFormatError, PhotoError
from regard.training import read_labelled


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


@pytest.fixture
def table(tmp_path):
    def write(text, encoding="utf-8"):
        (tmp_path / "labels.csv").write_bytes(text.encode(encoding))
        return tmp_path / "labels.csv"

    return write


def names(labelled, folder):
    return [photo.relative_to(folder).as_posix() for photo in labelled.photos]


def test_a_folder_of_classes_is_read_with_what_lies_below_and_without_what_is_no_photo(tmp_path):
    touch(tmp_path, "dog/b.JPG", "dog/deep/a.png", "cat/1.webp", "cat/notes.txt", ".hidden/x.png", "readme.png")
    labelled = read_labelled(tmp_path)
    assert names(labelled, tmp_path) == ["cat/1.webp", "dog/b.JPG", "dog/deep/a.png"]
    assert labelled.labels == ("cat", "dog", "dog")
    assert labelled.held_out is None
    assert read_labelled(tmp_path, "sigmoid").labels == (("cat",), ("dog",), ("dog",))


def test_train_and_val_are_parts_and_no_classes(tmp_path):
    touch(tmp_path, "train/cat/1.png", "train/dog/2.png", "Val/cat/3.png")
    labelled = read_labelled(tmp_path)
    rows = dict(zip(names(labelled, tmp_path), zip(labelled.labels, labelled.held_out, strict=True), strict=True))
    assert rows == {
        "train/cat/1.png": ("cat", False),
        "train/dog/2.png": ("dog", False),
        "Val/cat/3.png": ("cat", True),
    }


@pytest.mark.parametrize(
    ("files", "outputs", "problem"),
    [
        (["train/cat/1.png", "dog/2.png"], "softmax", "both parts and classes"),
        (["cat/1.png", "dog/notes.txt"], "softmax", "no photos of some classes"),
        (["1.png"], "softmax", "no photos in classes"),
        (["train/1.png"], "softmax", "no photos in classes"),
        (["cat/1.png"], "scalar", "measurements stand in a CSV"),
        (["notes.txt"], "softmax", "holds no photos\n"),
        (["cat/notes.txt"], "softmax", "holds no photos\n"),
    ],
    ids=[
        "mixed",
        "empty class",
        "no classes",
        "no classes in parts",
        "measurements",
        "no photo",
        "no photo of any class",
    ],
)
def test_a_folder_that_is_none_of_classes_is_refused(files, outputs, problem, tmp_path):
    with pytest.raises(PhotoError, match=problem):
        read_labelled(touch(tmp_path, *files), outputs)


def test_a_csv_gives_classes_and_parts_and_files_beside_it(table, tmp_path):
    labelled = read_labelled(
        table('\ufefflabel , file,split,more\n"cat, tabby",a/1.png,train,x\n\n dog,2.png,TEST,\n', "utf-8")
    )
    assert labelled.photos == (tmp_path / "a/1.png", tmp_path / "2.png")
    assert (labelled.labels, labelled.held_out) == (("cat, tabby", "dog"), (False, True))


def test_a_csv_gives_several_classes_or_none_and_measurements(table):
    assert read_labelled(table("file,label\n1,cat| dog\n2,\n3,dog|\n"), "sigmoid").labels == (
        ("cat", "dog"),
        (),
        ("dog",),
    )
    measured = read_labelled(table("file,age,weight,split\n1,3,1e2,val\n2,-0.5,2,train\n"), "scalar")
    assert measured.labels == ({"age": 3.0, "weight": 100.0}, {"age": -0.5, "weight": 2.0})


WRONG = {
    "no header": ("", "softmax", "not the columns"),
    "semicolons": ("file;label\n1;cat\n", "softmax", "not the columns"),
    "no label column": ("file,name\n1,cat\n", "softmax", "not the columns"),
    "a column twice": ("file,label,label\n1,cat,dog\n", "softmax", "not the columns"),
    "no measurement": ("file,split\n1,train\n", "scalar", "not the columns"),
    "no rows": ("file,label\n", "softmax", "names no photos"),
    "no label": ("file,label\n1,cat\n2,\n", "softmax", "line 3 .*\n.*no label"),
    "no file": ("file,label\n,cat\n", "softmax", "line 2 .*\n.*no file"),
    "a file twice": ("file,label\n1,cat\n2,cat\n1,dog\n", "softmax", "line 4 .*\n.*as on line 2"),
    "too few cells": ("file,label\n1,cat\n\n2\n", "softmax", "line 4 .*\n.*1 cells"),
    "unknown part": ("file,label,split\n1,cat,trial\n", "softmax", "line 2 .*\n.*'trial'"),
    "a decimal comma": ('file,age\n1,2.5\n2,"2,5"\n', "scalar", "line 3 .*\n.*age is '2,5'"),
    "not finite": ("file,age\n1,nan\n", "scalar", "line 2"),
    "open quotes": ('file,label\n1,"cat\n', "softmax", "cannot be read as CSV"),
}


@pytest.mark.parametrize(("text", "outputs", "problem"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_in_a_csv_is_named(text, outputs, problem, table):
    with pytest.raises(FileFormatError, match=problem):
        read_labelled(table(text), outputs)


def test_text_that_is_no_utf8_and_a_place_with_nothing_are_refused(table, tmp_path):
    with pytest.raises(FileFormatError, match="cannot be read as CSV"):
        read_labelled(table("file,label\n1,Äpfel\n", "latin-1"))
    with pytest.raises(PhotoError, match="neither a folder nor a CSV"):
        read_labelled(tmp_path / "nowhere")
