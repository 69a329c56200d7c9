"""Feature maps are found by running a network, and what is none is refused with what is one."""

import pytest
import torch
from torch import nn

from regard.compat import import_optional
from regard.errors import LayerError, UnsupportedError
from regard.models.convolutional import FeatureMap, feature_map, last_feature_map

from ..explainers.networks import classifier_of, cnn, loud, vit

timm = import_optional("timm", "timm")


def conv(inside, outside, stride=1):
    return nn.Conv2d(inside, outside, 3, stride, padding=1)


class Net(nn.Module):
    """Layers by name, called by a function of them."""

    def __init__(self, call, **layers):
        super().__init__()
        self.call = call
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, pixels):
        return self.call(self, pixels)


def pooled(head, features):
    return head(features.mean((2, 3)))


def timm_network(name):
    return timm.create_model(name, pretrained=False, num_classes=5).eval()


@pytest.mark.parametrize(
    ("make", "size", "expected"),
    [
        (cnn, 32, FeatureMap("5", (8, 16, 16))),
        (cnn, (32, 48), FeatureMap("5", (8, 16, 24))),
        (lambda: nn.Sequential(cnn()[:6], cnn()[6:]), 32, FeatureMap("0", (8, 16, 16))),
        (lambda: timm_network("test_resnet"), 64, FeatureMap("layer4", (96, 2, 2))),
        (lambda: timm_network("resnet10t"), 64, FeatureMap("layer4", (512, 2, 2))),
        (lambda: timm_network("test_efficientnet"), 64, FeatureMap("bn2", (256, 2, 2))),
    ],
    ids=["sequential", "not square", "nested", "resnet", "resnet10t", "efficientnet"],
)
def test_the_last_layer_with_a_grid_is_found(make, size, expected):
    assert last_feature_map(classifier_of(make(), size)) == expected


def test_channels_last_convnext_gives_a_grid_with_channels_first():
    found = last_feature_map(classifier_of(timm_network("test_convnext"), 64))
    assert found.shape == (64, 2, 2)


def test_the_tensor_of_the_last_feature_map_is_what_the_head_pools():
    network = timm_network("test_resnet")
    found = last_feature_map(classifier_of(network, 64))
    kept, pixels = [], torch.randn(2, 3, 64, 64)
    network.get_submodule(found.layer).register_forward_hook(lambda _, __, output: kept.append(output))
    logits = network(pixels)
    torch.testing.assert_close(network.fc(kept[0].mean((2, 3))), logits)


def test_functional_pooling_and_a_shared_activation_do_not_hide_the_last_map():
    layers = {"one": conv(3, 4, 2), "two": conv(4, 6, 2), "act": nn.ReLU(), "head": nn.Linear(6, 5)}
    network = Net(lambda net, x: pooled(net.head, net.act(net.two(net.act(net.one(x))))), **layers)
    assert last_feature_map(classifier_of(network)) == FeatureMap("two", (6, 8, 8))
    with pytest.raises(LayerError, match="'act' does not give one feature map") as refusal:
        feature_map(classifier_of(network), "act")
    assert refusal.value.expected == "one of one, two"


@pytest.mark.parametrize(
    "make", [vit, lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5))], ids=["transformer", "mlp"]
)
def test_a_network_without_a_last_feature_map_is_refused_with_what_to_do(make):
    with pytest.raises(UnsupportedError, match="no convolutional feature map") as refusal:
        last_feature_map(classifier_of(make()))
    assert "tokens=" in refusal.value.remedy


def windows(pixels):
    """(B, C, H, W) → (4B, C, H/2, W/2): the quarters of every picture, as windowed attention has them."""
    return torch.cat([half for rows in pixels.chunk(2, 2) for half in rows.chunk(2, 3)])


def tokens_after():
    layers = {"patches": conv(3, 24, 4), "mix": nn.Linear(24, 24), "head": nn.Linear(24, 5)}
    return Net(lambda net, x: net.head(net.mix(net.patches(x).flatten(2).mT).mean(1)), **layers)


