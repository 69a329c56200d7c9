"""Rollout, relevance propagation and Grad-CAM on attention: papers/cdam.md, sections 4.2, 4.5, 4.6, check 23."""

import pytest
import torch

import regard
from regard.errors import UnsupportedError

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


@pytest.mark.parametrize("explainer", [regard.Rollout, regard.RelevancePropagation, regard.AttentionGradCAM])
def test_convolutional_networks_are_refused(explainer):
    with pytest.raises(UnsupportedError, match="vision transformers"):
        explainer(classifier_of(cnn()))


def test_each_target_costs_relevance_one_backward():
    explanation = regard.RelevancePropagation(classifier_of(vit()))(pixels_of(3), ALL)
    assert (explanation.forwards, explanation.backwards) == (3, 3 * CLASSES)
