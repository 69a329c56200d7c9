"""What tables of benchmarks/study_brnpa.py say of accuracy and of ranks."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from .rows import SET, study_of


def test_a_mean_over_seeds_and_photos_has_the_interval_of_a_plain_loop(benchmarks):
    values = np.random.default_rng(3).normal(size=15) + np.array([[5.0], [5.5], [6.2]])
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


def test_an_area_is_divided_by_the_probability_of_the_whole_photo(benchmarks):
    row = {"deletion": [0.2, np.nan], "insertion": [0.6, np.nan], "clean": [0.8, np.nan]}
    assert benchmarks["crossed"].relative("deletion")(row) == pytest.approx([0.25, np.nan], nan_ok=True)


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


def test_what_is_lost_without_a_rank_is_compared_with_what_is_lost_without_the_first(benchmarks, tmp_path):
    row = {"truth": [0], "parts": [[[3, 1, 0], [1, 2, 0]]]}  # logits 4, 3; without a rank 1, 2 and 3, 1 and 4, 3
    said = benchmarks["table_ranks"].parts(study_of(benchmarks, tmp_path, {"ranks of teacher": row}))
    assert said[4:6] == [
        "| teacher | 1 | 1 | 3.000 | 1.000 |  | +100.0 | +46.2 |  |",
        "| teacher | 2 | 1 | 1.000 | -0.500 | -1.500 | +0.0 | -15.0 | -61.2 |",
    ]  # the sigmoids of 1, −1 and 2 are 0.731, 0.269 and 0.881


def test_heads_of_ranks_are_compared_in_pairs(benchmarks, tmp_path):
    logits = {"1": [[1, 0]] * 2, "2": [[1, 0], [0, 1]], "3": [[0, 1]] * 2}
    row = {"truth": [0, 0], "heads": {**logits, "1+2": logits["2"], "2+3": logits["3"], "1+2+3": logits["1"]}}
    rows = {"heads of teacher": row, "teacher": {**row, "logits": logits["1"]}}
    said = benchmarks["table_ranks"].heads(study_of(benchmarks, tmp_path, rows, 2, benchmarks["cases"].SETS))
    for kind, line in zip(("fitted afterwards", "learnt beside"), said[4:6], strict=True):
        cells = [cell.split(" [")[0] for cell in line.split(" | ")]
        assert cells[:4] == [f"| {kind}", "teacher", "6", "1"]
        assert cells[4:10] == ["100.0", "50.0", "0.0", "50.0", "0.0", "100.0"]
        assert [cell.strip(" |") for cell in cells[10:]] == ["+50.0", "+50.0", "+100.0"]


def test_a_mirrored_photo_has_its_place_a_cell_beside_in_networks_with_a_stride_less_alone(benchmarks, tmp_path):
    places = {"places": [[[2, 5]] * 3], "mirrored": [[[2, 4]] * 3], "moved": [[[2, 5]] * 3], "paled": [[[2, 6]] * 3]}
    row = {"grid": [14, 14], **places, "correlation": [[0.1, 0.2, 0.3]]}
    rows = {f"ranks of {case}": row for case in ("student", "student on ViT-S")}
    said = benchmarks["table_ranks"].changed(study_of(benchmarks, tmp_path, rows))
    moved_and_on = " | ".join(["100.0"] * 2 + ["0.0"] * 2 + ["100.0"] * 2)
    for rank in (1, 2, 3):
        assert said[3 + rank] == f"| student | {rank} | 1 | 100.0 | 100.0 | {moved_and_on} | 0.{rank}00 |"
        assert said[6 + rank] == f"| student on ViT-S | {rank} | 1 | 0.0 | 100.0 | {moved_and_on} | 0.{rank}00 |"


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
    edge = {"grid": [14, 14], "places": [[[0, 12]], [[0, 11]]], "moved": [[[0, 12]], [[0, 11]]]}
    assert ranks._same(1, "moved")(edge) == pytest.approx([np.nan, 1], nan_ok=True)


def test_a_moved_photo_has_its_places_where_they_were_once_they_are_moved_back(benchmarks):
    move, back = benchmarks["measures"].CHANGES["moved"]
    pixels = torch.arange(28.0).expand(1, 3, 28, 28)
    assert move(pixels)[0, 0, 0].tolist() == [0.0] * 4 + [*range(24)]
    assert back(torch.tensor([[[3, 5]]]), 14).tolist() == [[[3, 3]]]  # a cell of 7 is two of 14


@pytest.mark.parametrize(
    ("wrong", "photos", "shown"),
    [
        pytest.param(0, 20, "yes", id="equal"),
        pytest.param(1, 40, "not shown", id="unsure"),  # 2.5 points, and up to 7.5
        pytest.param(1, 20, "not shown", id="worse"),
    ],
)
def test_a_student_is_not_inferior_where_the_whole_interval_lies_above_the_margin(
    benchmarks, tmp_path, wrong, photos, shown
):
    cases = benchmarks["cases"]
    (tmp_path / SET).mkdir()
    lines = ["file,name,split", *(f"{number}.png,a,test" for number in range(photos))]
    (tmp_path / SET / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    study = cases.Study(tmp_path, tmp_path, tmp_path, range(2), (SET,))
    for name, mistakes in (
        ("teacher", 0),
        ("student", wrong),
        ("teacher, as many epochs more", 2),
        ("teacher on ViT-S", 0),
        ("student on ViT-S", wrong),
    ):
        for seed in study.seeds:
            logits = [[1, 0] if number < mistakes else [0, 1] for number in range(photos)]
            row = {"truth": [1] * photos, "logits": logits}
            study.file(SET, name, seed).write_text(json.dumps(row), encoding="utf-8")
    said = benchmarks["table"].not_inferior(study)
    assert said[4].startswith(f"| teacher | all sets | {photos} | 2 | {-100 * wrong / photos:+.1f}")
    assert f" | {wrong / photos:+.3f}" in said[4]  # cross-entropies are 1 apart
    assert said[4].endswith(f"| {shown} |")
    longer = f"| teacher, as many epochs more | all sets | {photos} | 2 | {100 * (2 - wrong) / photos:+.1f}"
    assert said[6].startswith(longer)
    assert said[7].startswith(f"| teacher on ViT-S | clothing10-sample | {photos} | 2 | {-100 * wrong / photos:+.1f}")


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
    for name in ("teacher", "student"):  # a seed that one of both lacks counts for none
        row = {"truth": [1, 1, 1, 0], "logits": np.eye(2)[[0, 0, 0, 0]].tolist()}
        study.file(SET, name, 1).write_text(json.dumps(row), encoding="utf-8")
    cells = table.distilled(study)[4].split(" | ")
    assert cells[0] == "| the teacher"
    assert cells[3].split(" ")[0] == "-50.0"  # of 2 and of 4 right ones
    assert [cell.split(" ")[0] for cell in cells[5:]] == ["75.0", "25.0", "+50.0"]


def test_what_is_distilled_is_compared_with_what_is_not_and_not_the_other_way_round(benchmarks, tmp_path):
    rows = {
        case.name: {"truth": [1], "logits": [[0, 1] if case.teacher else [1, 0]]} for case in benchmarks["cases"].CASES
    }
    said = benchmarks["table"].distilled(study_of(benchmarks, tmp_path, rows))[4:-1]
    assert len(said) == 4
    for line in said:
        assert line.split(" | ")[1:5] == ["1", "1", "+100.0", "-1.000"]


def test_accuracy_is_of_each_set_and_of_all_photos_and_less_the_teacher_s(benchmarks, tmp_path):
    sets = benchmarks["cases"].SETS
    wrong, right = ({"truth": [1], "logits": [logits], "epoch": 3} for logits in ([1, 0], [0, 1]))
    study = study_of(benchmarks, tmp_path, {"teacher": wrong, "plain mean": right}, sets=sets)
    study.file(sets[0], "plain mean", 0).write_text(json.dumps(wrong), encoding="utf-8")
    said = [[cell.split(" [")[0] for cell in line.split(" | ")] for line in benchmarks["table"].accuracy(study)[4:6]]
    assert said[0] == ["| teacher", "1", "0.0", "0.0", "0.0", "0.0", "", "3 to 3 of 15 |"]
    assert said[1] == ["| plain mean", "1", "0.0", "100.0", "100.0", "66.7", "+66.7", "3 to 3 of 15 |"]


def test_a_training_has_its_own_map_judged_by_itself_beside_it(benchmarks, tmp_path):
    rows = {"teacher": {"truth": [1], "logits": [[1, 0]]}, "plain mean": {"truth": [1], "logits": [[0, 1]]}}
    row = {"deletion": [0.1], "insertion": [0.3], "clean": [0.5], "1/ρ": [2.0], "Gini": [0.4]}
    rows["plain mean's mean of ranks judged by plain mean"] = row
    study = study_of(benchmarks, tmp_path, rows, sets=(benchmarks["cases"].CLOTHING,))
    assert benchmarks["table"].ablations(study)[4:6] == [
        "| teacher | 1 | 0.0 |  |  |  |  |  |  |  |",
        "| plain mean | 1 | 100.0 | +100.0 | -1.000 | 1 | 0.200 | 0.600 | 2.000 | 0.400 |",
    ]


def test_photos_whose_places_are_about_equally_active_are_counted(benchmarks, tmp_path):
    row = {"variation of norms": [0.05, 0.15], "cosine of vectors": [0.5] * 2, "overlap of weights": [0.25] * 2}
    study = study_of(benchmarks, tmp_path, {"activity of teacher": row}, 2)
    said = benchmarks["activity"].activities(replace(study, seeds=range(2)))
    cells = [cell.split(" [")[0] for cell in said[4].strip("| ").split(" | ")]
    assert cells == ["teacher", "2", "1", "0.100", "0.500", "0.250", "50.0"]
