"""Where maps are raised to before the first step, and which recipe fits which classifier."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import nn

from regard.compat import import_optional
from regard.errors import UnsupportedError
from regard.fills import black
from regard.models.features import Features
from regard.models.stages import gated_by_class
from regard.training import RECIPES, Recipe, fit_tame, preset, rates_of_tame
from regard.training.tame import mask_training
from regard.training.tame.masks import raised_to_mean
from regard.training.tame.plan import Plan

from ..attention.fusions import VARIANTS, attention, classes_of, features_of
from ..explainers.networks import CLASSES, WIDTH, classifier_of, loud, mlp_head, same, vit
from ..models.test_convolutional import swin
from .mask_trainings import photos_of, recipe_of, task_of, tiny

optimize = import_optional("scipy.optimize", "evaluate")
HEADED = {"variant": "tied", "start": "head", "area_target": 0.3, "mask": "ranked"}


def logit(share):
    return math.log(share / (1 - share))


@pytest.mark.parametrize("kind", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("maps", "mean", "expected"),
    [
        ([0.0], 0.5, 0.0),
        ([0.0, 0.0], 0.3, logit(0.3)),
        ([12.5] * 4, 0.3, logit(0.3) - 12.5),
        ([-7.0], 0.9, logit(0.9) + 7),
        ([0.0, math.log(3)], 0.5, -math.log(3) / 2),  # σ(s) + σ(s + ln 3) = 1 where one is the other's mirror
        ([-2.0, 0.0, 2.0], 0.5, 0.0),
        # x / (1 + x) + 4x / (1 + 4x) = 0.6 with x = exp s: 5.6 x² + 2 x − 0.6 = 0
        ([0.0, math.log(4)], 0.3, math.log((math.sqrt(4 + 4 * 5.6 * 0.6) - 2) / (2 * 5.6))),
    ],
)
def test_a_number_worked_by_hand_raises_maps_to_a_mean(maps, mean, expected, kind):
    found = raised_to_mean(torch.tensor([maps], dtype=kind), mean)
    assert (found.shape, found.dtype) == ((1,), kind)
    assert float(found) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("scale", [0.01, 1.0, 40.0])
@pytest.mark.parametrize("mean", [1e-4, 0.15, 0.3, 0.999])
def test_it_is_the_root_that_another_library_finds_row_by_row(scale, mean):
    maps = (5 + torch.randn(3, 42, generator=torch.Generator().manual_seed(2), dtype=torch.float64)) * scale
    found = raised_to_mean(maps.requires_grad_(), mean)
    assert not found.requires_grad
    for row, number in zip(maps.tolist(), found.tolist(), strict=True):

        def excess(raised, row=row):
            return sum(0.5 * (1 + math.tanh((value + raised) / 2)) for value in row) / len(row) - mean

        root = optimize.brentq(excess, -20 * scale - 50, 20 * scale + 50, xtol=1e-13)
        assert number == pytest.approx(root, abs=1e-6)
        assert excess(number) == pytest.approx(0, abs=1e-6 * mean)


@given(seed=some.integers(0, 999), constant=some.floats(-50, 50), mean=some.floats(0.01, 0.99))
def test_a_constant_is_taken_off_again_and_the_order_does_not_count(seed, constant, mean):
    maps = torch.randn(2, 24, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = raised_to_mean(maps, mean)
    torch.testing.assert_close(raised_to_mean(maps + constant, mean), found - constant, rtol=0, atol=1e-7)
    torch.testing.assert_close(raised_to_mean(maps.flip(1), mean), found, rtol=0, atol=1e-7)
    assert raised_to_mean(maps[1:], mean).equal(found[1:])


@pytest.mark.parametrize("smoothing", [0, 1])
@pytest.mark.parametrize("variant", VARIANTS)
def test_maps_of_all_classes_are_raised_by_a_number_and_nothing_else_is(variant, smoothing):
    made, features = attention(variant, smoothing=smoothing), features_of()
    before, state = made(features).detach(), copy.deepcopy(made.state_dict())
    made.raise_by(-3.25)
    assert same(made(features), before - 3.25)
    asked = torch.stack([one[row] for one, row in zip(before, classes_of(), strict=True)])
    assert same(made(features, classes_of()), asked - 3.25)
    assert same(made.folded()(features), before - 3.25)
    changed = [name for name, value in made.state_dict().items() if not value.equal(state[name])]
    assert changed == ["bias" if variant == "tied" else "fuser.bias"]
    assert all(weight.requires_grad and weight.grad_fn is None for weight in made.parameters())


def own_masks(task, count, epoch=0):
    """Means of σ(c) of each of the first pictures' own classes, one picture after the other, in eval mode."""
    attention, found = copy.deepcopy(task.module.attention).eval(), []
    for index in range(count):
        pixels, seen = task.batch([index], epoch).pixels, []
        handles = [
            task.classifier.module.get_submodule(stage.place.layer).register_forward_hook(
                lambda _, __, output, seen=seen: seen.append(output.clone())
            )
            for stage in task.stages
        ]
        with torch.no_grad():
            own = task.classifier.module.eval()(pixels.clone()).argmax(1)
        for handle in handles:
            handle.remove()
        maps_of = gated_by_class if task.recipe.gated else Features.maps
        maps = attention([maps_of(stage, one, pixels) for stage, one in zip(task.stages, seen, strict=True)])
        found.append(float(maps[0, own[0]].detach().double().sigmoid().mean()))
    return found


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"area_target": 0.7},
        {"area_target": None},
        {"area_target": None, "mask": "soft", "variant": "no-skip-no-norm"},
        {"variant": "tame"},
        {"variant": "l-cam"},
        {"smoothing": 1},
        {"augmentation": "flip"},
    ],
    ids=str,
)
def test_own_masks_that_start_from_the_head_begin_at_their_target_or_half_open_on_average(changed):
    """Six photos in batches of four: the mean over photos, and not over batches."""
    recipe = recipe_of(**HEADED | {"batch": 4} | changed)
    task, expected = task_of(recipe, photos_of(6)), changed.get("area_target", 0.3) or 0.5
    found = own_masks(task, 6)
    assert sum(found) / 6 == pytest.approx(expected, abs=1e-6)
    assert max(found) - min(found) > 0.01
    if recipe.augmentation == "flip":
        assert abs(sum(own_masks(task, 6, epoch=1)) / 6 - expected) > 1e-5
    if recipe.variant == "l-cam":  # without batch norm the first step sees the same masks
        _, components = task.losses(task.batch(range(6), 0))
        assert float(components["own mask"].detach().mean()) == pytest.approx(expected, abs=1e-6)


