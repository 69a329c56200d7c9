"""Attention weights of every block are seen in one pass, fused or not, whoever wrote the network."""

import pytest
import torch
import torch.nn.functional as functional

from regard.compat import import_optional
from regard.errors import UnsupportedError
from regard.models.attention import recorded
from regard.models.projections import projections
from regard.models.taps import Place, read

from ..explainers.networks import classifier_of, pixels_of, same, vit
from .test_transformer import ANATOMY, HUGGING_FACE, hugging_face

timm_eva = import_optional("timm.models.eva", "timm")

PLAIN = {
    **{name: ANATOMY[name][0] for name in ("timm", "registers", "post-norm", "distilled", "torchvision", "DINOv2")},
    **{f"transformers {name}": (lambda m=m: hugging_face(*m)) for name, (m, _, _) in HUGGING_FACE.items()},
}


@pytest.mark.parametrize("make", PLAIN.values(), ids=PLAIN)
def test_the_weights_of_every_block_are_those_of_its_projections(make):
    network, pixels = make().eval(), pixels_of()
    classifier = classifier_of(network)
    tokens = classifier.tokens
    inputs = [Place(attention, "input") for attention in tokens.attentions]
    with torch.no_grad():
        with recorded(network, tokens.attentions) as weights:
            seen = classifier.forward(pixels)
        given, plain = read(network, inputs, lambda: classifier.forward(pixels))
    same(seen, plain, 1e-5)
    for u, attention, found in zip(given, tokens.attentions, weights, strict=True):
        parts = projections(network.get_submodule(attention), torch.float32)
        query = torch.einsum("bnD,hdD->bhnd", u, parts.query) + parts.query_bias[:, None]
        keys = torch.einsum("bnD,hdD->bhnd", u, parts.key)
        same(found, (query @ keys.transpose(2, 3) * parts.scale).softmax(-1), 1e-5)


@pytest.mark.parametrize("make", PLAIN.values(), ids=PLAIN)
def test_all_weights_stand_in_the_graph(make):
    network, pixels = make().eval(), pixels_of()
    classifier = classifier_of(network)
    with recorded(network, classifier.tokens.attentions) as weights:
        answer = classifier.forward(pixels)
    for gradient in torch.autograd.grad(answer[:, 0].sum(), weights):
        assert gradient.abs().max() > 0


class Pooled(torch.nn.Module):
    """torch's own attention in the forms in which it can be asked."""

    def __init__(self, narrow, **asked):
        super().__init__()
        sizes = {"kdim": 8, "vdim": 8} if narrow else {}
        self.attention = torch.nn.MultiheadAttention(12, 3, batch_first=asked.pop("batch_first", True), **sizes)
        self.query, self.asked, self.width = torch.nn.Parameter(torch.randn(2, 12)), asked, 8 if narrow else 12

    def forward(self, tokens):
        query = self.query[None].expand(len(tokens), -1, -1)
        given = (query, tokens) if self.attention.batch_first else (query.transpose(0, 1), tokens.transpose(0, 1))
        return self.attention(given[0], given[1], given[1], **self.asked)


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize(
    "asked",
    [{}, {"need_weights": False}, {"average_attn_weights": False}, {"batch_first": False}],
    ids=["mean weights", "no weights", "all weights", "batch second"],
)
def test_torch_s_own_attention_answers_as_it_would_unseen(narrow, asked):
    torch.manual_seed(0)
    network = Pooled(narrow, **asked).eval()
    tokens = torch.randn(2, 5, network.width)
    expected, expected_weights = network(tokens)
    with recorded(network, ["attention"]) as weights:
        found, found_weights = network(tokens)
    same(found, expected)
    assert (found_weights is None) == (expected_weights is None)
    assert expected_weights is None or same(found_weights, expected_weights)
    assert weights[0].shape == (2, 3, 2, 5)


def test_torch_s_own_attention_with_a_mask_is_refused():
    network = torch.nn.MultiheadAttention(12, 3, batch_first=True).eval()
    tokens, mask = torch.randn(1, 5, 12), torch.zeros(1, 5, dtype=torch.bool)
    module = torch.nn.Sequential(network)
    with pytest.raises(UnsupportedError, match="plain attention"), recorded(module, ["0"]):
        module[0](tokens, tokens, tokens, key_padding_mask=mask, need_weights=True)


NOT_PLAIN = {
    "normalised queries": lambda: vit(qk_norm=True),
    "rotary": lambda: ANATOMY["rotary"][0](),
}


@pytest.mark.parametrize("make", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_fused_and_unfused_attention_form_the_same_weights(make):
    network = make().eval()
    side = 28 if "Eva" in type(network).__name__ else 32
    classifier, pixels, found = classifier_of(network, side), pixels_of(size=(side, side)), []
    for fused in (True, False):
        for block in network.blocks:
            block.attn.fused_attn = fused
        with torch.no_grad(), recorded(network, classifier.tokens.attentions) as weights:
            classifier.forward(pixels)
        found.append(torch.stack(weights))
    same(*found, 1e-5)
    same(found[0].sum(-1), torch.ones(found[0].shape[:-1]), 1e-5)


def test_gradients_reach_the_weights_and_are_those_of_the_network():
    network, pixels = vit().double(), pixels_of().double()
    classifier = classifier_of(network)
    with recorded(network, classifier.tokens.attentions) as weights:
        logits = classifier.forward(pixels)
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), weights[0])
    step = torch.zeros_like(weights[0])
    step[0, 1, 0, 5] = 1e-6

    def moved(sign):
        network.blocks[0].attn.fused_attn = False
        handle = network.blocks[0].attn.attn_drop.register_forward_pre_hook(lambda _, given: (given[0] + sign * step,))
        try:
            return network(pixels)[0, 1].detach()
        finally:
            handle.remove()

    slope = (moved(1) - moved(-1)) / 2e-6
    assert float(gradient[0, 1, 0, 5]) == pytest.approx(float(slope), rel=1e-5)


def test_a_failure_inside_leaves_the_functions_of_torch_as_they_were():
    network = vit()
    classifier, attentions = classifier_of(network), classifier_of(network).tokens.attentions
    fused, handle = functional.scaled_dot_product_attention, network.blocks[0].attn.proj.register_forward_hook(broken)
    with pytest.raises(ZeroDivisionError), recorded(network, attentions):
        classifier.forward(pixels_of())
    handle.remove()
    assert functional.scaled_dot_product_attention is fused
    assert torch.overrides._get_current_function_mode_stack() == []
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def broken(*_):
    raise ZeroDivisionError


def test_a_module_that_forms_no_weights_is_refused():
    network = vit()
    with pytest.raises(UnsupportedError, match="cannot be seen") as refusal, recorded(network, ["blocks.0.mlp"]):
        network(pixels_of())
    assert refusal.value.came.startswith("0 of 1")


def test_masks_are_added_before_the_softmax():
    query, key, value = torch.randn(3, 2, 3, 5, 4)
    mask = torch.rand(2, 1, 5, 5) > 0.3
    mask[..., 0] = True

    class Masked(torch.nn.Module):
        def forward(self, mask):
            return functional.scaled_dot_product_attention(query, key, value, mask, scale=0.3)

    whole = torch.nn.ModuleDict({"attention": Masked()})
    for given in (mask, torch.where(mask, 0.0, -torch.inf)):
        expected = whole["attention"](given)
        with recorded(whole, ["attention"]) as weights:
            same(whole["attention"](given), expected, 1e-5)
        assert (weights[0][~mask.expand_as(weights[0])] == 0).all()
