"""Pooled networks: features as plain passes give them, nothing left in the backbone, and draws that repeat."""

import copy

import pytest
import torch
from torch import nn

from regard.attention.representative import RepresentativePooling, representative_pooling
from regard.errors import LayerError, UnsupportedError
from regard.images import seed_of
from regard.models.dropping import dropped
from regard.models.high_resolution import high_resolution
from regard.models.pooled import PooledNetwork, last_features
from regard.models.taps import Place, read

from ..explainers.networks import classifier_of, cnn, pixels_of, same, vit
from .test_finer_patches import swin
from .test_high_resolution import timm_network


def pooled(network, frame=32, layer=None, dropout=0.0, seed=0, **settings):
    features = last_features(classifier_of(network, frame), layer)
    return PooledNetwork(network, features, RepresentativePooling(3, **settings), dropout, seed).eval()


def patches_of(network, pixels, layer="blocks.1", prefix=1, grid=(4, 4)):
    """What a hook of one's own sees at a layer, prefix tokens left out, (B, C, h, w)."""
    seen = []
    handle = network.get_submodule(layer).register_forward_hook(lambda _, __, output: seen.append(output))
    network(pixels)
    handle.remove()
    return seen[0][:, prefix:].transpose(1, 2).unflatten(2, grid)


def swin_before_its_norm(network, pixels):
    return network.layers(network.patch_embed(pixels)).permute(0, 3, 1, 2)


# make, frame, layer named, its features by plain means
NETWORKS = {
    "CNN": (cnn, 32, None, lambda network, pixels: network[:6](pixels)),
    "CNN of timm": (
        lambda: timm_network("test_efficientnet"),
        *(64, None, lambda network, pixels: network.forward_features(pixels)),
    ),
    "ViT": (vit, 32, None, patches_of),
    "ViT with registers": (
        lambda: vit(reg_tokens=2),
        *(32, None, lambda network, pixels: patches_of(network, pixels, prefix=3)),
    ),
    "ViT, an earlier block": (vit, 32, "blocks.0", lambda network, pixels: patches_of(network, pixels, "blocks.0")),
    "ViT, patches alone": (
        vit,
        32,
        "patch_embed",
        lambda network, pixels: patches_of(network, pixels, "patch_embed", 0),
    ),
    "ViT, a grid": (vit, 32, "patch_embed.proj", lambda network, pixels: network.patch_embed.proj(pixels)),
    "Swin, before its last norm": (swin, 64, None, swin_before_its_norm),
}


@pytest.mark.parametrize(("make", "frame", "layer", "plain"), NETWORKS.values(), ids=NETWORKS)
def test_representatives_are_those_of_the_features_that_a_plain_pass_gives(make, frame, layer, plain):
    network, pixels = make().eval(), pixels_of(2, (frame, frame))
    with torch.no_grad():
        expected = representative_pooling(plain(copy.deepcopy(network), pixels), 3)
        found = pooled(network, frame, layer).represent(pixels)
    assert found.maps.shape == (2, 3, *expected.maps.shape[2:])
    same(found.vectors, expected.vectors, 1e-6)
    same(found.maps, expected.maps, 1e-6)
    assert torch.equal(found.indices, expected.indices)
    same(pooled(network, frame, layer)(pixels), expected.vectors.flatten(1), 1e-6)


def test_the_last_block_is_read_before_the_final_norm_whose_tokens_are_equally_long():
    features = last_features(classifier_of(vit()))
    assert (features.place, features.tokens.prefix) == (Place("blocks.1"), 1)
    assert last_features(classifier_of(swin(), 64)).place == Place("norm", "input")


def test_dropout_is_of_the_embedding_and_of_training_alone():
    network, pixels = pooled(cnn(), dropout=0.5), pixels_of()
    joined = network.represent(pixels).joined()
    assert torch.equal(network(pixels), joined)
    network.train()
    network.backbone.eval()
    torch.manual_seed(0)
    dropped_out = network(pixels)
    gone = dropped_out == 0
    assert 0.2 < gone[joined != 0].float().mean() < 0.8
    same(dropped_out[~gone], 2 * joined[~gone])
    assert torch.equal(network.represent(pixels).joined(), joined)


def test_gradients_reach_all_that_makes_the_features_and_nothing_after_them():
    for network, before, after in (
        (pooled(cnn()), "0.weight", "8.weight"),
        (pooled(vit()), "cls_token", "norm.weight"),
    ):
        network.train()
        network(pixels_of()).square().sum().backward()
        gradients = {name: weight.grad for name, weight in network.backbone.named_parameters()}
        assert gradients[before].abs().sum() > 0
        assert gradients[after] is None