def test_the_first_photos_say_where_masks_begin(monkeypatch):
    monkeypatch.setattr(mask_training, "FIRST", 3)
    task = task_of(recipe_of(**HEADED | {"batch": 2}), photos_of(7))
    assert sum(own_masks(task, 3)) / 3 == pytest.approx(0.3, abs=1e-6)
    assert abs(sum(own_masks(task, 7)) / 7 - 0.3) > 1e-4


@pytest.mark.parametrize("variant", ["tied", "tame"])
def test_one_number_is_all_that_beginning_at_the_target_changes(variant):
    subject, photos, recipe = tiny(), photos_of(6), recipe_of(**HEADED | {"variant": variant})
    before, random = subject.hash, torch.get_rng_state()
    first = Plan.of(subject, recipe, None, 0).attention.state_dict()
    task = task_of(recipe, photos, subject)
    state = task.module.attention.state_dict()
    assert [name for name in state if not state[name].equal(first[name])] == [
        "bias" if variant == "tied" else "fuser.bias"
    ]
    assert all(part.training for part in task.module.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in task.module.parameters())
    assert float(task.module.multiplier.detach()) == 0
    assert torch.get_rng_state().equal(random)
    assert subject.hash == before
    assert all(parameter.grad is None for parameter in subject.module.parameters())


@pytest.mark.parametrize("changed", [{}, {"area_target": None, "mask": "soft"}], ids=str)
def test_what_starts_from_no_head_begins_as_it_was_drawn(changed):
    subject, recipe = tiny(), recipe_of(**HEADED | {"start": "drawn"} | changed)
    first = Plan.of(subject, recipe, None, 0).attention.state_dict()
    state = task_of(recipe, photos_of(4), subject).module.attention.state_dict()
    assert all(state[name].equal(first[name]) for name in state)


@pytest.mark.parametrize("gated", [False, True])
def test_features_that_are_gated_are_gated_there_too(gated):
    subject = classifier_of(vit(depth=3))
    task = task_of(recipe_of(**HEADED | {"gated": gated, "variant": "no-skip-no-norm"}), photos_of(5), subject)
    assert sum(own_masks(task, 5)) / 5 == pytest.approx(0.3, abs=1e-6)


def stopping(after):
    def track(what, parts):
        for part in parts:
            if what == "training" and part == after:
                raise KeyboardInterrupt
            yield part

    return track


