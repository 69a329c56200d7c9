"""Photos with boxes, in benchmarks/study_brnpa.py."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import regard
from regard.metrics.curves import Curves

from ..training.brnpa_trainings import PHOTOS, normed
from .rows import study_of


@pytest.fixture
def boxed(benchmarks, tmp_path, monkeypatch):
    """Two photos of 32×32, whose left half is boxed; the network that is looked at is right about the first."""
    network = regard.Classifier(normed(), regard.Preparation(size=32, fit="squash"), name="tiny")
    monkeypatch.setattr(regard, "load", lambda _: network)
    folder = tmp_path / benchmarks["boxes"].BOXED
    folder.mkdir()
    files = [folder / f"{number}.png" for number in range(2)]
    for file, photo in zip(files, PHOTOS, strict=False):
        Image.fromarray(photo[:32, :32]).save(file)
    said = network(network.prepare(files)).argmax(dim=1).tolist()
    lines = [f"{number}.png,val,0,{(said[number] + number) % 5}" for number in range(2)]
    (folder / "labels.csv").write_text("\n".join(["file,split,label,imagenet_index", *lines]), encoding="utf-8")
    lines = [f"{number}.png,0,0,16,32" for number in range(2)]
    (folder / "boxes.csv").write_text("\n".join(["file,x1,y1,x2,y2", *lines]), encoding="utf-8")
    return tmp_path, network, network.prepare(files)


def test_mass_inside_boxes_is_of_each_rank_s_map(benchmarks, boxed):
    data, network, pixels = boxed
    found, maps = benchmarks["boxes"].in_boxes(data, "tiny"), regard.BRNPA(network)(pixels).ranks.maps
    for rank in range(3):
        left = maps[:, rank, :, : maps.shape[-1] // 2].sum(dim=(1, 2)) / maps[:, rank].sum(dim=(1, 2))
        assert found[f"rank {rank + 1}"] == pytest.approx(left.tolist(), rel=1e-5)
    assert found["area of the boxes"] == [0.5, 0.5]


def test_a_finer_grid_is_judged_on_photos_that_the_classifier_gets_right(benchmarks, boxed, monkeypatch):
    boxes, seen = benchmarks["boxes"], []
    data, _, _ = boxed
    real = boxes.curves
    monkeypatch.setattr(boxes, "COARSE", (8, 8))
    monkeypatch.setattr(
        boxes, "curves", lambda judge, pixels, of, **how: seen.append(of.maps) or real(judge, pixels, of, **how)
    )
    found = boxes.on_finer_grid(data)
    assert [maps.shape[-1] for maps in seen] == [8, 16, 8, 32]
    assert np.isnan(found["deletion, 16 steps, 7×7"]).tolist() == [False, True]
    fine = seen[1][:, 0].double().numpy()
    cells = fine.reshape(2, 8, 2, 8, 2)
    within = cells.var(axis=(2, 4)).mean(axis=(1, 2)) / fine.var(axis=(1, 2))
    assert found[boxes.WITHIN] == pytest.approx(within.tolist(), rel=1e-3)


def test_a_curve_of_fewer_steps_is_read_from_one_of_twice_as_many(benchmarks):
    values = torch.tensor([[[0.8, 0.4, 0.4, 0.3, 0.0]]], dtype=torch.float64)
    read = Curves(torch.arange(5), 4, values.flip(2), values, {}, "pixel", "black", "float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmarks["boxes"], "STEPS", (2, 4))
        found = benchmarks["boxes"]._areas(read)
    assert found["deletion, 4 steps"].tolist() == pytest.approx([1.5 / 4 / 0.8])  # 0.4 + 1.1, the ends by half
    assert found["deletion, 2 steps"].tolist() == pytest.approx([0.8 / 2 / 0.8])


def test_photos_are_told_apart_by_what_their_boxes_cover(benchmarks, tmp_path):
    boxes, finer = benchmarks["boxes"], benchmarks["table_finer"]
    study = benchmarks["cases"].Study(tmp_path, tmp_path, tmp_path)
    row = {f"{figure}, {grid}": [0.5, 0.5, np.nan] for figure in finer.FIGURES for grid in boxes.GRIDS}
    row |= {"inside, 14×14": [0.7, 0.4, 0.2], boxes.WITHIN: [0.1, 0.2, 0.3], boxes.AREA: [0.25, 0.26, 0.9]}
    file = study.file(boxes.BOXED, boxes.FINER, 0)
    file.parent.mkdir()
    file.write_text(json.dumps(row), encoding="utf-8")
    said = finer.finer_grid(study)
    assert "| under a quarter | 1 | inside | 0.500 | +0.200 | +0.000 | +0.000 |" in said
    assert "| a quarter to a half | 1 | inside | 0.500 | -0.100 | +0.000 | +0.000 |" in said
    assert "| under a quarter | 1 | variance within cells of 7×7, of 14×14 |  | 0.100 |  |  |" in said
    assert "| more | 0 | deletion, 16 steps |  |  |  |  |" in said


def test_mass_inside_boxes_is_compared_with_their_area_and_with_rank_1_s(benchmarks, tmp_path):
    boxes, cases = benchmarks["boxes"], benchmarks["cases"]
    rows = {cases.LITE: {"rank 1": [0.5], "mean of ranks": [0.6], boxes.AREA: [0.2], "seconds": 3.0}}
    assert benchmarks["table"].boxes(study_of(benchmarks, tmp_path, rows, sets=(boxes.BOXED,)))[4:7] == [
        "| `regard:efficientnet-lite0` | rank 1 | 1 | 0.500 | +0.300 |  |",
        "| `regard:efficientnet-lite0` | mean of ranks | 1 | 0.600 | +0.400 | +0.100 |",
        "| `regard:efficientnet-lite0` | area of the boxes | 1 | 0.200 |  |  |",
    ]


def test_answers_on_finer_grids_are_held_against_the_true_classes_and_the_own_grid(benchmarks, boxed, monkeypatch):
    dilation, (data, network, pixels) = benchmarks["dilation"], boxed
    folder = data / dilation.SHOWN
    (data / benchmarks["boxes"].BOXED).rename(folder)
    said = network(pixels).argmax(dim=1).tolist()
    lines = [f"{number}.png,{(said[number] + number) % 5}" for number in range(2)]
    (folder / "labels.csv").write_text("\n".join(["file,class_index", *lines]), encoding="utf-8")
    asked = []
    monkeypatch.setattr(
        dilation, "high_resolution", lambda start, *how, **more: asked.append((*how, more["dilation"])) or start
    )
    found = dilation.right_untrained(data)
    assert found == {grid: [1.0, 0.0] for grid in (dilation.OWN, *dilation.FINER)}
    assert asked == [((1,), True), ((1,), False), ((1, 1), True), ((1, 1), False)]


def test_what_a_grid_costs_untrained_is_said_photo_by_photo(benchmarks, tmp_path):
    dilation, finer = benchmarks["dilation"], benchmarks["table_finer"]
    study = benchmarks["cases"].Study(tmp_path, tmp_path, tmp_path)
    assert finer.untrained(study) == []
    file = study.file(dilation.SHOWN, dilation.ANSWERS, 0)
    file.parent.mkdir()
    row = {"7×7": [1.0] * 4, "14×14, dilated": [1.0] * 4, "28×28, not dilated": [0.0] * 4, "seconds": 3.0}
    file.write_text(json.dumps(row), encoding="utf-8")
    assert finer.untrained(study)[4:7] == [
        "| 7×7 | 4 | 100.0 |  |",
        "| 14×14, dilated | 4 | 100.0 | +0.0 |",
        "| 28×28, not dilated | 4 | 0.0 | -100.0 |",
    ]
