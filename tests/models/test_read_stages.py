"""Stages give the tensors that torch.fx reads, of the published layers the published shapes, with or without a gate."""

import pytest
import torch

from regard.attention import FusionAttention
from regard.compat import import_optional
from regard.errors import UnsupportedError
from regard.models.stages import gated_by_class, stages_of

from ..explainers.networks import classifier_of, pixels_of, vit
from .test_convolutional import timm_network
from .test_stages import filled, read_of, resnet, torchvision_vit, vgg

torchvision = import_optional("torchvision.models", "torchvision")
feature_extraction = import_optional("torchvision.models.feature_extraction", "torchvision")


@pytest.mark.parametrize(
    ("make", "size", "names"),
    [
        (resnet, 64, {"layer2": "layer2", "layer3": "layer3", "layer4": "layer4"}),
        (vgg, (96, 64), {"features.10": "features.10", "features.15": "features.15", "features.20": "features.20"}),
        (
            torchvision_vit,
            32,
            {f"encoder.layers.encoder_layer_{n}.ln": f"encoder.layers.encoder_layer_{n}.ln_1" for n in (1, 2, 3)},
        ),
    ],
    ids=["ResNet-18", "VGG-11", "ViT"],
)
def test_torch_fx_reads_the_same_tensors(make, size, names):
    """As the published code reads them, whose `.ln` is the norm before the attention."""
    classifier = classifier_of(make(), size)
    pixels = pixels_of(2, classifier.preparation.frame)
    extractor = feature_extraction.create_feature_extractor(classifier.network, [*names])
    stages = stages_of(classifier, layers=[*names.values()])
    maps, _ = read_of(classifier, stages, pixels)
    with torch.no_grad():
        expected = extractor(pixels).values()
    for stage, one, other in zip(stages, maps, expected, strict=True):
        assert one.equal(stage.maps(other, pixels))


PUBLISHED = {
    "VGG-16": (
        torchvision.vgg16,
        ["features.16", "features.23", "features.30"],
        [(256, 28, 28), (512, 14, 14), (512, 7, 7)],
        1280,
    ),
    "ResNet-50": (
        torchvision.resnet50,
        ["layer2", "layer3", "layer4"],
        [(512, 28, 28), (1024, 14, 14), (2048, 7, 7)],
        3584,
    ),
    "ViT-B/16": (
        torchvision.vit_b_16,
        [f"encoder.layers.encoder_layer_{number}.ln_1" for number in (9, 10, 11)],
        [(768, 14, 14)] * 3,
        2304,
    ),
}


@pytest.fixture(params=PUBLISHED, scope="module")
def published(request):
    make, *expected = PUBLISHED[request.param]
    return classifier_of(filled(make), 224), *expected


def test_the_published_layers_of_the_paper_s_networks_give_the_published_shapes(published):
    classifier, layers, shapes, total = published
    stages, pixels = stages_of(classifier, layers=layers), pixels_of(1, (224, 224))
    maps, output = read_of(classifier, stages, pixels)
    assert [tuple(one.shape[1:]) for one in maps] == shapes
    assert output.logits.shape == (1, 1000)
    attention = FusionAttention([shape[0] for shape in shapes], 1000).eval()
    assert attention.fuser.in_features == total
    grid = shapes[0][1:]
    with torch.no_grad():
        assert attention(maps, torch.tensor([[3, 5]])).shape == (1, 2, *grid)


@pytest.mark.parametrize("prefix", [1, 2, 5])
def test_a_class_token_does_not_reach_the_maps_unless_it_gates_them(prefix):
    tokens = {1: {}}.get(prefix, {"reg_tokens": prefix - 1})
    classifier, pixels = classifier_of(vit(img_size=(32, 48), **tokens), (32, 48)), pixels_of(1, (32, 48))
    (stage,) = stages_of(classifier, 1)
    tensor = torch.randn(2, prefix + 24, 5, generator=torch.Generator().manual_seed(0))
    gated, plain = gated_by_class(stage, tensor, pixels), stage.maps(tensor, pixels)
    for row in range(4):
        for column in range(6):
            cell = tensor[:, prefix + 6 * row + column]
            assert plain[..., row, column].equal(cell)
            assert gated[..., row, column].equal(cell * tensor[:, 0])
    tensor[:, 0] += 1
    assert stage.maps(tensor, pixels).equal(plain)
    assert not gated_by_class(stage, tensor, pixels).allclose(gated)


def test_stages_are_gated_each_by_its_own_class_token():
    classifier, pixels = classifier_of(vit(depth=3)), pixels_of()
    stages = stages_of(classifier)
    gated, _ = read_of(classifier, stages, pixels, gated=True)
    tokens = []
    for block in classifier.network.blocks:
        block.norm1.register_forward_hook(lambda _, __, output: tokens.append(output))
    with torch.no_grad():
        classifier.network(pixels)
    for one, given in zip(gated, tokens, strict=True):
        assert one.equal((given[:, 1:] * given[:, :1]).mT.unflatten(2, (4, 4)))


@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (lambda: vit(class_token=False, global_pool="avg"), "blocks.1"),
        (vit, "patch_embed"),
        (lambda: timm_network("test_resnet"), "layer4"),
    ],
    ids=["no class token", "patches alone", "a grid"],
)
def test_a_gate_without_a_class_token_is_refused(make, layer):
    classifier = classifier_of(make(), 64 if layer == "layer4" else 32)
    stages = stages_of(classifier, layers=[layer])
    with pytest.raises(UnsupportedError, match=f"no class token stands before the patches of '{layer}'"):
        read_of(classifier, stages, pixels_of(2, classifier.preparation.frame), gated=True)


def test_maps_are_float32_in_a_network_of_half_precision():
    classifier = classifier_of(resnet().bfloat16(), 64)
    maps, _ = read_of(classifier, stages_of(classifier), pixels_of(1, (64, 64)))
    assert {one.dtype for one in maps} == {torch.float32}
    classifier = classifier_of(vit(), precision="bfloat16")
    maps, _ = read_of(classifier, stages_of(classifier, 2, at="block"), pixels_of())
    assert {one.dtype for one in maps} == {torch.float32}
