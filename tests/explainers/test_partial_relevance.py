"""Partial relevance: an explicit replica, the same map from every author's network, and what is refused."""

import copy
import re

import pytest
import torch
from torch import nn

import regard
from regard.compat import import_optional
from regard.errors import TargetError, UnsupportedError
from regard.models import passes
from regard.models.taps import Place, read

from .networks import CLASSES, WIDTH, classifier_of, cnn, loud, mlp_head, pixels_of, same, vit

timm, transformers = import_optional("timm", "timm"), import_optional("transformers", "transformers")
torchvision = import_optional("torchvision.models", "torchvision")
vision_transformer = import_optional("timm.models.vision_transformer", "timm")
ALL = list(range(CLASSES))


def back(given, weight, relevance):
    """Through one linear layer: every product of equal signs, over the sum of those of its sign."""
    found = torch.zeros_like(given)
    for row in range(len(weight)):
        products = given * weight[row]
        for chosen in ((given > 0) & (weight[row] > 0), (given < 0) & (weight[row] < 0)):
            if chosen.any():
                found += torch.where(chosen, products, 0) / products[chosen].sum() * relevance[row]
    return found


def replica(network, entering, target, row=0, head=None):
    """R(A) of one image and one row of the last attention, (H, N), step by step on that row alone."""
    block, head = network.blocks[-1], head or network.head
    attention, tokens = block.attn, len(entering)
    heads, channels = attention.num_heads, entering.shape[1] // attention.num_heads
    query, key, value = attention.qkv(block.norm1(entering)).view(tokens, 3, heads, channels).unbind(1)
    weights = torch.stack([(key[:, h] @ query[row, h] * channels**-0.5).softmax(0) for h in range(heads)])
    attended = torch.stack([weights[h] @ value[:, h] for h in range(heads)])
    attention_part = block.ls1(attention.proj(attended.flatten()))
    middle = entering[row] + attention_part
    normed = block.norm2(middle)
    hidden = block.mlp.fc1(normed)
    active = nn.functional.gelu(hidden)
    mlp_part = block.ls2(block.mlp.fc2(active))
    leaving = middle + mlp_part
    one_hot = torch.zeros(len(head.weight), dtype=entering.dtype)
    one_hot[target] = 1
    relevance = back(network.norm(leaving), head.weight, one_hot)
    of_mlp = relevance * mlp_part / leaving
    of_mlp = back(normed, block.mlp.fc1.weight, back(active, block.mlp.fc2.weight, of_mlp))
    relevance = relevance * middle / leaving + of_mlp
    of_attention = relevance * attention_part / middle
    of_attention = back(attended.flatten(), attention.proj.weight, of_attention).view(heads, channels)
    found = torch.zeros_like(weights)
    for h in range(heads):
        for token in range(tokens):
            found[h, token] = weights[h, token] * (of_attention[h] / attended[h] * value[token, h]).sum() / 2
    return found.detach()


def entering(network, pixels):
    kept = []
    handle = network.blocks[-1].register_forward_pre_hook(lambda _, given: kept.append(given[0].detach()))
    network(pixels)
    handle.remove()
    return kept[0]


CHANGES = {
    "plain": {},
    "registers": {"reg_tokens": 4},
    "layer scale": {"init_values": 0.1},
    "one block": {"depth": 1},
}


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_it_is_the_replica_step_by_step(changes, fused):
    network, pixels = vit(**changes).double(), pixels_of(2)
    network.blocks[-1].attn.fused_attn = fused
    explanation = regard.PartialRelevance(classifier_of(network))(pixels, ALL)
    before, prefix = entering(network, pixels.double()), network.num_prefix_tokens
    for image in range(2):
        for target in ALL:
            expected = replica(network, before[image], target).clamp(min=0).mean(0)[prefix:]
            same(explanation.maps[image, target], expected.view(4, 4).float())
    assert (explanation.forwards, explanation.backwards) == (2, 2 * CLASSES)
    assert torch.allclose(explanation.logits, network(pixels.double()).float(), atol=1e-4)


