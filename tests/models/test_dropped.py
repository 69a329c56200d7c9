"""Patch tokens are physically removed, and the network answers as if it had never seen them."""

import pytest
import torch

from regard.compat import import_optional
from regard.errors import PixelsError, UnsupportedError
from regard.models import dropping, passes

from ..explainers.networks import CLASSES, WIDTH, classifier_of, cnn, loud, pixels_of, same, vision_transformer, vit

timm = import_optional("timm", "timm")
KEPT = [[5, 2, 9], list(range(16)), [15], [0, 1, 2], [7, 14, 3, 0, 11], [8, 4, 6]]
OWNERS = [1, 0, 2, 2, 0, 1]
NETWORKS = {
    "class token": {},
    "registers": {"reg_tokens": 4},
    "no class token": {"class_token": False, "global_pool": "avg"},
    "average beside a class token": {"reg_tokens": 4, "global_pool": "avg"},
    "attention pooling": {"class_token": False, "global_pool": "map"},
    "norm before the blocks": {"pre_norm": True},
}


def tiny(name, side=16, **changes):
    sizes = {"img_size": 2 * side, "embed_dim": WIDTH, "depth": 2, "num_heads": 3, "num_classes": CLASSES}
    return loud(timm.create_model(name, pretrained=False, **sizes | changes))


def by_hand(network, picture, kept):
    """One job (1, 3, H, W) through the network's own parts, keeping the tokens one by one."""
    entering = network.norm_pre(network._pos_embed(network.patch_embed(picture)))[0]
    prefix = len(entering) - 16
    tokens = [entering[place] for place in range(prefix)] + [entering[prefix + patch] for patch in kept]
    return network.forward_head(network.norm(network.blocks(torch.stack(tokens)[None])))[0].detach()


def dropped(classifier, pixels, owners=OWNERS, kept=KEPT):
    return dropping.dropped(classifier, pixels, torch.tensor(owners), [torch.tensor(patches) for patches in kept])


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS)
def network(request):
    return vit(**request.param)


@pytest.mark.parametrize("size", [1, 2, 100])
def test_dropped_is_the_loop_over_jobs_and_tokens(network, size):
    classifier, pixels = classifier_of(network.train()), pixels_of(3)
    passes.remember_chunk(classifier, pixels[:1], size)
    answers = dropped(classifier, pixels)
    network.eval()
    same(
        answers,
        torch.stack([by_hand(network, pixels[[image]], kept) for image, kept in zip(OWNERS, KEPT, strict=True)]),
    )
    assert answers.dtype is torch.float32


def test_two_class_tokens_stay():
    network, pixels = tiny("deit_tiny_distilled_patch16_224", side=32), pixels_of(3, (64, 64))
    classifier = classifier_of(network, size=64)
    assert classifier.tokens.prefix == 2
    expected = [by_hand(network, pixels[[image]], kept) for image, kept in zip(OWNERS, KEPT, strict=True)]
    same(dropped(classifier, pixels), torch.stack(expected))


def test_a_class_token_that_joins_after_the_blocks_is_not_dropped():
    network, pixels = tiny("cait_xxs24_224"), pixels_of(2)
    tokens = network.patch_embed(pixels) + network.pos_embed
    expected = []
    for image, kept in ((1, [2, 0]), (0, [3])):
        patches = network.blocks(tokens[[image]][:, kept])
        token = network.cls_token
        for block in network.blocks_token_only:
            token = block(patches, token)
        expected.append(network.head(network.norm(torch.cat([token, patches], dim=1))[:, 0])[0].detach())
    same(dropped(classifier_of(network), pixels, [1, 0], [[2, 0], [3]]), torch.stack(expected))


def test_dropping_nothing_is_the_network_itself_in_any_order(network):
    pixels = pixels_of(2)
    answers = dropped(classifier_of(network), pixels, [0, 1, 1], [range(16), range(16), range(15, -1, -1)])
    same(answers, network(pixels)[[0, 1, 1]].detach())


