"""Where the closed form does not hold it is not used, and what the tests guard against does fail them."""

import warnings
from dataclasses import replace

import pytest
import torch

import regard
from regard.compat import import_optional
from regard.errors import UnsupportedError
from regard.explainers import cdam as module
from regard.explainers import class_token
from regard.models.taps import Place
from regard.models.transformer import Tokens

from .networks import CLASSES, class_maps, classifier_of, cnn, loud, pixels_of, same, token_products, vit

vision_transformer = import_optional("timm.models.vision_transformer", "timm")
deit, eva, beit = (import_optional(f"timm.models.{name}", "timm") for name in ("deit", "eva", "beit"))
ALL = list(range(CLASSES))


def of_kind(kind, **changes):
    plain = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": CLASSES}
    return loud(kind(**plain | changes))


def with_relative_positions():
    return of_kind(beit.Beit, use_abs_pos_emb=True, use_rel_pos_bias=True, global_pool="token")


NOT_PLAIN = {
    "normalised queries": (lambda: vit(qk_norm=True), "normalised"),
    "normalised attention": (lambda: vit(scale_attn_norm=True), "normalised"),
    "rotary positions": (lambda: of_kind(eva.Eva, use_rot_pos_emb=True, global_pool="token"), "rotary"),
    "relative positions": (with_relative_positions, "differs from the network's own"),
    "differential attention": (lambda: vit(attn_layer="diff"), "differs from the network's own"),
    "two query rows": (lambda: of_kind(deit.VisionTransformerDistilled), "gives shape"),
}
REFUSED = {
    "a convolutional network": (cnn, "grad-cam"),
    "a mean over the patches": (lambda: vit(global_pool="avg"), "'avg'"),
    "an attention pool": (lambda: vit(global_pool="map", class_token=False), "'map'"),
}


