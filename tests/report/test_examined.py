"""Reports of exams: the tables of the command, its claims, curves and figures, and runs that have only begun."""

import json
from pathlib import Path

import numpy as np
import pytest

from regard.exams.sdc.page import BESIDES, besides, cells, claims
from regard.exams.sdc.studies import study
from regard.exams.sdc.table import table_of
from regard.report.data import rows_inside, said_inside
from regard.report.examined import SHOWN, sections
from regard.report.page import page_of
from regard.runs import see_run

from .reports import Page

ASKED = [
    *(
        "exam",
        "sdc",
        "--task",
        "boxes-2",
        "--train",
        "40",
        "--test",
        "30",
        "--focus",
        "mlp-4",
        "--classifier",
        "linear",
    ),
    *("--segments", "2-3", "--epochs", "3", "--batch", "20", "--seeds", "2", "--layer", "0,1", "--run", "here"),
]


@pytest.fixture(scope="module")
def sat(tmp_path_factory):
    """A run whose first cell alone is drawn."""
    import sys

    from regard.cli.app import main

    folder = tmp_path_factory.mktemp("exam")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setattr(sys, "argv", ["regard", *ASKED, "--figures"])
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code
    for file in (folder / "here" / "figures").glob("layer-1-*"):
        file.unlink()
    return folder / "here"


def section(run, anchor):
    (found,) = [each for each in sections(run) if each.anchor == anchor]
    return found


def test_the_page_has_tables_curves_and_figures(sat):
    page = Page(page_of(see_run(sat)))
    assert page.wrong == []
    assert {attributes["id"] for attributes in page.all("section")} == {"about", "outcomes", "curves", "pictures"}
    assert page.text.count("Layer at which is averaged") == 1
    figures = [attributes for attributes in page.all("img") if attributes.get("class") == "figure"]
    drawn = {file.name.removeprefix("default-").removesuffix(".png") for file in (sat / "figures").iterdir()}
    assert drawn == {"curves", "examination", "weights", "mosaics", "regions"} == {*SHOWN}
    assert [each["alt"] for each in figures] == [f"default, {words}" for words in SHOWN.values()]
    assert all(each["src"].startswith("data:image/webp") and int(each["width"]) == 900 for each in figures)


def test_numbers_are_those_of_the_command_s_table(sat):
    blocks = section(see_run(sat), "outcomes").blocks
    (table,) = [block for block in blocks if block.kind == "grid"]
    written = (sat / "table.md").read_text()
    for row in table.rows[1:]:
        assert f"| {' | '.join(row)} |" in written
    assert [row[0] for row in table.rows] == ["cell", "default", "layer 1"]


def test_curves_are_means_over_seeds_in_per_cent_of_the_test(sat):
    run = see_run(sat)
    (charts,) = [block for block in section(run, "curves").blocks if block.kind == "charts"]
    assert [chart.title for chart in charts.charts] == ["default", "layer 1"]
    last = [row for row in run.rows if row["kind"] == "epoch" and row["method"] == "layer 1" and row["epoch"] == 3]
    for line, outcome in zip(charts.charts[1].lines, ("FTPT", "FFPT", "FTPF", "FFPF"), strict=True):
        assert line.name == outcome
        expected = 100 * np.mean([row[f"test {outcome}"] for row in last])
        assert float(line.dots[-1][2].partition(": ")[2]) == pytest.approx(expected, rel=1e-3)


def test_a_run_that_has_only_begun_has_the_cells_that_are_done(sat):
    run = see_run(sat)
    begun = [row for row in run.rows if (row["method"], row["seed"]) != ("layer 1", 1)]
    half = type(run)(run.folder, run.command, run.configuration, None, begun, run.log)
    blocks = section(half, "outcomes").blocks
    assert [row[0] for block in blocks if block.kind == "grid" for row in block.rows] == ["cell", "default"]
    assert any(block.kind == "words" and block.text == "1 cells are not done." for block in blocks)
    nothing = type(run)(run.folder, run.command, run.configuration, None, [], run.log)
    page = Page(page_of(nothing))
    assert page.wrong == []
    assert "The first cell is not done" in page.text


def test_a_run_whose_cells_this_regard_does_not_know_is_reported_without_tables(sat):
    run = see_run(sat)
    configuration = json.loads(json.dumps(run.configuration))
    configuration["cells"]["default"]["moon"] = "full"
    other = type(run)(run.folder, run.command, configuration, run.manifest, run.rows, run.log)
    page = Page(page_of(other))
    assert "of another regard" in page.text
    assert "curves" in {attributes["id"] for attributes in page.all("section")}


def test_claims_are_judged_as_in_the_table(sat):
    grid = study("boxes")
    shares = {f"{part} {name}": 0.25 for part in ("train", "test") for name in ("accuracy", "FTPT", "FFPT")}
    rows = [
        {"kind": "seed", "image": "boxes-2", "method": name, "seed": seed, "mode": "unnamed", "end": "epochs", **shares}
        for name in grid.cells
        for seed in range(2)
    ]
    asked = {"grid": "boxes", "cells": {name: cell.words() for name, cell in grid.cells.items()}, "seeds": [0, 1]}
    run = type(see_run(sat))(Path("gone"), "exam sdc", asked, None, rows, [])
    table = table_of(rows, grid)
    (found,) = [block for block in section(run, "claims").blocks if block.kind == "grid"]
    assert found.rows == claims(table.judgements)
    shown = [block for block in section(run, "outcomes").blocks if block.kind == "grid"]
    factors = [factor for factor, _ in cells(table, long=True)]
    assert [block.title for block in shown if not block.title.endswith(": more")] == factors
    more = {block.title.removesuffix(": more"): block.rows for block in shown if block.title.endswith(": more")}
    assert more == {factor: besides(table, factor) for factor in BESIDES}


def test_of_very_many_rows_those_of_epochs_stay_outside(sat, monkeypatch):
    run = see_run(sat)
    assert said_inside(run) == "all rows"
    monkeypatch.setattr("regard.report.data.MOST_ROWS", 10)
    assert {row["kind"] for row in rows_inside(run)} == {"seed"}
    assert said_inside(run) == "4 of 20 rows, those of seeds,"
