"""TAME's attention equals its published form in plain loops, for all classes and for those that are asked."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from regard.attention import FusionAttention
from regard.attention.fusion import map_grid
from regard.training.tame.masks import soft_mask

from ..explainers.networks import same
from . import slow
from .fusions import CHANNELS, CLASSES, GRIDS, VARIANTS, WIDTH, attention, classes_of, drawn, features_of, replica


@pytest.mark.parametrize("training", [False, True], ids=["eval", "training"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_maps_are_those_of_the_published_form_in_plain_loops(variant, training):
    made, features = attention(variant).train(training), features_of()
    assert same(made(features).double(), replica(made, features))


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_one_two_or_three_layers_are_fused(layers):
    made, features = attention(channels=CHANNELS[:layers]), features_of()[:layers]
    assert same(made(features).double(), replica(made, features))


@pytest.mark.parametrize(
    ("channels", "total", "ablations"),
    [
        ((256, 512, 512), 1_874_664, (4_290_000, 1_872_104)),
        ((512, 1024, 2048), 9_100_776, (6_594_000, 9_093_608)),
        ((768, 768, 768), 4_081_384, (5_314_000, 4_076_776)),
    ],
    ids=["VGG-16", "ResNet-50", "ViT-B/16"],
)
def test_parameters_are_as_many_as_published(channels, total, ablations):
    def count(variant):
        with torch.device("meta"):
            return sum(weight.numel() for weight in FusionAttention(channels, 1000, variant).parameters())

    assert (count("tame"), count("sigmoid")) == (total, total)
    assert (count("no-skip"), count("no-skip-no-norm")) == ablations


def test_the_l_cam_of_resnet_50_has_the_published_parameters_whatever_layers_stand_before():
    for channels in ((2048,), (512, 1024, 2048)):
        assert sum(weight.numel() for weight in FusionAttention(channels, 1000, "l-cam").parameters()) == 2_049_000


@pytest.mark.parametrize(
    ("channels", "sides", "grid"),
    [
        ((256, 512, 512), (28, 14, 7), (28, 28)),
        ((512, 1024, 2048), (28, 14, 7), (28, 28)),
        ((768, 768, 768), (14, 14, 14), (14, 14)),
    ],
    ids=["VGG-16", "ResNet-50", "ViT-B/16"],
)
def test_all_classes_have_maps_of_the_published_size(channels, sides, grid):
    made = FusionAttention(channels, 1000).eval()
    features = [drawn(2, width, side, side) for width, side in zip(channels, sides, strict=True)]
    with torch.no_grad():
        maps = made(features)
    assert maps.shape == (2, 1000, *grid)
    masks = soft_mask(maps.flatten(0, 1)[:, None], grid)[:, 0].unflatten(0, (2, 1000))
    torch.testing.assert_close(masks.double(), 1 / (1 + maps.double().neg().exp()), rtol=1e-6, atol=0)
    assert bool(((masks > 0) & (masks < 1)).all())


def test_tied_rows_cost_parameters_of_the_embedding_s_width_and_the_head_is_not_saved():
    made = attention("tied")
    own = {"bias", "fuser.weight", "fuser.bias"}
    assert {name for name in made.state_dict() if not name.startswith("branches")} == own
    assert (made.fuser.weight.shape, made.fuser.bias.shape, made.bias.shape) == ((WIDTH, 12), (WIDTH,), ())


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=15)
@given(count=st.integers(1, 2 * CLASSES), seed=st.integers(0, 999))
def test_the_maps_of_some_classes_are_those_among_all(variant, count, seed):
    made, features, classes = attention(variant), features_of(seed=seed), classes_of(count=count, seed=seed)
    maps = made(features)
    asked = torch.stack([one[row] for one, row in zip(maps, classes, strict=True)])
    torch.testing.assert_close(made(features, classes), asked, rtol=0, atol=1e-6 * float(maps.detach().abs().max()))


@pytest.mark.parametrize("smoothing", [0, 1])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("count", [1, 2 * CLASSES])
def test_one_row_of_classes_is_every_picture_s(variant, count, smoothing):
    made, features = attention(variant, smoothing=smoothing), features_of()
    shared = classes_of(1, count=count)[0]
    every = made(features, shared.expand(len(features[0]), -1))
    assert same(made(features, shared), every, 2e-6)


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=10)
@given(images=st.integers(1, 4), seed=st.integers(0, 999))
def test_a_map_does_not_depend_on_the_others_of_its_batch(variant, images, seed):
    made, features, classes = attention(variant), features_of(images, seed=seed), classes_of(images, seed=seed)
    alone = [made([one[n : n + 1] for one in features], classes[n : n + 1]) for n in range(images)]
    assert same(made(features, classes), torch.cat(alone), 2e-6)


@pytest.mark.parametrize("variant", [variant for variant in VARIANTS if variant != "tied"])
@pytest.mark.parametrize("training", [False, True], ids=["eval", "training"])
def test_rows_of_classes_that_are_not_asked_get_no_gradient_at_all(variant, training):
    made, classes = attention(variant).train(training), torch.tensor([[1, 4], [4, 4]])
    made(features_of(), classes).square().sum().backward()
    rows = made.fuser.weight.grad.flatten(1).abs().sum(1)
    assert (rows > 0).tolist() == [False, True, False, False, True, False]
    assert (made.fuser.bias.grad != 0).tolist() == [False, True, False, False, True, False]


def test_gradients_of_some_classes_are_those_of_all_computed_and_picked():
    made, features, classes = attention().double(), [one.double() for one in features_of()], classes_of()
    weights = list(made.parameters())
    asked = torch.autograd.grad(made(features, classes).square().sum(), weights)
    picked = made(features).gather(1, classes[..., None, None].expand(-1, -1, 6, 4))
    for one, other in zip(asked, torch.autograd.grad(picked.square().sum(), weights), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_with_tied_rows_a_picture_of_one_class_moves_the_maps_of_all():
    made, features = attention("tied"), features_of()
    before = made(features).detach()
    made(features, torch.tensor([[2], [2]])).sum().backward()
    with torch.no_grad():
        for weight in made.parameters():
            weight -= 0.01 * weight.grad
    assert ((made(features) - before).abs().amax((0, 2, 3)) > 1e-3).all()


@pytest.mark.parametrize("variant", ["tame", "tied"])
def test_gradients_are_those_of_finite_differences(variant):
    made, classes = attention(variant, channels=(2, 3)).double().train(), torch.tensor([[1, 0], [5, 5]])
    features = [one.double() for one in features_of(channels=(2, 3), grids=((4, 3), (2, 2)))]
    names, weights = zip(*made.named_parameters(), strict=True)

    def call(*values):
        return torch.func.functional_call(made, dict(zip(names, values, strict=True)), (features, classes))

    leaves = [weight.detach().clone().requires_grad_() for weight in weights]
    for norm in (module for module in made.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
    assert torch.autograd.gradcheck(call, leaves)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_folded_module_gives_the_same_maps_with_one_convolution_a_branch(variant):
    made, features = attention(variant), features_of()
    state, random = copy.deepcopy(made.state_dict()), torch.get_rng_state()
    folded = made.folded()
    assert torch.get_rng_state().equal(random)
    assert same(folded(features), made(features))
    assert same(folded(features, classes_of()), made(features, classes_of()))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert not any(weight.requires_grad for weight in folded.parameters())
    assert all(weight.requires_grad for weight in made.parameters())
    assert all(made.state_dict()[name].equal(value) for name, value in state.items())
    assert same(folded.folded()(features), made(features))


def test_the_folded_module_of_one_in_training_is_that_of_its_eval_mode():
    made, features = attention().train(), features_of()
    folded = made.folded()
    assert made.training
    assert same(folded(features), made.eval()(features))


def test_the_order_of_layers_changes_nothing_where_weights_are_in_the_same_order():
    made, order = attention(), [2, 0, 1]
    other = attention(channels=[CHANNELS[place] for place in order])
    other.branches = nn.ModuleList(made.branches[place] for place in order)
    slices, features = made.fuser.weight.split(CHANNELS, dim=1), features_of()
    with torch.no_grad():
        other.fuser.weight.copy_(torch.cat([slices[place] for place in order], dim=1))
        other.fuser.bias.copy_(made.fuser.bias)
    assert same(other([features[place] for place in order]), made(features))


@pytest.mark.parametrize(("variant", "expected"), [("tame", True), ("no-skip", False)])
def test_with_branches_of_zero_the_skip_alone_is_left(variant, expected):
    made, features = attention(variant, channels=(4,), classes=4), drawn(2, 4, 3, 3)
    with torch.no_grad():
        for weight in made.branches.parameters():
            weight.zero_()
        made.fuser.weight.copy_(torch.eye(4))
        made.fuser.bias.zero_()
    assert made([features]).equal(features.relu() if expected else torch.zeros_like(features))


def test_with_rows_of_zero_a_map_is_its_class_s_bias():
    made = attention()
    with torch.no_grad():
        made.fuser.weight.zero_()
    for maps in (made(features_of()), made(features_of(), torch.arange(CLASSES).expand(2, -1))):
        assert maps.equal(made.fuser.bias[:, None, None].expand(2, -1, 6, 4))


def test_a_change_of_one_cell_stays_within_its_bilinear_support():
    """3×2 → 6×4: cell (1, 0) of the coarse layer lights rows 1 to 4 and columns 0 to 2 of the maps, no others."""
    made, features = attention(), features_of()
    before = made(features)
    features[1] = features[1].clone()
    features[1][0, :, 1, 0] += 5
    moved = (made(features) != before).any(1)
    assert not moved[1].any()
    assert [row.nonzero()[:, 0].tolist() for row in moved[0]] == [[], [0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 2], []]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("smoothing", [0, 1])
@settings(max_examples=12)
@given(place=st.integers(0, 2), row=st.integers(0, 5), column=st.integers(0, 3))
def test_no_change_of_a_cell_reaches_beyond_its_support(variant, smoothing, place, row, column):
    """Where an impulse, averaged and enlarged in plain loops, is not zero."""
    made, features = attention(variant, smoothing=smoothing), features_of()
    read, grids = (2, GRIDS[2:]) if variant == "l-cam" else (0, GRIDS)
    cell = row % GRIDS[place][0], column % GRIDS[place][1]
    impulses = [np.zeros((1, 1, *grid)) for grid in grids]
    if place >= read:
        impulses[place - read][0, 0, cell[0], cell[1]] = 1
    before = made(features)
    lit = sum(slow.resized(part, before.shape[2:])[0, 0] for part in slow.smoothed(impulses, smoothing)) > 0
    features[place] = features[place].clone()
    features[place][1, :, cell[0], cell[1]] += 5
    moved = (made(features) - before).detach().abs().amax(1)
    assert not moved[0].any()
    assert not bool((moved[1][torch.from_numpy(~lit)] > 1e-6 * float(before.detach().abs().max())).any())
    assert bool(moved[1].any()) == (place >= read)


@pytest.mark.parametrize(
    ("grids", "expected"),
    [
        ([(28, 28), (14, 14), (7, 7)], (28, 28)),
        ([(7, 7), (28, 20), (14, 10)], (28, 20)),
        ([(112, 112), (56, 56)], (56, 56)),
        ([(56, 56)], (56, 56)),
        ([(112, 80)], (56, 40)),
        ([(60, 28)], (56, 26)),
        ([(40, 160)], (14, 56)),
        ([(1, 4000)], (1, 56)),
    ],
)
def test_the_grid_is_the_largest_with_no_side_above_56_and_its_ratio_kept(grids, expected):
    assert map_grid(grids) == map_grid(grids[::-1]) == expected


def test_maps_of_a_layer_above_56_are_the_published_ones_too():
    made = attention(channels=(2,), classes=2)
    features = [drawn(1, 2, 58, 3)]
    expected = torch.nn.functional.interpolate(made.branches[0](features[0]), (56, 3), mode="bilinear")
    assert same(
        made(features), torch.nn.functional.conv2d(expected, made.fuser.weight[..., None, None], made.fuser.bias)
    )


def test_maps_are_float32_under_autocast_and_near_those_without():
    made, features = attention(), features_of()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = made(features)
    assert maps.dtype is torch.float32
    assert same(maps, made(features), 0.05)


def test_maps_are_resized_and_added_in_float32_under_autocast():
    """Whole numbers are the same in bfloat16, what lies between two of them is not."""
    made = FusionAttention((1, 1), 1, "no-skip-no-norm").eval()
    made.start_from_head(torch.ones(1, 1))
    coarse = torch.arange(9.0).view(1, 1, 3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        maps = made([torch.zeros(1, 1, 7, 7), coarse])
    assert maps.equal(torch.nn.functional.interpolate(coarse, (7, 7), mode="bilinear"))


def test_the_module_is_exported_with_classes_as_an_input_and_batches_of_any_size():
    made, batch = attention().folded(), torch.export.Dim("batch")
    shapes = ([{0: batch}] * 3, {0: batch})
    exported = torch.export.export(made, (features_of(), classes_of()), dynamic_shapes=shapes).module()
    for images in (2, 5):
        features, classes = features_of(images, seed=8), classes_of(images, seed=8)
        assert same(exported(features, classes), made(features, classes))
