"""Rows of a study, as they are kept."""

import itertools
import json

SET = "colours"


def study_of(benchmarks, folder, rows, photos=1, sets=(SET,)):
    """A study whose rows of seed 0 are those, the same in all sets, of so many photos, all of them examined."""
    for of in sets:
        (folder / of).mkdir()
        lines = ["file,name,split", *(f"{number}.png,a,test" for number in range(photos))]
        (folder / of / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    study = benchmarks["cases"].Study(folder, folder, folder, range(1), sets)
    for of, (what, row) in itertools.product(sets, rows.items()):
        study.file(of, what, 0).write_text(json.dumps(row), encoding="utf-8")
    return study
