"""What the tests of `regard compare` share."""

import sys

import pytest
from PIL import Image

from regard.cli import compare as command
from regard.cli.app import main

from ..explainers.networks import classifier_of, cnn, vit

LABELS = ["ant", "bee, honey bee", "cat", "crane", "crane"]


@pytest.fixture
def compare(monkeypatch, tmp_path, capsys):
    """Runs `regard compare …` in an empty directory; gives exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["regard", "compare", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run


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
    monkeypatch.setattr(command, "draw", lambda *given: f"pictures/{given[-1]}.png")
    Image.effect_mandelbrot((50, 40), (-2, -1, 1, 1), 60).save(tmp_path / "photo.png")
    return known
