"""Class activation maps are the papers' formulas by plain loops, and pytorch-grad-cam's, without what that does."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import regard
from regard.compat import import_optional
from regard.errors import LayerError, NotFiniteError, UnsupportedError
from regard.explainers.eigen_cam import first_component
from regard.explainers.registry import find
from regard.models import passes
from regard.models.taps import read

from ..models.test_convolutional import swin, timm_network
from .networks import CLASSES, class_maps, classifier_of, cnn, loud, pixels_of, same, vit

peer = import_optional("pytorch_grad_cam", "baselines")
ALL = list(range(CLASSES))
THEIRS = {
    "grad-cam": peer.GradCAM,
    "grad-cam++": peer.GradCAMPlusPlus,
    "layer-cam": peer.LayerCAM,
    "hires-cam": peer.HiResCAM,
    "x-grad-cam": peer.XGradCAM,
    "eigen-cam": peer.EigenCAM,
    "eigen-grad-cam": peer.EigenGradCAM,
}
BY_GRADIENT = [name for name in THEIRS if name != "eigen-cam"]
EIGEN = {"eigen-cam", "eigen-grad-cam"}


def strong(seed=0):
    """A network whose gradients at the last grid are about one, so that pytorch-grad-cam's constants hide nothing."""
    network = cnn(seed)
    with torch.no_grad():
        network[-1].weight *= 300
    return network


def parts_of(network, image, layer, target):
    """Feature maps and gradients (K, h, w) of one image: the network cut in two at a layer's output."""
    features = network[: layer + 1](image[None]).detach().requires_grad_()
    score = network[layer + 1 :](features.clone())[0, target]
    (gradient,) = torch.autograd.grad(score, features)
    return features[0].detach().double(), gradient[0].double()


def plus_plus(features, gradients):
    total = torch.zeros_like(features[0])
    for values, slopes in zip(features, gradients, strict=True):
        weight, mass = 0.0, float(values.abs().sum())
        for slope in slopes.flatten().tolist():
            if slope > 0:
                weight += slope * slope**2 / (2 * slope**2 + mass * slope**3)
        total += weight * values
    return total.clamp(min=0)


def layer_cam(features, gradients):
    return sum(v * g.clamp(min=0) for v, g in zip(features, gradients, strict=True)).clamp(min=0)


def hires(features, gradients):
    return sum(v * g for v, g in zip(features, gradients, strict=True))


def x_grad(features, gradients):
    living = [(v, g) for v, g in zip(features, gradients, strict=True) if v.abs().sum() > 0]
    return sum(float((v.abs() * g).sum() / v.abs().sum()) * v for v, g in living)


def principal(maps):
    """By power iteration on the cells' covariance, of either sign."""
    cells = maps.flatten(1).T - maps.flatten(1).T.mean(0)
    direction = torch.ones(len(maps), dtype=torch.float64) + torch.arange(len(maps)) / 7
    for _ in range(3000):
        direction = cells.T @ (cells @ direction)
        direction /= direction.norm()
    return (cells @ direction).view(maps.shape[1:])


def eigen(features, _):
    found = principal(features)
    return found * found.flatten()[found.abs().argmax()].sign()


def eigen_grad(features, gradients):
    found = principal(features * gradients)
    return found * (found * hires(features, gradients)).sum().sign()


REPLICAS = {
    "grad-cam++": plus_plus,
    "layer-cam": layer_cam,
    "hires-cam": hires,
    "x-grad-cam": x_grad,
    "eigen-cam": eigen,
    "eigen-grad-cam": eigen_grad,
}


@pytest.mark.parametrize("layer", [3, 4, 5])
@pytest.mark.parametrize("name", REPLICAS)
def test_maps_are_the_paper_s_formula_by_a_plain_loop(name, layer):
    network, pixels = cnn(), pixels_of(2)
    maps = find(name)(classifier_of(network), layer=str(layer))(pixels, ALL).maps
    for image in range(2):
        for target in ALL:
            expected = REPLICAS[name](*parts_of(network, pixels[image], layer, target)).float()
            same(maps[image, target], expected, 1e-4 if name in EIGEN else 1e-5)
    assert maps.abs().max() > 0


