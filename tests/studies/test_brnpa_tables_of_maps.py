"""What tables of benchmarks/study_brnpa.py say of maps that are judged."""

import itertools
import json

import numpy as np

from .rows import SET, study_of


def _areas_of(value, photos=1):
    """A row of a map whose deletion is that on the first photo, and 9 on others; insertion a tenth more."""
    rest = [9.0] * (photos - 1)
    halves = {
        "deletion": [value / 2, *rest],
        "insertion": [value / 2 + 0.05, *rest],
        "clean": [0.5, *[1.0] * len(rest)],
    }
    return {**halves, "drop": [value]}


def test_removal_is_compared_on_photos_that_both_networks_get_right_the_student_s_less_the_teacher_s(
    benchmarks, tmp_path
):
    values = {("teacher", "teacher"): 0.2, ("student", "student"): 0.4}  # the map's network, and the judge
    values |= {("teacher", "student"): 0.6, ("student", "teacher"): 0.8}
    rows = {f"{of}'s rank 1 judged by {judge}": _areas_of(value, 3) for (of, judge), value in values.items()}
    rows["teacher"] = {"truth": [0] * 3, "logits": [[1, 0], [1, 0], [0, 1]]}
    rows["student"] = {"truth": [0] * 3, "logits": [[1, 0], [0, 1], [1, 0]]}
    said = benchmarks["table_maps"].removal(study_of(benchmarks, tmp_path, rows, 3))
    assert said[4:] == [
        "| EfficientNet-Lite0 | its own network | rank 1 | 1 | 0.200 | 0.400 | +0.200 | 0.300 | 0.500 | +0.200 |",
        "| EfficientNet-Lite0 | the teacher | rank 1 | 1 | 0.200 | 0.800 | +0.600 | 0.300 | 0.900 | +0.600 |",
        "| EfficientNet-Lite0 | the student | rank 1 | 1 | 0.600 | 0.400 | -0.200 | 0.700 | 0.500 | -0.200 |",
        "| EfficientNet-Lite0 | the other network | rank 1 | 1 | 0.600 | 0.800 | +0.200 | 0.700 | 0.900 | +0.200 |",
        "",
    ]


def test_a_student_s_map_is_compared_with_its_own_in_cells_and_moved(benchmarks, tmp_path):
    values = {"": 0.6, " in cells of 7×7": 0.4, ", half a cell back": 0.2, ", half a cell on": 0.8}
    rows = {f"student's rank 1{words} judged by student": _areas_of(value) for words, value in values.items()}
    assert benchmarks["table_maps"].fineness(study_of(benchmarks, tmp_path, rows))[4:] == [
        "| rank 1 | as they are | 1 | 1 | 0.600 |  | 0.700 |  |",
        "| rank 1 | in cells of 7×7 | 1 | 1 | 0.400 | +0.200 | 0.500 | +0.200 |",
        "| rank 1 | half a cell back | 1 | 1 | 0.200 | +0.400 | 0.300 | +0.400 |",
        "| rank 1 | half a cell on | 1 | 1 | 0.800 | -0.200 | 0.900 | -0.200 |",
        "",
    ]


def test_sparsity_is_the_student_s_less_the_teacher_s(benchmarks, tmp_path):
    names = list(itertools.product(("rank 1", "mean of ranks"), ("1/ρ", "Gini"), ("own", "7×7")))
    rows = {
        f"ranks of {case}": {"sparsity": {", ".join(name): [more + place / 10] for place, name in enumerate(names)}}
        for case, more in (("teacher", 1.0), ("student", 3.0))
    }
    assert benchmarks["table_maps"].sparsity(study_of(benchmarks, tmp_path, rows))[4:-1] == [
        f"| {' | '.join(name)} | 1 | 1.{place}00 | 3.{place}00 | +2.000 |" for place, name in enumerate(names)
    ]


def test_whole_places_taken_away_are_compared_the_student_s_map_less_the_teacher_s(benchmarks, tmp_path):
    values = {"teacher": 0.2, "student": 0.4}
    rows = {f"{of}'s rank 1, by whole cells judged by student": _areas_of(value) for of, value in values.items()}
    assert benchmarks["table_maps"].whole_cells(study_of(benchmarks, tmp_path, rows))[4:] == [
        "| rank 1 | 1 | 1 | 0.200 | 0.400 | +0.200 | 0.300 | 0.500 | +0.200 |",
        "",
    ]


def test_ranks_are_compared_with_other_methods_the_method_s_taken_from_the_rank_s(benchmarks, tmp_path):
    values = {"student's rank 1": 0.4, "student's mean of ranks": 0.3, "Grad-CAM": 0.6}
    rows = {f"{name} judged by student": _areas_of(value) for name, value in values.items()}
    assert benchmarks["table_maps"].other_methods(study_of(benchmarks, tmp_path, rows))[4:] == [
        "| student's rank 1 | student | 1 | 0.400 |  | -0.100 | 0.500 |  | -0.100 | 0.400 |  | -0.100 |",
        "| student's mean of ranks | student | 1 | 0.300 | +0.100 |  | 0.400 | +0.100 |  | 0.300 | +0.100 |  |",
        "| Grad-CAM | student | 1 | 0.600 | -0.200 | -0.300 | 0.700 | -0.200 | -0.300 | 0.600 | -0.200 | -0.300 |",
        "",
    ]


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
    for name, more in (("Grad-CAM", 0.0), ("random", 0.5), ("centre", 0.25)):
        for seed, shift in enumerate((-0.05, 0.05)):
            last = 0.9 if name == "Grad-CAM" else np.nan  # only what both have counts
            row = {"deletion": [value + more + shift for value in (0.1, 0.2, 0.3)] + [last], "clean": [1.0] * 4}
            study.file(SET, judged_by("student", name), seed).write_text(json.dumps(row), encoding="utf-8")
    said = maps.significance(study)
    assert said[2] == "| map | Grad-CAM | random | centre |"
    assert said[4:7] == [
        "| Grad-CAM |  | -0.500 ● (3) | -0.250 (3) |",
        "| random | +0.500 ● (3) |  | +0.250 (3) |",
        "| centre | +0.250 (3) | -0.250 (3) |  |",
    ]  # t = 0.5 / 0.0816 and half of that, ν = 4: p 0.004, and twice 0.04, which three pairs make 0.08
