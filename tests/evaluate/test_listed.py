"""A CSV is read as documented, and what is wrong in it is named with its line."""

import pytest

from regard.errors import FileFormatError
from regard.evaluate.photos import read_photos

from .files import write_mask, write_photo, write_table


@pytest.fixture
def table(tmp_path):
    """Write a CSV beside three photos of 16×12 pixels and one that lies on its side, and read it."""
    for name in ("a.jpg", "b.jpg", "deep/c.jpg"):
        write_photo(tmp_path / name)
    write_photo(tmp_path / "lying.jpg", size=(12, 16), orientation=6)
    write_mask(tmp_path / "m.png", (slice(0, 3), slice(0, 4)))

    def read(text, encoding="utf-8", **settings):
        return read_photos(write_table(tmp_path / "table.csv", text, encoding), **settings)

    return read


def test_a_list_of_files_is_enough(table, tmp_path):
    photos = table("file\nb.jpg\ndeep/../a.jpg\n")
    assert [photo.path for photo in photos] == [tmp_path / "b.jpg", tmp_path / "a.jpg"]
    assert {(photo.label, photo.boxes, photo.mask) for photo in photos} == {(None, (), None)}


def test_a_table_of_a_spreadsheet_is_read(table):
    photos = table('\ufefffile , label\r\n"a.jpg","cat, tabby"\r\n\r\nb.jpg, dog\r\n')
    assert [photo.label for photo in photos] == ["cat, tabby", "dog"]


def test_classes_stand_in_the_column_that_is_named_else_by_index_else_by_name(table):
    text = "image,label,class_index,other\na.jpg,cat,007,x\nb.jpg,dog,,9\n"
    assert [photo.label for photo in table(text)] == [7, None]
    assert [photo.label for photo in table(text, labels="label")] == ["cat", "dog"]
    assert [photo.label for photo in table(text, labels="other")] == ["x", "9"]


def test_rows_of_one_photo_are_joined(table, tmp_path):
    photos = table("file,label,x1,y1,x2,y2,mask\na.jpg,cat,1,2,3,4,m.png\nb.jpg,dog,,,,,\na.jpg,cat,0,0,5.5,6,m.png\n")
    assert [(photo.label, photo.boxes) for photo in photos] == [("cat", ((1, 2, 3, 4), (0, 0, 5.5, 6))), ("dog", ())]
    assert [photo.mask for photo in photos] == [tmp_path / "m.png", None]
    assert int(photos[0].region((12, 16)).sum()) == 12


def test_rows_are_chosen_before_they_are_joined(table):
    text = "file,label,x1,y1,x2,y2\na.jpg,cat,1,2,3,4\na.jpg,dog,0,0,5,6\n"
    (photo,) = table(text, where=" label = dog ")
    assert (photo.label, photo.boxes) == ("dog", ((0, 0, 5, 6),))
    with pytest.raises(FileFormatError, match=r"line 3 .*\n.*label 'dog', and 'cat' on line 2"):
        table(text)


def test_a_box_is_of_the_upright_photo(table):
    (photo,) = table("file,x1,y1,x2,y2\nlying.jpg,0,0,12,16\n")
    assert photo.boxes == ((0, 0, 12, 16),)
    with pytest.raises(FileFormatError, match="line 2 of") as refusal:
        table("file,x1,y1,x2,y2\nlying.jpg,0,0,16,12\n")
    assert refusal.value.expected == "one inside the upright photo, 12×16 pixels"


def test_a_box_may_reach_a_pixel_too_far_and_is_cut(table):
    (photo,) = table("file,x1,y1,x2,y2\na.jpg,-1,-0.5,17,12.2\n")
    assert photo.boxes == ((0, 0, 16, 12),)


HEAD = "file,x1,y1,x2,y2\n"
WRONG = {
    "empty": ("", "not the columns"),
    "no rows": ("file,label\n", "names no photos"),
    "no file column": ("name,label\na.jpg,cat\n", "not the columns"),
    "semicolons": ("file;label\na.jpg;cat\n", "not the columns"),
    "a column twice": ("file,label,label\na.jpg,cat,dog\n", "not the columns"),
    "three corners": ("file,x1,y1,x2\na.jpg,1,2,3\n", "not the columns"),
    "missing file": ("file\na.jpg\nz.jpg\n", "line 3 .*\n.*no file .*z.jpg"),
    "a folder": ("file\ndeep\n", "line 2 .*\n.*no file"),
    "name too long": (f"file\n{'x' * 5000}.jpg\n", "line 2 .*\n.*no file"),
    "no file": ("file,label\n,cat\n", "line 2 .*\n.*came: no file\n"),
    "missing mask": ("file,mask\na.jpg,z.png\n", "line 2 .*\n.*no file .*z.png"),
    "a photo twice": ("file,label\na.jpg,cat\nb.jpg,cat\n./a.jpg,cat\n", "line 4 .*\n.*again, as on line 2"),
    "a box twice": (HEAD + "a.jpg,1,2,3,4\nb.jpg,1,2,3,4\na.jpg,1,2,3,4.0\n", "line 4 .*\n.*as on line 2"),
    "two masks": ("file,x1,y1,x2,y2,mask\na.jpg,1,2,3,4,m.png\na.jpg,2,2,3,4,\n", "line 3 .*\n.*mask '', and 'm.png'"),
    "too few cells": ("file,label\na.jpg\n", "line 2 .*\n.*1 cells"),
    "no number": (HEAD + "a.jpg,1,2,x,4\n", "line 2 .*\n.*1, 2, x, 4"),
    "part of a box": (HEAD + "a.jpg,1,2,3,\n", "line 2 "),
    "nan": (HEAD + "a.jpg,1,2,nan,4\n", "line 2 .*\n.*nan"),
    "infinite": (HEAD + "a.jpg,1,2,inf,4\n", "line 2 .*\n.*inf"),
    "turned round": (HEAD + "a.jpg,3,2,1,4\n", "line 2 .*\n.*3, 2, 1, 4"),
    "no height": (HEAD + "a.jpg,1,2,3,2\n", "line 2 .*\n.*1, 2, 3, 2"),
    "too far right": (HEAD + "a.jpg,1,2,18,4\n", "line 2 .*\n.*\n.*16×12"),
    "too far up": (HEAD + "a.jpg,1,-3,5,4\n", "line 2 .*\n.*\n.*16×12"),
    "beside": (HEAD + "a.jpg,16,2,17,4\n", "line 2 .*\n.*\n.*16×12"),
    "index in words": ("file,class_index\na.jpg,cat\n", "line 2 .*\n.*class_index is 'cat'"),
    "index below zero": ("file,class_index\na.jpg,-1\n", "line 2 .*\n.*class_index is '-1'"),
}


@pytest.mark.parametrize(("text", "problem"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(text, problem, table):
    with pytest.raises(FileFormatError, match=problem):
        table(text)


def test_another_encoding_and_an_unknown_column_of_labels_are_refused(table):
    with pytest.raises(FileFormatError, match="cannot be read as CSV"):
        table("file,label\na.jpg,Äpfel\n", "latin-1")
    with pytest.raises(FileFormatError, match="not the columns") as refusal:
        table("file,label\na.jpg,cat\n", labels="class")
    assert refusal.value.expected == "class"
