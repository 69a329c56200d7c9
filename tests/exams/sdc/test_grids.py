"""Grids: one factor at a time, or all combinations; those that cannot be are left out and said."""

import itertools

import pytest

from regard.errors import UnsupportedError
from regard.exams.sdc.cell import Cell
from regard.exams.sdc.grid import around, possible, product
from regard.exams.sdc.published import CLAIMS, PUBLISHED
from regard.exams.sdc.sitting import tasks_of
from regard.exams.sdc.studies import STUDIES, study, usual
from regard.exams.sdc.table import FACTORS, FIGURES

from .item_sets import write_arrays


def test_a_product_has_all_combinations_but_those_that_cannot_be():
    asked = {
        "task": ["boxes-2"],
        "focus": ["mlp-4"],
        "weights": ["softmax", "spherical"],
        "focus_begins": ["random", "zero"],
    }
    found = product(asked, usual, 2)
    assert [*found.cells] == ["default", "focus zero", "spherical"]
    (left,) = found.left_out
    assert "spherical" in left
    assert "zero" in left


def test_a_combination_whose_networks_do_not_fit_is_left_out_and_the_rest_named_anew():
    asked = product({"task": ["boxes-2"], "focus": ["linear", "mlp-4"], "layer": [1, 0]}, usual, 2)
    assert [*asked.cells] == ["default", "layer 0", "focus mlp-4", "focus mlp-4, layer 0"]
    found = possible(asked, tasks_of(asked, None))
    assert [*found.cells] == ["default", "focus mlp-4, layer 1", "focus mlp-4"]
    assert (found.default.focus, found.default.layer) == ("linear", 0)
    assert "no such layer" in found.left_out[0]


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({"layer": [0, 1], "rate": [0.001, 0.01]}, ["default", "rate 0.01", "layer 1", "layer 1, rate 0.01"]),
        (
            {"weights": ["softmax", "sparsemax"], "batch": [50, 100]},
            ["default", "batch 100", "sparsemax", "sparsemax, batch 100"],
        ),
        (
            {"epochs": [5, 6], "stop": [0.1, None]},
            ["default", "stop never", "epochs 6", "epochs 6, stop never"],
        ),
    ],
)
def test_cells_that_differ_in_how_they_learn_alone_are_told_apart(asked, names):
    found = product({"task": ["d1"], **asked}, usual, 2)
    assert [*found.cells] == names
    values = [tuple(getattr(cell, field) for field in asked) for cell in found.cells.values()]
    assert values == [*itertools.product(*asked.values())]


def test_tasks_and_rates_make_a_grid_although_tasks_learn_in_other_ways():
    found = product({"task": ["d1", "d2"], "rate": [0.001, 0.01]}, usual, 2)
    assert {(cell.task, cell.rate) for cell in found.cells.values()} == {
        (task, rate) for task in ("d1", "d2") for rate in (0.001, 0.01)
    }


def test_what_a_study_s_cells_have_besides_their_name_is_not_in_it():
    grid = study("boxes")
    assert grid.cells["boxes-4"].besides(grid.default) == "epochs 200, optimizer adam, rate 0.1"


def test_a_typing_error_is_no_combination_that_is_left_out():
    with pytest.raises(UnsupportedError, match="no such weights"):
        product({"task": ["d1"], "weights": ["softmax", "sprsemax"]}, usual, 2)


def test_nothing_that_can_be_and_the_same_cell_twice_are_refused():
    with pytest.raises(UnsupportedError, match="no cell"):
        product({"task": ["d1"], "weights": ["spherical"], "focus_begins": ["zero"]}, usual, 2)
    with pytest.raises(UnsupportedError, match="the same"):
        around("", Cell(), 2, [{"layer": 1}, {"layer": 1}])


@pytest.mark.parametrize("name", STUDIES)
def test_every_cell_of_a_study_can_be_and_has_a_factor(name, tmp_path):
    grid = study(name)
    pictures = write_arrays(tmp_path, shape=(32, 32, 3), classes=10) if name == "cifar-10" else None
    assert possible(grid, tasks_of(grid, pictures)) == grid
    every = frozenset().union(*FACTORS.values())
    assert all({*cell.changed(grid.default)} <= every for cell in grid.cells.values())


@pytest.mark.parametrize("name", {**PUBLISHED, **CLAIMS})
def test_published_figures_and_claims_are_of_cells_that_there_are(name):
    cells = {*study(name).cells}
    assert {*PUBLISHED.get(name, {})} <= cells
    assert all({*claim.cells} <= cells and claim.figure in FIGURES for claim in CLAIMS.get(name, ()))


def test_an_unknown_study_is_refused_with_those_there_are():
    with pytest.raises(UnsupportedError, match="quick, d1, d1-background, d1-learning, d2, boxes, cifar-10"):
        study("d3")


@pytest.mark.parametrize(("task", "focus"), [("d2", "mlp-6-12"), ("boxes-1", "linear"), ("mnist", "cnn-3")])
def test_a_task_of_one_s_own_grid_has_the_networks_of_its_study(task, focus):
    assert (usual(task).task, usual(task).focus) == (task, focus)


def test_tasks_that_are_the_same_are_made_once():
    grid = around("", Cell("boxes-2", focus="mlp-4", train=50), 1, [{"layer": 1}, {"train": 40}])
    tasks = [*tasks_of(grid, None).values()]
    assert tasks[0] is tasks[1]
    assert len(tasks[2].train) == 40