@pytest.mark.parametrize("after", [0, 3])
def test_a_training_that_begins_at_its_target_goes_on_to_the_same_bits_and_knows_no_order(after, tmp_path):
    photos, asked = photos_of(14), {"recipe": recipe_of(**HEADED, rate=1e-2), "seed": 2}
    whole = fit_tame(tiny(), photos[::-1], **asked)
    with pytest.raises(KeyboardInterrupt):
        fit_tame(tiny(), photos, **asked, run=tmp_path / "run", tracked=stopping(after))
    resumed = fit_tame(tiny(), photos, **asked, run=tmp_path / "run")
    expected = whole.trained.attention.state_dict()
    assert all(value.equal(expected[name]) for name, value in resumed.trained.attention.state_dict().items())
    assert resumed.trained.card.figures == whole.trained.card.figures


def three_grids(head=None):
    """Grids of 32, 16 and 8 cells, and a head that pools the last; or another one."""
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()]
    for inputs, outputs in ((6, 7), (7, 8)):
        layers += [nn.MaxPool2d(2), nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES)]
    return loud(nn.Sequential(*layers, *(end if head is None else head)))


def flattened():
    return three_grids([nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8 * 4, CLASSES)])


def two_layered():
    return three_grids([nn.AdaptiveAvgPool2d(1), nn.Flatten(), mlp_head(width=8)])


FITTING = {
    "pooled": (lambda: classifier_of(three_grids()), ("tied", "head", 5e-5, 0.15)),
    "pooled, channels last": (lambda: classifier_of(swin(), 64), ("tied", "head", 5e-5, 0.15)),
    "flattened": (lambda: classifier_of(flattened()), ("tame", "drawn", 1e-3, 0.3)),
    "layers between": (lambda: classifier_of(two_layered()), ("tame", "drawn", 1e-3, 0.3)),
    "tokens": (lambda: classifier_of(vit(depth=3)), ("tame", "drawn", 1e-3, 0.3)),
    "tokens, head apart": (
        lambda: classifier_of(vit(depth=3, num_classes=0), head=nn.Linear(WIDTH, CLASSES)),
        ("tame", "drawn", 1e-3, 0.3),
    ),
    "tokens, head of two layers": (
        lambda: classifier_of(vit(depth=3, num_classes=0), head=mlp_head()),
        ("tame", "drawn", 1e-3, 0.3),
    ),
}


@pytest.mark.parametrize(("make", "expected"), FITTING.values(), ids=FITTING)
def test_the_default_recipe_fits_the_classifier_and_can_begin(make, expected):
    subject = make()
    random, flags = torch.get_rng_state(), [part.training for part in subject.module.modules()]
    recipe, fill = preset("default", subject)
    assert (recipe.variant, recipe.start, recipe.rate, recipe.edge) == expected
    usual = Recipe()
    assert replace(recipe, variant=usual.variant, start=usual.start, rate=usual.rate, edge=usual.edge) == usual
    assert (recipe == RECIPES["default"] == usual) == (expected[1] == "head")
    assert fill == black((0.5,) * 3, (0.5,) * 3)
    assert torch.get_rng_state().equal(random)
    assert [part.training for part in subject.module.modules()] == flags
    task = task_of(recipe, photos_of(3), subject)
    assert bool(task.losses(task.batch(range(3), 0))[0].isfinite().all())


def test_a_head_of_the_same_width_that_reads_no_mean_is_no_class_activation_map():
    """Maxima, and a hidden layer between (as in MaxViT), have as many channels as the map."""
    largest = three_grids([nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES)])
    hidden = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, CLASSES)]
    for network in (largest, three_grids(hidden)):
        assert preset("default", classifier_of(network))[0].start == "drawn"


@pytest.mark.filterwarnings("ignore:the attention will show no map", "ignore:Sequential takes all 10 photos")
@pytest.mark.parametrize("name", ["pooled", "flattened"])
def test_without_a_recipe_the_fitting_one_is_taken(name):
    make, _ = FITTING[name]
    subject, photos = make(), photos_of(10)
    expected = preset("default", subject)[0]
    said = fit_tame(subject, photos).trained.card.training
    assert (said["recipe"], said["fill"]) == (expected.words(), repr(black((0.5,) * 3, (0.5,) * 3)))
    found = rates_of_tame(subject, photos, steps=4)
    assert found == rates_of_tame(subject, photos, recipe=expected, steps=4)
    assert found.losses != rates_of_tame(subject, photos, recipe=replace(expected, edge=0.6), steps=4).losses


def test_a_network_without_classes_is_refused_when_it_is_planned():
    headless = classifier_of(vit(num_classes=0))
    recipe, fill = preset("default", headless)
    with pytest.raises(UnsupportedError, match="knows no classes"):
        Plan.of(headless, recipe, fill, 0)
