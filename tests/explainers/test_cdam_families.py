"""CDAM on transformers of every author and head: papers/cdam.md, sections 3.6, 3.7 and 6; checks 3, 4, 5, 17, 18."""

import warnings

import pytest
import torch
from torch import nn

import regard
from regard.compat import import_optional
from regard.errors import LayerError, UnsupportedError
from regard.explainers.evidence import Point
from regard.models.taps import Place, differentiable_from, read, replaced

from ..models.test_transformer import ANATOMY, HUGGING_FACE, Wrapped, hugging_face, tiny
from .networks import CLASSES, WIDTH, classifier_of, pixels_of, same, token_products, vision_transformer, vit
from .test_matrix import FEW

timm = import_optional("timm", "timm")
ALL = list(range(CLASSES))
FAMILIES = {
    **{name: (make, side) for name, (make, side, *_) in ANATOMY.items()},
    **{f"transformers {name}": ((lambda m=m: hugging_face(*m)), 32) for name, (m, _, _) in HUGGING_FACE.items()},
    "rotary with a class token": (lambda: tiny("vit_small_patch16_dinov3", global_pool="token"), 32),
    "rotary, averaged": (lambda: tiny("vit_small_patch16_dinov3"), 32),
    "frame that is not square": (lambda: vit(img_size=(32, 72)), (32, 72)),
    "pool, frame that is not square": (lambda: vit(img_size=(32, 72), class_token=False, global_pool="map"), (32, 72)),
    "no prefix": (lambda: vit(class_token=False, global_pool="avg"), 32),
    "largest of the patches": (lambda: vit(global_pool="max"), 32),
    "queries and keys normalised, pool": (lambda: vit(qk_norm=True, class_token=False, global_pool="map"), 32),
}


def score_of(outputs):
    return outputs[:, 1] if outputs.dim() == 2 else outputs


def target_of(classifier):
    def second(embedding):
        return embedding[:, 1]

    return 1 if classifier.class_count else regard.Score(second, of="embedding")


def made(name):
    make, side = FAMILIES[name]
    side = (side, side) if isinstance(side, int) else side
    classifier = classifier_of(make().eval().double(), side)
    return classifier, pixels_of(2, side).double()


def paths_of(classifier, pixels):
    """u · ∂f/∂u and x · ∂f/∂x (B, N), each through one leaf, in passes of the whole network.

    The second holds fast what the reader reads, so that x counts only where it goes beside it.
    """
    network, tokens = classifier.module, classifier.tokens

    def product(place):
        leaf, output = differentiable_from(network, place, lambda: classifier.forward(pixels))
        (gradient,) = torch.autograd.grad(score_of(output).sum(), leaf, allow_unused=True)
        return torch.zeros(leaf.shape[:2]).double() if gradient is None else (leaf * gradient).sum(-1).detach()

    (u,), _ = read(network, [tokens.attention_input], lambda: classifier.forward(pixels), stop=True)
    with replaced(network, tokens.attention_input, lambda _: u.detach()):
        beside = product(Place(tokens.blocks[-1], "input"))
    return product(tokens.attention_input), beside


@pytest.mark.parametrize("name", FAMILIES)
def test_it_is_the_definition_whoever_wrote_the_network(name, recwarn):
    classifier, pixels = made(name)
    tokens = classifier.tokens
    cdam = regard.CDAM(classifier)
    found = cdam(pixels, target_of(classifier))
    by_attention, beside = paths_of(classifier, pixels)
    if tokens.rows is None and tokens.pool is None:
        assert beside[:, tokens.prefix :].abs().max() > 0
        paper = regard.CDAM(classifier, pooled="paper")(pixels, target_of(classifier))
        same(paper.maps.flatten(1), by_attention[:, tokens.prefix :].float(), 1e-6)
        by_attention = by_attention + beside
    elif tokens.pool is None:
        rest = [token for token in range(by_attention.shape[1]) if token not in tokens.rows]
        assert beside[:, rest].abs().max() == 0
    same(found.maps.flatten(1), by_attention[:, tokens.prefix :].float(), 1e-6)
    same(found.prefix[:, 0], by_attention[:, : tokens.prefix].float(), 1e-5) if tokens.prefix else None
    assert found.maps.shape[2:] == tokens.grid(pixels)
    assert found.maps.abs().max() > 0