@pytest.mark.parametrize("name", THEIRS)
def test_maps_are_pytorch_grad_cam_s_before_it_scales_them(name, monkeypatch):
    monkeypatch.setattr(peer.base_cam, "scale_cam_image", lambda cam, size=None: cam)
    network, pixels = strong(), pixels_of(3)
    ours = find(name)(classifier_of(network), layer="5")(pixels, [0, 3]).maps
    for place, target in enumerate([0, 3]):
        cam = THEIRS[name](network, [network[5]])
        chosen = [peer.utils.model_targets.ClassifierOutputTarget(target)] * 3
        theirs = torch.from_numpy(cam(pixels.clone(), chosen))
        for mine, other in zip(ours[:, place], theirs, strict=True):
            flipped = name in EIGEN and not torch.allclose(mine.relu(), other, atol=1e-4 * float(mine.abs().max()))
            same((-mine if flipped else mine).relu(), other, 1e-4)


def test_a_constant_of_pytorch_grad_cam_s_decides_nothing_however_small_gradients_are():
    network, pixels = cnn(), pixels_of(1)
    with torch.no_grad():
        network[-1].weight /= 1000
    explain = regard.GradCAMPlusPlus(classifier_of(network), layer="5")
    features, gradients = parts_of(network, pixels[0], 5, 2)
    expected = plus_plus(features, gradients).float()
    same(explain(pixels, 2).maps[0, 0], expected)
    theirs = explain.theirs.get_cam_weights(None, None, None, *(t.numpy()[None] for t in (features, gradients)))
    pairs = zip(features, gradients, strict=True)
    ours = [sum(max(0.0, g) / (2 + g * float(v.sum())) for g in slopes.flatten()) for v, slopes in pairs]
    assert np.abs(theirs[0]).max() < 0.1 * max(ours)


