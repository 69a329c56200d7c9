"""Where the loss's gradients go: onto which maps, with which weight, and nowhere else (papers/tame.md, 16, 18, 19)."""

import copy
from contextlib import contextmanager

import pytest
import torch

from regard.errors import ClassifierError
from regard.models.classifier import Classifier
from regard.training.frozen import frozen
from regard.training.tame.descent import optimizer_of
from regard.training.tame.fit import fit_tame

from .mask_trainings import descended, normed, photos_of, recipe_of, task_of, tiny

ONLY = {"cross_entropy": 0, "area": 0, "variation": 0}


def maps_and_gradient(task, batch):
    """What the attention gave for a batch, and the gradient of the mean loss with respect to it."""
    kept = []
    handle = task.module.attention.register_forward_hook(lambda _, __, maps: kept.append(maps))
    losses, components = task.losses(batch)
    handle.remove()
    (gradient,) = torch.autograd.grad(losses.mean(), kept)
    return kept[0].detach(), gradient, components


def of_different_classes(subject, photos):
    """Photos that the classifier takes for as many classes."""
    classes = subject(subject.prepare(photos)).argmax(1).tolist()
    return [photos[classes.index(index)] for index in sorted(set(classes))]


@pytest.fixture(scope="module")
def distinct():
    subject = tiny()
    chosen = of_different_classes(subject, photos_of(40))
    assert len(chosen) >= 4
    return subject, chosen[:4]


@pytest.mark.parametrize("term", ["area", "variation", "cross_entropy"])
def test_across_the_batch_own_maps_weigh_a_fourth_in_area_and_the_same_in_the_other_terms(term, distinct):
    """Of four pictures of four classes: (4, 4, h, w) maps, whose diagonal are the own ones."""
    subject, photos = distinct
    found = {}
    for maps in ("own", "cross-batch"):
        task = task_of(recipe_of(maps=maps, **ONLY | {term: 1.0}), photos, subject)
        found[maps] = maps_and_gradient(task, task.batch(range(4), 0))
    own, gradient, _ = found["own"]
    across, crossed, _ = found["cross-batch"]
    assert (own.shape[:2], across.shape[:2]) == ((4, 1), (4, 4))
    diagonal = torch.arange(4)
    torch.testing.assert_close(across[diagonal, diagonal], own[:, 0], rtol=1e-5, atol=1e-6)
    share = 0.25 if term == "area" else 1.0
    largest = float(gradient.abs().max())
    torch.testing.assert_close(crossed[diagonal, diagonal], share * gradient[:, 0], rtol=1e-4, atol=1e-5 * largest)
    others = crossed[~torch.eye(4, dtype=torch.bool)]
    assert bool((others == 0).all()) == (term == "cross_entropy")


def test_the_class_that_is_kept_pulls_at_its_own_map_as_finite_differences_say(distinct):
    """A constant on a picture's map: central differences of −log p along it are the sum of the gradient over cells."""
    subject, photos = distinct
    task = task_of(recipe_of(**ONLY | {"cross_entropy": 1.0}), photos, subject)
    batch = task.batch(range(4), 0)
    maps, gradient, components = maps_and_gradient(task, batch)
    own = subject(batch.pixels.clone()).argmax(1)

    def lost(amount):
        return task._cross_entropy(batch.pixels, maps + amount, own).detach().double()

    torch.testing.assert_close(components["cross-entropy"].detach().double(), lost(0.0))
    expected = (lost(0.02) - lost(-0.02)) / 0.04
    assert float(expected.abs().min()) > 1e-3
    torch.testing.assert_close(4 * gradient.sum(dim=(1, 2, 3)).double(), expected, rtol=2e-2, atol=1e-4)


@pytest.mark.parametrize("mask", ["soft", "ranked"])
@pytest.mark.parametrize("maps", ["own", "negatives", "cross-batch"])
def test_every_picture_s_class_reaches_its_map_and_no_weight_of_the_classifier(maps, mask):
    subject = tiny(normed())
    recipe = recipe_of(layers=("2", "6"), maps=maps, negatives=2, mask=mask, **ONLY | {"cross_entropy": 1.0})
    task = task_of(recipe, photos_of(5), subject)
    with frozen(subject):
        _, gradient, _ = maps_and_gradient(task, task.batch(range(5), 0))
        losses, _ = task.losses(task.batch(range(5), 0))
        losses.mean().backward()
        assert all(weight.grad is None for weight in subject.module.parameters())
    assert bool((gradient.abs().flatten(2).amax(2).amax(1) > 1e-6).all())
    assert any(bool(weight.grad.any()) for weight in task.module.parameters())


@contextmanager
def as_in_version_1(classifier):
    """`.train()` on all of it, the frozen classifier too (section 2.6)."""
    parts, weights = [*classifier.module.modules()], [*classifier.module.parameters()]
    flags, required = [part.training for part in parts], [weight.requires_grad for weight in weights]
    classifier.module.train()
    try:
        yield
    finally:
        for part, flag in zip(parts, flags, strict=True):
            part.training = flag
        for weight, flag in zip(weights, required, strict=True):
            weight.requires_grad_(flag)


