"""The parts of a transformer are found by structure, and its last block is cut open without a change."""

import copy

import pytest
import torch
from torch import nn

from regard.compat import import_optional
from regard.errors import PixelsError, UnsupportedError
from regard.models.taps import Place, read
from regard.models.transformer import find_tokens, last_block

from ..explainers.networks import CLASSES, WIDTH, cnn, loud, pixels_of, same, vit

timm = import_optional("timm", "timm")


def tiny(name, side=16, **changes):
    sizes = {"img_size": 2 * side, "embed_dim": WIDTH, "depth": 2, "num_heads": 3, "num_classes": CLASSES}
    return loud(timm.create_model(name, pretrained=False, **sizes | changes))


class Dinov2(nn.Module):
    """The names of facebookresearch's transformer, which says little of itself."""

    def __init__(self, registers):
        super().__init__()
        inner = vit(reg_tokens=registers)
        self.patch_embed, self.blocks = inner.patch_embed, nn.ModuleList(inner.blocks)
        self.patch_embed.patch_size = 8
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.num_register_tokens = registers

    def forward(self, pixels):
        tokens = self.patch_embed(pixels)
        tokens = torch.cat([self.cls_token.expand(len(pixels), 1 + self.num_register_tokens, -1), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens[:, 0]


ANATOMY = {
    "class token": (lambda: vit(), 32, (8, 8), 1, True, "token"),
    "registers": (lambda: vit(reg_tokens=4), 32, (8, 8), 5, True, "token"),
    "patches not square": (lambda: vit(patch_size=(8, 4)), 32, (8, 4), 1, True, "token"),
    "average beside a class token": (lambda: vit(global_pool="avg"), 32, (8, 8), 1, True, "avg"),
    "no class token": (lambda: vit(class_token=False, global_pool="avg"), 32, (8, 8), 0, False, "avg"),
    "distilled": (lambda: tiny("deit_tiny_distilled_patch16_224"), 32, (16, 16), 2, True, "token"),
    "attention pooling": (lambda: tiny("vit_base_patch16_siglip_224"), 32, (16, 16), 0, False, "map"),
    "rotary": (lambda: tiny("eva02_tiny_patch14_224", 14), 28, (14, 14), 1, True, "avg"),
    "rotary and registers": (lambda: tiny("vit_small_patch16_dinov3"), 32, (16, 16), 5, True, "avg"),
    "DINOv2": (lambda: Dinov2(0), 32, (8, 8), 1, True, "token"),
    "DINOv2 with registers": (lambda: Dinov2(4), 32, (8, 8), 5, True, "token"),
    "patches of a convolutional stem": (lambda: tiny("vit_tiny_r_s16_p8_224", 32), 64, (32, 32), 1, True, "token"),
}


@pytest.mark.parametrize(("make", "side", "patch", "prefix", "class_token", "pooling"), ANATOMY.values(), ids=ANATOMY)
def test_the_anatomy_is_found(make, side, patch, prefix, class_token, pooling):
    network, pixels = make(), pixels_of(2, (side, side))
    tokens = find_tokens(network)
    assert (tokens.root, tokens.blocks) == ("", ("blocks.0", "blocks.1"))
    assert (tokens.patch, tokens.prefix) == (patch, prefix)
    assert (tokens.class_token, tokens.pooling) == (class_token, pooling)
    assert (tokens.cannot_drop is not None) == (getattr(network, "rope", None) is not None)
    assert tokens.grid(pixels) == (side // patch[0], side // patch[1])
    (entering,), _ = read(network, [Place("blocks.0", "input")], lambda: network(pixels), stop=True)
    assert entering.shape == (2, prefix + tokens.patches(pixels), WIDTH)


def test_a_class_token_that_joins_only_after_the_blocks_is_not_counted_among_their_tokens():
    network = tiny("cait_xxs24_224")
    tokens = find_tokens(network)
    (entering,), _ = read(network, [Place("blocks.0", "input")], lambda: network(pixels_of()), stop=True)
    assert tokens is None or tokens.prefix + tokens.patches(pixels_of()) == entering.shape[1]


class Holder(nn.Module):
    """A transformer two levels down, beside a smaller one that comes later."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Identity()
        self.model = nn.ModuleDict({"vit": vit(reg_tokens=1), "other": vit(depth=1)})


@pytest.mark.parametrize(
    ("network", "root"), [(nn.Sequential(nn.Identity(), vit(reg_tokens=1)), "1"), (Holder(), "model.vit")]
)
def test_a_transformer_inside_another_module_is_named_from_its_root(network, root):
    tokens = find_tokens(network)
    assert (tokens.root, tokens.prefix) == (root, 2)
    assert tokens.blocks == (f"{root}.blocks.0", f"{root}.blocks.1")
    assert all(isinstance(network.get_submodule(block).attn.qkv, nn.Linear) for block in tokens.blocks)
    assert last_block(network, tokens).query.shape == (3, 8, WIDTH)


def swin():
    sizes = {"img_size": 32, "embed_dim": 12, "depths": (1, 1), "num_heads": (2, 2), "window_size": 2}
    return timm.create_model("swin_tiny_patch4_window7_224", pretrained=False, **sizes)


def without_mlp():
    network = vit()
    del network.blocks[-1].mlp
    return network


NOT_TRANSFORMERS = {
    "convolutions": cnn,
    "windows": swin,
    "no attention": lambda: timm.models.mlp_mixer.MlpMixer(img_size=32, embed_dim=WIDTH, num_blocks=1),
    "stages": lambda: timm.create_model("test_convnext", pretrained=False),
    "no blocks": lambda: vit(depth=0),
    "another kind of block": without_mlp,
}


@pytest.mark.parametrize("make", NOT_TRANSFORMERS.values(), ids=NOT_TRANSFORMERS)
def test_other_networks_have_no_tokens(make):
    assert find_tokens(make()) is None


@pytest.mark.parametrize(
    ("size", "nearest"), [((32, 33), "32×32"), ((50, 61), "48×60"), ((3, 1), "8×4"), ((101, 63), "104×64")]
)
def test_a_frame_that_does_not_fit_is_refused_with_the_nearest_that_does(size, nearest):
    tokens = find_tokens(vit(patch_size=(8, 4)))
    with pytest.raises(PixelsError, match="does not fit the patches") as refusal:
        tokens.check_frame(pixels_of(size=size))
    assert refusal.value.came == f"{size[0]}×{size[1]} pixels"
    assert refusal.value.expected == "multiples of 8×4"
    assert refusal.value.remedy == f"for example {nearest}"
    tokens.check_frame(pixels_of(size=(24, 4)))


PLAIN = {
    "class token": {},
    "registers": {"reg_tokens": 4},
    "layer scale": {"init_values": 0.1},
    "no qkv bias": {"qkv_bias": False},
    "norm before the blocks": {"pre_norm": True},
    "no final norm": {"final_norm": False},
    "norm after pooling": {"fc_norm": True},
    "four layers": {"depth": 4},
}


@pytest.mark.parametrize("settings", PLAIN.values(), ids=PLAIN)
def test_the_parts_of_the_last_block_put_together_are_the_network(settings):
    network, pixels = vit(**settings).double(), pixels_of().double()
    tokens = find_tokens(network)
    block = last_block(network, tokens)
    place = Place(tokens.blocks[-1], "input")
    (entering,), logits = read(network, [place], lambda: network(pixels))
    seen, attended = block.norm1(entering), []
    for head in range(3):
        query = seen[:, 0] @ block.query[head].T + block.query_bias[head]
        keys, values = seen @ block.key[head].T, seen @ block.value[head].T + block.value_bias[head]
        weights = ((keys @ query[:, :, None])[..., 0] * block.scale).softmax(1)
        attended.append((weights[..., None] * values).sum(1))
    embedding = block.tail(torch.cat(attended, dim=1), entering[:, 0])
    assert block.dtype is torch.float64
    same(network.head(embedding).detach(), logits.detach(), 1e-12)


def gated():
    network = vit()
    network.blocks[-1].attn.gate = nn.Linear(WIDTH, WIDTH)
    return network


def separate():
    network = vit()
    network.blocks[-1].attn.qkv = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(3)])
    return network


REFUSED = {
    "average": (lambda: vit(global_pool="avg"), "class token is not what the head reads"),
    "no class token": (lambda: vit(class_token=False, global_pool="avg"), "class token is not what the head reads"),
    "map": (lambda: vit(class_token=False, global_pool="map"), "class token is not what the head reads"),
    "rotary": (lambda: tiny("eva02_tiny_patch14_224", 14, global_pool="token"), "rotary"),
    "normalised keys": (lambda: vit(qk_norm=True), "queries or keys are normalised"),
    "normalised output": (lambda: vit(scale_attn_norm=True), "attention output is normalised"),
    "gate": (gated, "gated"),
    "separate projections": (separate, "not one packed projection"),
}


@pytest.mark.parametrize(("make", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_last_block_of_another_kind_is_refused_by_name(make, reason):
    network = make()
    with pytest.raises(UnsupportedError, match="closed form does not hold") as refusal:
        last_block(network, find_tokens(network))
    assert reason in refusal.value.came


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_are_computed_with_in_float32_and_stay_as_they_are(dtype):
    network = vit(init_values=0.1, fc_norm=True).to(dtype)
    before, widened = copy.deepcopy(network.state_dict()), copy.deepcopy(network).float()
    block, expected = (last_block(one, find_tokens(one)) for one in (network, widened))
    tokens = torch.randn(2, 17, WIDTH, generator=torch.Generator().manual_seed(2))
    for name in ("query", "key", "value", "query_bias", "value_bias"):
        assert getattr(block, name).equal(getattr(expected, name))
        assert getattr(block, name).dtype is torch.float32
    assert block.norm1(tokens).equal(expected.norm1(tokens))
    assert block.tail(tokens[:, 1], tokens[:, 0]).equal(expected.tail(tokens[:, 1], tokens[:, 0]))
    assert block.dtype is torch.float32
    after = network.state_dict()
    assert all(after[name].equal(before[name]) and after[name].dtype is dtype for name in before)


def test_the_projections_of_a_full_precision_network_are_views_of_its_weights():
    network = vit()
    block = last_block(network, find_tokens(network))
    assert block.query.data_ptr() == network.blocks[-1].attn.qkv.weight.data_ptr()
    assert not block.query.requires_grad
    assert block.norm1 is network.blocks[-1].norm1
