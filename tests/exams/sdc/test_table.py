"""Tables of sittings: rows worked by hand, what is made of claims, and the page."""

import json
import math

import pytest

from regard.exams.sdc.cell import Cell
from regard.exams.sdc.grid import around
from regard.exams.sdc.page import written
from regard.exams.sdc.published import Claim
from regard.exams.sdc.studies import study
from regard.exams.sdc.table import table_of, trend_of

GRID = around("", Cell("boxes-2", focus="mlp-4"), 3, [{"layer": 1}, {"weights": "spherical"}, {"learns": "focus"}])


def row(cell, seed, right, true, mode="interpretable"):
    """A seed that is right, and right with a true focus, in so many per cent of both parts."""
    shares = {"accuracy": right / 100, "FTPT": true / 100, "FFPT": (right - true) / 100}
    figures = {f"{part} {name}": value for part in ("train", "test") for name, value in shares.items()}
    return {"kind": "seed", "image": "boxes-2", "method": cell, "seed": seed, "mode": mode, **figures}


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


def figures(*columns):
    names = "abcd"[: len(columns)]
    return {name: {"test FTPT": list(each)} for name, each in zip(names, columns, strict=True)}


@pytest.mark.parametrize(
    ("columns", "rises", "slope", "verdict"),
    [
        (([10, 20], [15, 27]), True, 6, "agrees"),
        (([10, 20], [15, 27]), False, 6, "disagrees"),
        (([10, 20], [15, 17]), True, 1, "undecided"),
        (([30, 30], [20, 26], [10, 20]), False, -7.5, "agrees"),
        (([5, 5],), True, 5, "agrees"),
        (([0, 0],), True, 0, "undecided"),
        (([5],), True, 5, "undecided"),
    ],
)
def test_a_claim_is_judged_by_its_slope(columns, rises, slope, verdict):
    values = figures(*columns)
    found = trend_of(Claim("", "6", tuple(values), rises), values)
    assert found.slope.mean == pytest.approx(slope)
    assert found.verdict == verdict


def test_claims_of_a_study_are_judged_where_their_cells_are_there():
    grid = study("boxes")
    rows = [row(name, seed, 99, 66, "class-coded focus") for name in grid.cells for seed in range(3)]
    found = {trend.claim.words: trend for trend in table_of(rows, grid).trends}
    assert found["class-coded focus survives hard attention"].verdict == "agrees"
    assert found["a good beginning of the focus cures it"].verdict == "undecided"


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
    assert "| +15.0 [+10.0, +20.0] |" in page
    assert "published" not in page


def test_published_figures_stand_beside_the_cells_of_a_study():
    grid = study("cifar-10")
    page = written(table_of([row(name, seed, 99, 66) for name in grid.cells for seed in range(2)], grid), [])
    assert "| training 99/82; test 91/76 (6.1) |" in page
    assert "training –/85.7; test –/82.8 (6.5, of CNN-6)" in page
    assert "m 5 → default → m 20 → m 50" in page


def test_all_of_it_is_json(table):
    assert json.loads(json.dumps(table.to_json(), allow_nan=False))["lines"][0]["name"] == "default"
