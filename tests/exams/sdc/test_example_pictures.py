"""The script of docs/sdc.md draws both pictures, and says what interventions do to single mosaics."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from regard.exams.sdc import examine
from tests.exams.sdc.hand_made import above, selective, singletons
from tests.exams.sdc.item_sets import write_arrays


@pytest.fixture(scope="module")
def example():
    file = Path(__file__).parents[3] / "examples" / "sdc_pictures.py"
    spec = importlib.util.spec_from_file_location("sdc_pictures", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_both_pictures_are_drawn_and_each_seed_and_mosaic_is_told(example, tmp_path, capsys):
    small = {"focus": "linear", "classifier": "linear", "train": 20, "test": 40, "epochs": 1}
    example.garments(replace(example.GARMENTS, **small), write_arrays(tmp_path, shape=(6, 6)), tmp_path)
    example.boxes(replace(example.BOXES, **small), tmp_path)
    said = capsys.readouterr().out
    assert "without the foreground's weight" in said
    assert [f"seed {seed}: boxes-2" in said for seed in range(10)] == [True] * 10
    assert {Image.open(tmp_path / f"sdc-{name}.png").width for name in ("mosaics", "regions")} == {900}


def test_what_is_said_of_a_mosaic_is_what_the_closed_form_has(example):
    task = singletons(0.0)
    model = selective(lambda x: x, lambda z: above(-0.2)(z))  # of weights e⁻¹ : e⁰ the average is −0.27
    found = examine(model, task)
    number = int((found.answers.label == 0).nonzero()[0, 0])
    assert example.intervened(model, found, number) == (
        f"mosaic {number}: minus one has 27%, background 73%; all weight on the background: plus one; "
        "without the foreground's weight: plus one"
    )
    assert found.labels[int(found.answers.logits[number].argmax())] == "minus one"
    assert torch.equal(found.answers.weights[number].argmax(), 1 - found.answers.position[number])
