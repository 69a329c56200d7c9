"""benchmarks/study_brnpa.py on a tiny network: what is kept of single photos, and what its tables make of it."""

import csv
import importlib
import itertools
import json
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import regard
from regard.metrics.curves import Curves

from .training.brnpa_trainings import LABELS, NAMES, PHOTOS, normed, start

SET = "colours"


@pytest.fixture(scope="module")
def benchmarks():
    folder = str(Path(__file__).parent.parent / "benchmarks")
    sys.path.insert(0, folder)
    try:
        names = ("boxes", "cases", "crossed", "heads", "measures", "table", "table_finer", "table_maps", "table_ranks")
        yield {name: importlib.import_module(f"study_brnpa_{name}") for name in names}
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def study(benchmarks, tmp_path_factory):
    """Photos, and a study of them whose trainings begin with a tiny network."""
    data, keep = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("keep")
    (data / SET).mkdir()
    with (data / SET / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "name", "split"])
        for number, (photo, label) in enumerate(zip(PHOTOS, LABELS, strict=True)):
            Image.fromarray(photo).save(data / SET / f"{number}.png")
            writer.writerow([f"{number}.png", label, "test" if number % 4 == 0 else "train"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmarks["cases"], "_published", lambda _: start(normed()))
        patch.setattr(regard, "load", partial(regard.load, network=normed()))
        yield benchmarks["cases"].Study(data, keep / "rows", keep / "networks", range(1), (SET,), quick=True)


@pytest.fixture(scope="module")
def trained(benchmarks, study):
    cases = benchmarks["cases"]
    return {name: study.train(case, SET, 0) for case in cases.CLAIMED if (name := case.name) in ("teacher", "student")}


def test_a_row_holds_the_answers_of_the_network_that_is_kept_to_the_photos_of_the_test_split(study, trained):
    for name, row in trained.items():
        network = study.network(name, SET, 0)
        files = [study.data / photo for photo in row["photos"]]
        assert sorted(int(file.stem) for file in files) == [n for n in range(len(PHOTOS)) if n % 4 == 0][: len(files)]
        assert [NAMES[index] for index in row["truth"]] == [LABELS[int(file.stem)] for file in files]
        assert torch.tensor(row["logits"]) == pytest.approx(
            network(network.prepare(files)).detach(), rel=1e-4, abs=1e-5
        )
        assert set(row["heads"]) == {"1", "2", "3", "1+2", "2+3"}
    assert trained["teacher"]["taught"] is None
    assert trained["student"]["taught"] == trained["teacher"]["logits"]


def test_a_training_that_was_killed_before_its_row_was_written_is_done_again_to_the_same_answers(
    benchmarks, study, trained
):
    case = benchmarks["cases"].CLAIMED[0]
    file = study.file(SET, case.name, 0)
    file.rename(file.with_suffix(".aside"))
    again = study.train(case, SET, 0)
    assert again["logits"] == trained["teacher"]["logits"]
    assert again["heads"] == trained["teacher"]["heads"]


def test_a_network_that_is_gone_is_trained_again_to_the_same_answers(study, trained):
    before = study.network("teacher", SET, 0)
    shutil.rmtree(study.networks / SET / "teacher-0")
    again = study.network("teacher", SET, 0)
    pixels = again.prepare(study.data / trained["teacher"]["photos"][0])
    assert torch.equal(again(pixels), before(pixels))


def test_parts_sum_to_the_logits_and_a_mirrored_photo_mirrored_again_has_the_same_places(
    benchmarks, study, trained, monkeypatch
):
    measures = benchmarks["measures"]
    found = measures.ranks_of(study, "student", SET, 0)
    assert np.sum(found["parts"], axis=2) == pytest.approx(np.array(trained["student"]["logits"]), abs=1e-5)
    down, across = found["grid"]
    places = np.array(found["places"])
    assert places.shape == (len(trained["student"]["truth"]), 3, 2)
    assert (places < [down, across]).all()
    mirrored = measures._mirrored(torch.tensor([[[0, 0], [1, across - 1]]]), across)
    assert mirrored.tolist() == [[[0, across - 1], [1, 0]]]


def test_a_head_fitted_afterwards_reads_the_vectors_of_its_ranks_of_the_same_photos(benchmarks, study, trained):
    found = benchmarks["heads"].fitted_heads(study, "teacher", SET, 0)
    assert found["photos"] == trained["teacher"]["photos"]
    assert [*found["truth"]] == [*trained["teacher"]["truth"]]
    assert set(found["heads"]) == {"1", "2", "3", "1+2", "2+3", "1+2+3"}
    said = [np.argmax(logits, axis=1) for logits in found["heads"].values()]
    assert np.mean(said[-1] == found["truth"]) > 0.5  # colours are told apart by any features; a third by chance


def test_another_networks_maps_are_judged_by_the_judges_answers_to_photos_that_it_gets_right(
    benchmarks, study, trained, monkeypatch
):
    measures = benchmarks["measures"]
    monkeypatch.setattr(measures, "STEPS", 2)
    row = trained["teacher"]
    logits = torch.tensor(row["logits"])
    logits[0], logits[1] = -100 * torch.eye(len(NAMES))[row["truth"][0]], 100 * torch.eye(len(NAMES))[row["truth"][1]]
    monkeypatch.setattr(type(study), "done", lambda *_: {**row, "logits": logits.tolist()})
    method = next(
        method for method in measures.CROSSED if method.what == measures.judged_by("teacher", "student's rank 1")
    )
    found = measures.judged(study, method, SET, 0)
    right = (logits.argmax(1) == torch.tensor(row["truth"])).tolist()
    assert not right[0]
    assert right[1]
    assert [not np.isnan(value) for value in found["deletion"]] == right
    clean = torch.tensor(row["logits"]).double().softmax(1)[range(len(right)), row["truth"]].numpy()
    assert np.array(found["clean"])[right] == pytest.approx(clean[right], abs=1e-4)  # rows have five digits


def test_maps_may_be_judged_with_fewer_places(benchmarks, study, trained, monkeypatch):
    measures, seen = benchmarks["measures"], []
    monkeypatch.setattr(measures, "STEPS", 2)
    real = measures.curves
    monkeypatch.setattr(
        measures, "curves", lambda judge, pixels, of, **how: seen.append(of) or real(judge, pixels, of, **how)
    )
    own = next(method for method in measures.CROSSED if method.what == "student's rank 1 judged by student")
    monkeypatch.setattr(measures, "COARSE", (2, 2))
    for method in (own, replace(own, changed=measures.in_cells)):
        measures.judged(study, method, SET, 0)
    fine, coarse = seen
    side = fine.maps.shape[-1] // 2
    assert coarse.maps.dtype == torch.float32
    for row, column in itertools.product(range(2), repeat=2):
        part = fine.maps[..., row * side : (row + 1) * side, column * side : (column + 1) * side]
        assert coarse.maps[..., row, column] == pytest.approx(part.mean(dim=(2, 3)), rel=1e-4)


def test_maps_are_moved_by_half_a_cell_either_way(benchmarks):
    maps = torch.tensor([[[[0.0, 4.0, 8.0], [2.0, 6.0, 4.0]]]])
    assert benchmarks["measures"]._beside(back=True)(maps).tolist() == [[[[3.0, 5.5, 6.0], [4.0, 5.0, 4.0]]]]
    assert benchmarks["measures"]._beside(back=False)(maps).tolist() == [[[[0.0, 2.0, 6.0], [1.0, 3.0, 5.5]]]]


def test_a_mean_over_seeds_and_photos_has_the_interval_of_a_plain_loop(benchmarks):
    values = np.random.default_rng(3).normal(size=15) + np.array([[0.0], [0.5], [1.2]])
    values[1, :5] = np.nan
    found = benchmarks["crossed"].crossed(values)
    draw, means = np.random.default_rng(5), []
    for _ in range(4000):
        seeds, photos = draw.integers(3, size=3), draw.integers(15, size=15)
        drawn = [values[seed, photo] for seed in seeds for photo in photos if not np.isnan(values[seed, photo])]
        means.append(np.mean(drawn))
    assert found.mean == pytest.approx(np.nanmean(values))
    assert [found.low, found.high] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.06)
    assert (found.seeds, found.photos) == (3, 15)


