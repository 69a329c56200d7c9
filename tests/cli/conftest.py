"""What the tests of `regard compare` share, and those of `regard evaluate`."""

import shlex
import sys
from pathlib import Path

import pytest
from PIL import Image

from regard.cli import compare as command
from regard.cli.app import main

from ..evaluate.pictures import LABELS as PICTURED
from ..evaluate.pictures import photos_in, tiny_cnn, tiny_vit
from ..explainers.networks import classifier_of, cnn, vit

LABELS = ["ant", "bee, honey bee", "cat", "crane", "crane"]


@pytest.fixture
def program(monkeypatch, capfd):
    """Runs `regard …`; gives exit code, standard output, standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["regard", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capfd.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture
def compare(monkeypatch, tmp_path, program):
    """Runs `regard compare …` in an empty directory; gives exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: program("compare", *arguments)


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Names of tiny classifiers that `load` then knows, for comparisons that are not drawn."""
    known = {
        "vit": classifier_of(vit(), labels=LABELS, name="vit"),
        "other": classifier_of(vit(seed=7), labels=["dog", "honey bee", "tom, cat", "fox", "ant"], name="vit"),
        "cnn": classifier_of(cnn(), labels=LABELS, name="cnn"),
        "headless": classifier_of(vit(num_classes=0), name="headless"),
    }
    monkeypatch.setattr("regard.models.catalog.load", lambda name, **_: known[name])
    monkeypatch.setattr("regard.models.catalog.DEFAULT", "vit")
    monkeypatch.setattr(command, "draw", lambda *given: f"pictures/{given[-1]}")
    Image.effect_mandelbrot((50, 40), (-2, -1, 1, 1), 60).save(tmp_path / "photo.png")
    return known


@pytest.fixture
def evaluate(monkeypatch, tmp_path, program):
    """Runs `regard evaluate …` in a directory with six photos, of which the tiny classifiers are right about some."""
    known = {"vit": tiny_vit(), "cnn": tiny_cnn()}
    half = tiny_vit(precision="bfloat16")

    def load(name, precision="float32", **_):
        return half if precision == "bfloat16" else known[name]

    monkeypatch.setattr("regard.models.catalog.load", load)
    monkeypatch.setattr("regard.models.catalog.DEFAULT", "vit")
    monkeypatch.chdir(tmp_path)
    paths = photos_in(tmp_path / "photos", 6)
    right = known["vit"](known["vit"].prepare(paths)).argmax(1).tolist()
    other = known["cnn"](known["cnn"].prepare(paths)).argmax(1).tolist()
    labels = [
        *right[:4],
        *(other[place] if other[place] != right[place] else (right[place] + 1) % 5 for place in (4, 5)),
    ]
    lines = [f"photos/{path.name},{PICTURED[label]},2,4,20,30" for path, label in zip(paths, labels, strict=True)]
    Path("photos.csv").write_text("\n".join(["file,label,x1,y1,x2,y2", *lines, ""]), encoding="utf-8")

    return lambda text: program("evaluate", *shlex.split(text))
