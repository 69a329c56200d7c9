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
    assert found.found["test FTPT"].interval == (0, 100)  # 50 ± 65.7 by t of three
    assert found.found["test rightly"].mean == pytest.approx((60 + 100 * 70 / 95 + 40) / 3)


def test_ninety_per_cent_are_not_yet_good(table):
    assert line(table, "focus learns").good == 0
    assert math.isnan(line(table, "focus learns").of_good["test FTPT"].mean)


def test_differences_are_seed_by_seed(table):
    found = line(table, "layer 1").difference
    assert found.mean == pytest.approx((10 + 15 + 20) / 3)
    assert found.interval == pytest.approx((15 - 4.303 * 5 / math.sqrt(3), 15 + 4.303 * 5 / math.sqrt(3)))
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
    assert "| +15.0 [+2.6, +27.4] ≈ |" in page  # p is 1/4 of three seeds that agree
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
    assert found["class-coded focus survives sparse weights"] == "agrees"
    assert found["where background lies to one side, soft attention may be stuck"] == "disagrees"
    own = around("boxes", grid.default, 10, [{"paradigm": "hard"}])
    few = table_of([each for each in rows if each["method"] in own.cells], own)
    assert [each.claim.cells for each in few.judgements] == [("default",), ("hard",)]


def test_a_beginning_of_a_focus_that_could_do_well_is_judged_by_its_upper_bound():
    """On boxes that is a focus of 50 units: a linear one can hold nothing better, whatever it was told."""
    changes = ({}, {"focus_begins": "told"}, {"classifier_begins": "told"}, {"paradigm": "supervised"})
    grid = around("boxes", study("boxes").default, 10, [{"focus": "mlp-50"} | each for each in changes])
    true = dict(zip(grid.cells, (50, 70, 99, 75, 100), strict=True))
    found = table_of([row(name, seed, 100, value) for name, value in true.items() for seed in range(10)], grid)
    judged = {each.claim.words: each for each in found.judgements}
    cured = judged["a good beginning of the focus cures it"]
    assert cured.claim.cells == ("focus mlp-50, supervised", "focus mlp-50, focus told")
    assert (cured.verdict, cured.measured.mean, cured.untreated.mean) == ("agrees", -1, -30)
    assert judged["a good classifier does not cure it"].verdict == "agrees"
    assert judged["a good focus helps more than a good classifier"].verdict == "agrees"
    words = "test FTPT less that of “focus mlp-50, supervised”: -1.0; above -5? (“focus mlp-50”: -30.0)"
    assert words in written(found, [])


def test_accuracy_that_falls_does_not_pass_for_attention_that_goes_astray():
    grid = study("cifar-10")
    rows = []
    for name in grid.cells:
        right = {"m 5": 80, "default": 60, "m 20": 50, "m 50": 45}.get(name, 60)
        rows += [row(name, seed, right, right / 2) for seed in range(10)]
    found = {each.claim.words: each for each in table_of(rows, grid).judgements}
    assert found["FTPT falls as m grows"].verdict == "agrees"
    assert found["of right answers, fewer look at the foreground as m grows"].verdict == "undecided"
    assert found["of right answers, fewer look at the foreground as m grows"].measured.mean == pytest.approx(0)


def test_a_model_that_is_never_right_has_no_share_of_right_answers():
    rows = [row("default", 0, 0, 0), row("default", 1, 50, 20), row("default", 2, 50, 30)]
    found = table_of(rows, around("", GRID.default, 3, [])).lines[0].found["test rightly"]
    assert (found.mean, found.photos, found.missing) == (pytest.approx(50), 2, 1)


def further(name, figures):
    return [each | figures if each["method"] == name and "mode" in each else each for each in ROWS]


def test_what_a_beginning_gave_stands_below_the_cells_that_begin(table):
    page = written(table_of(further("focus learns", {"begins focus": 0.915}), GRID), [])
    part = page.split("## Beginning, and which module learns")[1]
    assert "focus on the foreground before training, %" in part
    assert "| default | – " in part
    assert "| focus learns | 91.5 |" in part
    assert "before training" not in page.split("## Beginning, and which module learns")[0]


def test_how_sharp_weights_are_stands_below_their_cells_with_what_was_published():
    sharp = {"test support": 1.5, "test simplex-distance": 0.25, "test entropy": 0.5}
    page = written(table_of(further("spherical", sharp), GRID), [])
    part = page.split("## Weights and entropy")[1].split("##")[0]
    assert "| segments above 0.01 | distance from one segment | entropy, bits |" in part
    assert "| spherical | 1.50 | 0.250 | 0.500 |" in part
    grid = study("d2")
    rows = [row(name, seed, 99, 66) | sharp for name in grid.cells for seed in range(2)]
    assert "| sparsemax | 1.50 | 0.250 | 0.500 | 1.091/0.018/0.051 |" in written(table_of(rows, grid), [])


def test_single_seeds_stand_where_a_mean_would_say_little():
    grid = study("boxes")
    page = written(table_of([row(name, seed, 99, 66) for name in grid.cells for seed in range(2)], grid), [])
    assert "| three of five 100/0, one 66/34, one 68/32 (5.1) |" in page


def test_the_page_has_every_cell_under_its_factor_beside_the_default(table):
    page = written(table, ["asked so"])
    assert "- asked so" in page
    for heading, names in (
        ("Weights and entropy", ["default", "spherical"]),
        ("Layer at which", ["default", "layer 1"]),
    ):
        part = page.split(f"## {heading}")[1].split("##")[0]
        cells = [row.split("|")[1].strip() for row in part.splitlines() if row.startswith("|")]
        assert cells[: len(names) + 2] == ["cell", "---", *names]
    assert "published" not in page


def test_published_figures_stand_beside_the_cells_of_a_study():
    grid = study("cifar-10")
    page = written(table_of([row(name, seed, 99, 66) for name in grid.cells for seed in range(2)], grid), [])
    assert "| training 99/82; test 91/76 (6.1) |" in page
    assert "training –/85.7; test –/82.8 (6.5, of CNN-6)" in page
    assert "test FTPT less that of “supervised”: +0.0; above -5? (“default”: +0.0)" in page
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
