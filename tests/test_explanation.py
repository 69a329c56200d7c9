import json
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from regard.errors import FileFormatError, TargetError
from regard.explanation import Explanation, join
from regard.images import Geometry
from regard.question import TargetAnswer

GOLDEN = Path(__file__).parent / "golden" / "explanation-v1.safetensors"
TENSORS = ("maps", "logits", "pictures", "attention", "prefix")
LATER = ("signs", "ranks")
"""Fields that files had not from the first."""
nan = float("nan")


def written_today():
    """What the golden file holds; it was made once, by `written_today().save(GOLDEN)`, in format version 1."""
    return Explanation(
        maps=torch.tensor([[[[0.5, -1.25, 3], [0, 1e-30, -2]]] * 2, [[[nan] * 3] * 2, [[1, 2, 3], [4, 5, nan]]]]),
        targets=(
            (TargetAnswer("tabby, tabby cat", 281, 9.75, 0.625), TargetAnswer("concept 角 $x_1$", None, -0.5, None)),
            (TargetAnswer("Straßenbahn", 829, 3.0, 0.25), TargetAnswer("any target", None, None, None)),
        ),
        logits=torch.tensor([[9.75, 1.5, -2], [3, nan, 0.125]]),
        geometries=(
            Geometry(photo=(4, 8), frame=(4, 6), box=(1.0, 0.0, 7.0, 4.0)),
            Geometry(photo=(30, 20), frame=(4, 6), box=(0.25, 8.4, 19.75, 21.6)),
        ),
        pictures=torch.arange(2 * 4 * 6 * 3, dtype=torch.uint8).reshape(2, 4, 6, 3),
        method="cdam",
        settings={"layer": "blocks.11", "terms": ["value"], "share": 0.1, "seed": None, "ünï": {"deep": True}},
        classifier="timm:vit_small_patch16_224",
        classifier_hash="0f" * 32,
        signed=True,
        per_target=True,
        attention=torch.arange(24.0).reshape(2, 2, 2, 3) / 8,
        not_finite=(1,),
        forwards=2,
        backwards=4,
        notes=("the tail was differentiated", "zweite Notiz – 注"),
        version="0.1.0",
    )


def same(one, other):
    for field in fields(Explanation):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, torch.Tensor):
            assert (a.dtype, a.shape) == (b.dtype, b.shape), field.name
            assert torch.equal(a.float().nan_to_num(7e9), b.float().nan_to_num(7e9)), field.name
        else:
            assert (type(a), a) == (type(b), b), field.name
    return True


def header_of(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["regard"])


def with_header(path, header):
    """The golden file with another header."""
    save_file(load_file(GOLDEN), path, {"regard": header if isinstance(header, str) else json.dumps(header)})
    return path


def test_a_file_of_format_version_1_is_read_as_it_was_written():
    assert same(Explanation.load(GOLDEN), written_today())


def test_a_file_from_before_signs_were_written_has_the_usual_ones():
    assert "signs" not in header_of(GOLDEN)
    assert Explanation.load(GOLDEN).signs == ("against the target", "for the target")


def test_what_is_written_today_is_format_version_1(tmp_path):
    written_today().save(tmp_path / "new")
    assert header_of(tmp_path / "new") == header_of(GOLDEN) | {"signs": ["against the target", "for the target"]}
    new, golden = load_file(tmp_path / "new"), load_file(GOLDEN)
    assert new.keys() == golden.keys()
    assert [new[name].dtype for name in sorted(new)] == [golden[name].dtype for name in sorted(new)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"attention": None},
        {"prefix": torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))},
        {"logits": None, "attention": None},
        {"settings": {}, "notes": (), "not_finite": (), "version": "", "signed": False, "per_target": False},
        {"signs": ("hidden", "kept")},
    ],
    ids=lambda changes: ", ".join(changes) or "all",
)
def test_every_field_survives_saving(changes, tmp_path):
    explanation = replace(written_today(), **changes)
    explanation.save(tmp_path / "cat.safetensors")
    assert same(Explanation.load(str(tmp_path / "cat.safetensors")), explanation)


@pytest.mark.parametrize(
    "changes",
    [
        {"maps": written_today().maps[:, :1].expand(-1, 2, -1, -1)},
        {"maps": written_today().maps.mT, "pictures": written_today().pictures.flip(2)},
        dict.fromkeys(["maps", "attention"], written_today().attention),
    ],
    ids=["expanded", "turned", "shared"],
)
def test_views_and_shared_memory_are_saved_as_what_they_show(changes, tmp_path):
    for explanation in (whole := replace(written_today(), **changes), whole[1]):
        explanation.save(tmp_path / "cat")
        assert same(Explanation.load(tmp_path / "cat"), explanation)


