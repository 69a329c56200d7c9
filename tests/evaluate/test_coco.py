"""COCO instances files: one category a photo, its boxes and its outlines; what is wrong is named with its place."""

import json

import pytest

from regard.errors import FileFormatError, PhotoError
from regard.evaluate.photos import read_photos

from .files import write_photo

SQUARE = [2, 3, 8, 3, 8, 7, 2, 7]  # 6×4 pixels


def content():
    """Two photos of 16×12 pixels; on the first a cat of 24 and two dogs of 20 and 6 pixels, on the second a crowd."""
    return {
        "images": [
            {"id": 1, "file_name": "photos/a.jpg", "width": 16, "height": 12},
            {"id": 2, "file_name": "photos/b.jpg", "width": 16, "height": 12},
        ],
        "categories": [{"id": 7, "name": "cat"}, {"id": 8, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "bbox": [2, 3, 6, 4], "area": 24, "segmentation": [SQUARE]},
            {"image_id": 1, "category_id": 8, "bbox": [0, 0, 5, 4], "area": 20, "segmentation": runs([0, 4, 140, 48])},
            {"image_id": 1, "category_id": 8, "bbox": [10, 1, 2, 3], "segmentation": [[10, 1, 12, 1, 12, 4, 10, 4]]},
            {"image_id": 2, "category_id": 8, "bbox": [0, 0, 16, 12], "iscrowd": 1, "segmentation": runs([0, 192])},
            {"image_id": 2, "category_id": 7, "bbox": [3, 3, 0, 5], "segmentation": []},
        ],
    }


def runs(counts):
    return {"size": [12, 16], "counts": counts}


@pytest.fixture
def coco(tmp_path):
    for name in ("a", "b"):
        write_photo(tmp_path / "photos" / f"{name}.jpg")

    def read(written, **settings):
        text = written if isinstance(written, str) else json.dumps(written)
        (tmp_path / "instances.json").write_text(text, encoding="utf-8")
        return read_photos(tmp_path / "instances.json", **settings)

    return read


def test_the_category_of_the_largest_area_is_the_label(coco, tmp_path):
    first, second = coco(content())  # dogs cover 20 + 2·3, which their box says, the cat 24
    assert (first.path, first.label) == (tmp_path / "photos" / "a.jpg", "dog")
    assert first.boxes == ((0, 0, 5, 4), (10, 1, 12, 4))
    region = first.region((12, 16))
    # runs go down the columns: the first four rows of column 0, then the last 48 pixels: columns 12 to 15
    expected = {(row, 0) for row in range(4)} | {(row, column) for row in range(12) for column in range(12, 16)}
    expected |= {(row, column) for row in range(1, 4) for column in (10, 11)}
    assert {tuple(place) for place in region.nonzero().tolist()} == expected
    assert (second.label, second.boxes, second.mask) == (None, (), None)


def test_one_category_can_be_chosen(coco):
    (photo,) = coco(content(), where="label=cat")
    assert (photo.label, photo.boxes) == ("cat", ((2, 3, 8, 7),))
    region = photo.region((12, 16))
    assert (int(region.sum()), bool(region[3:7, 2:8].all())) == (24, True)
    with pytest.raises(PhotoError, match="label=cow") as refusal:
        coco(content(), where="label=cow")
    assert refusal.value.expected == "cat | dog"


def test_a_photo_whose_objects_are_not_all_outlined_has_no_mask(coco):
    written = content()
    written["annotations"][2]["segmentation"] = []
    first, _ = coco(written)
    assert (first.label, len(first.boxes), first.mask) == ("dog", 2, None)


def test_a_file_with_a_mark_of_byte_order_is_read(coco):
    assert len(coco("\ufeff" + json.dumps(content()))) == 2


def test_boxes_and_outlines_are_of_the_upright_photo(coco, tmp_path):
    write_photo(tmp_path / "photos" / "a.jpg", size=(16, 12), orientation=6)
    assert coco(content())[0].region((12, 16)).shape == (12, 16)
    write_photo(tmp_path / "photos" / "a.jpg", size=(12, 16), orientation=6)
    with pytest.raises(FileFormatError, match=r"images\[0\] of") as refusal:
        coco(content())
    assert refusal.value.expected == "those of the upright photo: [16, 12]"


def changed(part, number, **values):
    written = content()
    written[part][number].update(values)
    return written


