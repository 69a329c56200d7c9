"""Tables of sittings: rows worked by hand, their differences, and the page."""

import json
import math

import pytest

from regard.exams.sdc.cell import Cell
from regard.exams.sdc.grid import around
from regard.exams.sdc.page import written
from regard.exams.sdc.studies import study
from regard.exams.sdc.table import table_of

GRID = around("", Cell("boxes-2", focus="mlp-4"), 3, [{"layer": 1}, {"weights": "spherical"}, {"learns": "focus"}])


def row(cell, seed, right, true, mode="interpretable", end="epochs"):
    """A seed that is right, and right with a true focus, in so many per cent of both parts."""
    shares = {"accuracy": right / 100, "FTPT": true / 100, "FFPT": (right - true) / 100}
    figures = {f"{part} {name}": value for part in ("train", "test") for name, value in shares.items()}
    return {"kind": "seed", "image": "boxes-2", "method": cell, "seed": seed, "mode": mode, "end": end, **figures}


ROWS = [
    *(row("default", seed, *of) for seed, of in enumerate([(100, 60, "class-coded focus"), (95, 70), (50, 20)])),
    *(row("layer 1", seed, *of) for seed, of in enumerate([(100, 70), (95, 85), (50, 40)])),
    *(row("spherical", seed, *of) for seed, of in enumerate([(100, 50), (95, 80), (50, 20)])),
    *(row("focus learns", seed, 90, 5) for seed in range(3)),
    {"kind": "epoch", "method": "default", "seed": 0, "epoch": 0},
]


@pytest.fixture
def table():
    return table_of(ROWS, GRID)


def line(table, name):
    (found,) = [each for each in table.lines if each.name == name]
    return found


def test_means_are_over_seeds_with_and_without_the_good_ones(table):
    found = line(table, "default")
    assert found.found["test FTPT"].mean == pytest.approx(50)
    assert found.found["test FFPT"].mean == pytest.approx((40 + 25 + 30) / 3)
    assert found.found["class-coded"].mean == pytest.approx(100 / 3)
    assert (found.good, found.seeds) == (2, 3)
    assert found.of_good["test FTPT"].mean == pytest.approx(65)
    low, high = found.found["test FTPT"].interval
    assert 20 <= low < 50 < high <= 70


def test_ninety_per_cent_are_not_yet_good(table):
    assert line(table, "focus learns").good == 0
    assert math.isnan(line(table, "focus learns").of_good["test FTPT"].mean)


def test_differences_are_seed_by_seed(table):
    found = line(table, "layer 1").difference
    assert found.mean == pytest.approx((10 + 15 + 20) / 3)
    assert 10 <= found.interval[0] <= found.interval[1] <= 20
    assert found.p_value == pytest.approx(2 / 8)  # of 8 flips two are as far
    assert line(table, "default").difference is None


def test_lines_stand_by_factor_and_say_what_the_models_do(table):
    assert [(each.name, each.factor) for each in table.lines] == [
        ("default", ""),
        ("spherical", "Weights and entropy"),
        ("layer 1", "Layer at which is averaged"),
        ("focus learns", "Beginning, and which module learns"),
    ]
    assert line(table, "default").modes == {"interpretable": 2, "class-coded focus": 1}


def of_seeds(name, values):
    return [row(name, seed, 100, value) for seed, value in enumerate(values)]


def test_differences_are_adjusted_for_those_of_their_own_factor_alone():
    """Of eight seeds 2 of 256 flips are as far as all of one sign; 4 are, if but one is of the other sign and least."""
    grid = around("", GRID.default, 8, [{"layer": 1}, {"weights": "spherical"}, {"weights": "sparsemax"}])
    changes = {
        "default": [0] * 8,
        "layer 1": [1, 2, 3, 4, 5, 6, 7, 8],
        "spherical": [-1, 2, 3, 4, 5, 6, 7, 8],
        "sparsemax": [1, 2, 3, 4, 5, 6, 7, 8],
    }
    found = table_of([each for name, of in changes.items() for each in of_seeds(name, [50 + x for x in of])], grid)
    assert line(found, "layer 1").adjusted == pytest.approx(2 / 256)
    assert line(found, "sparsemax").adjusted == pytest.approx(2 * 2 / 256)
    assert line(found, "spherical").adjusted == pytest.approx(4 / 256)
    assert line(found, "default").adjusted is None
    page = written(found, [])
    assert "≈ |" not in page
    assert "nothing from chance" not in page


def test_a_difference_that_could_be_chance_is_marked_and_too_few_seeds_are_said(table):
    page = written(table, [])
    assert "| +15.0 [+10.0, +20.0] ≈ |" in page  # p is 1/4 of three seeds that agree
    assert "With 3 seeds p is 0.25 at least" in page


def test_a_seed_that_broke_counts_with_its_last_figures_and_is_said():
    rows = [each | {"end": "not finite"} if each.get("seed") == 2 and "mode" in each else each for each in ROWS]
    found = line(table_of(rows, GRID), "default")
    assert (found.broken, found.seeds) == (1, 3)
    assert found.found["test FTPT"].mean == pytest.approx(50)
    assert "interpretable 2, class-coded focus 1; 1 stopped, no longer finite" in written(table_of(rows, GRID), [])


def test_claims_of_a_study_are_judged_where_their_cells_are_there():
    grid = study("boxes")
    rows = [row(name, seed, 99, 66, "class-coded focus") for name in grid.cells for seed in range(10)]
    found = {each.claim.words: each.verdict for each in table_of(rows, grid).judgements}
    assert found["class-coded focus survives hard attention"] == "agrees"
    assert found["a good beginning of the focus cures it"] == "disagrees"
    assert found["a good classifier does not cure it"] == "agrees"
    assert found["a good focus helps more than a good classifier"] == "undecided"
    own = around("boxes", grid.default, 10, [{"focus_begins": "told"}])
    few = table_of([each for each in rows if each["method"] in own.cells], own)
    assert [each.claim.cells for each in few.judgements] == [("focus told",), ("default",)]


def test_the_page_has_every_cell_under_its_factor_beside_the_default(table):
    page = written(table, ["asked so"])
    assert "- asked so" in page
    for heading, names in (
        ("Weights and entropy", ["default", "spherical"]),
        ("Layer at which", ["default", "layer 1"]),
    ):
        part = page.split(f"## {heading}")[1].split("##")[0]
        cells = [row.split("|")[1].strip() for row in part.splitlines() if row.startswith("|")]
        assert cells == ["cell", "---", *names]
    assert "published" not in page


def test_published_figures_stand_beside_the_cells_of_a_study():
    grid = study("cifar-10")
    page = written(table_of([row(name, seed, 99, 66) for name in grid.cells for seed in range(2)], grid), [])
    assert "| training 99/82; test 91/76 (6.1) |" in page
    assert "training –/85.7; test –/82.8 (6.5, of CNN-6)" in page
    assert "train FTPT: 66.0; above 95?" in page
    assert "m 5 → default → m 20 → m 50" in page


def test_what_is_doubted_of_published_figures_and_claims_is_said():
    pages = {
        name: written(
            table_of([row(cell, seed, 99, 66) for cell in study(name).cells for seed in range(2)], study(name)), []
        )
        for name in ("d1", "d2")
    }
    assert "| training 99.99/99.99 (6.4; the second 99.99 looks like a typing error) |" in pages["d2"]
    assert "| averaging at a later layer helps (in doubt: an older table has the last layer worst) |" in pages["d1"]


def test_all_of_it_is_json(table):
    assert json.loads(json.dumps(table.to_json(), allow_nan=False))["lines"][0]["name"] == "default"