@pytest.mark.parametrize(("make", "reason"), NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_other_attentions_are_differentiated_with_a_warning_that_says_why(make, reason):
    network, pixels = make(), pixels_of()
    classifier = classifier_of(network)
    with pytest.warns(UserWarning, match=reason):
        cdam = regard.CDAM(classifier)
    assert cdam.settings["form"] == "autograd"
    same(cdam(pixels, ALL).maps, class_maps(network, pixels, classifier.tokens.prefix))
    with pytest.raises(UnsupportedError, match="closed form does not hold") as refusal:
        regard.CDAM(classifier, form="closed")
    assert reason in refusal.value.came
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(UnsupportedError, match="parts of the closed form"):
            regard.CDAM(classifier, terms="value")


def test_of_post_norm_blocks_the_map_is_that_of_the_very_tensor_that_the_attention_reads():
    network, pixels = vit(block_fn=vision_transformer.ResPostBlock, init_values=0.5), pixels_of()
    with pytest.warns(UserWarning, match="differs from the network's own"):
        cdam = regard.CDAM(classifier_of(network))
    expected = token_products(network, pixels, lambda logits: logits[:, 2], "blocks.1.attn", at="input")
    same(cdam(pixels, 2).maps.flatten(1), expected[:, 1:])


@pytest.mark.parametrize(("make", "said"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("explainer", [regard.CDAM, regard.AttentionMap])
def test_what_has_no_class_token_at_the_head_is_refused(explainer, make, said):
    with pytest.raises(UnsupportedError) as refusal:
        explainer(classifier_of(make()))
    assert said in str(refusal.value)


def test_blocks_that_regard_does_not_know_are_refused_and_not_guessed():
    network = vit(block_fn=vision_transformer.ParallelScalingBlock)
    with pytest.raises(UnsupportedError, match="no blocks of tokens"):
        regard.CDAM(classifier_of(network))


class CosineHead(torch.nn.Linear):
    def forward(self, embedding):
        return 9 * torch.nn.functional.linear(*map(torch.nn.functional.normalize, (embedding, self.weight)))


def hooked(head):
    head.register_forward_hook(lambda _, __, logits: logits * 2)
    return head


@pytest.mark.parametrize(
    "head", [hooked(torch.nn.Linear(24, CLASSES)), CosineHead(24, CLASSES)], ids=["hooked", "subclassed"]
)
def test_a_head_that_does_more_than_its_weight_says_is_differentiated(head):
    network, pixels = vit(), pixels_of()
    network.head = head
    same(regard.CDAM(classifier_of(network), form="closed")(pixels, ALL).maps, class_maps(network, pixels))


def test_weights_that_hold_nan_are_named():
    network = vit()
    with torch.no_grad():
        network.blocks[1].mlp.fc2.weight[3, 3] = float("nan")
    with pytest.warns(UserWarning, match=r"blocks\.1\.mlp\.fc2\.weight"):
        cdam = regard.CDAM(classifier_of(network))
    with pytest.raises(regard.errors.NotFiniteError, match=r"blocks\.1\.mlp\.fc2\.weight"):
        cdam(pixels_of(), 0)


@pytest.mark.parametrize(
    ("wrong", "known"), [({"terms": "all"}, "both, value, routing"), ({"form": "fast"}, "auto, closed, autograd")]
)
def test_unknown_settings_are_answered_with_the_known_ones(wrong, known):
    with pytest.raises(UnsupportedError, match=known):
        regard.CDAM(classifier_of(vit()), **wrong)


def is_the_definition(form):
    network, pixels = vit(reg_tokens=2), pixels_of()
    same(regard.CDAM(classifier_of(network), form=form)(pixels, ALL).maps, class_maps(network, pixels, 3))
    return True


@pytest.mark.parametrize("form", ["closed", "autograd"])
def test_without_a_fault_the_guard_is_silent(form):
    assert is_the_definition(form)


def test_hooking_the_blocks_input_instead_of_the_norms_output_fails_the_guard(monkeypatch):
    monkeypatch.setattr(Tokens, "attention_input", property(lambda tokens: Place(tokens.blocks[-1], "input")))
    with pytest.raises(AssertionError):
        is_the_definition("autograd")


def test_a_value_bias_in_omega_fails_the_guard(monkeypatch):
    formula = module._of_gradient

    def biased(block, attention, gradient, terms):
        per_head = gradient.unflatten(2, block.value_bias.shape)
        constant = (per_head * block.value_bias).sum(-1).permute(1, 0, 2)
        return formula(block, attention, gradient, terms) + constant @ attention.weights

    monkeypatch.setattr(module, "_of_gradient", biased)
    with pytest.raises(AssertionError):
        is_the_definition("closed")


def test_a_key_bias_in_lambda_fails_the_guard(monkeypatch):
    formula = module._of_gradient

    def biased(block, attention, gradient, terms):
        return formula(block, replace(attention, routing=attention.routing + 0.3), gradient, terms)

    monkeypatch.setattr(module, "_of_gradient", biased)
    with pytest.raises(AssertionError):
        is_the_definition("closed")


def test_queries_keys_and_values_in_another_order_are_noticed_by_the_self_test(monkeypatch):
    honest = class_token.last_block

    def swapped(network, tokens):
        block = honest(network, tokens)
        return replace(block, key=block.value, value=block.key)

    monkeypatch.setattr(class_token, "last_block", swapped)
    with pytest.raises(UnsupportedError, match="last attention differs"):
        regard.CDAM(classifier_of(vit()), form="closed")


def test_a_forgotten_layer_scale_is_noticed_by_the_self_test(monkeypatch):
    network = vit(init_values=0.5)
    honest = class_token.last_block

    def forgetful(module, tokens):
        block = honest(module, tokens)
        last = network.blocks[-1]
        return replace(block, tail=lambda attended, residual: network.norm(residual + last.attn.proj(attended)))

    monkeypatch.setattr(class_token, "last_block", forgetful)
    with pytest.raises(UnsupportedError, match="what follows its last attention differs"):
        regard.CDAM(classifier_of(network), form="closed")
