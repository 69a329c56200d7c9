"""Who is seen by which camera, read from a CSV; and what could not be learnt, or examined fairly."""

import numpy as np
import pytest

from regard.errors import ClassifierError, FileFormatError, PhotoError
from regard.training.reid.sightings import Sighting, check_sightings, of_use, read_sightings

HEAD = "file,identity,camera,split\n"


@pytest.fixture
def written(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "persons.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_columns_in_any_order_and_others_are_passed_over(written, tmp_path):
    path = written("\ufeffsplit, camera,note,identity,file\nTrain,2,x,07,a/b.jpg\n\nquery,2,,7,c.jpg\n")
    assert read_sightings(path) == (
        Sighting(tmp_path / "a" / "b.jpg", "07", "2", "train"),
        Sighting(tmp_path / "c.jpg", "7", "2", "query"),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has not the columns"),
        (HEAD, "names no photos"),
        ("file,identity,camera\na,1,1\n", "has not the columns"),
        ("file,identity,identity,camera,split\na,1,1,1,train\n", "each once"),
        (HEAD + "a.jpg,1,1\n", "line 2 .*\n.*3 cells"),
        (HEAD + "a.jpg,,1,train\n", "line 2 .*\n.*no identity"),
        (HEAD + "a.jpg,1, ,train\n", "line 2 .*\n.*no camera"),
        (HEAD + ",1,1,train\n", "line 2 .*\n.*no file"),
        (HEAD + "a.jpg,1,1,val\n", "line 2 .*\n.*split is 'val'\n.*train . query . gallery"),
        (HEAD + "a.jpg,1,1,train\na.jpg,2,1,train\n", "line 3 .*\n.*as on line 2"),
        (HEAD + 'a.jpg,"1,1,train\n', "cannot be read as CSV"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_line(text, said, written):
    with pytest.raises(FileFormatError, match=said):
        read_sightings(written(text))


def test_other_encodings_and_missing_files_are_refused(written, tmp_path):
    with pytest.raises(FileFormatError, match="UTF-8"):
        read_sightings(written(HEAD + "å.jpg,1,1,train\n", "latin-1"))
    for place in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(PhotoError, match="no CSV file"):
            read_sightings(place)


def seen(*persons):
    """Each is "use:identity:camera"."""
    parts = [person.split(":") for person in persons]
    return [Sighting(np.zeros((2, 2, 3), np.uint8), identity, camera, use) for use, identity, camera in parts]


LEARNT = ["train:a:1", "train:a:2", "train:b:1", "train:b:1"]
EXAMINED = ["query:c:1", "gallery:c:2", "gallery:d:1"]


def test_what_can_be_learnt_and_examined_passes():
    check_sightings(seen(*LEARNT, *EXAMINED))
    assert [each.identity for each in of_use(seen(*LEARNT, *EXAMINED), "gallery")] == ["c", "d"]


@pytest.mark.parametrize(
    ("persons", "said"),
    [
        ([*LEARNT[:2], *EXAMINED], "at least two"),
        (EXAMINED, "at least two"),
        ([*LEARNT, "train:e:1", *EXAMINED], "two photos or more\n.*of 1: e"),
        ([*LEARNT, "query:c:1"], "no gallery photo"),
        ([*LEARNT, "gallery:c:1"], "no query photo"),
        ([*LEARNT, *EXAMINED, "gallery:a:3"], "both learnt and examined.*\n.*: a\n"),
        ([*LEARNT, *EXAMINED, "val:x:3"], "no such use.*\n.*'val'"),
        ([], "no query photo"),
    ],
)
def test_what_could_not_be_learnt_or_examined_fairly_is_refused(persons, said):
    with pytest.raises(ClassifierError, match=said):
        check_sightings(seen(*persons))
