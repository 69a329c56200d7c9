"""Rollout, relevance propagation and Grad-CAM on attention: papers/cdam.md, sections 4.2, 4.5, 4.6, check 23."""

import pytest
import torch

import regard
from regard.errors import UnsupportedError

from ..models.test_transformer import tiny
from .networks import CLASSES, classifier_of, cnn, pixels_of, same, vit

ALL = list(range(CLASSES))


def attentions_and_gradients(network, pixels, target):
    """Unfused weights of every block, (B, H, N, N), and the logit's gradients with respect to them."""
    kept, handles = [], []
    for block in network.blocks:
        block.attn.fused_attn = False

        def keep(_, given):
            kept.append(given[0].clone())
            kept[-1].retain_grad()
            return (kept[-1],)

        handles.append(block.attn.attn_drop.register_forward_pre_hook(keep))
    network(pixels.clone().requires_grad_())[:, target].sum().backward()
    for handle in handles:
        handle.remove()
    network.zero_grad(set_to_none=True)
    return [weights.detach() for weights in kept], [weights.grad for weights in kept]


def on_patches(rows, network):
    return rows[..., network.num_prefix_tokens :].unflatten(-1, (4, 4))


@pytest.mark.parametrize("registers", [0, 1, 4])
def test_rollout_is_the_product_of_matrices(registers):
    network, pixels = vit(reg_tokens=registers, depth=3), pixels_of(2)
    maps = regard.Rollout(classifier_of(network))(pixels, [0, 1]).maps
    weights, _ = attentions_and_gradients(network, pixels, 0)
    product = torch.eye(weights[0].shape[-1])
    for attention in weights:
        mixed = attention.mean(1) + torch.eye(attention.shape[-1])
        product = mixed / mixed.sum(-1, keepdim=True) @ product
    same(product[:, 0].sum(-1), torch.ones(2))
    same(maps[:, 0], on_patches(product[:, 0], network))
    assert maps[:, 0].equal(maps[:, 1])


@pytest.mark.parametrize("registers", [0, 4])
def test_relevance_is_the_product_of_matrices(registers):
    network, pixels = vit(reg_tokens=registers, depth=3), pixels_of(2)
    maps = regard.RelevancePropagation(classifier_of(network))(pixels, ALL).maps
    for target in ALL:
        relevance = torch.eye(17 + registers)
        for attention, gradient in zip(*attentions_and_gradients(network, pixels, target), strict=True):
            relevance = relevance + (attention * gradient).clamp(min=0).mean(1) @ relevance
        same(maps[:, target], on_patches(relevance[:, 0], network))


def test_grad_cam_on_attention_is_the_loop_over_heads():
    network, pixels = vit(reg_tokens=1), pixels_of(2)
    maps = regard.AttentionGradCAM(classifier_of(network))(pixels, ALL).maps
    for target in ALL:
        weights, gradients = attentions_and_gradients(network, pixels, target)
        for image in range(2):
            heads = [gradients[-1][image, head, 0, 2:].mean() * weights[-1][image, head, 0, 2:] for head in range(3)]
            expected = (sum(heads) / 3).clamp(min=0).view(4, 4)
            same(maps[image, target], expected)


@pytest.mark.parametrize("explainer", [regard.Rollout, regard.RelevancePropagation, regard.AttentionGradCAM])
def test_these_maps_are_never_negative_and_fused_equals_unfused(explainer):
    fused, unfused, pixels = vit(), vit(), pixels_of()
    for block in (*fused.blocks, *unfused.blocks):
        block.attn.fused_attn = block in list(fused.blocks)
    maps = [explainer(classifier_of(network))(pixels, ALL).maps for network in (fused, unfused)]
    assert (maps[0] >= 0).all()
    assert maps[0].max() > 0
    same(*maps)


