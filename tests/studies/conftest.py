"""Modules of benchmarks/, whose studies are tested, and a study of a tiny network."""

import csv
import importlib
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

import regard

from ..training.brnpa_trainings import LABELS, PHOTOS, normed, start
from .rows import SET


@pytest.fixture(scope="session")
def imported():
    """Imports modules that lie beside each other in benchmarks/."""
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="session")
def benchmarks(imported):
    names = (
        "boxes",
        "cases",
        "crossed",
        "dilation",
        "heads",
        "measures",
        "table",
        "table_finer",
        "table_maps",
        "table_ranks",
    )
    return {name: imported(f"study_brnpa_{name}") for name in ("activity", *names)}


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


@pytest.fixture(scope="session")
def tasks(imported):
    names = ("few_shot", "kept", "reid", "side_by_side", "similarity")
    return SimpleNamespace(**{name: imported(f"tasks_{name}") for name in names})