def test_an_image_with_small_gradients_gets_its_weights_beside_one_with_large_ones():
    """g = 1e-8 beside g = 1: the weights, g / (2 + g · 2) each twice, are nearly 1e-8 and ½."""
    features, gradients = torch.ones(2, 1, 1, 2), torch.ones(1, 2, 1, 1, 2)
    gradients[0, 0] = 1e-8
    maps = regard.GradCAMPlusPlus(classifier_of(cnn()))._combined(features, gradients)
    torch.testing.assert_close(maps[0, :, 0, 0], torch.tensor([1e-8, 0.5]), rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", ["grad-cam++", "x-grad-cam"])
def test_a_channel_whose_values_cancel_gets_no_weight_without_bound(name):
    """A = [1 −1 + ε], g = [1 2]: divided by their sum, x-grad-cam's weight is −1/ε; it lies between 1 and 2."""
    explain = find(name)(classifier_of(cnn()))
    gradients = torch.tensor([[[[[1.0, 2.0]]]]])
    for epsilon in (0.0, 1e-7, -1e-7, 1e-3):
        features = torch.tensor([[[[1.0, -1 + epsilon]]]])
        weight = float(explain._combined(features, gradients)[0, 0, 0, 0])
        assert weight == pytest.approx(1.5 if name == "x-grad-cam" else 1 / 4 + 2 / 6, rel=1e-3)


@pytest.mark.parametrize("name", THEIRS)
def test_making_an_explainer_draws_no_random_number(name):
    classifier = classifier_of(cnn())
    before = torch.get_rng_state()
    find(name)(classifier)
    assert torch.get_rng_state().equal(before)


def test_two_channels_give_grad_cam_plus_plus_worked_by_hand():
    """A₁ = [1 3], A₂ = [2 0], g₁ = ½ everywhere, g₂ = −½: w₁ = 2 · ½ / (2 + ½·4) = ¼, w₂ = 0, so L = [¼ ¾]."""
    explain = regard.GradCAMPlusPlus(classifier_of(cnn()))
    features = torch.tensor([[[[1.0, 3.0]], [[2.0, 0.0]]]])
    gradients = torch.tensor([[[[[0.5, 0.5]], [[-0.5, -0.5]]]]])
    torch.testing.assert_close(explain._combined(features, gradients), torch.tensor([[[[0.25, 0.75]]]]))


def test_hires_cam_of_a_network_that_goes_on_linearly_sums_to_the_logits_less_their_biases():
    network, pixels = cnn(), pixels_of(2)
    classifier = classifier_of(network)
    explanation = regard.HiResCAM(classifier)(pixels, ALL)
    torch.testing.assert_close(explanation.maps.sum((2, 3)), explanation.logits - network[-1].bias.detach())
    torch.testing.assert_close(regard.XGradCAM(classifier)(pixels, ALL).maps.sum((2, 3)), explanation.maps.sum((2, 3)))


def test_hires_cam_of_a_transformer_is_the_definition_of_cdam():
    network, pixels = vit(reg_tokens=4), pixels_of(2)
    expected = class_maps(network, pixels, prefix=5)
    same(regard.HiResCAM(classifier_of(network))(pixels, ALL).maps, expected)


OTHERS = {
    "resnet": lambda: timm_network("test_resnet"),
    "convnext": lambda: timm_network("test_convnext"),
    "swin": swin,
    "vit": lambda: vit(img_size=64, patch_size=16),
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("name", THEIRS)
def test_on_networks_of_every_kind_a_batch_is_the_loop_in_any_order(name, make):
    explain, pixels = find(name)(classifier_of(loud(make()), 64)), pixels_of(3, (64, 64))
    explanation = explain(pixels, ALL)
    assert explanation.maps.shape[:2] == (3, CLASSES)
    assert explanation.maps.abs().max() > 0
    assert explanation.signed or (explanation.maps >= 0).all()
    for image in range(3):
        same(explain(pixels[image : image + 1], ALL).maps[0], explanation.maps[image])
    same(explain(pixels.flip(0), ALL).maps.flip(0), explanation.maps)


@pytest.mark.parametrize("name", ["grad-cam", "layer-cam", "hires-cam", "x-grad-cam", "eigen-grad-cam"])
@settings(max_examples=8)
@given(seed=st.integers(0, 50), factor=st.floats(0.01, 100))
def test_a_target_times_a_number_gives_the_maps_times_that_number(name, seed, factor):
    explain, pixels = find(name)(classifier_of(cnn())), pixels_of(1, seed=seed)
    once = explain(pixels, regard.Score(lambda logits: logits[:, 1])).maps
    times = explain(pixels, regard.Score(lambda logits: factor * logits[:, 1])).maps
    same(times, factor * once, 1e-4)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), cells=st.integers(2, 6), channels=st.integers(1, 8))
def test_the_sign_of_eigen_cam_is_settled_whatever_sign_the_features_have(seed, cells, channels):
    maps = torch.randn(1, channels, cells, cells, generator=torch.Generator().manual_seed(seed))
    found = first_component(maps)
    same(first_component(-maps).abs(), found.abs(), 1e-4)
    assert abs(float(found.sum())) <= 1e-4 * float(found.abs().sum())


def test_the_value_farthest_from_zero_is_positive_in_eigen_cam():
    explain = regard.EigenCAM(classifier_of(cnn()))
    for seed in range(12):
        maps = explain(pixels_of(3, seed=seed), 0).maps
        assert (maps.amax((1, 2, 3)) >= -maps.amin((1, 2, 3))).all()


class Given(nn.Module):
    """One feature map, the first channel of the picture, and a head on its mean."""

    def __init__(self):
        super().__init__()
        self.grid, self.head = nn.Conv2d(3, 1, 1, bias=False), nn.Linear(1, 1)
        with torch.no_grad():
            self.grid.weight.copy_(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1))

    def forward(self, pixels):
        return self.head(self.grid(pixels).mean((2, 3)))


