"""Stages that the rule finds are the tensors that torch.fx reads in the network's graph, and the published ones."""

import pytest
import torch

from regard.compat import import_optional
from regard.models.stages import stages_of

from ..explainers.networks import WIDTH, classifier_of, loud, pixels_of, vit
from .test_convolutional import torchvision_swin
from .test_stages import NOT_SQUARE, read_of, resnet, thin_vgg, torchvision_vit
from .test_transformer import tiny

torchvision = import_optional("torchvision.models", "torchvision")
graphs = import_optional("torchvision.models.feature_extraction", "torchvision")
timm_graphs = import_optional("timm.models._features_fx", "timm")


def by_torchvision(network, names):
    return graphs.create_feature_extractor(network, names)


def by_timm(network, names):
    """Which knows the parts of timm's networks that cannot be followed."""
    return timm_graphs.create_feature_extractor(network, {name: name for name in names})


def distilled(**settings):
    return tiny("deit_tiny_distilled_patch16_224", depth=4, **settings)


CASES = {
    "ResNet-18": (resnet, NOT_SQUARE, by_torchvision),
    "VGG": (thin_vgg, 224, by_torchvision),
    "Swin, channels last": (torchvision_swin, 64, by_torchvision),
    "ViT": (torchvision_vit, 32, by_torchvision),
    "DeiT, distilled": (lambda: distilled(patch_size=8), 32, by_timm),
    "DeiT, distilled, not square": (lambda: distilled(patch_size=16, img_size=NOT_SQUARE), NOT_SQUARE, by_timm),
}


def on_grid(tensor, shape):
    """A grid as (B, K, h, w), whichever way its axes stand; tokens row by row, those before the patches left out."""
    _, channels, height, width = shape
    if tensor.dim() == 3:
        patches = tensor[:, tensor.shape[1] - height * width :]
        return torch.stack([patches[:, width * row : width * (row + 1)].mT for row in range(height)], dim=2)
    return tensor if tuple(tensor.shape) == shape else torch.stack([tensor[..., k] for k in range(channels)], dim=1)


@pytest.mark.parametrize("case", CASES)
def test_what_the_rule_finds_the_graph_gives_too(case):
    make, size, extractor_of = CASES[case]
    network = make()
    classifier = classifier_of(network, size)
    stages, pixels = stages_of(classifier), pixels_of(2, classifier.preparation.frame)
    maps, output = read_of(classifier, stages, pixels)
    layers = [stage.place.layer for stage in stages]
    names = [layer.replace("ln_1", "ln") for layer in layers]  # fx counts the norms of a block: ln, ln_1
    with torch.no_grad():
        found = extractor_of(network, names)(pixels)
        assert output.logits.equal(network(pixels))
    found = [*found.values()] if isinstance(found, dict) else found
    assert len(set(layers)) == len(found) == 3
    for one, other in zip(maps, found, strict=True):
        assert one.equal(on_grid(other, tuple(one.shape)))
    if "Swin" in case:
        assert [tuple(other.shape) for other in found[:2]] == [(2, 8, 8, 24), (2, 4, 4, 48)]
    if "DeiT" in case:
        height, width = maps[0].shape[2:]
        assert [other.shape[1] for other in found] == [2 + height * width] * 3


def test_of_a_transformer_of_the_paper_s_depth_the_norms_before_the_last_three_attentions_are_read():
    """197 tokens: what enters blocks 9, 10 and 11, and not the second norms."""
    network = loud(torchvision.VisionTransformer(224, 16, 12, 3, WIDTH, 48, num_classes=5))
    classifier, kept, pixels = classifier_of(network, 224), {}, pixels_of(1, (224, 224))
    blocks = [f"encoder.layers.encoder_layer_{number}" for number in (9, 10, 11)]
    stages = stages_of(classifier)
    assert [stage.layer for stage in stages] == [f"{block}.ln_1" for block in blocks]
    for block in blocks:
        for norm in ("ln_1", "ln_2"):
            network.get_submodule(f"{block}.{norm}").register_forward_hook(
                lambda _, __, output, name=(block, norm): kept.__setitem__(name, output)
            )
    maps, _ = read_of(classifier, stages, pixels)
    for block, one in zip(blocks, maps, strict=True):
        assert kept[block, "ln_1"].shape == (1, 197, WIDTH)
        assert one.equal(on_grid(kept[block, "ln_1"], (1, WIDTH, 14, 14)))
        assert not one.allclose(on_grid(kept[block, "ln_2"], (1, WIDTH, 14, 14)), atol=1e-2)


def test_each_place_of_the_map_is_its_token_counted_row_by_row():
    """Tokens whose value is their number: 14 r + c, one more for the class token that is left out."""
    classifier = classifier_of(vit(img_size=224, patch_size=16), 224)
    (stage,) = stages_of(classifier, 1)
    numbers = torch.arange(197.0).view(1, 197, 1).expand(1, 197, WIDTH)
    found = stage.maps(numbers, pixels_of(1, (224, 224)))
    expected = torch.tensor([[float(14 * row + column + 1) for column in range(14)] for row in range(14)])
    assert found.equal(expected.expand(1, WIDTH, 14, 14))
