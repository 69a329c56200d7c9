"""Cells: models that begin as they are said to, recipes, names; what cannot be is refused with its reason."""

import json

import pytest
import torch

from regard.errors import UnsupportedError
from regard.exams.sdc import task_called
from regard.exams.sdc.cell import Cell, ImpossibleCellError
from regard.training.selective.recipe import Phase

from .item_sets import write_arrays

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
        {"gamma": 0.1},
        {"foreground": (0, 1)},
        {"norm": "running"},
        {"samples": 2},
        {"baseline": "self-critical", "paradigm": "marginal"},
        {"warm_up": 3},
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
        {"weights": ""},
        {"weights": "softmax:"},
        {"weights": "softmax:0"},
        {"weights": "softmax:nan"},
        {"weights": "sparsemax:2"},
        {"weights": "entmax:0.5"},
        {"weights": "top-k"},
        {"weights": "top-k:0"},
        {"weights": "top-k:1.5"},
        {"norm": "batch", "focus": "cnn-3"},
        {"paradigm": "sampled", "baseline": "mean"},
        {"paradigm": "sampled", "samples": 1},
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


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("segments", 3),
        ("segments", (2, 4)),
        ("train", 50),
        ("test", 30),
        ("leaky", True),
        ("spread", 0.0),
        ("overlap", 0.5),
        ("skew", 1.0),
        ("label_noise", 0.5),
    ],
)
def test_what_is_asked_of_a_task_reaches_it(field, value, task):
    found = Cell(**SMALL | {field: value}).made_task()
    asked = task_called("boxes-2", **{"train": 60, "test": 40, field: value})
    for part in ("train", "test"):
        one, other, plain = (getattr(each, part)[:] for each in (found, asked, task))
        assert torch.equal(one.segments, other.segments)
        assert torch.equal(one.label, other.label)
        if part == ("train" if field not in ("test", "leaky") else "test"):
            assert one.segments.shape != plain.segments.shape or not (
                torch.equal(one.segments, plain.segments) and torch.equal(one.label, plain.label)
            )


def test_pictures_have_the_foreground_and_the_dose_that_were_asked_for(tmp_path):
    file = write_arrays(tmp_path, shape=(6, 6), classes=5)
    settings = {"focus": "mlp-4", "classifier": "mlp-4", "train": 20, "test": 10}
    chosen = Cell("mnist", foreground=(4, 1), **settings).made_task(file)
    assert chosen.train.items.foreground == (4, 1)
    plain, moved = (Cell("implanted", gamma=gamma, **settings).made_task(file) for gamma in (0.0, 0.5))
    assert not torch.equal(plain.train.items.values, moved.train.items.values)


def scored(weights, task):
    """Weights that a cell's model gives, and the scores of its focus."""
    model = Cell(**SMALL | {"weights": weights, "segments": 5}).build(task, 0)
    segments = task.train[:20].segments
    with torch.no_grad():
        return model(segments).weights.double(), model.focus(segments.flatten(0, 1)).view(20, -1).double()


def test_weights_take_a_setting_behind_a_colon():
    task = task_called("boxes-2", train=60, test=40, segments=5)
    weights, scores = scored("softmax:0.5", task)
    assert torch.allclose(weights, (scores / 0.5).softmax(dim=1), atol=1e-6)
    weights, scores = scored("top-k:2", task)
    assert ((weights > 0).sum(dim=1) == 2).all()
    assert torch.equal(weights.argmax(dim=1), scores.argmax(dim=1))
    weights, scores = scored("entmax:1.3", task)
    # p_i = [ (α − 1) s_i − τ ]₊^(1 / (α − 1)) with one τ a row
    level = 0.3 * scores - weights**0.3
    there = weights > 1e-4
    highest, lowest = level.masked_fill(~there, -1e9).amax(dim=1), level.masked_fill(~there, 1e9).amin(dim=1)
    assert torch.allclose(highest, lowest, atol=1e-4)
    assert not torch.allclose(weights, scores.softmax(dim=1), atol=1e-3)


def norms(model):
    return [type(part).__name__ for part in model.modules() if "Norm" in type(part).__name__]


@pytest.mark.parametrize(
    ("focus", "norm", "there"),
    [("cnn-3", None, False), ("cnn-3", "running", True), ("cnn-6", None, True), ("cnn-6", "none", False)],
)
def test_networks_with_convolutions_have_the_norm_that_is_asked_for_or_their_own(focus, norm, there, tmp_path):
    file = write_arrays(tmp_path, shape=(32, 32, 3), classes=5)
    cell = Cell("cifar-10", train=20, test=10, focus=focus, classifier="mlp-4", norm=norm)
    model = cell.untold(cell.made_task(file), 0)
    assert bool(norms(model.focus)) == there
    assert not norms(model.classifier)


def test_a_sampled_focus_draws_as_often_and_against_what_it_is_told():
    cell = Cell(**SMALL, paradigm="sampled", samples=2, baseline="self-critical")
    assert (cell.recipe().samples, cell.recipe().baseline) == (2, "self-critical")
    assert Cell(**SMALL, paradigm="sampled").recipe().samples == 4


def test_a_cell_is_called_by_what_is_different():
    default = Cell(**SMALL)
    other = Cell(**SMALL | {"segments": 5, "leaky": True, "entropy": 0.005, "focus_begins": "told", "epochs": 7})
    assert default.called(default) == "default"
    assert other.called(default) == "m 5, leaky, k 0.005, focus told"
    assert other.besides(default) == "epochs 7"
    trained = Cell(**SMALL | {"epochs": 7, "rate": 0.1, "stop": None})
    assert trained.called(default) == "default"
    assert trained.besides(default) == "epochs 7, rate 0.1, stop never"
    assert Cell(**SMALL | {"learns": "classifier"}).called(default) == "classifier learns"
    assert Cell(**SMALL | {"segments": (2, 9), "overlap": 0.25}).called(default) == "m 2-9, overlap 0.25"
    drawn = Cell(**SMALL | {"paradigm": "sampled", "baseline": "self-critical", "weights": "top-k:2"})
    assert drawn.called(default) == "top-k:2, sampled, baseline self-critical"
    assert default.called(other) == "m usual, not leaky, k 0, focus random"


def test_a_factor_that_is_not_asked_for_leaves_the_words_of_a_cell_what_they_were():
    """Runs are found again by these words; whatever is added to a cell must not be among them."""
    assert " ".join(Cell().words()) == (
        "task segments train test leaky focus classifier layer weights paradigm entropy warm_up focus_begins "
        "classifier_begins learns epochs optimizer rate batch stop"
    )
    assert Cell(overlap=0.1).words()["overlap"] == 0.1


def test_a_cell_comes_back_from_its_words():
    for cell in (Cell(), Cell("mnist", segments=(2, 9), foreground=("a", 3), spread=0.0, focus="cnn-3", norm="none")):
        assert Cell.of_words(json.loads(json.dumps(cell.words()))) == cell