def test_no_hook_stays_in_the_backbone_not_even_after_a_failure():
    network = pooled(vit())
    network.train()
    network(pixels_of())
    with pytest.raises(AssertionError):
        network(pixels_of(1, (40, 40)))
    hooks = [(*module._forward_hooks, *module._forward_pre_hooks) for module in network.modules()]
    assert not any(hooks)
    assert all(module.training for module in network.modules())


def test_a_copy_is_apart_and_gives_the_same():
    network, pixels = pooled(vit()), pixels_of()
    copied = copy.deepcopy(network)
    assert torch.equal(copied(pixels), network(pixels))
    with torch.no_grad():
        copied.backbone.pos_embed.zero_()
    assert not torch.equal(copied(pixels), network(pixels))


def test_it_trains_under_autocast_and_pools_in_float32_there():
    network, pixels = pooled(cnn()), pixels_of()
    network.train().backbone[2].eval()  # no dropout, so that it reads twice alike
    with torch.autocast("cpu", torch.bfloat16):
        found = network.represent(pixels)
        features = network.read(pixels)
    assert (features.dtype, found.vectors.dtype, found.maps.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
    same(found.maps, representative_pooling(features.float(), 3).maps)
    found.joined().float().square().sum().backward()
    assert network.backbone[0].weight.grad.isfinite().all()


def test_a_pass_that_is_ended_from_outside_ends_there():
    """A caller that reads the backbone and wants no more must not end the pooled network's own reading."""
    network, pixels = pooled(cnn()), pixels_of()
    (tensor,), result = read(network, [Place("backbone.5")], lambda: network(pixels), stop=True)
    assert result is None
    assert torch.equal(tensor, network.read(pixels))


def test_random_places_belong_to_picture_and_seed_and_to_nothing_else():
    network, pixels = pooled(cnn(), seed=4, select="random"), pixels_of(3)
    state = torch.get_rng_state()
    found = network.represent(pixels)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(network.represent(pixels).indices, found.indices)
    assert torch.equal(network.represent(pixels[[2, 0]]).indices, found.indices[[2, 0]])
    expected = []
    for picture in pixels:
        draws = torch.rand(3, 256, generator=torch.Generator().manual_seed(seed_of(picture, 4)))
        expected.append(draws.argmax(dim=1))
    assert torch.equal(found.indices, torch.stack(expected))
    assert not torch.equal(pooled(cnn(), seed=5, select="random").represent(pixels).indices, found.indices)


def test_another_pooling_is_given_features_and_nothing_else():
    class Mean(nn.Module):
        def forward(self, features):
            self.vectors = features.mean(dim=(2, 3))[:, None]
            return self

        def joined(self):
            return self.vectors.flatten(1)

    network = cnn()
    features = last_features(classifier_of(network))
    embeddings = PooledNetwork(network, features, Mean())(pixels_of())
    same(embeddings, network[:6](pixels_of()).mean(dim=(2, 3)), 1e-6)


def test_patches_that_were_taken_away_are_not_pooled():
    network, pixels = vit(), pixels_of(1)
    classifier = classifier_of(pooled(network), outputs="embedding")
    for kept in ([0, 3, 5, 15], list(range(15))):  # 15 of 16 patches and a class token are 16 tokens again
        given = dropped(classifier, pixels, torch.tensor([0]), [torch.tensor(kept)])
        tokens = network._pos_embed(network.patch_embed(pixels))[:, [0, *(patch + 1 for patch in kept)]]
        for block in network.blocks:
            tokens = block(tokens)
        same(given, representative_pooling(tokens[:, 1:], 3).vectors.flatten(1))


def test_a_finer_grid_than_it_was_made_for_is_no_row_of_patches():
    network = pooled(vit())
    network.backbone = high_resolution(network.backbone, 4, frame=32)
    with pytest.raises(LayerError, match="more patches than the pooled network was made for"):
        network(pixels_of())


REFUSED = {
    "dropout of all": (lambda: pooled(cnn(), dropout=1.0), UnsupportedError, "dropout is a share"),
    "dropout by name": (lambda: pooled(cnn(), dropout="half"), UnsupportedError, "dropout is a share"),
    "a seed of text": (lambda: pooled(cnn(), seed="7"), UnsupportedError, "a seed is a whole number"),
    "no such layer": (lambda: pooled(cnn(), layer="9"), LayerError, "no layer '9'"),
    "a layer of vectors": (lambda: pooled(cnn(), layer="7"), LayerError, "does not give one feature map"),
    "no grid": (
        lambda: pooled(nn.Sequential(nn.Flatten(), nn.Linear(3072, 5))),
        *(UnsupportedError, "no convolutional feature map"),
    ),
}


@pytest.mark.parametrize(("make", "error", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_pooled_is_refused(make, error, said):
    with pytest.raises(error, match=said):
        make()
