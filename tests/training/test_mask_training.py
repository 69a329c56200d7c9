"""TAME's loss against plain loops, and what it must leave alone (papers/tame.md, checks 11-13, 16-21)."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as functional

from regard.errors import PixelsError
from regard.fills import Mean, black, training_mean
from regard.training.frozen import frozen
from regard.training.tame.masks import ranked_mask, soft_mask

from .mask_trainings import SIDE, descended, normed, photos_of, recipe_of, task_of, tiny


def area_of(mask, exponent=0.3):
    return sum((float(value) + 5e-4) ** exponent for value in mask.flatten()) / mask.numel()


def variation_of(mask):
    """Plain loops over neighbours and borders; half of it, as it is divided by 2 B."""
    rows, columns = mask.shape

    def at(y, x):
        return float(mask[y, x])

    total = sum((at(y + 1, x) - at(y, x)) ** 2 for y in range(rows - 1) for x in range(columns))
    total += sum((at(y, x + 1) - at(y, x)) ** 2 for y in range(rows) for x in range(columns - 1))
    border = [at(0, x) for x in range(columns)] + [at(rows - 1, x) for x in range(columns)]
    border += [at(y, 0) for y in range(rows)] + [at(y, columns - 1) for y in range(rows)]
    return (total + 0.3 * sum(value**2 for value in border)) / 2


def all_maps(task, pixels):
    """Maps of every class (b, C, h, w) in training mode, by the attention's own forward on hooked features."""
    seen = []
    handles = [
        task.classifier.module.get_submodule(stage.place.layer).register_forward_hook(
            lambda _, __, output: seen.append(output.detach().clone())
        )
        for stage in task.stages
    ]
    with torch.no_grad():
        task.classifier.module.eval()(pixels.clone())
    for handle in handles:
        handle.remove()
    with torch.no_grad():
        return copy.deepcopy(task.module.attention)(seen)


@pytest.mark.parametrize("maps", ["own", "negatives", "cross-batch"])
@pytest.mark.parametrize("fill", ["black", "mean"])
def test_the_loss_is_the_formula_in_plain_loops(maps, fill):
    recipe = recipe_of(maps=maps, negatives=2, cross_entropy=1.5, area=2.0, variation=0.01)
    fill = black((0.5,) * 3, (0.5,) * 3) if fill == "black" else Mean()
    task = task_of(recipe, photos_of(5), fill=fill)
    batch = task.batch([3, 0, 4], 0)
    losses, components = task.losses(batch)
    network, pixels = task.classifier.module, batch.pixels
    own = network(pixels.clone()).argmax(1).tolist()
    assert len(set(own)) > 1
    every = all_maps(task, pixels).sigmoid()
    for place, (picture, mine) in enumerate(zip(pixels, own, strict=True)):
        others = [int(n) + (int(n) >= mine) for n in batch.others[place]]
        asked = {"own": [mine], "negatives": [mine, *others], "cross-batch": own}[maps]
        masks = [every[place, index] for index in asked]
        areas, variations = [area_of(mask) for mask in masks], [variation_of(mask) for mask in masks]
        large = functional.interpolate(every[place, mine][None, None], (SIDE, SIDE), mode="bilinear")[0, 0]
        below = torch.full_like(picture, -1.0) if fill != Mean() else picture.mean((1, 2), keepdim=True)
        seen = large * picture + (1 - large) * below
        cross = -network(seen[None]).detach().log_softmax(1)[0, mine]
        rough = sum(variations) if maps == "cross-batch" else sum(variations) / len(variations)
        expected = 1.5 * float(cross) + 2.0 * sum(areas) / len(areas) + 0.01 * rough
        assert float(losses[place].detach()) == pytest.approx(expected, rel=1e-4)
        assert float(components["cross-entropy"][place].detach()) == pytest.approx(float(cross), rel=1e-4)
        assert float(components["area"][place].detach()) == pytest.approx(area_of(every[place, mine]), rel=1e-4)
        assert float(components["variation"][place].detach()) == pytest.approx(
            variation_of(every[place, mine]), rel=1e-4
        )
        assert float(components["own mask"][place].detach()) == pytest.approx(
            float(every[place, mine].mean()), rel=1e-5
        )


def with_constant_maps(value, **changed):
    task = task_of(recipe_of(**changed), photos_of(4))
    with torch.no_grad():
        task.module.attention.fuser.weight.zero_()
        task.module.attention.fuser.bias.fill_(value)
    return task


def test_a_mask_of_ones_shows_the_picture_to_the_bit():
    task = with_constant_maps(200.0)
    batch = task.batch(range(4), 0)
    _, components = task.losses(batch)
    with torch.no_grad():
        clean = task.classifier.module(batch.pixels.clone()).log_softmax(1)
    assert components["cross-entropy"].equal(-clean.amax(1))
    assert components["own mask"].equal(torch.ones(4))


