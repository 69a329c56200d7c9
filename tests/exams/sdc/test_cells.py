"""Cells: models that begin as they are said to, recipes, names; what cannot be is refused with its reason."""

import pytest
import torch

from regard.errors import UnsupportedError
from regard.exams.sdc import task_called
from regard.exams.sdc.cell import Cell, ImpossibleCellError
from regard.training.selective.recipe import Phase

SMALL = {"task": "boxes-2", "focus": "mlp-6", "classifier": "mlp-4", "train": 60, "test": 40, "epochs": 6}


@pytest.fixture(scope="module")
def task():
    return task_called("boxes-2", train=60, test=40)


def items_of(task, foreground):
    chosen = torch.isin(task.train.items.classes, torch.tensor(task.train.items.foreground, dtype=torch.int16))
    return task.train.items.values[chosen == foreground], task.train.items.classes[chosen == foreground]


def test_a_seed_s_model_is_the_same_again_and_another_seed_s_another(task):
    cell = Cell(**SMALL)
    first, again, other = (cell.build(task, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["focus.0.0.weight"], other["focus.0.0.weight"])


def test_focus_and_classifier_of_the_same_form_begin_with_other_weights(task):
    model = Cell(**SMALL | {"classifier": "mlp-6"}).build(task, 0)
    assert model.focus[0][0].weight.shape == model.classifier[0][0].weight.shape
    assert not torch.equal(model.focus[0][0].weight, model.classifier[0][0].weight)


def test_a_focus_that_begins_as_zero_gives_uniform_weights(task):
    found = Cell(**SMALL, focus_begins="zero").build(task, 0)(task.train[:5].segments)
    assert torch.allclose(found.weights, torch.full((5, 2), 0.5))


def test_told_modules_know_foreground_and_classes_of_the_items_learnt_from(task):
    state = torch.get_rng_state()
    settings = SMALL | {"focus": "mlp-16", "classifier": "mlp-16", "rate": 1e-2}
    model = Cell(**settings, focus_begins="told", classifier_begins="told").build(task, 0)
    assert torch.equal(state, torch.get_rng_state())
    (near, classes), (far, _) = items_of(task, True), items_of(task, False)
    with torch.no_grad():
        assert (model.focus(near) > model.focus(far).max()).float().mean() > 0.9
        assert (model.classifier(near).argmax(dim=1) == classes).float().mean() > 0.95
    assert all(parameter.grad is None for parameter in model.parameters())


def test_only_what_is_told_is_trained_before(task):
    plain, told = Cell(**SMALL).build(task, 0), Cell(**SMALL, classifier_begins="told").build(task, 0)
    assert all(torch.equal(*pair) for pair in zip(plain.focus.parameters(), told.focus.parameters(), strict=True))
    assert not torch.equal(plain.classifier[0][0].weight, told.classifier[0][0].weight)


@pytest.mark.parametrize(
    ("settings", "phases"),
    [
        ({"paradigm": "hard", "learns": "focus"}, (Phase(6, "hard", "focus"),)),
        ({"paradigm": "hybrid"}, (Phase(3), Phase(3, "marginal"))),
        ({"paradigm": "hybrid", "learns": "focus"}, (Phase(3, learns="focus"), Phase(3, "marginal", "focus"))),
        ({"paradigm": "stage-wise", "epochs": 5}, (Phase(2, learns="classifier"), Phase(3, learns="focus"))),
        (
            {"paradigm": "alternating", "epochs": 3},
            (Phase(1, learns="classifier"), Phase(1, learns="focus"), Phase(1, learns="classifier")),
        ),
    ],
)
def test_paradigms_are_phases(settings, phases):
    assert Cell(**SMALL | settings).recipe().phases == phases


@pytest.mark.parametrize(
    "settings",
    [
        {"weights": "spherical", "focus_begins": "zero"},
        {"layer": 1, "classifier_begins": "told"},
        {"paradigm": "alternating", "learns": "focus"},
        {"paradigm": "stage-wise", "epochs": 1},
    ],
)
def test_what_cannot_be_together_is_refused_with_its_reason(settings):
    with pytest.raises(ImpossibleCellError, match="cannot be"):
        Cell(**SMALL | settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"task": "boxes-3"},
        {"paradigm": "softer"},
        {"weights": "softermax"},
        {"focus_begins": "one"},
        {"classifier_begins": "zero"},
        {"learns": "none"},
        {"epochs": 0},
        {"entropy": 2.0},
        {"rate": 0.0},
    ],
)
def test_unknown_words_and_numbers_are_refused_by_the_cell(settings):
    with pytest.raises(UnsupportedError) as refused:
        Cell(**SMALL | settings)
    assert not isinstance(refused.value, ImpossibleCellError)


@pytest.mark.parametrize("settings", [{"focus": "cnn-3"}, {"layer": 2}, {"focus": "linear", "focus_begins": "zero"}])
def test_networks_that_do_not_fit_are_refused_before_anything_is_trained(settings, task):
    with pytest.raises(UnsupportedError):
        Cell(**SMALL | settings).untold(task, 0)


def test_a_cell_is_called_by_what_is_different():
    default = Cell(**SMALL)
    other = Cell(**SMALL | {"segments": 5, "leaky": True, "entropy": 0.005, "focus_begins": "told", "epochs": 7})
    assert default.called(default) == "default"
    assert other.called(default) == "m 5, leaky, k 0.005, focus told"
    assert Cell(**SMALL | {"epochs": 7, "rate": 0.1}).called(default) == "epochs 7, rate 0.1"
    assert Cell(**SMALL | {"learns": "classifier"}).called(default) == "classifier learns"
