"""BR-NPA for classes: is a finer grid as accurate, do its maps show more, and is rank importance?

    python benchmarks/study_brnpa.py ../shared/data --write docs/br-npa-study.md

Every row is a training of its own, by `fit_brnpa`, on photos of which none is examined. About ten hours on a core.
Rows are kept beside this file, so that nobody has to take the tables on trust; what is done is not done again.
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from functools import partial
from pathlib import Path

from measuring import put_behind
from study_brnpa_activity import LOOKED, UNTRAINED, activity
from study_brnpa_boxes import BOXED, FINER, in_boxes, on_finer_grid
from study_brnpa_cases import CASES, CLOTHING, LITE, SETS, VIT, Study
from study_brnpa_dilation import ANSWERS, SHOWN, right_untrained
from study_brnpa_heads import fitted_heads
from study_brnpa_measures import BLURRED, BY_CELLS, COARSENED, CROSSED, MOVED, OTHERS, OWN, RANKED, judged, ranks_of
from study_brnpa_table import document

ROWS = Path(__file__).with_name("rows") / "br-npa"
MARK = "<!-- tables: benchmarks/study_brnpa.py -->"


def work(study: Study) -> None:
    """All that is not done yet, a seed after the other, so that what a stop leaves can be compared."""
    if CLOTHING in study.sets:  # one process of several
        boxed = 4 if study.quick else None
        for name in (LITE, VIT):
            study.measure(BOXED, name, 0, partial(in_boxes, study.data, name, boxed))
        study.measure(BOXED, FINER, 0, partial(on_finer_grid, study.data, boxed))
        study.measure(SHOWN, ANSWERS, 0, partial(right_untrained, study.data, boxed))
    for seed, of in itertools.product(study.seeds, study.sets):
        trained = [case for case in CASES if of in case.sets and seed < case.seeds]
        for case in trained:
            study.train(case, of, seed)
        names = {case.name for case in trained}
        for name in RANKED:
            if name in names:
                study.measure(of, f"ranks of {name}", seed, partial(ranks_of, study, name, of, seed))
                study.measure(of, f"heads of {name}", seed, partial(fitted_heads, study, name, of, seed))
        for name in (*(each for each in LOOKED if each in names), *(UNTRAINED if of == CLOTHING and not seed else ())):
            study.measure(of, f"activity of {name}", seed, partial(activity, study, name, of, seed))
        for method in (*CROSSED, *COARSENED, *MOVED, *BY_CELLS, *OTHERS, *BLURRED, *OWN):
            if of in method.sets and seed < method.seeds:
                study.measure(of, method.what, seed, partial(judged, study, method, of, seed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"), help="the folder of photos")
    parser.add_argument("--rows", type=Path, default=ROWS, help="where the numbers are kept")
    parser.add_argument("--networks", type=Path, default=Path("regard-runs/study-br-npa"), help="where the trained are")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS, help="photos: a process a core takes its own")
    parser.add_argument("--read", action="store_true", help="tables of what is kept, nothing done")
    parser.add_argument("--quick", action="store_true", help="few photos of one set, one epoch and seed: does it work")
    parser.add_argument("--write", type=Path, help=f"page whose part behind {MARK!r} the tables become")
    arguments = parser.parse_args()
    if arguments.write and len(arguments.sets) < len(SETS):
        parser.error("a page is of all sets: --write without --sets")
    quick = {"seeds": range(1), "sets": (CLOTHING,), "quick": True} if arguments.quick else {}
    study = Study(arguments.data, arguments.rows, arguments.networks, **{"sets": tuple(arguments.sets), **quick})
    if not arguments.read:
        warnings.simplefilter("ignore")
        work(study)
    text = document(study)
    print(text)
    if arguments.write:
        put_behind(MARK, text, arguments.write)


if __name__ == "__main__":
    main()
