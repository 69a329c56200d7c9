"""Methods on heads that gather the patches by queries of their own, and on attention of torch's own module."""

import pytest
import torch

import regard
from regard.models.taps import Place, read

from ..models.test_transformer import ANATOMY, hugging_face
from .networks import CLASSES, classifier_of, loud, pixels_of, same, vit

ALL = list(range(CLASSES))


def pooled(**changes):
    return vit(class_token=False, global_pool="map", **changes)


def pool_weights(network, tokens):
    """Attention of the pool's query, (B, H, N), head by head."""
    pool, heads = network.attn_pool, []
    query = pool.q(pool.latent)[0, 0]
    keys = pool.kv(tokens)[..., :24]
    for head in range(3):
        part = slice(8 * head, 8 * head + 8)
        heads.append((keys[..., part] @ query[part] * 8**-0.5).softmax(-1))
    return torch.stack(heads, dim=1)


def block_weights(network, pixels):
    """Attention of every block, (B, H, N, N), as the unfused modules form it."""
    places = [Place(f"blocks.{number}.attn.attn_drop", "input") for number in range(len(network.blocks))]
    for block in network.blocks:
        block.attn.fused_attn = False
    return read(network, places, lambda: network(pixels))[0]


def final_tokens(network, pixels):
    return read(network, [Place("norm")], lambda: network(pixels))[0][0]


def test_the_attention_map_is_that_of_the_pool_s_query():
    network, pixels = pooled(), pixels_of()
    expected = pool_weights(network, final_tokens(network, pixels))
    found = regard.AttentionMap(classifier_of(network))(pixels, 0)
    same(found.maps.flatten(2), expected.mean(1, keepdim=True))
    same(found.attention.flatten(2), expected)
    same(regard.CDAM(classifier_of(network))(pixels, 0).attention.flatten(2), expected)


def test_rollout_begins_at_the_pool():
    network, pixels = pooled(), pixels_of()
    row = pool_weights(network, final_tokens(network, pixels)).mean(1)[:, None]
    product = torch.eye(16)
    for weights in block_weights(network, pixels):
        mixed = weights.mean(1) + torch.eye(16)
        product = mixed / mixed.sum(-1, keepdim=True) @ product
    found = regard.Rollout(classifier_of(network))(pixels, 0).maps
    same(found.flatten(2), row @ product)
    same(found.sum((2, 3)), torch.ones(2, 1))


def test_last_block_ablation_is_taking_the_token_out_of_the_pool_s_input():
    network, pixels = pooled(), pixels_of()
    tokens = final_tokens(network, pixels)
    whole = network.forward_head(network.norm(network.blocks(network._pos_embed(network.patch_embed(pixels)))))
    losses = []
    for patch in range(16):
        rest = torch.cat([tokens[:, :patch], tokens[:, patch + 1 :]], dim=1)
        losses.append(whole - network.head(network.fc_norm(network.attn_pool(rest))))
    expected = torch.stack(losses, dim=2).detach().unflatten(2, (4, 4))
    same(regard.LastBlockAblation(classifier_of(network))(pixels, ALL).maps, expected, 1e-4)


def test_relevance_of_a_pool_is_the_product_of_matrices_from_its_own_row():
    network, pixels = pooled().double(), pixels_of(1).double()
    classifier = classifier_of(network)
    leaves = [weights.detach() for weights in block_weights(network, pixels)]
    tokens = final_tokens(network, pixels).detach()
    own = pool_weights(network, tokens).detach()

    def logit(block=None, moved=None, pool=None):
        handles = []
        if block is not None:
            drop = network.blocks[block].attn.attn_drop
            handles.append(drop.register_forward_pre_hook(lambda *_: (moved,)))
        try:
            given = network.norm(network.blocks(network._pos_embed(network.patch_embed(pixels))))
            if pool is None:
                return network.forward_head(given)[0, 2]
            values = network.attn_pool.kv(given)[..., 24:].unflatten(2, (3, 8))
            gathered = network.attn_pool.proj(torch.einsum("bhn,bnhd->bhd", pool, values).flatten(1))
            gathered = gathered + network.attn_pool.mlp(network.attn_pool.norm(gathered))
            return network.head(network.fc_norm(gathered))[0, 2]
        finally:
            for handle in handles:
                handle.remove()

    matrices = []
    for block, weights in enumerate(leaves):
        leaf = weights.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(logit(block, leaf), leaf)
        matrices.append((weights * gradient).relu().mean(1)[0])
    leaf = own.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(logit(pool=leaf), leaf)
    row = (own * gradient).relu().mean(1)
    product = torch.eye(16, dtype=torch.float64)
    for matrix in matrices:
        product = product + matrix @ product
    assert row.abs().max() > 0
    same(regard.RelevancePropagation(classifier)(pixels, 2).maps[0].flatten(1).double(), row @ product, 1e-5)


GRADIENTS = (regard.RelevancePropagation, regard.AttentionGradCAM)


@pytest.mark.parametrize("explainer", GRADIENTS)
def test_gradients_reach_the_attention_of_torch_s_own_module(explainer):
    """Its function returns weights beside the graph; maps of torchvision's networks would be zero."""
    network, pixels = ANATOMY["torchvision"][0](), pixels_of(4)
    assert (explainer(classifier_of(network))(pixels, ALL).maps > 0).any()


