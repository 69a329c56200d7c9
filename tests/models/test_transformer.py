"""The anatomy of transformers of many authors is found by structure and one picture."""

import pytest
import torch
from torch import nn

import regard
from regard.compat import import_optional
from regard.errors import NotFiniteError, PixelsError
from regard.models.taps import Place, read
from regard.models.transformer import find_tokens

from ..explainers.networks import CLASSES, WIDTH, classifier_of, cnn, loud, pixels_of, same, vit

timm, transformers = import_optional("timm", "timm"), import_optional("transformers", "transformers")
torchvision = import_optional("torchvision.models", "torchvision")
vision_transformer = import_optional("timm.models.vision_transformer", "timm")


def tiny(name, side=16, **changes):
    sizes = {"img_size": 2 * side, "embed_dim": WIDTH, "depth": 2, "num_heads": 3, "num_classes": CLASSES}
    return loud(timm.create_model(name, pretrained=False, **sizes | changes))


def hugging_face(kind, model, **changes):
    plain = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48}
    plain |= {"image_size": 32, "patch_size": 8}
    return loud(getattr(transformers, model)(getattr(transformers, f"{kind}Config")(**plain | changes)))


class Dinov2(nn.Module):
    """The names of facebookresearch's transformer, which says little of itself."""

    def __init__(self, registers, depth=2):
        super().__init__()
        inner = vit(reg_tokens=registers, depth=depth)
        self.patch_embed, self.blocks = inner.patch_embed, nn.ModuleList(inner.blocks)
        self.cls_token = nn.Parameter(torch.zeros(1, 1 + registers, WIDTH))

    def forward(self, pixels):
        tokens = self.patch_embed(pixels)
        tokens = torch.cat([self.cls_token.expand(len(pixels), -1, -1), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens[:, 0]


class Chunked(Dinov2):
    """Blocks in chunks that begin with placeholders, as facebookresearch trains them."""

    def __init__(self):
        super().__init__(0)
        first, second = self.blocks
        self.blocks = nn.ModuleList([nn.Sequential(first), nn.Sequential(nn.Identity(), second)])


class InTuple(nn.Module):
    """A block as transformers 4 writes it: attention and norm under other names, the tokens in a tuple."""

    def __init__(self, block):
        super().__init__()
        self.layernorm_before, self.attention, self.output = (
            block.norm1,
            block.attn,
            nn.Sequential(block.norm2, block.mlp),
        )

    def forward(self, hidden_states, head_mask=None):
        hidden_states = hidden_states + self.attention(self.layernorm_before(hidden_states))
        return (hidden_states + self.output(hidden_states), None)


class OfTuples(Dinov2):
    def __init__(self, depth=2):
        super().__init__(0, depth)
        self.blocks = nn.ModuleList(InTuple(block) for block in self.blocks)

    def forward(self, pixels):
        tokens = self.patch_embed(pixels)
        tokens = torch.cat([self.cls_token.expand(len(pixels), -1, -1), tokens], dim=1)
        for block in self.blocks:
            tokens = block(hidden_states=tokens)[0]
        return tokens[:, 0]


class Rotated(nn.Module):
    def __init__(self, attention):
        super().__init__()
        self.qkv, self.proj, self.num_heads = attention.qkv, attention.proj, 3

    def forward(self, tokens, rotation):
        query, key, value = self.qkv(tokens).unflatten(2, (3, 3, 8)).permute(2, 0, 3, 1, 4)
        prefix = query.shape[2] - rotation.shape[-2]
        query, key = (torch.cat([part[:, :, :prefix], part[:, :, prefix:] * rotation], dim=2) for part in (query, key))
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class InList(nn.Module):
    """A block that takes pictures of several sizes as a list, with the rotation of each, and returns a list."""

    def __init__(self, block):
        super().__init__()
        self.norm1, self.attn, self.norm2, self.mlp = block.norm1, Rotated(block.attn), block.norm2, block.mlp

    def forward(self, listed, rotations):
        return [self.one(tokens, rotation) for tokens, rotation in zip(listed, rotations, strict=True)]

    def one(self, tokens, rotation):
        tokens = tokens + self.attn(self.norm1(tokens), rotation)
        return tokens + self.mlp(self.norm2(tokens))


class OfLists(nn.Module):
    """The way of facebookresearch's DINOv3: one picture is a list of one, and a norm apart for the class token."""

    def __init__(self):
        super().__init__()
        inner = vit(reg_tokens=2)
        self.patch_embed, self.cls_norm, self.norm = inner.patch_embed, nn.LayerNorm(WIDTH), inner.norm
        self.blocks = nn.ModuleList(InList(block) for block in inner.blocks)
        self.cls_token = nn.Parameter(torch.randn(1, 3, WIDTH, generator=torch.Generator().manual_seed(5)))
        self.head = nn.Identity()

    def forward(self, pixels):
        tokens = torch.cat([self.cls_token.expand(len(pixels), -1, -1), self.patch_embed(pixels)], dim=1)
        listed = [tokens]
        for block in self.blocks:
            rotations = [torch.linspace(0.5, 2, tokens.shape[1] - 3)[:, None].to(tokens) for tokens in listed]
            listed = block(listed, rotations)
        return self.head(self.cls_norm(listed[0][:, :3])[:, 0])


def open_clip(**changes):
    plain = {"image_size": 32, "patch_size": 8, "width": WIDTH, "layers": 2, "heads": 3, "mlp_ratio": 2}
    kind = import_optional("open_clip.transformer", "test").VisionTransformer
    return loud(kind(**plain | {"output_dim": 16} | changes))


# make, frame's side, patch, prefix, rows that the head reads, last block, what its attention reads
ANATOMY = {
    "timm": (vit, 32, (8, 8), 1, (0,), "blocks.1", "output of 'blocks.1.norm1'"),
    "registers": (lambda: vit(reg_tokens=4), 32, (8, 8), 5, (0,), "blocks.1", "output of 'blocks.1.norm1'"),
    "not square": (lambda: vit(patch_size=(8, 4)), 32, (8, 4), 1, (0,), "blocks.1", "output of 'blocks.1.norm1'"),
    "average": (lambda: vit(global_pool="avg"), 32, (8, 8), 1, None, "blocks.1", "output of 'blocks.1.norm1'"),
    "post-norm": (
        lambda: vit(block_fn=vision_transformer.ResPostBlock, init_values=0.5),
        *(32, (8, 8), 1, (0,), "blocks.1", "input of 'blocks.1.attn'"),
    ),
    "distilled": (
        lambda: tiny("deit_tiny_distilled_patch16_224"),
        *(32, (16, 16), 2, (0, 1), "blocks.1", "output of 'blocks.1.norm1'"),
    ),
    "attention pooling": (
        lambda: tiny("vit_base_patch16_siglip_224"),
        *(32, (16, 16), 0, None, "blocks.1", "input of 'attn_pool.kv'"),
    ),
    "rotary": (
        lambda: tiny("eva02_tiny_patch14_224", 14),
        *(28, (14, 14), 1, None, "blocks.1", "output of 'blocks.1.norm1'"),
    ),
    "convolutional stem": (
        lambda: tiny("vit_tiny_r_s16_p8_224", 32),
        *(64, (32, 32), 1, (0,), "blocks.1", "output of 'blocks.1.norm1'"),
    ),
    "class token that joins late": (
        lambda: timm.create_model(
            "cait_xxs24_224", pretrained=False, img_size=32, depth=2, embed_dim=WIDTH, num_heads=3
        ),
        *(32, (16, 16), 0, None, "blocks.1", "output of 'blocks.1.norm1'"),
    ),
    "DINOv2": (lambda: Dinov2(4), 32, (8, 8), 5, (0,), "blocks.1", "output of 'blocks.1.norm1'"),
    "chunks of blocks": (Chunked, 32, (8, 8), 1, (0,), "blocks.1.1", "output of 'blocks.1.1.norm1'"),
    "tuples": (OfTuples, 32, (8, 8), 1, (0,), "blocks.1", "output of 'blocks.1.layernorm_before'"),
    "lists": (OfLists, 32, (8, 8), 3, (0,), "blocks.1", "output of 'blocks.1.norm1'"),
    "open_clip": (
        open_clip,
        *(32, (8, 8), 1, (0,), "transformer.resblocks.1", "output of 'transformer.resblocks.1.ln_1'"),
    ),
    "open_clip, averaged": (
        lambda: open_clip(pool_type="avg"),
        *(32, (8, 8), 1, None, "transformer.resblocks.1", "output of 'transformer.resblocks.1.ln_1'"),
    ),
    "open_clip, attention pooling": (
        lambda: open_clip(attentional_pool=True, attn_pooler_queries=4, attn_pooler_heads=2),
        *(32, (8, 8), 1, None, "transformer.resblocks.1", "output of 'attn_pool.ln_k'"),
    ),
    "torchvision": (
        lambda: loud(torchvision.VisionTransformer(32, 8, 2, 3, WIDTH, 48, num_classes=CLASSES)),
        *(32, (8, 8), 1, (0,), "encoder.layers.encoder_layer_1", "output of 'encoder.layers.encoder_layer_1.ln_1'"),
    ),
}
HUGGING_FACE = {
    "ViT": (("ViT", "ViTForImageClassification"), 1, (0,)),
    "ViT without a head": (("ViT", "ViTModel"), 1, (0,)),
    "DeiT": (("DeiT", "DeiTForImageClassification"), 2, (0,)),
    "DeiT with a teacher": (("DeiT", "DeiTForImageClassificationWithTeacher"), 2, (0, 1)),
    "DINOv2": (("Dinov2", "Dinov2Model"), 1, (0,)),
    "DINOv2 classifier, which reads patches too": (("Dinov2", "Dinov2ForImageClassification"), 1, None),
    "DINOv2 with registers": (("Dinov2WithRegisters", "Dinov2WithRegistersModel"), 5, (0,)),
    "CLIP": (("CLIPVision", "CLIPVisionModelWithProjection"), 1, (0,)),
    "SigLIP": (("SiglipVision", "SiglipVisionModel"), 0, None),
}


@pytest.mark.parametrize(("make", "side", "patch", "prefix", "rows", "last", "source"), ANATOMY.values(), ids=ANATOMY)
def test_the_anatomy_is_found(make, side, patch, prefix, rows, last, source):
    network, pixels = make().eval(), pixels_of(2, (side, side))
    tokens = classifier_of(network, side).tokens
    assert (tokens.patch, tokens.prefix, tokens.rows) == (patch, prefix, rows)
    assert (len(tokens.blocks), tokens.blocks[-1], str(tokens.attention_input)) == (2, last, source)
    (entering,), _ = read(network, [Place(tokens.blocks[0], "input")], lambda: network(pixels), stop=True)
    assert entering.shape == (2, prefix + tokens.patches(pixels), WIDTH)


@pytest.mark.parametrize(("model", "prefix", "rows"), HUGGING_FACE.values(), ids=HUGGING_FACE)
def test_the_anatomy_of_transformers_models_is_found(model, prefix, rows):
    classifier = classifier_of(hugging_face(*model))
    tokens = classifier.tokens
    assert (tokens.patch, tokens.prefix, tokens.rows, len(tokens.blocks)) == ((8, 8), prefix, rows, 2)
    assert (classifier.class_count is None) == ("For" not in model[1])


@pytest.mark.parametrize("registers", [0, 4])
def test_frames_that_are_not_square_have_their_own_grid(registers):
    tokens = classifier_of(vit(img_size=(32, 72), reg_tokens=registers), (32, 72)).tokens
    assert tokens.grid(pixels_of(1, (32, 72))) == (4, 9)
    assert tokens.prefix == 1 + registers


POOLS = {
    "timm": (lambda: tiny("vit_base_patch16_siglip_224"), "attn_pool"),
    "timm, beside a class token": (lambda: vit(global_pool="map"), "attn_pool"),
    "timm, several queries": (
        lambda: vit(global_pool="map", class_token=False, pool_include_prefix=True),
        "attn_pool",
    ),
    "transformers": (lambda: hugging_face("SiglipVision", "SiglipVisionModel"), "head.attention"),
    "open_clip": (ANATOMY["open_clip, attention pooling"][0], "attn_pool.attn"),
    "average": (lambda: vit(global_pool="avg"), None),
    "class token": (vit, None),
}


@pytest.mark.parametrize(("make", "pool"), POOLS.values(), ids=POOLS)
def test_an_attention_that_gathers_the_patches_is_found(make, pool):
    found = classifier_of(make()).tokens.pool
    assert found == pool or (pool and found.endswith(f".{pool}"))  # transformers 4 holds the network one level deeper


def test_a_pool_beside_another_path_from_the_patches_is_none():
    network = vit(class_token=False, global_pool="map", num_classes=0)
    pool = network.attn_pool

    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = pool

        def forward(self, tokens, **_):
            return self.pool(tokens) + tokens.mean(1)

    network.attn_pool = Beside()
    tokens = classifier_of(network).tokens
    assert (tokens.pool, tokens.rows) == (None, None)


def test_a_transformer_inside_another_module_is_found():
    tokens = classifier_of(nn.Sequential(nn.Identity(), vit(reg_tokens=1))).tokens
    assert (tokens.blocks, tokens.prefix) == (("1.blocks.0", "1.blocks.1"), 2)


def test_an_anatomy_that_is_given_is_taken():
    given = classifier_of(vit()).tokens
    assert classifier_of(vit(), tokens=given).tokens is given


class Wrapped(nn.Module):
    def __init__(self, call, **parts):
        super().__init__()
        self.call = call
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, pixels):
        return self.call(self, pixels)


def swin():
    sizes = {"img_size": 32, "embed_dim": 12, "depths": (1, 1), "num_heads": (2, 2), "window_size": 2}
    return timm.create_model("swin_tiny_patch4_window7_224", pretrained=False, **sizes)


def two_blocks_read():
    network = vit(num_classes=0)

    def call(whole, pixels):
        (first,), last = read(whole.vit, [Place("blocks.0")], lambda: whole.vit(pixels))
        return whole.head(torch.cat([first[:, 0], last], dim=1))

    return Wrapped(call, vit=network, head=nn.Linear(2 * WIDTH, CLASSES))


NOT_ONE_GRID = {
    "convolutions": cnn,
    "windows": swin,
    "no attention": lambda: timm.models.mlp_mixer.MlpMixer(img_size=32, embed_dim=WIDTH, num_blocks=1),
    "no blocks": lambda: vit(depth=0),
    "attentions side by side": lambda: vit(block_fn=vision_transformer.ParallelThingsBlock),
    "two networks": lambda: Wrapped(lambda both, x: both.a(x) + both.b(x), a=vit(), b=vit(seed=1)),
    "a head on two blocks": two_blocks_read,
}


@pytest.mark.parametrize("make", NOT_ONE_GRID.values(), ids=NOT_ONE_GRID)
def test_networks_whose_decision_does_not_hang_on_one_grid_of_tokens_have_no_anatomy(make):
    assert classifier_of(make().eval()).tokens is None


@pytest.mark.parametrize(
    "pool",
    [
        lambda whole, x: whole.head(whole.vit.forward_features(x)[:, 1:].mean(1)),
        lambda whole, x: whole.head(whole.vit.forward_features(x)[:, :2].mean(1)),
    ],
    ids=["mean of the patches", "class token and one patch"],
)
def test_a_head_of_one_s_own_that_reads_patches_is_seen_to(pool):
    network = Wrapped(pool, vit=vit(num_classes=0), head=nn.Linear(WIDTH, CLASSES))
    assert classifier_of(network).tokens.rows is None


def test_looking_for_the_anatomy_leaves_no_trace_also_where_it_fails():
    network = vit()
    classifier = classifier_of(network)
    network.train()
    random = torch.get_rng_state()
    assert find_tokens(classifier) is not None
    handle = network.blocks[1].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        find_tokens(classifier)
    handle.remove()
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert torch.get_rng_state().equal(random)


def test_a_network_that_answers_nan_is_named_instead_of_guessed():
    network = vit()
    with torch.no_grad():
        network.blocks[0].mlp.fc1.weight[0] = float("nan")
    with pytest.raises(NotFiniteError, match=r"'blocks\.0\.mlp\.fc1\.weight' holds NaN"):
        _ = classifier_of(network).tokens


@pytest.mark.parametrize(
    ("size", "nearest"), [((32, 33), "32×32"), ((50, 61), "48×60"), ((3, 1), "8×4"), ((101, 63), "104×64")]
)
def test_a_frame_that_does_not_fit_is_refused_with_the_nearest_that_does(size, nearest):
    tokens = classifier_of(vit(patch_size=(8, 4))).tokens
    with pytest.raises(PixelsError, match="does not fit the patches") as refusal:
        tokens.check_frame(pixels_of(size=size))
    assert refusal.value.came == f"{size[0]}×{size[1]} pixels"
    assert refusal.value.expected == "multiples of 8×4"
    assert refusal.value.remedy == f"for example {nearest}"
    tokens.check_frame(pixels_of(size=(24, 4)))


@pytest.mark.parametrize("make", [vit, lambda: hugging_face("ViT", "ViTModel")], ids=["timm", "transformers"])
def test_the_embedding_of_a_backbone_is_its_class_token_after_the_last_norm(make):
    network, pixels = make(), pixels_of()
    classifier = classifier_of(network)
    norm = "norm" if hasattr(network, "norm") else "layernorm"
    (normed,), _ = read(network, [Place(norm)], lambda: network(pixels))
    same(classifier.embed(pixels), normed[:, 0], 1e-6)


def with_offset(network, offset=2000.0):
    """Measurements such as years: an offset that all answers share."""
    with torch.no_grad():
        network.head.bias.add_(offset)
    return network


def test_an_offset_of_all_answers_does_not_hide_that_they_differ():
    assert classifier_of(with_offset(two_blocks_read()), outputs="scalar").tokens is None
    tokens = classifier_of(with_offset(vit()), outputs="scalar").tokens
    assert (tokens.rows, tokens.cannot_drop) == ((0,), None)

    class ByPlace(vision_transformer.Block):
        def forward(self, x, **_):
            return super().forward(x + torch.linspace(-1, 1, x.shape[1])[:, None] * torch.linspace(-1, 1, WIDTH))

    assert classifier_of(with_offset(vit(block_fn=ByPlace)), outputs="scalar").tokens.cannot_drop is not None


@pytest.mark.parametrize(("side", "cells"), [(31, 3), (30, 3), (39, 4)])
def test_a_frame_that_patches_do_not_fill_is_cut_as_the_network_cuts_it(side, cells):
    network = hugging_face("SiglipVision", "SiglipVisionModel", image_size=side)
    classifier = classifier_of(network, side)
    assert (classifier.tokens.patch, classifier.tokens.grid(classifier.picture())) == ((8, 8), (cells, cells))
    pixels = pixels_of(1, (side, side))
    found = regard.CDAM(classifier)(pixels, first_of_embedding())
    assert found.maps.shape[2:] == (cells, cells)
    assert found.geometries[0].frame == (8 * cells, 8 * cells)
    assert found.geometries[0].box == (0.0, 0.0, 8.0 * cells, 8.0 * cells)
    assert found.pictures.shape[1:3] == (8 * cells, 8 * cells)
    assert found.on_photo()[0].shape[1:] == (side, side)
    assert found.on_photo()[0][:, :, -1].isnan().all() == (side > 8 * cells)


def first_of_embedding():
    return regard.Score(lambda embedding: embedding[:, 0], of="embedding")