CLOSED = {
    *("timm", "registers", "distilled", "attention pooling", "torchvision", "DINOv2", "pool, frame that is not square"),
    *(f"transformers {name}" for name in ("ViT", "DeiT", "DeiT with a teacher", "DINOv2", "CLIP", "SigLIP")),
}


@pytest.mark.parametrize("name", sorted(CLOSED))
def test_plain_attentions_and_pools_go_by_the_closed_form(name):
    classifier, _ = made(name)
    assert regard.CDAM(classifier).settings["form"] == "closed"


def test_tokens_and_residual_scaled_together_change_the_score_by_the_map():
    """Check 4 for heads that average patches: d/dα of f with u and x of some patches times α, at 1."""
    classifier, pixels = made("average")
    evidence, tokens = regard.CDAM(classifier).evidence, classifier.tokens
    with torch.no_grad():
        (entering, u), _ = read(
            classifier.module, [tokens.entry, tokens.attention_input], lambda: classifier.forward(pixels), stop=True
        )
        chosen = torch.tensor([2, 3, 11])
        scale = torch.zeros(entering.shape[1], 1).double()
        scale[chosen] = 1
        step = 1e-5
        up, down = (
            evidence.answer(Point(entering * factor, u * factor, pixels[:1])).logits[:, 1]
            for factor in (1 + step * scale, 1 - step * scale)
        )
    scores, *_ = evidence(Point(entering, u, pixels[:1]), regard.question.ask(1, classifier, 2))
    same(scores[:, 0, chosen].sum(-1), (up - down) / (2 * step), 1e-8)


def test_the_error_of_the_sum_falls_with_the_square_of_the_share_taken_away():
    """Check 5: |f(u) − f((1 − ε) u_patches) − ε Σ S| = O(ε²)."""
    classifier, pixels = made("registers")
    evidence, tokens = regard.CDAM(classifier).evidence, classifier.tokens
    with torch.no_grad():
        (entering, u), _ = read(
            classifier.module, [tokens.entry, tokens.attention_input], lambda: classifier.forward(pixels), stop=True
        )
        scores, output, _ = evidence(Point(entering, u, pixels[:1]), regard.question.ask(1, classifier, 2))
        errors = []
        for share in (0.002, 0.001):
            less = u.clone()
            less[:, tokens.prefix :] *= 1 - share
            lost = output.logits[:, 1] - evidence.answer(Point(entering, less, pixels[:1])).logits[:, 1]
            errors.append((lost - share * scores[:, 0, tokens.prefix :].sum(-1)).abs())
    assert all(3.5 < ratio < 4.5 for ratio in (errors[0] / errors[1]).tolist())


LINEAR = {
    "class token and patches": lambda: hugging_face("Dinov2", "Dinov2ForImageClassification"),
    "averaged, normed before": lambda: tiny("vit_small_patch16_dinov3"),
    "no class token": lambda: vit(class_token=False, global_pool="avg", fc_norm=False),
}


@pytest.mark.parametrize("make", LINEAR.values(), ids=LINEAR)
def test_exact_parts_sum_to_the_logit_without_its_bias(make):
    network, pixels = make(), pixels_of(2)
    classifier = classifier_of(network)
    found = regard.CDAM(classifier, pooled="exact")(pixels, list(range(classifier.class_count)))
    head = classifier.head_module()
    assert head.bias.abs().min() > 0
    same(found.maps.sum((2, 3)) + found.prefix.sum(2), classifier(pixels).detach() - head.bias.detach(), 1e-5)


