"""The deepest features are found in convolutional networks and transformers, and read as maps without loss."""

import pytest
import torch
from torch import nn

from regard.errors import LayerError, UnsupportedError
from regard.models.features import Features, features_of
from regard.models.taps import Place, read, replaced

from ..explainers.networks import WIDTH, classifier_of, cnn, loud, pixels_of, vit
from .test_convolutional import channels_last_after, swin, timm_network, tokens_after, torchvision_swin
from .test_transformer import hugging_face

NETWORKS = {
    "sequential": (cnn, 32, "5", (8, 16, 16)),
    "resnet": (lambda: timm_network("test_resnet"), 64, "layer4", (96, 2, 2)),
    "convnext": (lambda: timm_network("test_convnext"), 64, "norm_pre", (64, 2, 2)),
    "swin": (swin, 64, "norm", (96, 2, 2)),
    "torchvision swin": (torchvision_swin, 64, "permute", (96, 2, 2)),
    "vit": (vit, 32, "blocks.1.norm1", (WIDTH, 4, 4)),
    "vit that is not square": (lambda: vit(img_size=(32, 48)), (32, 48), "blocks.1.norm1", (WIDTH, 4, 6)),
    "vit with registers": (lambda: vit(reg_tokens=4), 32, "blocks.1.norm1", (WIDTH, 4, 4)),
    "vit without prefix": (lambda: vit(class_token=False, global_pool="avg"), 32, "blocks.1.norm1", (WIDTH, 4, 4)),
    "attention pool": (
        lambda: vit(class_token=False, global_pool="map"),
        32,
        "input of 'attn_pool.kv'",
        (WIDTH, 4, 4),
    ),
    "transformers vit": (
        lambda: hugging_face("ViT", "ViTForImageClassification", num_labels=5),
        32,
        None,
        None,
    ),
}


@pytest.fixture(params=NETWORKS, scope="module")
def case(request):
    make, size, layer, shape = NETWORKS[request.param]
    classifier = classifier_of(loud(make()), size)
    pixels = pixels_of(2, classifier.preparation.frame)
    return classifier, pixels, layer, shape


def at_place(classifier, features, pixels):
    with classifier.untouched(), torch.no_grad():
        (tensor,), answer = read(classifier.module, [features.place], lambda: classifier.forward(pixels))
    return tensor, answer


def test_the_layer_and_the_shape_of_its_maps_are_those_a_person_would_name(case):
    classifier, pixels, layer, shape = case
    features = features_of(classifier)
    maps = features.maps(at_place(classifier, features, pixels)[0], pixels)
    assert layer in (None, features.layer)
    assert shape in (None, maps.shape[1:])
    assert (maps.dim(), len(maps)) == (4, 2)


def test_maps_put_back_are_the_tensor_to_the_bit(case):
    classifier, pixels, *_ = case
    features = features_of(classifier)
    tensor, _ = at_place(classifier, features, pixels)
    assert features.back(features.maps(tensor, pixels), tensor).equal(tensor)


def test_features_changed_in_one_cell_change_the_answer_and_no_other_part_of_the_tensor(case):
    classifier, pixels, *_ = case
    features = features_of(classifier)
    tensor, answer = at_place(classifier, features, pixels)
    maps = features.maps(tensor, pixels).clone()
    maps[:, :, 1, 0] += 2 * torch.randn(maps.shape[:2], generator=torch.Generator().manual_seed(0))
    changed = features.back(maps, tensor)
    assert int((changed != tensor).sum()) == maps[:, :, 1, 0].numel()
    with classifier.untouched(), torch.no_grad(), replaced(classifier.module, features.place, lambda _: changed):
        assert not torch.allclose(classifier.forward(pixels), answer)


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
def test_a_token_becomes_the_cell_that_a_plain_loop_over_the_grid_gives_it(prefix):
    tokens = {0: {"class_token": False, "global_pool": "avg"}, 1: {}}.get(prefix, {"reg_tokens": prefix - 1})
    classifier, pixels = classifier_of(vit(img_size=(32, 48), **tokens), (32, 48)), pixels_of(1, (32, 48))
    features = features_of(classifier)
    tensor = torch.arange(2.0 * 3 * (prefix + 24) * 5).view(2, 3, prefix + 24, 5)
    maps = features.maps(tensor, pixels)
    assert maps.shape == (2, 3, 5, 4, 6)
    for row in range(4):
        for column in range(6):
            assert maps[..., row, column].equal(tensor[:, :, prefix + 6 * row + column])


def test_channels_last_are_moved_before_the_grid():
    features = features_of(classifier_of(channels_last_after()))
    tensor = torch.randn(2, 8, 9, 24)
    assert features == Features(Place("mix"), "last")
    assert features.maps(tensor, pixels_of()).equal(tensor.permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("make", "layer", "shape"),
    [
        (vit, "blocks.0", (WIDTH, 4, 4)),
        (vit, "blocks.1.mlp.fc1", (2 * WIDTH, 4, 4)),
        (vit, "patch_embed", (WIDTH, 4, 4)),
        (vit, "patch_embed.proj", (WIDTH, 4, 4)),
        (cnn, "0", (6, 32, 32)),
        (channels_last_after, "stem", (24, 8, 8)),
    ],
    ids=["block", "inside a block", "patches alone", "a grid in a transformer", "convolution", "before channels last"],
)
def test_any_layer_with_a_grid_or_tokens_can_be_named(make, layer, shape):
    classifier, pixels = classifier_of(make()), pixels_of()
    features = features_of(classifier, layer)
    assert features.layer == layer
    assert features.maps(at_place(classifier, features, pixels)[0], pixels).shape[1:] == shape


@pytest.mark.parametrize(("make", "layer"), [(vit, "head"), (vit, "blocks.0.attn.q_norm.no"), (cnn, "8")])
def test_a_layer_without_a_grid_is_refused(make, layer):
    with pytest.raises(LayerError):
        features_of(classifier_of(make()), layer)


@pytest.mark.parametrize(
    "make", [tokens_after, lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5))], ids=["tokens", "mlp"]
)
def test_a_network_with_neither_a_grid_nor_tokens_is_refused(make):
    with pytest.raises(UnsupportedError):
        features_of(classifier_of(make()))


def test_a_place_before_a_layer_is_not_said_to_be_its_output():
    """Settings say `input of`, and that is no name of a layer: nobody gets another map by writing it back."""
    classifier = classifier_of(vit(class_token=False, global_pool="map"))
    with pytest.raises(LayerError):
        features_of(classifier, features_of(classifier).layer)
