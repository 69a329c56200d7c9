"""Where the closed form does not hold it is not used, and what the tests guard against does fail them."""

import warnings
from dataclasses import replace

import pytest
import torch

import regard
from regard.compat import import_optional
from regard.errors import NotFiniteError, UnsupportedError
from regard.explainers import reading
from regard.explainers.evidence import ClosedForm
from regard.models import transformer
from regard.models.taps import Place

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
    "rotary positions": (lambda: of_kind(eva.Eva, global_pool="token"), "differs from the network's own"),
    "relative positions": (with_relative_positions, "differs from the network's own"),
    "differential attention": (lambda: vit(attn_layer="diff"), "differs from the network's own"),
}
REFUSED = {
    "CDAM, convolutions": (regard.CDAM, cnn, "grad-cam"),
    "attention, convolutions": (regard.AttentionMap, cnn, "grad-cam"),
    "attention, a mean over the patches": (regard.AttentionMap, lambda: vit(global_pool="avg"), "reads the patches"),
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


@pytest.mark.parametrize("form", ["closed", "autograd"])
def test_of_post_norm_blocks_the_map_is_that_of_the_very_tensor_that_the_attention_reads(form):
    network, pixels = vit(block_fn=vision_transformer.ResPostBlock, init_values=0.5), pixels_of()
    cdam = regard.CDAM(classifier_of(network), form=form)
    expected = token_products(network, pixels, lambda logits: logits[:, 2], "blocks.1.attn", at="input")
    same(cdam(pixels, 2).maps.flatten(1), expected[:, 1:])


@pytest.mark.parametrize("form", ["closed", "autograd"])
def test_two_query_rows_of_a_distilled_network_are_summed(form):
    network, pixels = of_kind(deit.VisionTransformerDistilled), pixels_of()
    same(regard.CDAM(classifier_of(network), form=form)(pixels, ALL).maps, class_maps(network, pixels, 2))


@pytest.mark.parametrize(("explainer", "make", "said"), REFUSED.values(), ids=REFUSED)
def test_what_a_method_cannot_read_is_refused(explainer, make, said):
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
    with pytest.raises(NotFiniteError, match=r"blocks\.1\.mlp\.fc2\.weight"):
        regard.CDAM(classifier_of(network))


def swapped_data(network):
    for parameter in network.parameters():
        parameter.data = -0.7 * parameter.data


def trained_in_place(network):
    with torch.no_grad():
        for parameter in network.blocks[-1].parameters():
            parameter.mul_(-0.7)


@pytest.mark.parametrize("change", [swapped_data, trained_in_place])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("explainer", [regard.CDAM, regard.AttentionMap])
def test_an_explainer_follows_weights_that_change_after_it_was_made(explainer, dtype, change):
    network, pixels = vit().to(dtype), pixels_of()
    classifier = classifier_of(network)
    early = explainer(classifier)
    before = early(pixels, 0)
    change(network)
    after = early(pixels, 0)
    assert after.classifier_hash != before.classifier_hash
    assert not after.maps.equal(before.maps)
    assert after.maps.equal(explainer(classifier_of(network))(pixels, 0).maps)


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
    found = transformer.find_tokens

    def wrong(*arguments):
        tokens = found(*arguments)
        return replace(tokens, attention_input=Place(tokens.blocks[-1], "input"))

    monkeypatch.setattr("regard.models.classifier.find_tokens", wrong)
    with pytest.raises(AssertionError):
        is_the_definition("autograd")
    with pytest.raises(UnsupportedError, match="last attention differs"):
        is_the_definition("closed")


def test_a_value_bias_in_omega_fails_the_guard(monkeypatch):
    formula = ClosedForm._of_gradient

    def biased(evidence, rows, gradient):
        bias = evidence.reader.projections.value_bias
        constant = (gradient[:, :, 0].unflatten(2, bias.shape) * bias).sum(-1).permute(1, 0, 2)
        return formula(evidence, rows, gradient) + constant @ rows.weights[:, 0]

    monkeypatch.setattr(ClosedForm, "_of_gradient", biased)
    with pytest.raises(AssertionError):
        is_the_definition("closed")


def test_a_key_bias_in_lambda_fails_the_guard(monkeypatch):
    formula = ClosedForm._of_gradient

    def biased(evidence, rows, gradient):
        return formula(evidence, replace(rows, routing=rows.routing + 0.3), gradient)

    monkeypatch.setattr(ClosedForm, "_of_gradient", biased)
    with pytest.raises(AssertionError):
        is_the_definition("closed")


def opened_with(change, monkeypatch):
    honest = reading.open_reader
    monkeypatch.setattr(reading, "open_reader", lambda *arguments: change(honest(*arguments)))


def test_queries_keys_and_values_in_another_order_are_noticed_by_the_self_test(monkeypatch):
    def swapped(block):
        parts = block.projections
        return replace(block, projections=replace(parts, key=parts.value, value=parts.key))

    opened_with(swapped, monkeypatch)
    with pytest.raises(UnsupportedError, match="last attention differs"):
        regard.CDAM(classifier_of(vit()), form="closed")


def test_a_tail_that_forgets_the_residual_is_noticed_by_the_self_test(monkeypatch):
    opened_with(lambda block: replace(block, tail=lambda o, x: block.tail(o, 0 * x)), monkeypatch)
    with pytest.raises(UnsupportedError, match="what follows its last attention differs"):
        regard.CDAM(classifier_of(vit(init_values=0.5)), form="closed")


def test_a_fallback_says_why_in_the_explanation_too():
    with pytest.warns(UserWarning, match="normalised"):
        cdam = regard.CDAM(classifier_of(vit(qk_norm=True)))
    assert "normalised" in cdam(pixels_of(), 0).notes[0]
