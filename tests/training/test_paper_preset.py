"""The published recipe, end to end on the three networks of the paper: random weights, eight photos, two steps."""

import numpy as np
import pytest
import torch

import regard
from regard.explainers.tame import TAME
from regard.fills import black, training_mean
from regard.training import RECIPES, fit_tame, preset

from ..explainers.networks import classifier_of, cnn, vit

PUBLISHED = {  # layers, parameters and grid of papers/tame.md, sections 1.2 and 1.4
    "vgg16": (["features.16", "features.23", "features.30"], 1_874_664, 28),
    "resnet50": (["layer2", "layer3", "layer4"], 9_100_776, 28),
    "vit_b_16": ([f"encoder.layers.encoder_layer_{block}.ln_1" for block in (9, 10, 11)], 4_081_384, 14),
}


def photos_of(count):
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (8, 9, 3), np.uint8).repeat(30, 0).repeat(30, 1) for _ in range(count)]


def published(name):
    """Torchvision's own random weights; its ViT begins with a head of zeros, which no picture could move."""
    classifier = regard.load(f"torchvision:{name}", pretrained=False)
    if name == "vit_b_16":
        layer = classifier.head_module()
        with torch.no_grad():
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(0)) / 30)
    return classifier


@pytest.mark.filterwarnings("ignore:the attention will show no map")
@pytest.mark.parametrize("name", PUBLISHED)
def test_it_runs_on_the_networks_of_the_paper(name, tmp_path):
    from dataclasses import replace

    classifier = published(name)
    before = classifier.hash
    recipe, fill = preset("paper", classifier)
    layers, parameters, side = PUBLISHED[name]
    mean, std = classifier.preparation.mean, classifier.preparation.std
    assert fill == (training_mean(3) if name == "vit_b_16" else black(mean, std))
    tame = fit_tame(classifier, photos_of(8), recipe=replace(recipe, epochs=1, batch=4), fill=fill)
    assert [layer for layer, _ in tame.trained.card.layers] == layers
    assert {at for _, at in tame.trained.card.layers} == {"output"}
    assert sum(parameter.numel() for parameter in tame.trained.attention.parameters()) == parameters
    training = tame.trained.card.training
    assert (training["photos"], training["photos_held_out"], training["steps"]) == (7, 1, 2)
    tame.save(tmp_path / "tame.safetensors")
    assert (tmp_path / "tame.safetensors").stat().st_size < 1.01 * 4 * parameters + 1_000_000
    explanation = TAME.load(tmp_path / "tame.safetensors", classifier, force=True)(photos_of(1), targets=[0, 999])
    assert explanation.maps.shape == (1, 2, side, side)
    assert classifier.hash == before


def test_the_recipes_are_the_published_ones():
    """Sections 2.3, 2.4 and 2.8: both versions alike but for the rate of biases."""
    paper = RECIPES["paper"]
    assert (paper.cross_entropy, paper.area, paper.variation, paper.exponent) == (1.5, 2.0, 0.01, 0.3)
    assert (paper.variant, paper.start, paper.mask, paper.maps) == ("tame", "drawn", "soft", "cross-batch")
    assert (paper.optimizer, paper.rate, paper.weight_decay, paper.bias_rate) == ("sgd", 1e-3, 5e-4, 1.0)
    assert (paper.epochs, paper.batch, paper.augmentation) == (8, 32, "crop")
    assert (paper.area_target, paper.smoothing, paper.gated, paper.at) == (None, 0, False, "norm")
    other = RECIPES["paper-v1"].words()
    assert other.pop("bias_rate") == 2.0
    assert other.items() <= paper.words().items()


def test_other_networks_are_read_by_rule_and_filled_by_kind():
    convolutional, transformer = classifier_of(cnn()), classifier_of(vit())
    assert preset("paper", convolutional) == (RECIPES["paper"], black((0.5,) * 3, (0.5,) * 3))
    assert preset("paper-v1", transformer) == (RECIPES["paper-v1"], training_mean(3))
    assert preset("default", transformer)[1] == black((0.5,) * 3, (0.5,) * 3)


def test_there_is_no_other_recipe():
    with pytest.raises(regard.errors.UnsupportedError, match="no such recipe"):
        preset("papers", classifier_of(cnn()))