def test_a_distillation_token_is_a_second_row():
    sizes = {"img_size": 32, "embed_dim": WIDTH, "depth": 2, "num_heads": 3, "num_classes": CLASSES}
    network = loud(timm.create_model("deit_tiny_distilled_patch16_224", pretrained=False, **sizes)).double()
    pixels = pixels_of(2)
    maps = regard.PartialRelevance(classifier_of(network))(pixels, ALL).maps
    before = entering(network, pixels.double())
    for image in range(2):
        tokens = network(pixels.double())  # the answer is (a + b) / 2: each head gets its share of the logit
        for target in ALL:
            features = network.forward_features(pixels.double())[image]
            answers = network.head(features[0])[target], network.head_dist(features[1])[target]
            assert torch.isclose(sum(answers) / 2, tokens[image, target])
            rows = [
                replica(network, before[image], target, row, head) * (answer / sum(answers)).detach()
                for row, head, answer in ((0, network.head, answers[0]), (1, network.head_dist, answers[1]))
            ]
            expected = torch.stack(rows).clamp(min=0).mean((0, 1))[2:]
            same(maps[image, target], expected.view(2, 2).float())


@pytest.mark.parametrize("target", [regard.Predicted(), regard.top(2), regard.PerImage([[2], [0], [4]])], ids=str)
def test_a_class_is_asked_by_its_place_in_the_answer(target):
    explain, pixels = regard.PartialRelevance(classifier_of(vit())), pixels_of(3)
    explanation, whole = explain(pixels, target), explain(pixels, ALL).maps
    for image, answers in enumerate(explanation.targets):
        for place, answer in enumerate(answers):
            same(explanation.maps[image, place], whole[image, answer.index])


@pytest.mark.parametrize(
    "target",
    [regard.Probability(1), regard.Difference(0, 1), regard.Score(lambda logits: logits[:, 0])],
    ids=lambda target: target.kind,
)
def test_anything_but_a_class_is_refused_before_a_pass(target):
    explain = regard.PartialRelevance(classifier_of(vit()))
    with passes.counted() as spent, pytest.raises(TargetError, match="does not answer"):
        explain(pixels_of(), target)
    assert spent.forwards == 0


def in_torchvision(network):
    """The same weights under torchvision's names."""
    other = torchvision.VisionTransformer(32, 8, 2, 3, WIDTH, 2 * WIDTH, num_classes=CLASSES).eval()
    names = {
        "patch_embed.proj": "conv_proj",
        "cls_token": "class_token",
        "pos_embed": "encoder.pos_embedding",
        "attn.qkv.": "self_attention.in_proj_",
        "attn.proj": "self_attention.out_proj",
        "mlp.fc1": "mlp.0",
        "mlp.fc2": "mlp.3",
        "norm1": "ln_1",
        "norm2": "ln_2",
    }
    weights = {}
    for name, weight in network.state_dict().items():
        for own, theirs in names.items():
            name = name.replace(own, theirs)
        name = re.sub(r"^blocks\.", "encoder.layers.encoder_layer_", name)
        weights[re.sub(r"^norm\.", "encoder.ln.", re.sub(r"^head\.", "heads.head.", name))] = weight
    other.load_state_dict(weights)
    return other


def in_transformers(network, attention):
    """The same weights under the names of transformers, whose layers are told apart by what their names hold."""
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 2 * WIDTH}
    sizes |= {"image_size": 32, "patch_size": 8, "num_labels": CLASSES, "layer_norm_eps": 1e-6}
    other = transformers.ViTForImageClassification(transformers.ViTConfig(**sizes)).eval()
    other.set_attn_implementation(attention)
    own = network.state_dict()
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            kind, block = name.rpartition(".")[2], re.search(r"layers?\.(\d+)\.", name)
            parameter.copy_(own_weight(own, name, kind, block and int(block[1])).view_as(parameter))
    return other


def own_weight(own, name, kind, block):
    outside = {"cls_token": "cls_token", "position": "pos_embed", "patch": f"patch_embed.proj.{kind}"}
    outside |= {"classifier": f"head.{kind}", "layernorm": f"norm.{kind}"}
    if block is None:
        return own[next(place for part, place in outside.items() if part in name)]
    name = name.partition(f".{block}.")[2]
    for place, part in enumerate((("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"))):
        if any(word in name for word in part):
            return own[f"blocks.{block}.attn.qkv.{kind}"].chunk(3)[place]
    inside = {"layernorm_before": "norm1", "layernorm_after": "norm2", "attention": "attn.proj"}
    inside |= {"intermediate": "mlp.fc1", "fc1": "mlp.fc1", "output": "mlp.fc2", "fc2": "mlp.fc2"}
    return own[f"blocks.{block}.{next(place for part, place in inside.items() if part in name)}.{kind}"]


