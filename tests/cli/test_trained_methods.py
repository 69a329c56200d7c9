"""`tame:FILE` in every command, and `regard export`."""

import json
import shlex
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from PIL import Image

import regard
from regard.cli.photos import find_photos
from regard.compat import import_optional
from regard.runs import read_run

from ..explainers.attentions import drawn
from ..explainers.networks import pixels_of


@pytest.fixture
def regard_program(monkeypatch, tiny, tmp_path, program):
    """Runs `regard …` in a folder with a photo, `vit.tame` and `cnn.tame`; exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    for name in ("vit", "cnn"):
        drawn(tiny[name]).save(tmp_path / f"{name}.tame")
    drawn(tiny["vit"], photos=3).save(tmp_path / "poor.tame")
    return lambda text: program(*shlex.split(text))


def test_explain_reads_an_attention_from_its_file(regard_program, tiny, tmp_path):
    code, out, err = regard_program("explain photo.png -c vit -m tame:vit.tame -t ant --run here --json")
    assert (code, err) == (0, "")
    (row,) = json.loads(out)["rows"]
    found = regard.Explanation.load(tmp_path / "here" / row["maps"])
    tame = regard.TAME(tiny["vit"], drawn(tiny["vit"]))
    assert found.maps.equal(tame(find_photos(["photo.png"]), 0).maps)
    configuration = read_run(tmp_path / "here").manifest["configuration"]
    assert configuration["method"] == "tame"
    assert len(configuration["method_file"]) == 64


def test_a_file_that_has_changed_is_another_run(regard_program, tiny, tmp_path):
    words = "explain photo.png -c vit -m tame:vit.tame -t ant --run here"
    assert regard_program(words)[0] == 0
    drawn(tiny["vit"], at="block").save(tmp_path / "vit.tame")
    code, _, err = regard_program(words)
    assert code != 0
    assert "here" in err
    assert "Traceback" not in err


def test_settings_are_written_for_explain_as_for_evaluate(regard_program):
    code, out, _ = regard_program("explain photo.png -c vit -m smooth-cdam:samples=2 -t ant --run here --json")
    assert code == 0
    assert json.loads(out)["rows"][0]["method"] == "smooth-cdam"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("explain photo.png -c vit -m tame", "regard train tame PHOTOS --classifier vit --out FILE"),
        ("explain photo.png -c vit -m tame:nowhere", "regard train tame PHOTOS --classifier vit --out nowhere"),
        ("explain photo.png -c vit -m tame:cnn.tame", "was trained for another classifier"),
        ("explain photo.png -c vit -m tame:photo.png", "not a readable safetensors file"),
        ("explain photo.png -c vit -m tame:vit.tame:force=perhaps", "true | false"),
        ("explain photo.png -c vit -m tame:vit.tame,cdam", "one method is named here"),
        ("explain photo.png -c vit -m all", "one method is named here"),
        ("explain photo.png -c vit -m tame:poor.tame -t ant", "hardly seen the class 'ant'"),
        ("compare photo.png --models vit --methods tame:nowhere,cdam", "there is no file 'nowhere'"),
        ("compare photo.png --models vit --methods tame,cdam", "tame is read from a file"),
        ("export vit.tame -c cnn --out it.onnx", "was trained for another classifier"),
        ("export vit.tame -c vit --out it.txt", "ends in .onnx"),
        ("export nowhere -c vit --out it.onnx", "there is no file 'nowhere'"),
        ("export vit.tame -c vit --out nowhere/it.onnx", "cannot be written"),
    ],
)
def test_wrong_use_is_said_in_words(regard_program, tmp_path, words, problem):
    before = sorted(tmp_path.iterdir())
    code, out, err = regard_program(words)
    assert code == 2, err
    assert problem in err
    assert "Traceback" not in err
    assert out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_a_photo_whose_class_was_hardly_seen_fails_alone(regard_program, tiny, tmp_path):
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    code, _, err = regard_program("explain photo.png red.png -c vit -m tame:poor.tame --top 1 --run here")
    assert code == 1
    for photo in ("photo.png", "red.png"):
        assert err.count(f"failed: {photo}: this attention has hardly seen") == 1
    assert regard_program("explain photo.png -c vit -m tame:poor.tame:force=true --top 1 --run there")[0] == 0


def test_a_likely_class_that_was_hardly_seen_leaves_the_others_their_maps(regard_program, tiny, tmp_path):
    trained = drawn(tiny["vit"])
    order = tiny["vit"](tiny["vit"].prepare("photo.png")).argsort(dim=1, descending=True)[0].tolist()
    seen = tuple(5 if index == order[0] else 20 for index in range(5))
    replace(trained, card=replace(trained.card, photos_of_class=seen)).save(tmp_path / "some.tame")
    code, out, err = regard_program("explain photo.png -c vit -m tame:some.tame --run here")
    assert code == 0
    rows = sorted(read_run(tmp_path / "here").rows, key=lambda row: row["place"])
    assert [row["class_index"] for row in rows] == order[:3]
    assert [row["status"] for row in rows] == ["no map", "explained", "explained"]
    assert "training saw 5 photos of it, fewer than 20; force=True" in rows[0]["error"]
    assert [row["strongest"] is None for row in rows] == [True, False, False]
    assert Image.open(tmp_path / "here" / rows[0]["picture"]).size[0] > 800
    assert (err.count("note: photo.png: no map of"), len(err.splitlines())) == (1, 1)
    lines = out.splitlines()
    assert lines[1].endswith("%, no map")
    assert all("%, strongest " in line for line in lines[2:4])
    assert lines[4].endswith(": red: kept by the mask, blue: hidden by the mask")


def test_signed_evidence_is_still_read_as_for_and_against(regard_program):
    code, out, _ = regard_program("explain photo.png -c vit -m cdam -t ant --run here")
    assert code == 0
    assert "red: for the target, blue: against the target" in out


def test_compare_sets_attentions_beside_other_methods(regard_program):
    words = "compare photo.png --models vit,cnn --methods tame:vit.tame,grad-cam -m tame:cnn.tame --targets ant --json"
    code, out, _ = regard_program(words)
    assert code == 0
    rows = [row for row in json.loads(out)["rows"] if row["kind"] == "map"]
    assert {row["method"] for row in rows if row["maps"] is not None} == {
        "tame:vit.tame on vit",
        "grad-cam on vit",
        "grad-cam on cnn",
        "tame:cnn.tame on cnn",
    }


def test_the_shipped_attention_needs_no_file(regard_program, tmp_path, monkeypatch):
    folder = tmp_path / "shipped"
    folder.mkdir()
    (tmp_path / "cnn.tame").rename(folder / "cnn.safetensors")
    monkeypatch.setattr("regard_embedded.attentions", lambda: sorted(folder.iterdir()))
    code, out, _ = regard_program("explain photo.png -c cnn -m tame -t ant --run here --json")
    assert code == 0
    assert json.loads(out)["rows"][0]["method"] == "tame"
    code, out, _ = regard_program("compare photo.png --models vit,cnn --methods tame,grad-cam --targets ant --json")
    assert code == 0
    rows = [row for row in json.loads(out)["rows"] if row["kind"] == "map"]
    assert "tame on cnn" in {row["method"] for row in rows if row["maps"] is not None}
    assert "tame on vit" not in {row["method"] for row in rows if row["maps"] is not None}


def test_methods_says_that_tame_has_a_file(regard_program):
    code, out, _ = regard_program("methods --json")
    (listed,) = [method for method in json.loads(out) if method["name"] == "tame"]
    assert code == 0
    assert "tame:FILE" in listed["networks"]
    assert set(listed["answers"]) == {"class", "predicted", "per image"}
    assert listed["signed"]


def test_export_writes_a_file_that_runs_without_regard(regard_program, tiny, tmp_path):
    code, out, err = regard_program("export vit.tame --classifier vit --out it.onnx --json")
    assert code == 0
    said = json.loads(out)
    assert said["file"] == "it.onnx"
    assert max(said["logits_difference"], said["maps_difference"]) <= 1e-4
    assert len(err.splitlines()) == 1
    code, _, err = regard_program("export vit.tame --classifier vit --out it.onnx")
    assert code == 2
    assert "--force" in err
    import_optional("onnxruntime", "export")
    script = (
        "import sys, numpy, onnxruntime\n"
        "session = onnxruntime.InferenceSession('it.onnx', providers=['CPUExecutionProvider'])\n"
        "pixels = numpy.load('pixels.npy')\n"
        "logits, maps = session.run(None, {'pixels': pixels, 'classes': numpy.array([[1, 4], [0, 0]])})\n"
        "numpy.savez('found.npz', logits=logits, maps=maps)\n"
        "assert not {'regard', 'torch'} & set(sys.modules)\n"
    )
    import numpy as np

    np.save(tmp_path / "pixels.npy", pixels_of().numpy())
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)
    found = np.load(tmp_path / "found.npz")
    tame = regard.TAME(tiny["vit"], drawn(tiny["vit"]))
    expected = tame(pixels_of(), regard.PerImage([[1, 4], [0, 0]]))
    assert (torch.from_numpy(found["maps"]) - expected.maps).abs().max() <= 1e-4
    assert (torch.from_numpy(found["logits"]) - expected.logits).abs().max() <= 1e-4