def channels_last_after():
    layers = {"stem": conv(3, 24, 4), "mix": nn.Linear(24, 24), "head": nn.Linear(24, 5)}
    return Net(lambda net, x: net.head(net.mix(net.stem(x).permute(0, 2, 3, 1)).mean((1, 2))), **layers)


def test_a_network_that_goes_on_with_tokens_is_refused_with_the_layer_that_can_be_named():
    classifier = classifier_of(tokens_after())
    with pytest.raises(UnsupportedError, match="goes on after its last feature map") as refusal:
        last_feature_map(classifier)
    assert refusal.value.came == "'mix' after 'patches'"
    assert "layer='patches'" in refusal.value.remedy
    assert feature_map(classifier, "patches").shape == (24, 8, 8)


@pytest.mark.parametrize("size", [32, (32, 48)], ids=["square", "not square"])
def test_a_grid_with_channels_last_is_a_feature_map_too(size):
    classifier = classifier_of(channels_last_after(), size)
    width = 8 if size == 32 else 12
    assert last_feature_map(classifier) == FeatureMap("mix", (24, 8, width), channels_last=True)
    assert feature_map(classifier, "stem") == FeatureMap("stem", (24, 8, width))


def swin(name="swin_tiny_patch4_window7_224"):
    parts = {"embed_dim": 12, "depths": (1, 1, 2, 1), "num_heads": (2, 2, 2, 2), "num_classes": 5}
    return timm.create_model(name, pretrained=False, img_size=64, window_size=2, **parts).eval()


def torchvision_swin():
    torchvision = import_optional("torchvision.models", "torchvision")
    return torchvision.SwinTransformer([4, 4], 12, [1, 1, 2, 1], [2, 2, 2, 2], [2, 2], num_classes=5).eval()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (swin, FeatureMap("norm", (96, 2, 2), channels_last=True)),
        (lambda: swin("swinv2_tiny_window8_256"), FeatureMap("norm", (96, 2, 2), channels_last=True)),
        (torchvision_swin, FeatureMap("permute", (96, 2, 2))),
        (lambda: timm_network("test_mambaout"), FeatureMap("stages", (64, 2, 2), channels_last=True)),
    ],
    ids=["timm Swin", "timm Swin 2", "torchvision Swin", "MambaOut"],
)
def test_the_deepest_stage_of_networks_that_shrink_their_grid_is_found(make, expected):
    assert last_feature_map(classifier_of(make(), 64)) == expected


def test_attention_weights_of_windows_are_not_taken_for_the_last_grid():
    """Swin's (1, heads, N, N) of one window looks like a grid; the answer does not hang on it alone."""
    classifier = classifier_of(swin(), 64)
    assert "attn" not in last_feature_map(classifier).layer


@pytest.mark.parametrize(
    ("layer", "shape"), [("0", (6, 32, 32)), ("1", (6, 32, 32)), ("3", (6, 16, 16)), ("4", (8, 16, 16))]
)
def test_any_layer_with_a_grid_can_be_named(layer, shape):
    assert feature_map(classifier_of(cnn()), layer) == FeatureMap(layer, shape)


@pytest.mark.parametrize("layer", ["6", "7", "8"])
def test_a_layer_whose_output_is_no_grid_is_refused_with_those_whose_is(layer):
    with pytest.raises(LayerError, match=f"'{layer}' does not give one feature map") as refusal:
        feature_map(classifier_of(cnn()), layer)
    assert refusal.value.expected == "one of 0, 1, 2, 3, 4, 5"


def test_a_layer_of_a_network_without_any_grid_is_refused():
    with pytest.raises(LayerError) as refusal:
        feature_map(classifier_of(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5))), "1")
    assert refusal.value.expected == "a convolutional network"


def test_a_layer_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(LayerError, match="no layer 'layer5'") as refusal:
        feature_map(classifier_of(timm_network("test_resnet"), 64), "layer5")
    assert "layer4" in refusal.value.expected