def test_what_has_not_been_done_counts_for_nothing(benchmarks):
    values = np.array([[0.0, 1.0, np.nan], [np.nan] * 3])
    found = benchmarks["crossed"].crossed(values)
    assert (found.mean, found.seeds, found.photos) == (0.5, 1, 2)
    nothing = benchmarks["crossed"].crossed(np.full((2, 3), np.nan))
    assert np.isnan(nothing.mean)
    assert benchmarks["crossed"].in_points(nothing) == ""


def test_without_a_rank_its_part_of_every_logit_is_gone(benchmarks):
    ranks = benchmarks["table_ranks"]
    row = {"truth": [0, 1], "parts": [[[3, 1, 0], [1, 2, 0]], [[0, 0, 4], [1, 1, 1]]]}  # logits 4, 3 and 4, 3
    assert ranks._added(1)(row) == [3, 1]
    assert ranks._above(1)(row) == [1, 0.5]
    assert ranks._wrong_without(1)(row) == [1, 0]  # 1, 2 and 4, 2: the first is now wrong, the second stays so
    assert ranks._wrong_without(3)(row) == [0, -1]
    lost = ranks._lost(1)(row)
    assert lost[0] == pytest.approx(1 / (1 + np.exp(-1)) - 1 / (1 + np.exp(1)))
    assert np.isnan(lost[1])


