"""Input × gradient at several places, and the gradient alone: papers/cdam.md, sections 3.2 and 4.9, checks 4 and 6."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import regard
from regard.errors import LayerError, UnsupportedError
from regard.explainers.inputs import from_pixels

from .networks import CLASSES, class_maps, classifier_of, cnn, pixels_of, same, token_products, vit

ALL = list(range(CLASSES))


@pytest.mark.parametrize("make", [vit, cnn])
def test_at_pixels_it_is_pixels_times_gradient_summed_over_channels(make):
    network, pixels = make(), pixels_of(2)
    explanation = regard.InputGradient(classifier_of(network))(pixels, ALL)
    for image in range(2):
        for target in ALL:
            leaf = pixels[image : image + 1].clone().requires_grad_()
            network(leaf.clone())[0, target].backward()
            expected = sum(leaf[0, channel] * leaf.grad[0, channel] for channel in range(3))
            same(explanation.maps[image, target], expected)
    assert (explanation.forwards, explanation.backwards) == (2, 2 * CLASSES)


@pytest.mark.parametrize("changes", [{}, {"reg_tokens": 4}, {"qk_norm": True}], ids=["plain", "registers", "qk-norm"])
def test_at_the_last_attention_it_is_cdam_by_its_definition(changes):
    network, pixels = vit(**changes), pixels_of(2)
    maps = regard.InputGradient(classifier_of(network), at="attention")(pixels, ALL).maps
    same(maps, class_maps(network, pixels, network.num_prefix_tokens))


def test_at_the_last_block_it_is_zero_for_patches_of_a_class_token_network_and_only_there():
    network, pixels = vit(), pixels_of(2)
    maps = regard.InputGradient(classifier_of(network), at="last block")(pixels, ALL).maps
    assert maps.abs().max() < 2e-6 * class_maps(network, pixels).abs().max()
    pooled = vit(global_pool="avg")
    maps = regard.InputGradient(classifier_of(pooled), at="last block")(pixels, 0).maps
    expected = token_products(pooled, pixels, lambda out: out[:, 0], "blocks.1", "input")
    same(maps[:, 0], expected[:, 1:].unflatten(-1, (4, 4)))
    assert maps.abs().max() > 1e-2


@pytest.mark.parametrize(("at", "layer", "side"), [("tokens", "blocks.0", "input"), ("blocks.0", "blocks.0", "output")])
def test_at_tokens_it_is_tokens_times_gradient(at, layer, side):
    network, pixels = vit(reg_tokens=2), pixels_of(2)
    maps = regard.InputGradient(classifier_of(network), at=at)(pixels, ALL).maps
    for target in ALL:
        products = token_products(network, pixels, lambda out, c=target: out[:, c], layer, side)
        same(maps[:, target], products[:, 3:].unflatten(-1, (4, 4)))


def test_patch_tokens_without_prefix_are_tokens_too():
    network, pixels = vit(), pixels_of(2)
    maps = regard.InputGradient(classifier_of(network), at="patch_embed")(pixels, 1).maps
    products = token_products(network, pixels, lambda out: out[:, 1], "patch_embed")
    same(maps[:, 0], products.unflatten(-1, (4, 4)))


def test_at_a_grid_it_is_features_times_gradient():
    network, pixels = cnn(), pixels_of(2)
    maps = regard.InputGradient(classifier_of(network), at="3")(pixels, ALL).maps
    features = network[:4](pixels).detach().requires_grad_()
    for target in ALL:
        (gradient,) = torch.autograd.grad(network[4:](features.clone())[:, target].sum(), features)
        same(maps[:, target], torch.einsum("bchw,bchw->bhw", features.detach(), gradient))


@settings(max_examples=20)
@given(image=st.integers(0, 99), cells=st.sets(st.integers(0, 32 * 32 - 1), min_size=1))
def test_the_sum_over_any_pixels_is_what_scaling_them_changes(image, cells):
    network, pixels = vit().double(), pixels_of(1, seed=image)
    chosen = torch.zeros(32 * 32, dtype=torch.float64)
    chosen[list(cells)] = 1
    chosen = chosen.view(32, 32)
    total = (regard.InputGradient(classifier_of(network))(pixels, 2).maps[0, 0].double() * chosen).sum()
    with torch.no_grad():
        up, down = (network(pixels.double() * (1 + chosen * step))[0, 2] for step in (1e-5, -1e-5))
    assert abs(float(total - (up - down) / 2e-5)) < 1e-4


def test_without_the_token_it_is_the_mean_gradient_over_channels():
    network, pixels = vit(), pixels_of(2)
    explanation = regard.TokenGradient(classifier_of(network))(pixels, ALL)
    kept = []
    handle = network.blocks[1].norm1.register_forward_hook(lambda _, __, output: kept.append(output))
    logits = network(pixels.clone().requires_grad_())
    handle.remove()
    for target in ALL:
        (gradient,) = torch.autograd.grad(logits[:, target].sum(), kept[0], retain_graph=True)
        same(explanation.maps[:, target], gradient[:, 1:].mean(-1).unflatten(-1, (4, 4)))
    assert (explanation.forwards, explanation.backwards) == (2, 2 * CLASSES)


@pytest.mark.parametrize("explainer", [regard.InputGradient, regard.TokenGradient])
def test_the_map_of_a_difference_is_the_difference_of_maps(explainer):
    maps = explainer(classifier_of(vit()))(pixels_of(), [0, 1, regard.Difference(0, 1)]).maps
    same(maps[:, 2], maps[:, 0] - maps[:, 1])


def test_a_first_layer_that_changes_what_it_is_given_changes_neither_pixels_nor_leaf():
    network, pixels = cnn(), pixels_of()
    network[0] = torch.nn.ReLU(inplace=True)
    network[1] = torch.nn.Conv2d(3, 6, 3, padding=1)
    classifier, before = classifier_of(network), pixels.clone()
    leaf, output = from_pixels(classifier, pixels)
    assert pixels.equal(before)
    assert leaf.detach().equal(before)
    (gradient,) = torch.autograd.grad(output.logits.sum(), leaf)
    assert (gradient != 0).equal((before > 0) & (gradient != 0))
    assert not pixels.requires_grad


@pytest.mark.parametrize(
    ("make", "at", "error", "said"),
    [
        (cnn, "tokens", UnsupportedError, "vision transformers"),
        (cnn, "attention", UnsupportedError, "vision transformers"),
        (cnn, "7", LayerError, "feature map"),
        (vit, "head", LayerError, "feature map"),
        (vit, "blocks.9", LayerError, "no layer 'blocks.9'"),
        (vit, "pixel", LayerError, "no layer 'pixel'"),
        (vit, "", LayerError, "feature map"),
        (vit, 3, LayerError, "named by a word"),
        (vit, None, LayerError, "named by a word"),
    ],
    ids=lambda value: getattr(value, "__name__", repr(value)),
)
def test_places_that_are_none_are_refused(make, at, error, said):
    with pytest.raises(error, match=said):
        regard.InputGradient(classifier_of(make()), at=at)


def test_token_gradient_refuses_convolutional_networks():
    with pytest.raises(UnsupportedError, match="vision transformers"):
        regard.TokenGradient(classifier_of(cnn()))


def test_a_layer_with_channels_last_is_summed_over_its_channels():
    from ..models.test_convolutional import channels_last_after

    classifier, pixels = classifier_of(channels_last_after()), pixels_of()
    maps = regard.InputGradient(classifier, at="mix")(pixels, [0, 1]).maps
    same(maps, regard.HiResCAM(classifier, layer="mix")(pixels, [0, 1]).maps)