@pytest.mark.parametrize("fill", ["black", "mean"])
def test_a_mask_of_zeros_shows_the_fill(fill):
    """Black is N(0), which is (−2.1179, −2.0357, −1.8044) of ImageNet's statistics; the training mean 0."""
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    pixels = torch.randn(1, 3, 4, 4)
    shown = (black(mean, std) if fill == "black" else training_mean(3))(pixels, torch.zeros(1, 1, 4, 4))
    expected = (-2.1179, -2.0357, -1.8044) if fill == "black" else (0.0, 0.0, 0.0)
    assert shown[0, :, 0, 0].tolist() == pytest.approx(expected, abs=1e-4)


def test_masking_prepared_pixels_is_masking_colours():
    """Check 13: un-normalise, multiply, normalise again."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    colours, mask = torch.rand(2, 3, 8, 8), torch.rand(2, 1, 8, 8)

    def normal(values):
        return (values - mean.view(3, 1, 1)) / std.view(3, 1, 1)

    masked = black(mean.tolist(), std.tolist())(normal(colours), mask)
    assert torch.allclose(masked, normal(mask * colours), atol=1e-5)


def test_repeating_one_picture_leaves_the_area_and_multiplies_the_variation():
    """Checks 16 and 17, with equal labels: A of the batch is A, V of the batch is B times V."""
    sums = {}
    for name, weights in {"area": (2.0, 0.0), "variation": (0.0, 0.01)}.items():
        for maps in ("own", "cross-batch"):
            recipe = recipe_of(maps=maps, cross_entropy=0, area=weights[0], variation=weights[1])
            losses, _ = (task := task_of(recipe, photos_of(3))).losses(task.batch([1] * 4, 0))
            sums[name, maps] = float(losses.detach().mean())
    assert sums["area", "cross-batch"] == pytest.approx(sums["area", "own"], rel=1e-5)
    assert sums["variation", "cross-batch"] == pytest.approx(4 * sums["variation", "own"], rel=1e-5)


@pytest.mark.parametrize("maps", ["own", "cross-batch", "negatives"])
def test_rows_of_classes_that_no_picture_asked_for_have_no_gradient(maps):
    task = task_of(recipe_of(maps=maps, negatives=1), photos_of(6))
    batch = task.batch([0, 1], 0)
    losses, _ = task.losses(batch)
    losses.mean().backward()
    own = task.classifier.module(batch.pixels.clone()).argmax(1)
    asked = set(own.tolist())
    if maps == "negatives":
        asked |= set((batch.others[:, 0] + (batch.others[:, 0] >= own)).tolist())
    moved = task.module.attention.fuser.weight.grad.abs().sum(1).nonzero()[:, 0].tolist()
    assert set(moved) == asked
    assert len(asked) < 5


def test_other_classes_belong_to_the_photo_alone():
    photos = photos_of(8)
    task = task_of(recipe_of(maps="negatives", negatives=3), photos)
    backward = task_of(recipe_of(maps="negatives", negatives=3), photos[::-1])
    whole = task.batch(range(8), 0).others
    assert task.batch([5], 3).others.equal(whole[5:6])
    assert task.batch([7, 5, 1], 1).others.equal(whole[[7, 5, 1]])
    assert backward.marks == task.marks
    assert backward.batch(range(8), 0).others.equal(whole)
    assert len({tuple(row) for row in whole.tolist()}) > 4
    fewer = task_of(recipe_of(maps="negatives", negatives=3), photos[3:])
    assert fewer.batch(range(5), 0).others.equal(whole[[task.marks.index(mark) for mark in fewer.marks]])
    own = torch.arange(5).repeat(20)
    classes = task._classes(own, torch.arange(4).repeat(25)[:, None])
    assert bool((classes[:, 1] != own).all())
    assert {(int(a), int(b)) for a, b in classes} == {(a, b) for a in range(5) for b in range(5) if a != b}
    other_seed = task_of(recipe_of(maps="negatives", negatives=3), photos, seed=1)
    assert not other_seed.batch(range(8), 0).others.equal(whole)


@pytest.mark.parametrize("augmentation", ["none", "flip", "crop"])
def test_a_picture_is_augmented_by_its_content_and_the_epoch(augmentation):
    task = task_of(recipe_of(augmentation=augmentation), photos_of(8))
    task.classifier.preparation = replace(task.classifier.preparation, crop=0.5)
    first, again, later = (task.batch(range(8), epoch).pixels for epoch in (0, 0, 1))
    assert first.equal(again)
    assert task.batch([3], 0).pixels.equal(first[3:4])
    fewer = task_of(recipe_of(augmentation=augmentation), photos_of(8)[3:], task.classifier)
    assert fewer.batch(range(5), 0).pixels.equal(first[[task.marks.index(mark) for mark in fewer.marks]])
    assert first.equal(later) == (augmentation == "none")
    plain = task.classifier.preparation(task.photos).as_subclass(torch.Tensor)
    moved = [not (a.equal(b) or a.flip(-1).equal(b)) for a, b in zip(first, plain, strict=True)]
    assert any(moved) == (augmentation == "crop")


def test_no_gradient_reaches_the_classifier_and_it_stays_as_it_was():
    subject = tiny(normed())
    subject.module.train()
    before, flags = subject.hash, [part.training for part in subject.module.modules()]
    task = task_of(recipe_of(rate=1e-2), photos_of(6), subject)
    first = copy.deepcopy(task.module.state_dict())
    with frozen(subject):
        assert not any(parameter.requires_grad for parameter in subject.module.parameters())
        descended(task, 10)
    assert all(parameter.grad is None for parameter in subject.module.parameters())
    assert all(parameter.requires_grad for parameter in subject.module.parameters())
    assert subject.hash == before
    assert [part.training for part in subject.module.modules()] == flags
    moved = [name for name, value in task.module.state_dict().items() if not value.equal(first[name])]
    assert {name.split(".")[1] for name in moved} == {"branches", "fuser"}


def test_it_stays_as_it_was_after_an_error_too():
    subject = tiny(normed())
    subject.module[0].weight.requires_grad_(False)
    before = subject.hash
    task = task_of(recipe_of(), photos_of(4), subject)
    task.fill = lambda *_: torch.zeros(1, 7, 3, 3)
    with pytest.raises(PixelsError), frozen(subject):
        task.losses(task.batch(range(4), 0))
    required = [parameter.requires_grad for parameter in subject.module.parameters()]
    assert required == [False, *[True] * (len(required) - 1)]
    assert subject.hash == before
    assert not any(part.training for part in subject.module.modules())


def test_the_loss_in_half_precision_is_that_in_float32():
    task = task_of(recipe_of(maps="cross-batch", batch=32), photos_of(32))
    batch = task.batch(range(32), 0)
    full, _ = task.losses(batch)
    with torch.autocast("cpu", torch.bfloat16):
        half, _ = task.losses(batch)
    assert half.dtype == torch.float32
    assert bool(half.isfinite().all())
    half, full = half.detach().mean(), full.detach().mean()
    assert float((half - full).abs() / full) < 1e-2


def test_a_soft_mask_is_enlarged_after_the_sigmoid():
    maps = torch.tensor([[[[-4.0, 4.0]]]])
    large = soft_mask(maps, (1, 4))
    low, high = (1 / (1 + torch.tensor(each).exp()) for each in (4.0, -4.0))
    assert large[0, 0, 0].tolist() == pytest.approx(
        [float(each) for each in (low, 0.75 * low + 0.25 * high, 0.25 * low + 0.75 * high, high)], rel=1e-5
    )


@pytest.mark.parametrize("share", [0.5, 0.15])
def test_a_ranked_mask_shows_its_share_of_any_map_and_learns_the_order_alone(share):
    maps = torch.randn(2, 1, 14, 14, generator=torch.Generator().manual_seed(0))
    mask = ranked_mask(maps, (56, 56), share, 0.05)
    shown = (mask > 0.5).float().mean(dim=(1, 2, 3))
    assert shown.tolist() == pytest.approx([share] * 2, abs=0.002)
    assert torch.allclose(ranked_mask(30 * maps - 7, (56, 56), share, 0.05), mask, atol=1e-3)
    large = functional.interpolate(maps, (56, 56), mode="bilinear")
    assert bool((mask.flatten(1).gather(1, large.flatten(1).argsort(1)).diff() >= 0).all())


def test_a_ranked_mask_of_a_constant_map_is_finite():
    maps = torch.zeros(1, 1, 4, 4, requires_grad=True)
    mask = ranked_mask(maps, (8, 8), 0.5, 0.15)
    mask.sum().backward()
    assert bool(mask.isfinite().all())
    assert bool(maps.grad.isfinite().all())


def test_it_overfits_eight_photos():
    """Check 26: the loss falls, masks leave a half; without area they show more, without the class they go out."""
    photos = photos_of(8)
    both = descended(task_of(recipe_of(rate=1e-2), photos), 200)
    dark = descended(task_of(recipe_of(rate=1e-2, cross_entropy=0), photos), 100)
    bare = descended(task_of(recipe_of(rate=1e-2, area=0, variation=0), photos), 200)
    assert both[-1]["loss"] < 0.8 * both[0]["loss"]
    assert abs(both[-1]["own mask"] - 0.5) > 0.1
    assert dark[-1]["own mask"] < 0.02
    assert bare[-1]["cross-entropy"] <= both[-1]["cross-entropy"]


@pytest.mark.parametrize("target", [0.15, 0.6])
def test_the_multiplier_holds_own_masks_at_their_target_from_either_side(target):
    """Without it, with no weight of the area, masks of this problem end at about 0.3."""
    held = descended(task_of(recipe_of(rate=1e-2, area_target=target, variation=0), photos_of(6)), 250)
    assert sum(step["own mask"] for step in held[-50:]) / 50 == pytest.approx(target, abs=0.04)


def test_without_a_target_masks_of_that_problem_go_elsewhere():
    free = descended(task_of(recipe_of(rate=1e-2, area=0, variation=0), photos_of(6)), 150)
    assert 0.22 < free[-1]["own mask"] < 0.5