def test_images_where_the_sign_of_eigen_cam_is_a_coin_toss_are_named():
    """Of mean zero, with extremes 3 and −3, 3 and −1, −3 and 2.8, all zero; in chunks of two."""
    rows = [[[3.0, -3.0], [0.0, 0.0]], [[3.0, -1.0], [-1.0, -1.0]], [[2.8, -3.0], [0.1, 0.1]], [[0.0] * 2] * 2]
    pixels = torch.zeros(4, 3, 2, 2)
    pixels[:, 0] = torch.tensor(rows)
    classifier = classifier_of(Given(), 2, outputs="scalar")
    passes.remember_chunk(classifier, pixels[:1], 2)
    notes = regard.EigenCAM(classifier, layer="grid")(pixels, 0).notes
    tossed = [note.partition(":")[0] for note in notes if "coin toss" in note]
    assert tossed == [f"the sign of the map is a coin toss in image {image}" for image in (0, 2)]
    passes.remember_chunk(classifier, pixels[:1], 4)
    whole = [note for note in regard.EigenCAM(classifier, layer="grid")(pixels, 0).notes if "coin toss" in note]
    assert [note.partition(":")[0] for note in whole] == ["the sign of the map is a coin toss in image 0, image 2"]


def test_eigen_cam_says_what_its_signs_mean_which_is_not_for_and_against_a_class():
    """Features of mean zero, of which −3 is farthest away: it is above zero, and so is what lies on its side."""
    pixels = torch.zeros(1, 3, 2, 2)
    pixels[0, 0] = torch.tensor([[-3.0, 1.0], [-1.0, 3.0 - 1e-3]])
    explanation = regard.EigenCAM(classifier_of(Given(), 2, outputs="scalar"), layer="grid")(pixels, 0)
    assert explanation.signs == ("unlike the strongest place", "like the strongest place")
    assert explanation.maps[0, 0].sign().tolist() == [[1, -1], [1, -1]]
    assert "like the strongest place →\n← unlike the strongest place" in [
        axes.get_ylabel() for axes in explanation.figure().axes
    ]


def test_eigen_grad_cam_is_high_where_features_speak_for_the_target():
    classifier = classifier_of(cnn())
    for seed in range(6):
        pixels = pixels_of(2, seed=seed)
        own, evidence = (find(name)(classifier)(pixels, ALL).maps for name in ("eigen-grad-cam", "hires-cam"))
        assert ((own * evidence).sum((2, 3)) >= 0).all()
    opposite = [regard.Score(lambda logits, sign=sign: sign * logits[:, 0]) for sign in (1, -1)]
    for_it, against = regard.EigenGradCAM(classifier)(pixels, opposite).maps.unbind(1)
    same(against, -for_it)


def test_a_principal_component_is_that_of_features_of_one_direction():
    """Two channels 3 p and 4 p: centred, the component is 5 (p − mean p)."""
    pattern = torch.tensor([[1.0, 2.0], [3.0, 10.0]])
    found = first_component(torch.stack([3 * pattern, 4 * pattern]))
    same(found * found[1, 1].sign(), 5 * (pattern - 4))


def test_a_principal_component_is_nan_where_features_are_not_finite_and_zero_where_they_are_all_the_same():
    maps = torch.linspace(0.1, 0.9, 5).view(5, 1, 1).expand(3, 5, 7, 7).clone()
    maps[1, 2, 3, 4] = torch.inf
    maps[2] = torch.randn(5, 7, 7, generator=torch.Generator().manual_seed(0))
    found = first_component(maps)
    assert found[0].eq(0).all()
    assert found[1].isnan().all()
    same(found[2], first_component(maps[2:])[0])


def test_features_that_are_the_same_everywhere_give_a_map_of_zeros_and_the_reason():
    network = cnn()
    with torch.no_grad():
        network[4].weight.zero_()
    explanation = regard.EigenCAM(classifier_of(network))(pixels_of(), 0)
    assert (explanation.maps == 0).all()
    assert explanation.notes[0].endswith("image 1: features at this layer are the same in all cells")


def test_eigen_cam_needs_neither_target_nor_head():
    classifier = classifier_of(vit(num_classes=0))
    assert regard.EigenCAM(classifier)(pixels_of()).maps.shape == (2, 1, 4, 4)
    with_head = regard.EigenCAM(classifier_of(vit()))(pixels_of(), ALL)
    assert not with_head.per_target
    assert (with_head.forwards, with_head.backwards) == (2, 0)
    assert with_head.maps[:, :1].expand(-1, CLASSES, -1, -1).equal(with_head.maps)


