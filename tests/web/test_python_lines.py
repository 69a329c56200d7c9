"""The lines that a job gives are run, in a program of their own, and find what the job found."""

import base64
import subprocess
import sys

import numpy as np
import pytest
import torch

import regard
from regard.evaluate.asked import methods_asked
from regard.web.classifiers import Served, written
from regard.web.photos import VisitorPhoto
from regard.web.python_lines import lines_of_exam, lines_of_map
from regard.web.schema import Mosaic

from ..explainers.networks import cnn
from .conftest import ask, give, picture

LOADED = """
import base64, regard, torch
from torch import nn

def load(name):
    assert name == "cnn"
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(8, 5))
    network.load_state_dict(torch.load("weights.pt"))
    return regard.Classifier(network.eval(), regard.Preparation(size=32, mean=(0.5,) * 3, std=(0.5,) * 3))

regard.load = load
"""


def runs(lines, folder, found="explanation.maps"):
    """The numbers that lines find, where `regard.load` gives the test's classifier."""
    script = "\n".join([LOADED, lines, f"print(base64.b64encode({found}.float().numpy().tobytes()).decode())"])
    asked = [sys.executable, "-c", script]
    done = subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.frombuffer(base64.b64decode(done.stdout.split()[-1]), "<f4")


def test_lines_of_a_map_give_the_same_map(client, tmp_path):
    name = "my 'cat'.png"
    image = picture(3)
    image.save(tmp_path / name)
    photo = give(client, image, name)
    concept = ask(client, kind="concept", classifier="cnn", name="c'c", photos=[photo], against=["sample:noise"])
    picture(7).save(tmp_path / "noise.png")
    target = {"kind": "concept", "concept": concept["result"]["concept"]}
    job = ask(
        client,
        kind="explain",
        classifier="cnn",
        photo=photo,
        method="rise",
        target=target,
        settings={"samples": 20, "fill": "blur"},
    )
    assert job["state"] == "done", job["error"]
    torch.save(cnn().state_dict(), tmp_path / "weights.pt")
    found = runs(job["result"]["python"], tmp_path)
    assert found == pytest.approx(np.frombuffer(base64.b64decode(job["result"]["values"]), "<f4"), abs=1e-6)
    assert (tmp_path / "map.png").stat().st_size > 1000


def test_lines_of_curves_give_the_same_curves(client, tmp_path):
    image = picture(3)
    image.save(tmp_path / "a.png")
    photo = give(client, image, "a.png")
    target = {"kind": "class", "index": 2}
    asked = {"kind": "curve", "classifier": "cnn", "photo": photo, "method": "grad-cam", "target": target}
    job = ask(client, **asked, removal="blur", steps=5)
    assert job["state"] == "done", job["error"]
    torch.save(cnn().state_dict(), tmp_path / "weights.pt")
    for name in ("deletion", "insertion"):
        found = runs(job["result"]["python"], tmp_path, f"found.{name}")
        assert len(found) == 6
        assert found == pytest.approx(np.array(job["result"][name]), abs=1e-5)


def test_every_kind_of_target_is_written_as_it_is_asked(classifiers):
    served = Served("cnn", classifiers["cnn"])
    photo = VisitorPhoto("0", "a.png", 1, 1)
    for target, expected in (
        (regard.Class(3), "regard.Class(3)"),
        (regard.Predicted(2), "regard.Predicted(2)"),
        (regard.Probability(regard.Class(1)), "regard.Probability(regard.Class(1))"),
        (regard.Difference(regard.Class(0), regard.Class(1)), "regard.Difference(regard.Class(0), regard.Class(1))"),
    ):
        lines = lines_of_map(served, photo, "rise", {"samples": 5}, target, ())
        assert f"regard.explain(photo, classifier, 'rise', {expected}, samples=5)" in "\n".join(lines)
        assert type(eval(expected)) is type(target)


def test_a_name_cannot_become_code(classifiers):
    served = Served("cnn", classifiers["cnn"])
    photo = VisitorPhoto("0", 'a"; import os; "\n.png', 1, 1)
    lines = lines_of_map(served, photo, "rise", {}, regard.Class(0), ())
    (line,) = [line for line in lines if line.startswith("photo = ")]
    assert eval(line.removeprefix("photo = ")) == photo.name


def test_settings_are_written_as_the_command_line_writes_them(classifiers):
    text = written("rise", {"samples": 5, "kept": 0.25})
    assert text == "rise:kept=0.25:samples=5"
    assert methods_asked([text], classifiers["cnn"])[0].settings == {"samples": 5, "kept": 0.25}


def test_lines_of_an_exam_run(tmp_path):
    asked = Mosaic(kind="mosaic", exam="boxes-1", paradigm="marginal", seed=3)
    lines = "\n".join(lines_of_exam(asked, "linear", 2, 0.01, 100, 200))
    found = {}
    exec(compile(lines.replace("print(examine", "kept = (examine"), "lines", "exec"), found)
    assert found["kept"].seed == 3
    assert len(found["kept"].answers) == 200