@pytest.mark.parametrize("registers", [0, 4])
def test_dropping_is_hiding_keys_from_every_attention(registers):
    network, pixels = vit(reg_tokens=registers), pixels_of(3)
    for image, kept in zip(OWNERS, KEPT, strict=True):
        seen = torch.zeros(1 + registers + 16, dtype=torch.bool)
        seen[: 1 + registers] = seen[torch.tensor(kept) + 1 + registers] = True
        hidden = network.forward_head(network.forward_features(pixels[[image]], attn_mask=seen[None, None, None]))
        same(dropped(classifier_of(network), pixels, [image], [kept]), hidden.detach())


def test_dropping_all_leaves_what_the_class_token_knows_by_itself():
    network, pixels = vit(), pixels_of(2)
    answers = dropping.dropped(classifier_of(network), pixels, torch.tensor([0, 1]), [torch.arange(0)] * 2)
    same(answers[:1], by_hand(network, pixels[:1], [])[None])
    assert answers[0].equal(answers[1])


def test_an_average_over_no_patches_is_refused():
    classifier = classifier_of(vit(class_token=False, global_pool="avg"))
    with pytest.raises((PixelsError, UnsupportedError)):
        dropping.dropped(classifier, pixels_of(2), torch.tensor([0]), [torch.arange(0)])


def test_jobs_of_equal_length_share_passes_of_their_own_length():
    network, shapes = vit(), []
    classifier = classifier_of(network)
    passes.remember_chunk(classifier, pixels_of(1), 2)
    assert classifier.tokens is not None
    network.blocks[1].register_forward_hook(lambda _, arguments, __: shapes.append(tuple(arguments[0].shape[:2])))
    with passes.counted() as counter:
        dropped(classifier, pixels_of(3))
    assert sorted(shapes) == [(1, 1 + 1), (1, 1 + 3), (1, 1 + 5), (1, 1 + 16), (2, 1 + 3)]
    assert counter.forwards == 3 + len(KEPT)


def test_bfloat16_answers_are_near_in_float32():
    network, pixels = vit(num_classes=0), pixels_of(3)
    exact, fast = (dropped(classifier_of(network, precision=kind), pixels) for kind in ("float32", "bfloat16"))
    half = dropped(classifier_of(vit(num_classes=0).bfloat16()), pixels)
    for found in (fast, half):
        assert found.dtype is torch.float32
        assert not found.equal(exact)
        same(found, exact, 0.05)


def test_a_network_without_tokens_is_refused_with_what_to_do():
    with pytest.raises(UnsupportedError, match="only a transformer can drop tokens") as refusal:
        dropped(classifier_of(cnn()), pixels_of(3))
    assert "fill" in refusal.value.remedy


ROTARY = {
    "eva02": ("eva02_tiny_patch14_224", 14),
    "dinov3": ("vit_small_patch16_dinov3", 16),
    "a rotation of its own for every head and block": ("vit_base_patch16_rope_mixed_224", 16),
}


@pytest.mark.parametrize(("name", "side"), ROTARY.values(), ids=ROTARY)
def test_under_rotary_positions_dropping_is_hiding_the_token_from_every_block(name, side):
    """The network's own mask hides keys, and positions stay with their tokens."""
    network = tiny(name, side, img_size=4 * side, global_pool="token").double()
    pixels = pixels_of(3, (4 * side, 4 * side)).double()
    classifier = classifier_of(network, size=4 * side)
    answers = dropped(classifier, pixels)
    prefix = classifier.tokens.prefix
    for answer, owner, kept in zip(answers, OWNERS, KEPT, strict=True):
        seen = [*range(prefix), *(prefix + patch for patch in kept)]
        mask = torch.full((1, 1, 1, prefix + 16), -torch.inf, dtype=torch.float64)
        mask[..., seen] = 0
        features = network.forward_features(pixels[owner : owner + 1], attn_mask=mask)
        same(answer, network.forward_head(features)[0], 1e-10)