def copied(network):
    """torchvision's transformer with the weights of a timm one."""
    other = ANATOMY["torchvision"][0]()
    with torch.no_grad():
        other.class_token.copy_(network.cls_token)
        other.encoder.pos_embedding.copy_(network.pos_embed)
        pairs = [(other.conv_proj, network.patch_embed.proj), (other.encoder.ln, network.norm)]
        pairs += [(other.heads[0], network.head)]
        for theirs, ours in zip(other.encoder.layers, network.blocks, strict=True):
            theirs.self_attention.in_proj_weight.copy_(ours.attn.qkv.weight)
            theirs.self_attention.in_proj_bias.copy_(ours.attn.qkv.bias)
            pairs += [(theirs.self_attention.out_proj, ours.attn.proj), (theirs.ln_1, ours.norm1)]
            pairs += [(theirs.ln_2, ours.norm2), (theirs.mlp[0], ours.mlp.fc1), (theirs.mlp[3], ours.mlp.fc2)]
        for theirs, ours in pairs:
            theirs.load_state_dict(ours.state_dict())
    return other


@pytest.mark.parametrize(
    "explainer",
    [
        *GRADIENTS,
        regard.CDAM,
        regard.SmoothCDAM,
        regard.AttentionMap,
        regard.Rollout,
        regard.TokenAblation,
        regard.LastBlockAblation,
    ],
)
def test_torchvision_and_timm_give_one_map_for_equal_weights(explainer):
    network, pixels = vit(), pixels_of()
    network.norm.eps = 1e-6
    other = copied(network)
    same(other(pixels), network(pixels), 1e-5)
    mine, theirs = (explainer(classifier_of(one))(pixels, ALL).maps for one in (network, other))
    same(theirs, mine, 1e-4)


HUGGING_FACE = {
    "ViT": ("ViT", "ViTForImageClassification"),
    "DINOv2 with registers": ("Dinov2WithRegisters", "Dinov2WithRegistersModel"),
    "CLIP": ("CLIPVision", "CLIPVisionModelWithProjection"),
    "SigLIP": ("SiglipVision", "SiglipVisionModel"),
}
FUSED = (
    regard.CDAM,
    regard.IntegratedCDAM,
    regard.AttentionMap,
    regard.Rollout,
    regard.RelevancePropagation,
    regard.TokenAblation,
)


def first(embedding):
    return embedding[:, 0]


@pytest.mark.parametrize("explainer", FUSED)
@pytest.mark.parametrize("model", HUGGING_FACE.values(), ids=HUGGING_FACE)
def test_fused_and_eager_attention_of_transformers_give_the_same_maps(explainer, model):
    network, pixels = hugging_face(*model).double(), pixels_of()
    target, maps = regard.Score(first, of="embedding"), []
    for form in ("sdpa", "eager"):
        network.set_attn_implementation(form)
        maps.append(explainer(classifier_of(network))(pixels.double(), target).maps)
    same(*maps, 1e-5)


def of_three_queries():
    network = pooled()
    network.attn_pool.latent_len, network.attn_pool.pool = 3, "avg"
    network.attn_pool.latent = torch.nn.Parameter(torch.randn(1, 3, 24, generator=torch.Generator().manual_seed(3)))
    return loud(network)


def test_a_pool_of_several_queries_is_the_sum_over_them():
    classifier, pixels = classifier_of(of_three_queries()), pixels_of()
    closed, definition = (regard.CDAM(classifier, form=form)(pixels, ALL).maps for form in ("closed", "autograd"))
    same(closed, definition)


def test_ablation_and_rollout_of_several_queries_take_all_of_them():
    network, pixels = of_three_queries(), pixels_of()
    classifier, tokens = classifier_of(network), final_tokens(network, pixels)
    whole = network(pixels)
    losses = []
    for patch in range(16):
        rest = torch.cat([tokens[:, :patch], tokens[:, patch + 1 :]], dim=1)
        losses.append(whole - network.head(network.fc_norm(network.attn_pool(rest))))
    expected = torch.stack(losses, dim=2).detach().unflatten(2, (4, 4))
    same(regard.LastBlockAblation(classifier)(pixels, ALL).maps, expected, 1e-4)
    latent, rows = network.attn_pool.latent, []
    for query in range(3):
        network.attn_pool.latent = torch.nn.Parameter(latent[:, query : query + 1])
        rows.append(pool_weights(network, tokens).mean(1))
    network.attn_pool.latent = latent
    product = torch.eye(16)
    for weights in block_weights(network, pixels):
        mixed = weights.mean(1) + torch.eye(16)
        product = mixed / mixed.sum(-1, keepdim=True) @ product
    row = torch.stack(rows).mean(0)[:, None]
    same(regard.Rollout(classifier)(pixels, 0).maps.flatten(2), row @ product)


def test_a_single_patch_taken_out_of_a_pool_leaves_nothing_to_see():
    classifier, pixels = classifier_of(pooled(img_size=8), 8), pixels_of(2, (8, 8))
    maps = regard.LastBlockAblation(classifier)(pixels, ALL).maps
    assert maps.shape == (2, CLASSES, 1, 1)
    assert maps.isfinite().all()
    assert maps.abs().max() > 0
