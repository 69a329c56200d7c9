"""The tables of benchmarks/study_brnpa.py, from what is kept: what has not been done yet is left out."""

from __future__ import annotations

import numpy as np
from study_brnpa_activity import activities
from study_brnpa_boxes import AREA, BOXED
from study_brnpa_cases import (
    ALONE,
    CASES,
    CLOTHING,
    FINE,
    FINE_ALONE,
    LITE,
    LONGER,
    ON_VIT,
    SETS,
    STUDENT,
    TEACHER,
    TORN,
    TORN_ALONE,
    VIT,
    Case,
    Study,
)
from study_brnpa_crossed import (
    Get,
    Row,
    as_difference,
    crossed,
    difference,
    in_numbers,
    in_percent,
    in_points,
    line,
    relative,
    right,
    table,
    true_probability,
    values_of,
)
from study_brnpa_measures import called, judged_by, own_map
from study_brnpa_table_finer import finer_grid, untrained
from study_brnpa_table_maps import fineness, other_methods, removal, significance, sparsity, whole_cells, with_a_blur
from study_brnpa_table_ranks import changed, heads, parts

MARGIN = -0.03
"""Accuracy by which a student may be worse than its teacher."""


def document(study: Study) -> str:
    """All tables, the claims in their order."""
    tables = (
        accuracy(study),
        not_inferior(study),
        untrained(study),
        distilled(study),
        removal(study),
        fineness(study),
        whole_cells(study),
        finer_grid(study),
        sparsity(study),
        activities(study),
        heads(study),
        parts(study),
        changed(study),
        other_methods(study),
        significance(study),
        with_a_blur(study),
        ablations(study),
        boxes(study),
    )
    return "\n".join(line for table in tables for line in table)


def accuracy(study: Study) -> list[str]:
    """Every case of all sets."""
    columns = ["trained", "seeds", *study.sets, "all photos, % [95 %]", "less the teacher's, points", "epochs kept"]
    lines = []
    teacher = values_of(study, TEACHER, right)
    for case in CASES:
        found = values_of(study, case.name, right)
        if case.sets == SETS and (mean := crossed(found)).photos:
            each = [in_percent(crossed(values_of(study, case.name, right, [of]))).split(" ")[0] for of in study.sets]
            less = "" if case.name == TEACHER else in_points(crossed(found - teacher))
            lines.append(line(case.name, mean.seeds, *each, in_percent(mean), less, epochs(study, case)))
    return table("Accuracy", columns, lines)


def epochs(study: Study, case: Case) -> str:
    rows = (study.done(of, case.name, seed) for seed in study.seeds for of in study.sets)
    kept = [row["epoch"] for row in rows if row is not None]
    return f"{min(kept)} to {max(kept)} of {case.recipe(study.quick).epochs}" if kept else ""


def not_inferior(study: Study) -> list[str]:
    """Claim (a), and the same against a teacher that learnt on as long as the student did."""
    columns = ["less", "photos of", "photos", "seeds", "accuracy, points", "cross-entropy", "not worse by 3 points"]
    lines = []
    whole = (("all sets", study.sets), *((of, (of,)) for of in study.sets))
    asked = [(TEACHER, STUDENT, name, sets) for name, sets in whole]
    asked += [(LONGER, STUDENT, *whole[0]), (ON_VIT[TEACHER], ON_VIT[STUDENT], CLOTHING, study.sets)]
    for teacher, student, name, sets in asked:
        less, entropy = (difference(study, get, student, teacher, sets) for get in (right, cross_entropy))
        if (found := crossed(less)).photos:
            bound = found.mean if np.isnan(found.low) else found.low
            shown = "yes" if bound > MARGIN else "not shown"
            said = in_points(found), as_difference(crossed(entropy)), shown
            lines.append(line(teacher, name, found.photos, found.seeds, *said))
    return table("(a) The student", columns, lines)


