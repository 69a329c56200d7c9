"""Smoothed features: every cell the mean of those around, the same part of the picture on every layer's grid."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.attention import FusionAttention
from regard.attention.fusion import smoothing_radii

from ..explainers.networks import same
from .fusions import VARIANTS, attention, classes_of, drawn, features_of, head_of, replica


def passing(smoothing, channels=1):
    """An attention that hands one layer's positive features on, smoothed."""
    made = FusionAttention((channels,), channels, "no-skip-no-norm", smoothing=smoothing).eval()
    made.start_from_head(torch.eye(channels))
    return made


def asked(made, features):
    """The maps of all classes, made as those of some."""
    return made(features, torch.arange(made.classes).expand(len(features[0]), -1))


def both(made, features):
    return [made(features), asked(made, features)]


@pytest.mark.parametrize("smoothing", [1, 2])
@pytest.mark.parametrize("training", [False, True], ids=["eval", "training"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_maps_are_those_of_averaged_branches_in_plain_loops(variant, training, smoothing):
    made, features = attention(variant, smoothing=smoothing).train(training), features_of()
    expected = replica(made, features)
    assert all(same(maps.double(), expected) for maps in both(made, features))


def test_a_cell_is_the_mean_of_nine_and_beyond_an_edge_are_those_before_it():
    """1 2 3 / 4 5 6 / 7 8 9: at the corner twice 2 + 4, four times 5 and 1; in the middle the mean of all."""
    maps = torch.arange(1.0, 10).view(1, 1, 3, 3)
    corner, above, beside = 1 + 2 * (2 + 4) + 4 * 5, 1 + 2 + 3 + 2 * (4 + 5 + 6), 1 + 4 + 7 + 2 * (2 + 5 + 8)
    assert (corner, above, beside) == (33, 36, 42)
    nine = torch.tensor([[33.0, 36, 39], [42, 45, 48], [51, 54, 57]])
    for found in both(passing(1), [maps]):
        torch.testing.assert_close(found, nine.view(1, 1, 3, 3) / 9, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("grids", "smoothing", "expected"),
    [
        ([(28, 28), (14, 14), (7, 7)], 1, [(4, 4), (2, 2), (1, 1)]),
        ([(7, 7), (28, 28)], 2, [(2, 2), (8, 8)]),
        ([(14, 14)] * 3, 1, [(1, 1)] * 3),
        ([(28, 20), (7, 5)], 1, [(4, 4), (1, 1)]),
        ([(10, 14), (4, 4)], 1, [(2, 4), (1, 1)]),
        ([(6, 1), (3, 1)], 2, [(4, 0), (2, 0)]),
        ([(6, 4), (3, 2)], 9, [(5, 3), (2, 1)]),
        ([(1, 1)], 3, [(0, 0)]),
        ([(28, 28), (7, 7)], 0, [(0, 0), (0, 0)]),
    ],
)
def test_finer_grids_are_averaged_over_the_same_part_of_the_picture(grids, smoothing, expected):
    assert smoothing_radii(grids, smoothing) == expected


def test_a_layer_that_is_not_read_is_no_coarsest_one():
    """L-CAM reads the last layer alone."""
    made, features = attention("l-cam", smoothing=1), features_of()
    alone = attention("l-cam", channels=(5,), smoothing=1)
    with torch.no_grad():
        alone.fuser.weight.copy_(made.fuser.weight)
        alone.fuser.bias.copy_(made.fuser.bias)
    assert made(features).equal(alone(features[2:]))


@pytest.mark.parametrize("grid", [(1, 6), (6, 1), (1, 1), (2, 2), (5, 3)])
@settings(max_examples=10)
@given(smoothing=st.integers(0, 9), value=st.floats(0.125, 100, width=32))
def test_a_constant_map_is_left_alone(grid, smoothing, value):
    for found in both(passing(smoothing), [torch.full((1, 1, *grid), value)]):
        torch.testing.assert_close(found, torch.full((1, 1, *grid), value), rtol=1e-6, atol=0)


@pytest.mark.parametrize("turned", [(2,), (3,), (2, 3)], ids=["upside down", "left to right", "both"])
def test_smoothing_has_no_direction(turned):
    made, features = attention(smoothing=1), features_of()
    for maps, others in zip(both(made, [one.flip(turned) for one in features]), both(made, features), strict=True):
        assert same(maps, others.flip(turned))


def test_a_row_of_cells_is_smoothed_along_itself():
    """0 0 9 0 of radius 1: the mirror beyond the right edge shows the 9 again."""
    row = torch.tensor([0.0, 0, 9, 0])
    for shape in [(1, 1, 1, 4), (1, 1, 4, 1)]:
        for found in both(passing(1), [row.view(shape)]):
            torch.testing.assert_close(found, torch.tensor([0.0, 3, 3, 6]).view(shape), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=10)
@given(count=st.integers(1, 12), smoothing=st.integers(1, 3), seed=st.integers(0, 999))
def test_the_smooth_maps_of_some_classes_are_those_among_all(variant, count, smoothing, seed):
    made, features = attention(variant, smoothing=smoothing), features_of(seed=seed)
    classes, maps = classes_of(count=count, seed=seed), made(features).detach()
    picked = torch.stack([one[row] for one, row in zip(maps, classes, strict=True)])
    assert same(made(features, classes), picked, 5e-6)


def test_smoothing_before_and_after_fusion_is_the_same():
    """With one layer the smooth maps are the plain ones smoothed."""
    plain, made = attention(channels=(4,)), attention(channels=(4,), smoothing=1)
    features = [drawn(2, 4, 5, 3)]
    bias = plain.fuser.bias.detach().view(-1, 1, 1)
    around = torch.nn.functional.pad(plain(features) - bias, (1, 1, 1, 1), mode="reflect")
    expected = around.unfold(2, 3, 1).unfold(3, 3, 1).mean(dim=(-2, -1)) + bias
    assert all(same(maps, expected) for maps in both(made, features))


def test_no_smoothing_is_the_published_attention_to_the_bit():
    made, features = attention(), features_of()
    same_weights = attention(smoothing=0)
    assert made(features).equal(same_weights(features))
    assert asked(made, features).equal(asked(same_weights, features))


def test_smoothing_has_no_weights_of_its_own_and_is_said():
    assert attention().state_dict().keys() == attention(smoothing=2).state_dict().keys()
    assert "smoothing=2" in repr(attention(smoothing=2))
    assert "smoothing" not in repr(attention())


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_folded_module_is_as_smooth(variant):
    made, features = attention(variant, smoothing=1), features_of()
    folded = made.folded()
    for maps, others in zip(both(folded, features), both(made, features), strict=True):
        assert same(maps, others)


def test_started_from_the_head_the_maps_are_the_smooth_class_activation_maps():
    head, features = head_of(), [drawn(2, 7, 4, 4).abs()]
    made = FusionAttention((7,), len(head), smoothing=1).eval()
    made.start_from_head(head)
    around = torch.nn.functional.pad(torch.einsum("ck,bkhw->bchw", head, features[0]), (1, 1, 1, 1), mode="reflect")
    assert all(same(maps, around.unfold(2, 3, 1).unfold(3, 3, 1).mean(dim=(-2, -1))) for maps in both(made, features))


@pytest.mark.parametrize("some", [True, False], ids=["some classes", "all classes"])
def test_gradients_of_smooth_maps_are_those_of_finite_differences(some):
    made = attention("no-skip-no-norm", channels=(2, 3), smoothing=1).double()
    features = [one.double() for one in features_of(channels=(2, 3), grids=((4, 3), (2, 2)))]
    classes = torch.tensor([[1, 0], [5, 5]]) if some else None
    names, weights = zip(*made.named_parameters(), strict=True)

    def call(first, second, *values):
        given = dict(zip(names, values, strict=True))
        return torch.func.functional_call(made, given, ([first, second], classes))

    leaves = [leaf.detach().clone().requires_grad_() for leaf in (*features, *weights)]
    assert torch.autograd.gradcheck(call, leaves)


def test_smooth_maps_are_float32_under_autocast_and_near_those_without():
    made, features = attention(smoothing=1), features_of()
    for find in (lambda: made(features), lambda: asked(made, features)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            maps = find()
        assert maps.dtype is torch.float32
        assert same(maps, find(), 0.05)


def test_the_smooth_module_is_exported_with_batches_and_classes_of_any_size():
    made, batch, count = attention(smoothing=1).folded(), torch.export.Dim("batch"), torch.export.Dim("count")
    shapes = ([{0: batch}] * 3, {0: batch, 1: count})
    exported = torch.export.export(made, (features_of(), classes_of()), dynamic_shapes=shapes).module()
    for images, wanted in [(2, 3), (5, 12)]:
        features, classes = features_of(images, seed=8), classes_of(images, wanted, seed=8)
        assert same(exported(features, classes), made(features, classes))


def test_a_copy_keeps_its_smoothing():
    made, features = attention(smoothing=1), features_of()
    assert copy.deepcopy(made)(features).equal(made(features))