def test_rollout_knows_no_head_and_relevance_does():
    network, pixels = vit(), pixels_of()
    rollout, relevance = (kind(classifier_of(network)) for kind in (regard.Rollout, regard.RelevancePropagation))
    before = rollout(pixels, 0).maps, relevance(pixels, 0).maps
    torch.nn.init.normal_(network.head.weight)
    assert rollout(pixels, 0).maps.equal(before[0])
    assert not torch.allclose(relevance(pixels, 0).maps, before[1], rtol=1e-2)


def test_a_head_on_the_patches_begins_at_all_of_them():
    network, pixels = vit(global_pool="avg"), pixels_of()
    maps = regard.Rollout(classifier_of(network))(pixels, 0).maps
    weights, _ = attentions_and_gradients(network, pixels, 0)
    product = torch.eye(17)
    for attention in weights:
        mixed = attention.mean(1) + torch.eye(17)
        product = mixed / mixed.sum(-1, keepdim=True) @ product
    same(maps[:, 0], on_patches(product[:, 1:].mean(1), network))
    with pytest.raises(UnsupportedError, match="reads the patches"):
        regard.AttentionGradCAM(classifier_of(network))


class Reading(torch.nn.Module):
    def __init__(self, read):
        super().__init__()
        self.inner, self.read = vit(num_classes=0), read

    def forward(self, pixels):
        return self.inner.head_drop(self.read(self.inner.forward_features(pixels)))


READ = {
    "class token beside the mean of patches": (
        lambda tokens: torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], dim=1),
        [0.5, *[0.5 / 16] * 16],
    ),
    "class token and one patch": (lambda tokens: tokens[:, 0] + tokens[:, 1], [0.5, 0.5, *[0.0] * 15]),
    "two patches apart": (lambda tokens: tokens[:, 3] * tokens[:, 7], [float(at in (3, 7)) / 2 for at in range(17)]),
}


@pytest.mark.parametrize(("read", "begin"), READ.values(), ids=READ)
def test_propagation_begins_at_the_tokens_that_the_head_reads(read, begin):
    network, pixels = Reading(read), pixels_of()
    found = regard.Rollout(classifier_of(network, outputs="embedding"))(pixels)
    weights, _ = attentions_and_gradients(network.inner, pixels, 0)
    product = torch.eye(17)
    for attention in weights:
        mixed = attention.mean(1) + torch.eye(17)
        product = mixed / mixed.sum(-1, keepdim=True) @ product
    same(found.maps[:, 0], on_patches(torch.tensor(begin) @ product, network.inner))


def test_grad_cam_on_attention_averages_over_both_queries_of_a_distilled_network():
    network = tiny("deit_tiny_distilled_patch16_224", img_size=64)
    network.patch_embed.img_size = (64, 64)
    pixels = pixels_of(2, (64, 64))
    for block in network.blocks:
        block.attn.fused_attn = False
    kept = []
    handle = network.blocks[-1].attn.attn_drop.register_forward_pre_hook(
        lambda _, given: kept.append(given[0].clone().requires_grad_()) or (kept[-1],)
    )
    network.requires_grad_(False)
    network(pixels)[:, 1].sum().backward()
    handle.remove()
    expected = torch.zeros(2, 16)
    for row in (0, 1):
        for head in range(3):
            seen, slope = kept[0][:, head, row, 2:].detach(), kept[0].grad[:, head, row, 2:]
            expected += seen * slope.mean(1, keepdim=True) / 6
    found = regard.AttentionGradCAM(classifier_of(network, 64))(pixels, 1).maps
    same(found.flatten(1), expected.clamp(min=0))


@pytest.mark.parametrize("explainer", [regard.Rollout, regard.RelevancePropagation, regard.AttentionGradCAM])
def test_convolutional_networks_are_refused(explainer):
    with pytest.raises(UnsupportedError, match="vision transformers"):
        explainer(classifier_of(cnn()))


def test_each_target_costs_relevance_one_backward():
    explanation = regard.RelevancePropagation(classifier_of(vit()))(pixels_of(3), ALL)
    assert (explanation.forwards, explanation.backwards) == (3, 3 * CLASSES)