WRONG = {
    "no JSON": ("{", "cannot be read as JSON"),
    "a list": ("[]", "no COCO instances file"),
    "no lists": ('{"images": []}', "no COCO instances file"),
    "no images": ({**content(), "images": []}, "names no photos"),
    "an image that is a number": ({**content(), "images": [3]}, r"images\[0\] of"),
    "an image twice": (changed("images", 1, id=1), r"images\[1\] of"),
    "a file twice": (changed("images", 1, file_name="photos/a.jpg"), r"images\[1\] of"),
    "no file": (changed("images", 1, file_name="photos/z.jpg"), r"images\[1\] of .*\n.*no file"),
    "no file name": (changed("images", 1, file_name=None), r"images\[1\] of .*\n.*file_name"),
    "another size": (changed("images", 0, width=17), r"annotations\[1\] of .*\n.*\n.*\[12, 17\]"),
    "a size in words": (changed("images", 0, width="16"), r"images\[0\] of .*\n.*width: '16'"),
    "no such image": (changed("annotations", 0, image_id=3), r"annotations\[0\] of .*\n.*image 3"),
    "no such category": (changed("annotations", 0, category_id=3), r"annotations\[0\] of .*\n.*category 3"),
    "an id that is a list": (changed("annotations", 0, image_id=[1]), r"annotations\[0\] of"),
    "true": (changed("annotations", 0, image_id=True), r"annotations\[0\] of"),
    "three numbers": (changed("annotations", 0, bbox=[1, 2, 3]), r"annotations\[0\] of"),
    "no box": (changed("annotations", 0, bbox=None), r"annotations\[0\] of"),
    "nan": (changed("annotations", 0, bbox=[1, 2, float("nan"), 3]), r"annotations\[0\] of"),
    "huge": (changed("annotations", 0, bbox=[1, 2, 10**400, 3]), r"annotations\[0\] of"),
    "no width": (changed("annotations", 0, bbox=[1, 2, -3, 3]), r"annotations\[0\] of"),
    "outside": (changed("annotations", 0, bbox=[10, 2, 10, 3]), r"annotations\[0\] of .*\n.*10, 2, 20, 5"),
    "an area in words": (changed("annotations", 0, area="24"), r"annotations\[0\] of .*\n.*area"),
    "two corners": (changed("annotations", 0, segmentation=[[1, 2, 3, 4]]), r"annotations\[0\] of .*\n.*polygon"),
    "half a corner": (changed("annotations", 0, segmentation=[SQUARE[:7]]), r"annotations\[0\] of .*\n.*polygon"),
    "numbers for polygons": (changed("annotations", 0, segmentation=SQUARE), r"annotations\[0\] of"),
    "words": (changed("annotations", 0, segmentation="x"), r"annotations\[0\] of"),
    "compressed runs": (changed("annotations", 0, segmentation=runs("PPYo1")), r"annotations\[0\] of .*\n.*compressed"),
    "too few pixels": (changed("annotations", 0, segmentation=runs([1, 2])), r"annotations\[0\] of .*\n.*3 pixels"),
    "a run below zero": (changed("annotations", 0, segmentation=runs([-8, 200])), r"annotations\[0\] of"),
    "runs of another size": (
        changed("annotations", 0, segmentation={"size": [16, 12], "counts": [192]}),
        r"annotations\[0\] of",
    ),
}


@pytest.mark.parametrize(("written", "problem"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(written, problem, coco):
    with pytest.raises(FileFormatError, match=problem):
        coco(written)


def test_brackets_without_end_are_refused_in_words(coco):
    with pytest.raises(FileFormatError):
        coco("[" * 100_000)


@pytest.mark.data
def test_a_real_file_s_areas_are_those_of_its_outlines(shared_data):
    photos = read_photos(shared_data / "coco-88" / "instances.json")
    assert (len(photos), sum(bool(photo.boxes) for photo in photos)) == (88, 86)
    written = json.loads((shared_data / "coco-88" / "instances.json").read_text())
    places = {image["file_name"]: image for image in written["images"]}
    names = {category["id"]: category["name"] for category in written["categories"]}
    for photo in (photo for photo in photos if len(photo.boxes) == 1):
        image = places[f"images/{photo.path.name}"]
        (own,) = (
            each
            for each in written["annotations"]
            if each["image_id"] == image["id"] and names[each["category_id"]] == photo.label
        )
        area = int(photo.region((image["height"], image["width"])).sum())
        assert area == pytest.approx(own["area"], rel=0.05, abs=20)  # COCO's own area is that of the outline, unscaled
