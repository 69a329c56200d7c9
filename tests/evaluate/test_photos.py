"""Photos are found in folders, CSVs and COCO files, with all that is known about them."""

import pytest

from regard.errors import FileFormatError, PhotoError
from regard.evaluate.photos import read_photos
from regard.runs import Run

from .files import write_mask, write_photo, write_table

INSIDE = (slice(2, 8), slice(3, 9))


def found(photos, folder):
    return {photo.path.relative_to(folder).as_posix(): photo for photo in photos}


def labels(photos, folder):
    return {name: photo.label for name, photo in found(photos, folder).items()}


@pytest.fixture
def folder(tmp_path):
    for name in ("a.jpg", "b.png", "c.jpg"):
        write_photo(tmp_path / name)
    return tmp_path


def test_a_folder_of_photos_knows_nothing_of_them(folder):
    write_table(folder / "notes.txt", "no photo")
    write_photo(folder / ".hidden" / "x.png")
    assert labels(read_photos(folder), folder) == {"a.jpg": None, "b.png": None, "c.jpg": None}


def test_class_folders_are_labels(tmp_path):
    for name in ("cat/1.jpg", "cat/deep/2.jpg", "dog/1.jpg"):
        write_photo(tmp_path / name)
    expected = {"cat/1.jpg": "cat", "cat/deep/2.jpg": "cat", "dog/1.jpg": "dog"}
    assert labels(read_photos(str(tmp_path)), tmp_path) == expected
    assert labels(read_photos(tmp_path, where="label=dog"), tmp_path) == {"dog/1.jpg": "dog"}


def test_parts_of_a_folder_are_chosen_by_their_name(tmp_path):
    for name in ("train/cat/1.jpg", "train/dog/2.jpg", "test/cat/3.jpg"):
        write_photo(tmp_path / name)
    assert len(read_photos(tmp_path)) == 3
    assert labels(read_photos(tmp_path, where="split=test"), tmp_path) == {"test/cat/3.jpg": "cat"}
    with pytest.raises(PhotoError, match="split=val") as refusal:
        read_photos(tmp_path, where="split=val")
    assert refusal.value.expected == "test | train"


def test_a_folder_of_photos_and_folders_is_refused(folder):
    write_photo(folder / "cat" / "1.jpg")
    with pytest.raises(PhotoError, match="both photos and folders"):
        read_photos(folder)


def test_the_pictures_of_earlier_runs_are_no_photos(folder):
    run = Run.open(folder / "regard-runs" / "one", "explain", {})
    write_photo(run.folder / "pictures" / "a.png")
    assert len(read_photos(folder)) == 3


def test_boxes_stand_in_a_table_of_their_own(folder):
    table = write_table(folder / "labels.csv", "file,split,label\na.jpg,val,cat\nb.png,val,dog\nc.jpg,train,cat\n")
    boxes = write_table(
        folder / "more" / "boxes.csv", "file,x1,y1,x2,y2\n../a.jpg,1,2,3,4\n../c.jpg,0,0,1,1\n../a.jpg,4.5,0,16,12\n"
    )
    photos = found(read_photos(table, boxes=boxes, where="split=val"), folder)
    assert {name: photo.boxes for name, photo in photos.items()} == {
        "a.jpg": ((1, 2, 3, 4), (4.5, 0, 16, 12)),
        "b.png": (),
    }
    assert found(read_photos(folder, boxes=boxes), folder).keys() == {"a.jpg", "b.png", "c.jpg"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("file,x1,y1,x2,y2\nz.jpg,1,2,3,4\n", "line 2 of .*\n.*no file"),
        ("file,x1,y1,x2\na.jpg,1,2,3\n", "not the columns"),
        ("file,label\na.jpg,cat\n", "not the columns"),
        ("file,x1,y1,x2,y2\nb.png,1,2,3,4\n", "no row of .* is of any"),
        ("file,x1,y1,x2,y2\n", "names no photos"),
        ("file,x1,y1,x2,y2\na.jpg,1,2,3,40\n", "line 2 of"),
    ],
    ids=["missing photo", "three corners", "no corners", "other photos", "no rows", "outside"],
)
def test_wrong_boxes_are_named_with_their_line(text, problem, folder):
    table = write_table(folder / "labels.csv", "file\na.jpg\n")
    with pytest.raises(FileFormatError, match=problem):
        read_photos(table, boxes=write_table(folder / "boxes.csv", text))


def test_boxes_that_are_not_there_are_refused(folder):
    with pytest.raises(PhotoError, match="no file of boxes"):
        read_photos(folder, boxes=folder / "nowhere.csv")


def test_masks_are_found_by_the_photo_s_name(folder, tmp_path_factory):
    masks = tmp_path_factory.mktemp("masks")
    write_mask(masks / "deep" / "a.PNG", INSIDE)
    write_mask(masks / "other.png", INSIDE)
    photos = found(read_photos(folder, masks=masks), folder)
    region = photos["a.jpg"].region((12, 16))
    assert (int(region.sum()), bool(region[INSIDE].all())) == (36, True)
    assert photos["b.png"].mask is None


