"""BR-NPA where classes are new: characters told by a few drawings, persons found by other cameras; attention by task.

    python benchmarks/study_brnpa_tasks.py ../shared/data --write docs/br-npa-tasks.md

Every network is trained here. Hours on a core. Rows are kept beside this file, so that nobody has to take the tables on
trust; what is done is not done again.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import tasks_few_shot
import tasks_pictures
import tasks_reid
import tasks_side_by_side
import tasks_similarity
from measuring import put_behind
from study_brnpa_tasks_table import document
from tasks_kept import QUICK, Extent, Keep, Row

ROWS = Path(__file__).with_name("rows") / "br-npa-tasks"
MARK = "<!-- tables: benchmarks/study_brnpa_tasks.py -->"
Named = tuple[tuple[object, ...], Callable[[], Row]]
"""What a row is called, and how it is made."""
DEAR = tasks_reid.ATTENTION_BRANCH
"""Done last."""


def few_shot(data: Path, extent: Extent, keep: Keep) -> Iterator[Named]:
    """Characters: all of a seed before the next."""
    given, how = tasks_few_shot.drawings(data, extent.every), {"extent": extent, "keep": keep}
    for seed in range(extent.seeds):
        for shots in tasks_few_shot.SHOTS:
            for case in tasks_few_shot.cases(shots):
                make = partial(tasks_few_shot.row_of, case, shots, seed, given, **how)
                yield ("few-shot", shots, case.name, seed), make
        for name in tasks_similarity.SUBJECTS["few-shot"]:
            make = partial(tasks_similarity.row_of, "few-shot", name, seed, given, **how)
            yield ("similarity", "few-shot", name, seed), make


def persons(data: Path, extent: Extent, keep: Keep) -> Iterator[Named]:
    """Persons; what is dear last."""
    seen, how = tasks_reid.sightings(data, extent.every), {"extent": extent, "keep": keep}
    for dear, seed in itertools.product((False, True), range(extent.seeds)):
        for case in tasks_reid.CASES:
            if (case.name == DEAR) == dear:
                yield ("re-id", case.name, seed), partial(tasks_reid.row_of, case, seed, seen, **how)
        for name in tasks_similarity.SUBJECTS["re-id"]:
            if (name == DEAR) == dear:
                make = partial(tasks_similarity.row_of, "re-id", name, seed, seen, **how)
                yield ("similarity", "re-id", name, seed), make


def side_by_side(data: Path, extent: Extent, keep: Keep) -> Iterator[Named]:
    """Garments in networks for three tasks."""
    photos, how = tasks_side_by_side.clothing(data), {"extent": extent, "keep": keep}
    for seed, task in itertools.product(range(extent.seeds), tasks_side_by_side.TASKS):
        make = partial(tasks_side_by_side.network_row, task, seed, photos, **how)
        yield ("side-by-side", task, seed), make
    for method in tasks_side_by_side.METHODS:
        make = partial(tasks_side_by_side.method_row, method, photos, **how)
        yield ("compare", method, extent.seeds), make


PARTS = {"few-shot": few_shot, "re-id": persons, "side-by-side": side_by_side}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"), help="the folder of photos")
    parser.add_argument("--rows", type=Path, default=ROWS, help="where the numbers are kept")
    parser.add_argument(
        "--keep", type=Path, default=Path("regard-runs/study-br-npa-tasks"), help="where the trained are"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS], help="a process a core takes its own")
    parser.add_argument("--quick", action="store_true", help="a step or two of each training: whether it works")
    parser.add_argument("--tables", action="store_true", help="only of the rows that are kept")
    parser.add_argument("--pictures", type=Path, help="only the pictures, and the folder for them")
    parser.add_argument("--write", type=Path, help=f"page whose part behind {MARK!r} the tables become")
    arguments = parser.parse_args()
    extent, data = QUICK if arguments.quick else Extent(), arguments.data.absolute()
    keep = Keep(arguments.rows.absolute(), arguments.keep.absolute())
    if arguments.pictures:
        tasks_pictures.write(arguments.pictures, data, extent, keep)
        return
    if not arguments.tables:
        for part in arguments.parts:
            for words, make in PARTS[part](data, extent, keep):
                keep.row(*words, make=make)
    text = document([json.loads(file.read_text(encoding="utf-8")) for file in sorted(keep.rows.glob("*.json"))])
    print(text)
    if arguments.write:
        put_behind(MARK, text, arguments.write)


if __name__ == "__main__":
    main()
