"""BR-NPA where classes are new: characters told by a few drawings, persons found by other cameras; attention by task.

    python benchmarks/study_brnpa_tasks.py ../shared/data --write docs/br-npa-tasks.md

Every network is trained here. Hours on a core. Rows are kept beside this file, so that nobody has to take the tables on
trust; what is done is not done again.
"""

from __future__ import annotations

import argparse
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


def rows(data: Path, extent: Extent, keep: Keep) -> Iterator[Named]:
    """All of the first seed before the second."""
    given, seen = tasks_few_shot.drawings(data, extent.every), tasks_reid.sightings(data, extent.every)
    photos = tasks_side_by_side.clothing(data)
    how = {"extent": extent, "keep": keep}

    def episodes(shots: int, seed: int) -> Iterator[Named]:
        for case in tasks_few_shot.CASES:
            name = ("few-shot", shots, case.name, seed)
            yield name, partial(tasks_few_shot.row_of, case, shots, seed, given, **how)

    def persons(seed: int, dear: bool) -> Iterator[Named]:
        for case in tasks_reid.CASES:
            if (case.name == DEAR) == dear:
                yield ("re-id", case.name, seed), partial(tasks_reid.row_of, case, seed, seen, **how)

    def likeness(task: str, seed: int, dear: bool) -> Iterator[Named]:
        for name in tasks_similarity.SUBJECTS[task]:
            if (name == DEAR) == dear:
                of = given if task == "few-shot" else seen
                make = partial(tasks_similarity.row_of, task, name, seed, of, **how)
                yield ("similarity", task, name, seed), make

    for seed in range(extent.seeds):
        yield from episodes(1, seed)
        yield from likeness("few-shot", seed, dear=False)
        for task in tasks_side_by_side.TASKS:
            name = ("side-by-side", task, seed)
            yield name, partial(tasks_side_by_side.network_row, task, seed, photos, **how)
        yield from persons(seed, dear=False)
        yield from likeness("re-id", seed, dear=False)
    for method in tasks_side_by_side.METHODS:
        make = partial(tasks_side_by_side.method_row, method, photos, **how)
        yield ("compare", method, extent.seeds), make
    for seed in range(extent.seeds):
        yield from persons(seed, dear=True)
        yield from likeness("re-id", seed, dear=True)
    for seed in range(extent.seeds):
        yield from episodes(5, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"), help="the folder of photos")
    parser.add_argument("--rows", type=Path, default=ROWS, help="where the numbers are kept")
    parser.add_argument(
        "--keep", type=Path, default=Path("regard-runs/study-br-npa-tasks"), help="where the trained are"
    )
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
        for words, make in rows(data, extent, keep):
            keep.row(*words, make=make)
    text = document([json.loads(file.read_text(encoding="utf-8")) for file in sorted(keep.rows.glob("*.json"))])
    print(text)
    if arguments.write:
        put_behind(MARK, text, arguments.write)


if __name__ == "__main__":
    main()