def test_positions_that_are_not_taken_away_with_their_tokens_would_be_noticed(monkeypatch):
    monkeypatch.setattr(dropping, "_of_patches", lambda value, *_: value)
    tokens = classifier_of(tiny("vit_small_patch16_dinov3", 16, img_size=64), size=64).tokens
    assert tokens.cannot_drop is not None


@pytest.mark.parametrize(
    "name",
    [
        "beit_base_patch16_224",
        "vit_relpos_small_patch16_224",
        "xcit_nano_12_p16_224",
        "samvit_base_patch16",
    ],
)
def test_blocks_that_need_every_token_in_its_place_are_refused(name):
    classifier = classifier_of(tiny(name))
    with pytest.raises(UnsupportedError) as refusal:
        dropped(classifier, pixels_of(1), [0], [[0, 2]])
    assert classifier.tokens is None or classifier.tokens.cannot_drop == refusal.value.came


def test_positions_that_blocks_add_by_place_are_noticed_by_another_order_of_tokens():
    class ByPlace(vision_transformer.Block):
        def forward(self, x, **_):
            return super().forward(x + torch.linspace(-1, 1, x.shape[1])[:, None] * torch.linspace(-1, 1, WIDTH))

    refusal = classifier_of(vit(block_fn=ByPlace)).tokens.cannot_drop
    assert refusal == "its tokens do not carry their positions with them"


class Prompted(vision_transformer.VisionTransformer):
    """Two learned prompts behind the class token, of which the network says nothing."""

    def _pos_embed(self, tokens):
        tokens = super()._pos_embed(tokens)
        return torch.cat([tokens[:, :1], tokens[:, :2] * 0, tokens[:, 1:]], dim=1)


def test_tokens_that_nobody_declared_are_not_taken_for_patches():
    network, pixels = vit(kind=Prompted), pixels_of(2)
    classifier = classifier_of(network)
    assert classifier.tokens.prefix == 3
    same(dropped(classifier, pixels, [0, 1], [range(16), range(16)]), network(pixels).detach())


@pytest.mark.parametrize(
    "kept",
    [
        torch.tensor([3, 16]),
        torch.tensor([-1, 3]),
        torch.tensor([3, 3, 4]),
        torch.tensor([3.0, 4.0]),
        torch.ones(16, dtype=torch.bool),
        torch.arange(4).view(2, 2),
    ],
    ids=["beyond", "negative", "twice", "fractions", "mask", "matrix"],
)
def test_patches_that_are_not_there_are_refused_with_the_job(kept):
    with pytest.raises(PixelsError, match="patch") as refusal:
        dropping.dropped(classifier_of(vit()), pixels_of(2), torch.tensor([0, 1]), [torch.arange(3), kept])
    assert "job 1" in refusal.value.came


@pytest.mark.parametrize(
    ("owners", "kept"), [([0, 1], [[1]]), ([0], [[1], [2]]), ([2], [[1]]), ([-1], [[1]]), ([0], []), ([], [])]
)
def test_jobs_without_an_image_or_a_kept_set_are_refused(owners, kept):
    with pytest.raises(PixelsError):
        dropping.dropped(
            classifier_of(vit()), pixels_of(2), torch.tensor(owners).long(), [torch.tensor(k) for k in kept]
        )


def fails_with_fewer_tokens(_, arguments, __):
    if arguments[0].shape[1] < 17:
        raise ZeroDivisionError


def test_a_network_that_fails_with_tokens_missing_keeps_no_hook_and_no_mode():
    network = vit().train()
    handle = network.blocks[1].register_forward_hook(fails_with_fewer_tokens)
    classifier = classifier_of(network)
    with pytest.raises(ZeroDivisionError):
        dropped(classifier, pixels_of(3))
    handle.remove()
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
