"""A file of a BR-NPA classifier is a classifier to every command, as any other."""

import json
from pathlib import Path

import pytest
import torch

import regard
from regard.attention.neck import RepresentativeNeck
from regard.explanation import Explanation

from ..evaluate.pictures import LABELS, photos_in
from ..explainers.networks import loud


@pytest.fixture
def found(monkeypatch, tmp_path, program):
    """Runs `regard …` beside a file, four photos and a CSV of what the file's classifier takes them for."""
    monkeypatch.chdir(tmp_path)
    backbone = regard.load("timm:test_resnet", pretrained=False)
    loud(backbone.network)
    classifier = regard.BRNPAClassifier(backbone, LABELS, strides=1, count=2, name="mine")
    loud(classifier.head, seed=4)
    classifier.save("mine.safetensors", {"summary": "a test"})
    regard.BRNPAClassifier(classifier, LABELS, head=classifier.head, count=2, name="again").save("again.safetensors")
    paths = photos_in(tmp_path / "photos", 4)
    answers = classifier(classifier.prepare(paths)).argmax(dim=1).tolist()
    lines = [f"photos/{path.name},{LABELS[answer]}" for path, answer in zip(paths, answers, strict=True)]
    Path("photos.csv").write_text("\n".join(["file,label", *lines, ""]), encoding="utf-8")
    return program, classifier


def others_in(file, count):
    """Photos of two other classes, and the file that says so."""
    paths = photos_in(Path("photos"), count)
    lines = [f"photos/{path.name},{'ant' if number % 2 else 'bee'}" for number, path in enumerate(paths)]
    Path(file).write_text("\n".join(["file,label", *lines, ""]), encoding="utf-8")


def test_its_maps_are_compared_with_those_of_another_file_and_method(found):
    program, classifier = found
    words = (
        "--models",
        "mine.safetensors,again.safetensors",
        "--methods",
        "br-npa,grad-cam",
        "--run",
        "here",
        "--json",
    )
    photo = Path("photos/n00.png")
    code, out, err = program("compare", photo, "--targets", "0,1", *words)
    assert code == 0, err
    rows = [row for row in json.loads(out)["rows"] if row["kind"] == "map"]
    assert {row["method"] for row in rows} == {
        f"{method} on {name}" for method in ("br-npa", "grad-cam") for name in ("mine.safetensors", "again.safetensors")
    }
    row = next(row for row in rows if row["method"] == "br-npa on mine.safetensors" and row["class_index"] == 1)
    kept = Explanation.load(Path("here") / row["maps"])
    whole = regard.BRNPA(classifier)([photo], [0, 1])
    assert torch.allclose(kept.maps[:, row["place"]], whole.maps[:, 1], atol=1e-5)
    assert float(kept.logits[0, 1]) == pytest.approx(float(whole.logits[0, 1]), abs=1e-5)


def test_files_of_three_tasks_on_one_backbone_are_drawn_side_by_side(found):
    """As a classification, a few-shot and a re-identification network are: other classes, and a neck."""
    program, _ = found
    backbone = regard.load("timm:test_resnet", pretrained=False)
    loud(backbone.network)
    regard.BRNPAClassifier(backbone, ["ant", "bee", "cow"], name="episodes").save("episodes.safetensors")
    neck = regard.BRNPAClassifier(
        backbone, ["ann", "ben"], pooling=lambda width: RepresentativeNeck(width=width), name="persons"
    )
    neck.save("persons.safetensors")
    files = ("mine.safetensors", "episodes.safetensors", "persons.safetensors")
    words = ("--models", ",".join(files), "--methods", "br-npa", "--targets", LABELS[0], "--run", "here", "--json")
    code, out, err = program("compare", Path("photos/n00.png"), *words)
    assert code == 0, err
    rows = json.loads(out)["rows"]
    maps = {row["method"]: row for row in rows if row["kind"] == "map"}
    assert set(maps) == {f"br-npa on {name}" for name in files}
    assert all(0 <= row["gini"] <= 1 for row in maps.values())
    assert len([row for row in rows if row["kind"] == "overlap"]) == 3


def test_its_methods_are_judged_on_photos_that_it_answers(found):
    program, _ = found
    words = ("--methods", "br-npa,br-npa:rank=2,grad-cam", "--metrics", "deletion,gini", "--steps", 2, "--json")
    code, out, err = program("evaluate", "photos.csv", "--classifier", "mine.safetensors", *words, "--run", "here")
    assert code == 0, err
    said = json.loads(out)
    assert said["gate"]["mine"]["counted"] == 4
    methods = {method["method"]: method for method in said["tables"][0]["methods"]}
    assert {"br-npa", "br-npa:rank=2", "grad-cam", "random"} <= methods.keys()
    assert all(0 <= methods[name]["gini"]["mean"] <= 1 for name in ("br-npa", "br-npa:rank=2"))
    assert methods["br-npa"]["gini"]["mean"] != methods["br-npa:rank=2"]["gini"]["mean"]


def test_its_methods_and_layers_are_listed(found):
    program, _ = found
    code, out, err = program("models", "mine.safetensors", "--json")
    assert code == 0, err
    assert "br-npa" in out


def test_a_head_of_other_classes_on_it_is_one_too_and_opens_again(found):
    program, classifier = found
    others_in("others.csv", 12)
    words = ("--classifier", "mine.safetensors", "--out", "others.safetensors", "--run", "trained")
    code, _, err = program("train", "head", "others.csv", *words)
    assert code == 0, err
    code, _, err = program("explain", Path("photos/n00.png"), "--classifier", "others.safetensors", "--run", "seen")
    assert code == 0, err
    others = regard.load("others.safetensors")
    assert isinstance(others, regard.BRNPAClassifier)
    assert others.labels == ["ant", "bee"]
    assert others.grid == classifier.grid
    pixels = classifier.prepare(["photos/n00.png"])
    assert torch.equal(others.embed(pixels), classifier.embed(pixels))
    explained = regard.BRNPA(others)(pixels, ["ant"])
    summed = explained.ranks.shares.sum(dim=2) + others.head.bias[:1]
    assert torch.allclose(summed, explained.logits[:, :1], atol=1e-4)


def test_a_head_of_two_layers_on_it_is_refused_before_anything_is_embedded(found):
    program, _ = found
    words = ("--classifier", "mine.safetensors", "--out", "others.safetensors", "--kind", "mlp")
    code, _, err = program("train", "head", "photos.csv", *words)
    assert code != 0
    assert "linear head" in err


@pytest.mark.parametrize("command", ["tame", "br-npa"])
def test_trainings_begin_with_it(command, found):
    program, _ = found
    others_in("others.csv", 20)
    source = "photos" if command == "tame" else "others.csv"
    words = ("--classifier", "mine.safetensors", "--out", "trained.safetensors", "--epochs", 1)
    code, _, err = program("train", command, source, *words)
    assert code == 0, err
    method = ("--classifier", "mine.safetensors", "--method", "tame:trained.safetensors:force=true")
    opened = method if command == "tame" else ("--classifier", "trained.safetensors", "--method", "br-npa")
    code, _, err = program("explain", Path("photos/n00.png"), *opened, "--run", "seen")
    assert code == 0, err