def test_a_layer_that_runs_twice_is_no_feature_map_and_the_last_that_runs_once_is_found():
    layers = {"stem": conv(3, 4, 2), "twice": conv(4, 4), "head": nn.Linear(4, 5)}
    network = Net(lambda net, x: pooled(net.head, net.twice(net.twice(net.stem(x)))), **layers)
    with pytest.raises(LayerError, match="'twice' does not give one feature map"):
        feature_map(classifier_of(network), "twice")
    assert last_feature_map(classifier_of(network)) == FeatureMap("stem", (4, 16, 16))


def test_grids_of_parts_of_a_picture_are_no_feature_map():
    layers = {"stem": conv(3, 4, 2), "parts": conv(4, 4), "head": nn.Linear(4, 5)}

    def call(net, pixels):
        return pooled(net.head, net.parts(windows(net.stem(pixels)))).unflatten(0, (4, -1)).mean(0)

    classifier = classifier_of(Net(call, **layers))
    with pytest.raises(LayerError, match="'parts' does not give one feature map"):
        feature_map(classifier, "parts")


class Failing(nn.Module):
    def forward(self, tensor):
        raise ZeroDivisionError


@pytest.mark.parametrize("fails", [False, True])
def test_looking_for_feature_maps_leaves_no_trace(fails):
    network = cnn().train()
    network[4].eval()
    classifier = classifier_of(network)
    if fails:
        network.append(Failing())
        with pytest.raises(ZeroDivisionError):
            last_feature_map(classifier)
    else:
        last_feature_map(classifier)
    assert [layer.training for layer in network][:9] == [place != 4 for place in range(9)]
    assert not any(layer._forward_hooks for layer in network.modules())


def branches(net, x):
    x = net.stem(x)
    return pooled(net.head, torch.cat([net.a(x), net.b(x)], dim=1))


def residual(net, x):
    x = net.stem(x)
    return pooled(net.head, x + net.a(x))


def beside(net, x):
    x = net.stem(x)
    return pooled(net.head, net.a(x)), net.b(x)


def after(net, x):
    x = net.stem(x)
    logits = pooled(net.head, net.a(x))
    return logits, net.b(x)


@pytest.mark.parametrize(
    ("call", "width", "layer"),
    [(branches, 8, "stem"), (residual, 4, "stem"), (beside, 4, "a"), (after, 4, "a")],
    ids=["two branches", "a residual part", "an auxiliary output", "an auxiliary output after the logits"],
)
def test_the_layer_that_is_chosen_carries_the_whole_decision(call, width, layer):
    parts = {"stem": conv(3, 4, 2), "a": conv(4, 4), "b": conv(4, 4), "head": nn.Linear(width, 5)}
    assert last_feature_map(classifier_of(Net(call, **parts))).layer == layer


def test_a_network_without_such_a_layer_is_refused():
    def call(net, x):
        return pooled(net.head, torch.cat([net.a(x), net.b(x)], dim=1))

    parts = {"a": conv(3, 4), "b": conv(3, 4), "head": nn.Linear(8, 5)}
    with pytest.raises(UnsupportedError, match="no single feature map") as refusal:
        last_feature_map(classifier_of(Net(call, **parts)))
    assert "layer='b'" in refusal.value.remedy


def test_a_branch_that_only_bright_pictures_take_is_seen():
    """Grey and noise of mean zero leave it shut: on them alone the trunk seems to carry the decision."""

    def call(net, pixels):
        stem = net.stem(pixels)
        bright = (pixels.mean((1, 2, 3)) - 0.5).relu()
        return pooled(net.head, net.trunk(stem)) + pooled(net.other, net.beside(stem)) * bright[:, None]

    layers = {"stem": conv(3, 4, 2), "beside": conv(4, 6, 2), "other": nn.Linear(6, 5)}
    network = Net(call, **layers, trunk=conv(4, 6, 2), head=nn.Linear(6, 5))
    with pytest.raises(UnsupportedError, match="no single feature map"):
        last_feature_map(classifier_of(loud(network)))