def test_saving_replaces_the_file_whole_or_not_at_all(tmp_path, monkeypatch):
    path, whole = tmp_path / "cat.safetensors", written_today()
    whole[0].save(path)
    whole.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["cat.safetensors"]

    def full(*_):
        raise OSError("no space left")

    for write in ("write_bytes", "replace"):
        with monkeypatch.context() as broken:
            broken.setattr(Path, write, full)
            with pytest.raises(OSError, match="no space"):
                whole[0].save(path)
        assert same(Explanation.load(path), whole)


@pytest.mark.parametrize("length", [0, 4, 8, 100, -500, -1])
def test_a_truncated_file_is_refused(length, tmp_path):
    (tmp_path / "cut").write_bytes(GOLDEN.read_bytes()[:length])
    with pytest.raises(FileFormatError, match="readable safetensors"):
        Explanation.load(tmp_path / "cut")


def test_what_is_no_explanation_is_refused(tmp_path):
    save_file({"weight": torch.ones(2)}, tmp_path / "weights")
    save_file({"weight": torch.ones(2)}, tmp_path / "others", {"regard": '{"format": "regard.tame"}'})
    (tmp_path / "text").write_text("these are no maps at all" * 20)
    for name, came in (("weights", "no regard header"), ("others", "regard.tame")):
        with pytest.raises(FileFormatError, match="holds no explanation") as refusal:
            Explanation.load(tmp_path / name)
        assert refusal.value.came == came
    for name, refusal in (("text", "readable"), (".", "readable"), ("missing", "there is no file")):
        with pytest.raises(FileFormatError, match=refusal):
            Explanation.load(tmp_path / name)


def test_a_newer_format_is_refused_with_what_to_do(tmp_path):
    path = with_header(tmp_path / "newer", header_of(GOLDEN) | {"format_version": 2, "version": "9.9"})
    with pytest.raises(FileFormatError, match="newer regard") as refusal:
        Explanation.load(path)
    assert refusal.value.came == "format 2, regard 9.9"
    assert refusal.value.remedy == "upgrade regard"


@pytest.mark.parametrize("name", [field.name for field in fields(Explanation) if field.name not in (*TENSORS, *LATER)])
def test_a_header_without_one_of_its_fields_is_refused_as_damaged(name, tmp_path):
    header = header_of(GOLDEN)
    del header[name]
    with pytest.raises(FileFormatError, match="damaged"):
        Explanation.load(with_header(tmp_path / "damaged", header))


@pytest.mark.parametrize(
    "header",
    [
        "not json",
        "[]",
        "7",
        "null",
        {"format_version": "two"},
        {"targets": 3},
        {"targets": [[{"name": "ant", "colour": 1}]]},
        {"geometries": [{"photo": [1, 2]}]},
        {"notes": 1},
    ],
    ids=str,
)
def test_a_header_of_nonsense_is_refused(header, tmp_path):
    header = header if isinstance(header, str) else header_of(GOLDEN) | header
    with pytest.raises(FileFormatError):
        Explanation.load(with_header(tmp_path / "nonsense", header))


@pytest.mark.parametrize("name", ["maps", "pictures"])
def test_a_file_without_maps_or_pictures_is_refused(name, tmp_path):
    rest = {other: tensor for other, tensor in load_file(GOLDEN).items() if other != name}
    save_file(rest, tmp_path / "less", {"regard": json.dumps(header_of(GOLDEN))})
    with pytest.raises(FileFormatError, match="damaged"):
        Explanation.load(tmp_path / "less")


@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=5))
def test_any_damage_gives_an_explanation_or_a_refusal_and_no_other_error(tmp_path_factory, damage):
    content = bytearray(GOLDEN.read_bytes())
    for place, value in damage:
        content[int(place * len(content))] = value
    path = tmp_path_factory.mktemp("damaged") / "file"
    path.write_bytes(content)
    with suppress(FileFormatError):
        assert isinstance(Explanation.load(path), Explanation)
    path.unlink()


def test_one_image_is_taken_out_with_all_that_is_its_own():
    whole = replace(written_today(), prefix=torch.randn(2, 3, 5))
    second = whole[1]
    assert (len(whole), len(second)) == (2, 1)
    for name in TENSORS:
        part = getattr(whole, name)[1:]
        assert getattr(second, name).nan_to_num(7e9).equal(part.nan_to_num(7e9))
    assert (second.targets, second.geometries) == (whole.targets[1:], whole.geometries[1:])
    assert [one.not_finite for one in whole] == [(), (0,)]
    assert all(same(one, whole[place]) for place, one in enumerate(whole))
    assert same(whole[-1], second)
    assert same(whole[-2], whole[0])
    bare = replace(whole, logits=None, attention=None, prefix=None)[0]
    assert (bare.logits, bare.attention, bare.method) == (None, None, "cdam")