def distilled(study: Study) -> list[str]:
    """Claim (b)."""
    columns = ["the finer network begins with", "photos", "seeds", "accuracy, points", "cross-entropy"]
    columns += ["agrees with the teacher, %: distilled", "not", "points"]
    lines = []
    pairs = (
        ("the teacher", STUDENT, ALONE, TEACHER),
        ("ImageNet's weights", FINE, FINE_ALONE, TEACHER),
        ("the teacher, 28×28, not dilated", TORN, TORN_ALONE, TEACHER),
        (ON_VIT[TEACHER], ON_VIT[STUDENT], ON_VIT[ALONE], ON_VIT[TEACHER]),
    )
    for name, taught, alone, teacher in pairs:
        found, entropy = (crossed(difference(study, get, taught, alone, study.sets)) for get in (right, cross_entropy))
        if found.photos:
            agreed = [agreement(study, case, teacher) for case in (taught, alone)]
            less = agreed[0] - agreed[1]
            both = (np.where(np.isnan(less), np.nan, each) for each in agreed)
            said = *(in_percent(crossed(each)) for each in both), in_points(crossed(less))
            lines.append(line(name, found.photos, found.seeds, in_points(found), as_difference(entropy), *said))
    return table("(b) Distilled less not distilled", columns, lines)


def agreement(study: Study, case: str, teacher: str) -> np.ndarray:
    """1 where two networks of a seed name the same class, (seeds, photos)."""
    said, taught = (values_of(study, name, answer, study.sets) for name in (case, teacher))
    return np.where(np.isnan(said + taught), np.nan, said == taught)


def ablations(study: Study) -> list[str]:
    """All cases, on clothing: what they get right, and what their own map is worth to them."""
    columns = ["trained", "seeds", "accuracy, % [95 %]", "less the teacher's, points", "cross-entropy, less"]
    columns += ["map: photos", "deletion", "insertion", "1/ρ", "Gini"]
    lines = []
    for case in CASES:
        found = crossed(values_of(study, case.name, right, [CLOTHING]))
        if found.photos:
            less = [crossed(difference(study, get, case.name, TEACHER, [CLOTHING])) for get in (right, cross_entropy)]
            said = ["", ""] if case.name == TEACHER else [in_points(less[0]), as_difference(less[1])]
            lines.append(line(case.name, found.seeds, in_percent(found), *said, *_of_map(study, case)))
    return table("All that was trained, on clothing", columns, lines)


def _of_map(study: Study, case: Case) -> list[str]:
    """Of the photos that the network gets right; deletion and insertion divided by the clean probability."""
    reads: list[Get] = [relative("deletion"), relative("insertion"), lambda row: row["1/ρ"], lambda row: row["Gini"]]
    what = judged_by(case.name, own_map(case.name))
    found = [crossed(values_of(study, what, read, [CLOTHING])) for read in reads]
    return [str(found[0].photos), *map(in_numbers, found)] if found[0].photos else [""] * 5


def boxes(study: Study) -> list[str]:
    """Mass inside boxes, of networks that were not trained to decide by representatives."""
    columns = ["classifier", "map", "photos", "mass inside", "less the area of the boxes", "less that of rank 1"]
    lines = []
    for name in (LITE, VIT):
        row = study.done(BOXED, name, 0) or {}
        found = {what: np.array([values]) for what, values in row.items() if what != "seconds"}
        for what, values in found.items():
            mean = crossed(values)
            less = (
                "" if what in (other, AREA) else as_difference(crossed(values - found[other]))
                for other in (AREA, called(1))
            )
            lines.append(line(f"`{name}`", what, mean.photos, in_numbers(mean), *less))
    return table("Mass inside the boxes", columns, lines)


def answer(row: Row) -> list[float]:
    """The likeliest class."""
    return [float(said) for said in np.argmax(row["logits"], axis=1)]


def cross_entropy(row: Row) -> list[float]:
    return (-np.log(true_probability(np.array(row["logits"]), row["truth"]))).tolist()