OTHERS = {
    "torchvision": in_torchvision,
    "transformers, fused": lambda network: in_transformers(network, "sdpa"),
    "transformers, unfused": lambda network: in_transformers(network, "eager"),
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_equal_weights_give_equal_maps_whoever_wrote_the_network(make):
    network, pixels = vit(), pixels_of(2)
    other = make(network)
    mine, theirs = (regard.PartialRelevance(classifier_of(each))(pixels, ALL) for each in (network, other))
    same(theirs.logits, mine.logits)
    same(theirs.maps, mine.maps, 1e-4)  # small denominators raise rounding


def test_a_head_of_ones_own_is_passed_through():
    network = vit(num_classes=0)
    linear = loud(nn.Linear(WIDTH, CLASSES), seed=4)
    pixels = pixels_of(2)
    maps = regard.PartialRelevance(classifier_of(network, head=linear))(pixels, ALL).maps
    before = entering(network, pixels)
    for target in ALL:
        expected = replica(network, before[0], target, head=linear).clamp(min=0).mean(0)[1:]
        same(maps[0, target], expected.view(4, 4), 1e-4)
    deep = regard.PartialRelevance(classifier_of(network, head=mlp_head()))(pixels, ALL).maps
    assert deep.isfinite().all()
    assert (deep.amax((2, 3)) > 0).any()


def test_pictures_do_not_touch_each_other_in_the_last_digit():
    explain, pixels = regard.PartialRelevance(classifier_of(vit())), pixels_of(8, seed=3)
    together = explain(pixels, ALL).maps
    for image in range(8):
        assert explain(pixels[image : image + 1], ALL).maps[0].equal(together[image])


def test_parameters_need_gradients_again_afterwards_also_where_they_did_not():
    network = vit()
    network.head.bias.requires_grad_(False)
    before = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    explain = regard.PartialRelevance(classifier_of(network))
    assert {name: parameter.requires_grad for name, parameter in network.named_parameters()} == before
    explain(pixels_of(), 0)
    assert {name: parameter.requires_grad for name, parameter in network.named_parameters()} == before


def gated():
    return vit(mlp_layer=import_optional("timm.layers", "timm").SwiGLU)


@pytest.mark.parametrize(
    ("make", "settings", "said"),
    [
        (cnn, {}, "vision transformers"),
        (lambda: vit(global_pool="avg"), {}, "reads the patches"),
        (lambda: vit(num_classes=0), {}, "has no head"),
        (gated, {}, "no rule"),
    ],
    ids=["convolutional", "average", "no head", "gate"],
)
def test_networks_that_it_cannot_follow_are_refused_at_construction(make, settings, said):
    network = make()
    with pytest.raises(UnsupportedError, match=said):
        regard.PartialRelevance(classifier_of(network, **settings))
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


HALVED = {
    "weights": lambda: classifier_of(vit().to(torch.bfloat16)),
    "autocast": lambda: classifier_of(vit(), precision="bfloat16"),
}


@pytest.mark.parametrize("make", HALVED.values(), ids=HALVED)
def test_half_precision_ends_where_the_last_block_begins(make):
    classifier, pixels = make(), pixels_of(4)
    dtypes = {weight.dtype for weight in classifier.network.parameters()}
    found = regard.PartialRelevance(classifier)(pixels, ALL)
    widened = copy.deepcopy(classifier.network).float()
    explainer = regard.PartialRelevance(classifier_of(widened))
    for image in range(4):
        picture = pixels[image : image + 1]
        (given,), _ = read(
            classifier.network, [Place("blocks.1", "input")], lambda one=picture: classifier.forward(one)
        )
        given = given.detach().float()
        handle = widened.blocks[1].register_forward_pre_hook(lambda _, __, given=given: (given,))
        same(found.maps[image : image + 1], explainer(picture, ALL).maps)
        handle.remove()
    assert {weight.dtype for weight in classifier.network.parameters()} == dtypes
