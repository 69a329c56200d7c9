"""A file of a BR-NPA classifier is a classifier to `regard compare` and `regard evaluate`, as any other."""

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