def test_places_are_the_same_in_a_coarser_grid_where_they_share_a_cell(benchmarks):
    ranks = benchmarks["table_ranks"]
    row = {"grid": [14, 14], "places": [[[0, 13]], [[2, 5]], [[2, 5]]], "mirrored": [[[1, 12]], [[2, 5]], [[2, 6]]]}
    assert ranks._same(1, "mirrored", beside=False)(row) == [0, 1, 0]
    assert ranks._same(1, "mirrored", (7, 7), beside=False)(row) == [1, 1, 0]
    assert ranks._same(1, "mirrored")({**row, "mirrored": [[[0, 12]], [[2, 5]], [[2, 4]]]}) == [1, 0, 1]
    assert ranks._same(1, "mirrored")({**row, "grid": [7, 7]}) == [0, 1, 0]
    assert ranks._same(1, ranks.ANOTHER)(row) == [0, 0, 1]
    moved = ranks._same(1, "moved")({**row, "moved": [[[0, 11]], [[2, 5]], [[2, 4]]]})
    assert np.isnan(moved[0])  # its own place is moved out of the frame
    assert moved[1:] == [1, 0]


def test_a_moved_photo_has_its_places_where_they_were_once_they_are_moved_back(benchmarks):
    move, back = benchmarks["measures"].CHANGES["moved"]
    pixels = torch.arange(28.0).expand(1, 3, 28, 28)
    assert move(pixels)[0, 0, 0].tolist() == [0.0] * 4 + [*range(24)]
    assert back(torch.tensor([[[3, 5]]]), 14).tolist() == [[[3, 3]]]  # a cell of 7 is two of 14