def test_masks_that_could_be_of_several_photos_are_refused(tmp_path):
    for name in ("cat/1.jpg", "dog/1.jpg", "dog/2.jpg"):
        write_photo(tmp_path / "photos" / name)
    write_mask(tmp_path / "masks" / "1.png", INSIDE)
    with pytest.raises(PhotoError, match="not clear which mask") as refusal:
        read_photos(tmp_path / "photos", masks=tmp_path / "masks")
    assert refusal.value.came == "2 photos and 1 masks of that name"
    (tmp_path / "masks" / "1.png").rename(tmp_path / "masks" / "2.png")
    write_mask(tmp_path / "masks" / "deep" / "2.png", INSIDE)
    with pytest.raises(PhotoError, match="not clear which mask"):
        read_photos(tmp_path / "photos", masks=tmp_path / "masks")


def test_a_mask_that_cannot_be_of_its_photo_is_refused_before_it_is_needed(folder, tmp_path_factory):
    masks = tmp_path_factory.mktemp("masks")
    write_photo(masks / "a.png", size=(16, 12))
    with pytest.raises(PhotoError, match="not the size of its upright photo") as refusal:
        read_photos(folder, masks=masks)
    assert (refusal.value.came, refusal.value.expected) == ("12×16 pixels", "16×12")
    write_table(masks / "a.png", "no picture")
    with pytest.raises(PhotoError, match="is no PNG"):
        read_photos(folder, masks=masks)
    with pytest.raises(PhotoError, match="no mask of any photo"):
        read_photos(folder, masks=folder / "nowhere")


def test_photos_that_cannot_be_read_are_left_to_those_who_open_them(folder):
    write_table(folder / "a.jpg", "no photo")
    table = write_table(folder / "t.csv", "file,x1,y1,x2,y2,mask\na.jpg,1,2,300,400,m.png\n")
    write_mask(folder / "m.png", INSIDE)
    (photo,) = read_photos(table)
    assert photo.boxes == ((1, 2, 300, 400),)


@pytest.mark.parametrize("name", ["nowhere", "photo.jpg", ""])
def test_what_is_no_source_is_refused(name, tmp_path, monkeypatch):
    write_photo(tmp_path / "photo.jpg")
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    with pytest.raises(PhotoError):
        read_photos(tmp_path / name if name else "")


def test_a_folder_and_a_coco_file_have_no_columns_of_labels(folder):
    for source in (folder, write_table(folder / "x.json", "{}")):
        with pytest.raises(PhotoError, match="only a CSV"):
            read_photos(source, labels="name")


@pytest.mark.parametrize("where", ["split", "=val", "colour=red", "split=val=1", "split=va", "split=", ""])
def test_a_condition_that_means_nothing_is_refused(where, folder):
    table = write_table(folder / "labels.csv", "file,split\na.jpg,val\n")
    for source in (table, folder):
        with pytest.raises(PhotoError):
            read_photos(source, where=where)


@pytest.mark.data
def test_the_real_photos_are_read_as_they_are(shared_data):
    boxed = read_photos(
        shared_data / "imagenette-224" / "labels.csv",
        boxes=shared_data / "imagenette-224" / "boxes.csv",
        where="split=val",
    )
    assert (len(boxed), sum(len(photo.boxes) for photo in boxed), min(len(photo.boxes) for photo in boxed)) == (
        134,
        211,
        1,
    )
    assert {photo.label for photo in boxed} == {str(index) for index in range(10)}
    free = read_photos(shared_data / "nips17-ccby" / "labels.csv")
    assert (len(free), free[0].label) == (228, 576)
    assert len(read_photos(shared_data / "imagenet-1k-samples" / "labels.csv")) == 996
    assert read_photos(shared_data / "nips17-imagenette" / "labels.csv", labels="imagenet_index")[0].label == "701"
    salient = read_photos(shared_data / "ecssd-200" / "index.csv")
    assert (len(salient), sum(photo.mask is not None and bool(photo.boxes) for photo in salient)) == (200, 200)
    region = salient[0].region((384, 256))  # index.csv says: mask_fraction 0.1586, box 49, 106, 236, 296
    assert float(region.double().mean()) == pytest.approx(0.1586, abs=1e-4)
    assert salient[0].boxes == ((49, 106, 236, 296),)
    rows, columns = region.any(dim=1).nonzero(), region.any(dim=0).nonzero()
    assert (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1) == (49, 106, 236, 296)
    by_stem = read_photos(shared_data / "ecssd-200" / "images", masks=shared_data / "ecssd-200" / "masks")
    assert [photo.mask for photo in by_stem] == [photo.mask for photo in salient]