@pytest.mark.parametrize("image", [2, -3])
def test_there_is_no_image_beyond_the_last(image):
    with pytest.raises(IndexError, match=f"image {image} of 2"):
        written_today()[image]


def test_a_map_is_found_by_place_or_name():
    whole = written_today()
    assert whole.map_of("tabby, tabby cat").equal(whole.maps[0, 0])
    assert whole.map_of(1).equal(whole.maps[0, 1])
    assert whole.map_of("any target", image=1)[0].tolist() == [1, 2, 3]
    for missing in ("Straßenbahn", 2, -1, None):
        with pytest.raises(TargetError, match="no such target") as refusal:
            whole.map_of(missing)
        assert "tabby" in refusal.value.expected


@given(st.integers(1, 20), st.integers(1, 20))
def test_the_block_means_of_nearest_pixels_are_the_raw_maps(down, across):
    maps = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(down))
    pixels = replace(written_today(), maps=maps).to_pixels((5 * down, 7 * across), "nearest")
    blocks = pixels.unflatten(3, (7, across)).unflatten(2, (5, down))
    assert blocks.double().mean(dim=(3, 5)).equal(maps.double())
    assert blocks.amax(dim=(3, 5)).equal(blocks.amin(dim=(3, 5)))


def test_pixels_are_bilinear_and_of_the_frame_s_size_unless_said_otherwise():
    explanation = replace(written_today(), maps=torch.tensor([0.0, 1.0]).expand(2, 1, 1, 2))
    assert explanation.to_pixels().shape == (2, 1, 4, 6)
    assert explanation.to_pixels((1, 4))[0, 0, 0].tolist() == [0, 0.25, 0.75, 1]
    assert explanation.to_pixels((1, 4), "nearest")[0, 0, 0].tolist() == [0, 0, 1, 1]


def test_on_the_photo_a_map_lies_where_the_crop_lay_and_is_nan_elsewhere():
    cropped = Geometry(photo=(4, 8), frame=(16, 16), box=(2.0, 0.0, 6.0, 4.0))
    whole = replace(
        written_today(),
        maps=torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]], [[[5.0, 6.0], [7.0, 8.0]]]]),
        geometries=(cropped, Geometry.whole((2, 2))),
    )
    first, second = whole.on_photo("nearest")
    upper, lower = [nan, nan, 1, 1, 2, 2, nan, nan], [nan, nan, 3, 3, 4, 4, nan, nan]
    assert torch.equal(first.nan_to_num(-1), torch.tensor([[upper, upper, lower, lower]]).nan_to_num(-1))
    assert second.tolist() == [[[5, 6], [7, 8]]]
    for mode in ("nearest", "bilinear"):
        smaller, larger = whole.on_photo(mode, longest=4)
        assert smaller.nan_to_num(-1).tolist() == [[[-1, 1, 2, -1], [-1, 3, 4, -1]]]
        assert larger.shape == (1, 4, 4)
    assert whole.on_photo(longest=1)[0].shape == (1, 1, 1)


def test_joined_parts_are_the_whole():
    whole = written_today()
    parts = [replace(part, forwards=1, backwards=2) for part in whole]
    assert same(join(parts), whole)
    assert join(parts[:1]) is parts[0]


def test_joining_shifts_places_sums_passes_and_says_every_note_once():
    whole = written_today()
    parts = [
        replace(whole, not_finite=(0,), notes=("a", "b")),
        replace(whole[0], not_finite=(), notes=("b",), forwards=10),
        replace(whole, not_finite=(0, 1), notes=("c", "a"), logits=whole.logits * 2),
    ]
    found = join(parts)
    assert (len(found), found.not_finite) == (5, (0, 3, 4))
    assert (found.forwards, found.backwards, found.notes) == (14, 12, ("a", "b", "c"))
    assert found.logits[3:].nan_to_num(-1).equal((whole.logits * 2).nan_to_num(-1))
    assert found.geometries[2] == whole.geometries[0]
    assert same(found[4], replace(parts[2][1], notes=found.notes, forwards=14, backwards=12))
    bare = join([replace(part, logits=None, attention=None) for part in parts])
    assert (bare.logits, bare.attention) == (None, None)