@pytest.mark.parametrize(
    ("wrong", "shown"), [pytest.param(0, "yes", id="equal"), pytest.param(1, "not shown", id="worse")]
)
def test_a_student_is_not_inferior_where_the_whole_interval_lies_above_the_margin(benchmarks, tmp_path, wrong, shown):
    cases = benchmarks["cases"]
    (tmp_path / SET).mkdir()
    lines = ["file,name,split", *(f"{number}.png,a,test" for number in range(20))]
    (tmp_path / SET / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    study = cases.Study(tmp_path, tmp_path, tmp_path, range(2), (SET,))
    for name, mistakes in (("teacher", 0), ("student", wrong)):
        for seed in study.seeds:
            logits = [[1, 0] if number < mistakes else [0, 1] for number in range(20)]
            study.file(SET, name, seed).write_text(json.dumps({"truth": [1] * 20, "logits": logits}), encoding="utf-8")
    line = benchmarks["table"].not_inferior(study)[4]
    assert line.startswith(f"| teacher | all sets | 20 | 2 | {-100 * wrong / 20:+.1f}")
    assert line.endswith(f"| {shown} |")


def test_two_networks_agree_where_they_name_the_same_class_be_it_right_or_wrong(benchmarks, tmp_path):
    (tmp_path / SET).mkdir()
    lines = ["file,name,split", *(f"{number}.png,a,test" for number in range(4))]
    (tmp_path / SET / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    study = benchmarks["cases"].Study(tmp_path, tmp_path, tmp_path, range(2), (SET,))
    said = {"teacher": [0, 0, 1, 1], "student": [0, 1, 1, 1], "student, teacher not asked": [1, 1, 1, 0]}
    for name, classes in said.items():
        row = {"truth": [1, 1, 1, 0], "logits": np.eye(2)[classes].tolist()}
        study.file(SET, name, 0).write_text(json.dumps(row), encoding="utf-8")
    table = benchmarks["table"]
    assert table.agreement(study, "student", "teacher")[0].tolist() == [1, 0, 1, 1]
    assert np.isnan(table.agreement(study, "student", "teacher")[1]).all()
    cells = table.distilled(study)[4].split(" | ")
    assert cells[0] == "| the teacher"
    assert [cell.split(" ")[0] for cell in cells[5:]] == ["75.0", "25.0", "+50.0"]


def test_black_and_blur_are_compared_on_what_was_judged_with_both(benchmarks, tmp_path):
    cases, maps, measures = benchmarks["cases"], benchmarks["table_maps"], benchmarks["measures"]
    (tmp_path / SET).mkdir()
    lines = ["file,name,split", *(f"{number}.png,a,test" for number in range(2))]
    (tmp_path / SET / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    study = cases.Study(tmp_path, tmp_path, tmp_path, range(2), (SET,))
    for name, black, blur in (("student's rank 1", 0.5, 0.2), ("Grad-CAM", 0.4, 0.3)):
        for seed, shift in enumerate((0.0, 0.1)):
            for what, value in ((name, black + shift), *(((measures.blurred(name), blur),) if seed == 0 else ())):
                row = {"deletion": [value, np.nan], "insertion": [1 - value, np.nan], "clean": [1.0, np.nan]}
                study.file(SET, measures.judged_by("student", what), seed).write_text(json.dumps(row), encoding="utf-8")
    said = maps.with_a_blur(study)
    assert said[4:6] == [
        "| student's rank 1 | 1 | 1 | 0.500 |  | 0.200 |  | 0.500 |  | 0.800 |  |",
        "| Grad-CAM | 1 | 1 | 0.400 | +0.100 | 0.300 | -0.100 | 0.600 | -0.100 | 0.700 | +0.100 |",
    ]


def test_welch_s_test_takes_the_mean_over_seeds_of_each_photo_and_marks_what_is_no_chance(benchmarks, tmp_path):
    cases, maps = benchmarks["cases"], benchmarks["table_maps"]
    (tmp_path / SET).mkdir()
    lines = ["file,name,split", *(f"{number}.png,a,test" for number in range(4))]
    (tmp_path / SET / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    study = cases.Study(tmp_path, tmp_path, tmp_path, range(2), (SET,))
    judged_by = benchmarks["measures"].judged_by
    for name, values in (("Grad-CAM", [0.1, 0.2, 0.3, 0.4]), ("random", [0.7, 0.8, 0.9, 1.0])):
        for seed, shift in enumerate((-0.05, 0.05)):
            row = {"deletion": [value + shift for value in values[:3]] + [np.nan], "clean": [1.0] * 4}
            study.file(SET, judged_by("student", name), seed).write_text(json.dumps(row), encoding="utf-8")
    said = maps.significance(study)
    assert said[2] == "| map | Grad-CAM | random |"
    assert said[4:6] == [
        "| Grad-CAM |  | -0.600 ● (3) |",
        "| random | +0.600 ● (3) |  |",
    ]  # t = −0.6 / 0.0816, ν = 4: p 0.002


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