def test_read_in_training_mode_as_it_was_once_the_classifier_would_drift(monkeypatch):
    """What the hash is compared for: buffers follow the pictures, masked ones too, though no weight has a gradient."""
    subject = tiny(normed())
    task = task_of(recipe_of(layers=("2", "6")), photos_of(6), subject)
    before, weights = subject.hash, copy.deepcopy(dict(subject.module.named_parameters()))
    buffers = {name: buffer.clone() for name, buffer in subject.module.named_buffers()}
    with frozen(subject):
        descended(task, 10)
    assert subject.hash == before
    monkeypatch.setattr(Classifier, "untouched", as_in_version_1)
    with frozen(subject):
        descended(task, 1)
    assert subject.hash != before
    assert all(weight.equal(weights[name]) for name, weight in subject.module.named_parameters())
    assert not any(buffer.equal(buffers[name]) for name, buffer in subject.module.named_buffers())
    with pytest.raises(ClassifierError, match="has changed as it was read"):
        fit_tame(subject, photos_of(8), recipe=recipe_of(layers=("2", "6")))


@pytest.mark.parametrize("maps", ["own", "cross-batch"])
def test_rows_of_absent_classes_move_by_decay_and_momentum_alone(maps):
    """SGD with Nesterov, by hand: g = d w, v ← μ v + g, w ← w − r (g + μ v); biases, which do not decay, stay."""
    subject = tiny()
    task = task_of(recipe_of(maps=maps, optimizer="sgd", rate=0.5, weight_decay=0.1), photos_of(3), subject)
    present = set(subject(task.batch(range(3), 0).pixels.clone()).argmax(1).tolist())
    absent = [index for index in range(5) if index not in present]
    assert absent
    rows, biases = (value.detach().clone()[absent] for value in task.module.attention.fuser.parameters())
    all_rows = task.module.attention.fuser.weight.detach().clone()
    descended(task, 3)
    velocity = torch.zeros_like(rows)
    for _ in range(3):
        decay = 0.1 * rows
        velocity = 0.9 * velocity + decay
        rows = rows - 0.5 * (decay + 0.9 * velocity)
    weight, bias = task.module.attention.fuser.parameters()
    torch.testing.assert_close(weight.detach()[absent], rows, rtol=1e-5, atol=1e-7)
    assert bias.detach()[absent].equal(biases)
    assert not weight.detach()[sorted(present)].isclose(all_rows[sorted(present)], rtol=0.2).all()
    assert optimizer_of(task.module, task.recipe).defaults["momentum"] == 0.9


@pytest.mark.parametrize("value", [-2.0, 0.0, 0.3, 5.0])
def test_rows_of_zero_give_masks_that_are_the_sigmoid_of_their_bias(value):
    """And their area and variation are those of a constant v: (v + 0.0005)^0.3 and 0.3 v² (h + w)."""
    task = task_of(recipe_of(maps="cross-batch"), photos_of(4))
    with torch.no_grad():
        task.module.attention.fuser.weight.zero_()
        task.module.attention.fuser.bias.fill_(value)
    maps, _, components = maps_and_gradient(task, task.batch(range(4), 0))
    assert maps.equal(torch.full_like(maps, value))
    level = 1 / (1 + torch.tensor(-value).double().exp())
    height, width = maps.shape[2:]
    expected = {
        "own mask": level,
        "area": (level + 0.0005) ** 0.3,
        "variation": 0.3 * level**2 * (height + width),
    }
    for name, number in expected.items():
        torch.testing.assert_close(components[name].detach().double(), number.expand(4), rtol=1e-5, atol=0)


@pytest.mark.parametrize("maps", ["own", "negatives", "cross-batch"])
def test_an_area_that_is_held_is_the_formula_in_plain_numbers(maps):
    """λ e + 10 e² of the own mask's excess e, and twice the mean area of maps of other classes than the own."""
    weights = {"cross_entropy": 0, "area": 2.0, "variation": 0}
    task = task_of(recipe_of(maps=maps, negatives=3, area_target=0.35, **weights), photos_of(6))
    with torch.no_grad():
        task.module.multiplier.fill_(0.7)
    batch = task.batch([0, 3, 0, 5, 1], 0)
    own = task.classifier.module(batch.pixels.clone()).argmax(1).tolist()
    assert len(set(own)) > 1
    made, _, _ = maps_and_gradient(task, batch)
    losses, _ = task.losses(batch)
    excesses = []
    for place, (mine, row) in enumerate(zip(own, made.double().sigmoid(), strict=True)):
        others = [int(n) + (int(n) >= mine) for n in batch.others[place]]
        asked = {"own": [mine], "negatives": [mine, *others], "cross-batch": own}[maps]
        excesses.append(float(row[asked.index(mine)].mean()) - 0.35)
        areas = [float(((one + 0.0005) ** 0.3).mean()) for one, index in zip(row, asked, strict=True) if index != mine]
        rest = 2 * sum(areas) / len(areas) if areas else 0.0
        # λ e as it descends, without λ e as it ascends: their values cancel
        assert float(losses[place].detach()) == pytest.approx(10 * excesses[-1] ** 2 + rest, rel=1e-4, abs=1e-6)
    losses.mean().backward()
    assert float(task.module.multiplier.grad) == pytest.approx(-sum(excesses) / 5, rel=1e-4)


def test_the_multiplier_pulls_at_the_own_mask_by_its_value():
    """∂(λ e + 10 e²) by a map's cells is (λ + 20 e) σ(1 − σ) / (h w)."""
    task = task_of(recipe_of(**ONLY, area_target=0.35), photos_of(3))
    with torch.no_grad():
        task.module.multiplier.fill_(-1.5)
    maps, gradient, _ = maps_and_gradient(task, task.batch(range(3), 0))
    masks = maps.double().sigmoid()
    excess = masks.mean(dim=(2, 3), keepdim=True) - 0.35
    expected = (-1.5 + 20 * excess) * masks * (1 - masks) / maps[0, 0].numel() / 3
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-4, atol=1e-9)
