"""BR-NPA for classes: is a finer grid as accurate, do its maps show more, and is rank importance?

    python benchmarks/study_brnpa.py ../shared/data --keep regard-runs/study-br-npa --write docs/br-npa-study.md

Every row is a training of its own, by `fit_brnpa`, on photos of which none is examined. Many hours on a core; what is
done is kept, networks too, and not done again.
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from functools import partial
from pathlib import Path

from measuring import put_behind
from study_brnpa_cases import CLAIMED, CLOTHING, COMPARED, LITE, RANDOM, STUDENT, TEACHER, TRANSFORMER, VIT, Study
from study_brnpa_heads import fitted_heads
from study_brnpa_measures import BOXED, CROSSED, OTHERS, in_boxes, judged, ranks_of
from study_brnpa_table import document
from study_tame import kept

MARK = "<!-- tables: benchmarks/study_brnpa.py -->"


def work(study: Study) -> None:
    """All that is not done yet, what decides the claims first."""
    everywhere = [*itertools.product(study.seeds, study.sets)]
    for seed, of in everywhere:
        for case in CLAIMED:
            study.train(case, of, seed)
    for seed, of in everywhere:
        for case in (TEACHER, STUDENT):
            kept(study.file(of, f"ranks of {case}", seed), partial(ranks_of, study, case, of, seed))
            kept(study.file(of, f"heads of {case}", seed), partial(fitted_heads, study, case, of, seed))
        for method in CROSSED:
            kept(study.file(of, method.what, seed), partial(judged, study, method, of, seed))
    for name in (LITE, VIT):
        kept(study.file(BOXED, name, 0), partial(in_boxes, study.data, name, 4 if study.quick else None))
    for case in (*COMPARED, TRANSFORMER):
        for seed, of in everywhere:
            if of in case.sets:
                study.train(case, of, seed)
    for seed, of in everywhere:
        kept(study.file(of, f"heads of {RANDOM}", seed), partial(fitted_heads, study, RANDOM, of, seed))
    for method in OTHERS:
        for seed, of in everywhere:
            kept(study.file(of, method.what, seed), partial(judged, study, method, of, seed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"), help="the folder of photos")
    parser.add_argument("--keep", type=Path, default=Path("regard-runs/study-br-npa"), help="where all is kept")
    parser.add_argument("--read", action="store_true", help="tables of what is kept, nothing done")
    parser.add_argument("--quick", action="store_true", help="few photos of one set, one epoch and seed: does it work")
    parser.add_argument("--write", type=Path, help=f"page whose part behind {MARK!r} the tables become")
    arguments = parser.parse_args()
    quick = {"seeds": range(1), "sets": (CLOTHING,), "quick": True} if arguments.quick else {}
    study = Study(arguments.data, arguments.keep, **quick)
    if not arguments.read:
        warnings.simplefilter("ignore")
        work(study)
    text = document(study)
    print(text)
    if arguments.write:
        put_behind(MARK, text, arguments.write)


if __name__ == "__main__":
    main()