def test_exact_parts_are_the_classes_directions_in_the_normed_patches():
    network, pixels = LINEAR["no class token"](), pixels_of(2)
    (normed,), _ = read(network, [Place("norm")], lambda: network(pixels))
    expected = torch.einsum("bnd,cd->bcn", normed, network.head.weight) / 16
    found = regard.CDAM(classifier_of(network), pooled="exact")(pixels, ALL)
    same(found.maps.flatten(2), expected)
    assert found.settings == {"terms": "both", "form": "autograd", "pooled": "exact"}


def test_a_head_with_a_norm_after_pooling_has_no_exact_parts():
    with pytest.raises(UnsupportedError, match="not linear in its tokens") as refusal:
        regard.CDAM(classifier_of(vit(global_pool="avg")), pooled="exact")
    assert "u+x" in refusal.value.remedy


WRONG = {
    "exact parts of a class token": (vit, {"pooled": "exact"}, "average patches"),
    "another way to pool": (vit, {"pooled": "max"}, "no such pooled"),
    "closed form of an average": (lambda: vit(global_pool="avg"), {"form": "closed"}, "does not hold"),
    "terms of an average": (lambda: vit(global_pool="avg"), {"terms": "value"}, "does not hold"),
}


@pytest.mark.parametrize(("make", "settings", "said"), WRONG.values(), ids=WRONG)
def test_settings_that_a_head_has_no_meaning_for_are_refused(make, settings, said):
    with pytest.raises(UnsupportedError, match=said):
        regard.CDAM(classifier_of(make()), **settings)


class OwnAttention(nn.Module):
    """Attention whose parts have names of their own."""

    def __init__(self, plain):
        super().__init__()
        self.mixing, self.back = plain.qkv, plain.proj

    def forward(self, tokens):
        query, key, value = self.mixing(tokens).unflatten(2, (3, 3, 8)).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-2, -1) * 8**-0.5).softmax(-1)
        return self.back((weights @ value).transpose(1, 2).flatten(2))