@pytest.mark.parametrize("name", THEIRS)
def test_nan_in_one_image_is_refused_or_kept_to_it(name):
    explain, pixels = find(name)(classifier_of(cnn())), pixels_of(3)
    clean = explain(pixels, 0).maps
    pixels[1, 0, 3, 3] = torch.nan
    with pytest.raises(NotFiniteError):
        explain(pixels, 0)
    explanation = explain(pixels, 0, on_nan="skip")
    assert explanation.not_finite == (1,)
    assert explanation.maps[1].isnan().all()
    same(explanation.maps[::2], clean[::2])


@pytest.mark.parametrize("name", BY_GRADIENT)
def test_one_forward_serves_all_targets(name):
    explanation = find(name)(classifier_of(cnn()))(pixels_of(3), ALL)
    assert (explanation.forwards, explanation.backwards) == (3, 3 * CLASSES)


@pytest.mark.parametrize("name", THEIRS)
def test_gradients_of_one_s_own_are_as_before_where_pytorch_grad_cam_overwrites_them(name):
    network = cnn()
    network[4].weight.grad = torch.ones_like(network[4].weight)
    find(name)(classifier_of(network))(pixels_of(), 0)
    assert (network[4].weight.grad == 1).all()
    assert network[0].weight.grad is None


@pytest.mark.parametrize("name", THEIRS)
def test_modes_are_as_before_where_pytorch_grad_cam_leaves_everything_in_eval_mode(name):
    network = cnn().train()
    network[2].eval()
    find(name)(classifier_of(network))(pixels_of(), 0)
    assert [layer.training for layer in network] == [place != 2 for place in range(len(network))]
    assert network.training


class Failing(nn.Module):
    def forward(self, tensor):
        raise IndexError("a fault of the network's own")


@pytest.mark.parametrize("name", THEIRS)
def test_an_index_error_of_the_network_is_raised_where_pytorch_grad_cam_swallows_it(name):
    network = cnn()
    explain = find(name)(classifier_of(network))
    network[6] = Failing()
    with pytest.raises(IndexError, match="network's own"):
        explain(pixels_of(), 0)
    assert not any(layer._forward_hooks for layer in network.modules())


@pytest.mark.parametrize("name", THEIRS)
def test_pytorch_grad_cam_never_gets_the_network(name, monkeypatch):
    def refused(self, model, *_, **__):
        assert all(parameter.numel() == 1 for parameter in model.parameters()), "the person's network was handed over"

    network = cnn()
    monkeypatch.setattr(peer.base_cam.BaseCAM, "__init__", refused)
    monkeypatch.setattr(peer.base_cam.BaseCAM, "__del__", lambda self: None)
    assert find(name)(classifier_of(network))(pixels_of(), 0).maps.isfinite().all()


@pytest.mark.parametrize("name", THEIRS)
def test_what_cannot_be_read_is_refused(name):
    with pytest.raises(LayerError):
        find(name)(classifier_of(cnn()), layer="8")
    with pytest.raises(LayerError):
        find(name)(classifier_of(vit()), layer="head")
    with pytest.raises(UnsupportedError):
        find(name)(classifier_of(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, CLASSES))))


def test_features_are_read_where_settings_say():
    classifier, pixels = classifier_of(vit()), pixels_of(2)
    explain = regard.EigenCAM(classifier, layer="blocks.0")
    assert explain(pixels, 0).settings == {"layer": "blocks.0"}
    with torch.no_grad():
        (tensor,), _ = read(classifier.module, [explain.features.place], lambda: classifier.forward(pixels))
    expected = principal(tensor[1, 1:].T.unflatten(1, (4, 4)).double()).float()
    found = explain(pixels, 0).maps[1, 0]
    same(found * found.flatten()[3].sign(), expected * expected.flatten()[3].sign(), 1e-4)