class OwnBlock(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.before, self.look, self.between, self.think = block.norm1, OwnAttention(block.attn), block.norm2, block.mlp

    def forward(self, tokens):
        tokens = tokens + self.look(self.before(tokens))
        return tokens + self.think(self.between(tokens))


def of_one_s_own():
    inner = vit()
    inner.blocks = nn.Sequential(*(OwnBlock(block) for block in inner.blocks))
    return inner


def test_a_network_of_one_s_own_is_read_by_the_paths_of_its_blocks():
    network, pixels = of_one_s_own(), pixels_of(2)
    assert classifier_of(network).tokens is None
    classifier = classifier_of(network, tokens={"blocks.0": "blocks.0.look", "blocks.1": "blocks.1.look"})
    tokens = classifier.tokens
    assert (tokens.prefix, tokens.rows, str(tokens.attention_input)) == (1, (0,), "output of 'blocks.1.before'")
    with pytest.warns(UserWarning, match="differentiates"):
        cdam = regard.CDAM(classifier)
    expected = token_products(network, pixels, lambda logits: logits[:, 2], "blocks.1.before")
    same(cdam(pixels, 2).maps.flatten(1), expected[:, 1:])
    plain = classifier_of(vit())
    for method in (regard.AttentionMap, regard.Rollout, regard.RelevancePropagation, regard.TokenAblation):
        same(method(classifier)(pixels, 2).maps, method(plain)(pixels, 2).maps, 1e-4)


def test_paths_that_are_no_blocks_are_named():
    network = of_one_s_own()
    with pytest.raises(LayerError, match=r"no layer 'blocks\.2'"):
        _ = classifier_of(network, tokens={"blocks.2": "blocks.2.look"}).tokens
    with pytest.raises(regard.errors.ClassifierError, match="no sequence of tokens") as refusal:
        _ = classifier_of(network, tokens={"blocks.0.think": "blocks.0.look"}).tokens
    assert "all blocks" in refusal.value.expected


def test_blocks_without_a_module_for_attention_are_read_by_a_whole_anatomy():
    """Parallel blocks project for attention and MLP at once: only hooks can read them."""
    network, pixels = vit(block_fn=vision_transformer.ParallelScalingBlock), pixels_of(2)
    tokens = regard.models.transformer.Tokens(
        blocks=("blocks.0", "blocks.1"),
        attentions=("blocks.0", "blocks.1"),
        attention_input=Place("blocks.1.in_norm"),
        patch=(8, 8),
        prefix=1,
        reads=(0,),
    )
    classifier = classifier_of(network, tokens=tokens)
    cdam = regard.CDAM(classifier, form="autograd")
    expected = token_products(network, pixels, lambda logits: logits[:, 2], "blocks.1.in_norm")
    same(cdam(pixels, 2).maps.flatten(1), expected[:, 1:])


def test_a_concat_head_is_class_token_and_patches_in_one():
    """The two halves of a DINOv2 classifier, apart: the sum of their maps is the map of the whole."""
    network, pixels = hugging_face("Dinov2", "Dinov2ForImageClassification").double(), pixels_of(2).double()
    weight = network.classifier.weight.detach()

    def half(of_class):
        def call(whole, given):
            hidden = whole.backbone(given)[0]
            read = hidden[:, 0] if of_class else hidden[:, 1:].mean(1)
            return read @ (weight[:, :WIDTH] if of_class else weight[:, WIDTH:]).T

        return classifier_of(Wrapped(call, backbone=network.dinov2))

    whole, first, second = (
        regard.CDAM(classifier)(pixels, [0, 1]).maps for classifier in (classifier_of(network), half(True), half(False))
    )
    assert min(first.abs().max(), second.abs().max()) > 0.01
    same(whole, first + second, 1e-5)


ROTARY = {
    "timm, class token": lambda: tiny("vit_small_patch16_dinov3", img_size=(32, 96), global_pool="token"),
    "timm, averaged": lambda: tiny("vit_small_patch16_dinov3", img_size=(32, 96)),
    "transformers": lambda: hugging_face("DINOv3ViT", "DINOv3ViTModel", patch_size=16),
}


@pytest.mark.filterwarnings("ignore:CDAM differentiates the last block")
@pytest.mark.parametrize("size", [(96, 32), (64, 64)], ids=["turned", "another number of tokens"])
@pytest.mark.parametrize("make", ROTARY.values(), ids=ROTARY)
def test_rotary_positions_are_those_of_the_frame_that_is_explained(make, size):
    """Frames of another shape than the preparation's have other rotations, also where they have as many patches."""
    network = make().eval()
    if hasattr(network, "dynamic_img_size"):
        network.dynamic_img_size = network.patch_embed.dynamic_img_size = True
        network.patch_embed.strict_img_size = False
    classifier, pixels = classifier_of(network, (32, 96)), pixels_of(2, size)
    target = target_of(classifier)
    answer = classifier(pixels)
    for explainer in (regard.CDAM, regard.SmoothCDAM, regard.IntegratedCDAM, regard.PaperIntegratedCDAM):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            found = explainer(classifier, **FEW.get(explainer.name, {}))(pixels, target)
        assert found.maps.shape[2:] == (size[0] // 16, size[1] // 16)
        if found.logits is not None:
            same(found.logits, answer)
    paper = regard.CDAM(classifier, **({"pooled": "paper"} if classifier.tokens.rows is None else {}))(pixels, target)
    same(paper.maps, regard.InputGradient(classifier, at="attention")(pixels, target).maps)
    smooth = regard.SmoothCDAM(classifier, samples=1, noise=0)(pixels, target).maps
    same(smooth, regard.CDAM(classifier)(pixels, target).maps)
