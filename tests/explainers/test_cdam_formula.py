"""CDAM is the closed form, which is the definition: papers/cdam.md, checks 1, 2, 3, 6, 7, 8, 17, 18, 27."""

import pytest
import torch

import regard
from regard.explainers.evidence import Point, point_of
from regard.explainers.gradients import of_targets
from regard.explainers.reading import attend, entering_and_read
from regard.models.taps import Place, differentiable_from, read
from regard.question import ask

from .networks import (
    CLASSES,
    class_maps,
    classifier_of,
    definition,
    loops,
    pixels_of,
    same,
    token_products,
    vit,
)

ALL = list(range(CLASSES))
NETWORKS = {
    "class token": {},
    "registers": {"reg_tokens": 4},
    "layer scale": {"init_values": 0.1},
    "no qkv bias": {"qkv_bias": False},
    "norm before the blocks": {"pre_norm": True},
    "no final norm": {"final_norm": False},
}


def all_tokens(classifier, pixels, targets, terms="both"):
    """Scores of all tokens (B, T, N) by the closed form, in the network's own precision."""
    cdam = regard.CDAM(classifier, form="closed", terms=terms)
    with torch.no_grad():
        return cdam.evidence(point_of(classifier, cdam.tokens, pixels), ask(targets, classifier, len(pixels)))[0]


def entering_the_last_block(classifier, pixels):
    place = Place(classifier.tokens.blocks[-1], "input")
    return read(classifier.module, [place], lambda: classifier.forward(pixels), stop=True)[0][0].detach()


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS)
def network(request):
    return vit(**request.param)


def test_closed_form_is_the_definition_to_1e_12_in_float64(network):
    pixels, network = pixels_of().double(), network.double()
    scores = all_tokens(classifier_of(network), pixels, ALL)
    for target in ALL:
        expected = definition(network, pixels, lambda logits, target=target: logits[:, target])
        same(scores[:, target], expected, 1e-12)


def test_closed_form_is_the_definition_to_1e_5_in_float32(network):
    pixels, prefix = pixels_of(), network.num_prefix_tokens
    same(regard.CDAM(classifier_of(network), form="closed")(pixels, ALL).maps, class_maps(network, pixels, prefix))


def test_closed_form_is_the_plain_loop_over_heads_and_tokens():
    network, pixels = vit(reg_tokens=4).double(), pixels_of(1).double()
    classifier = classifier_of(network)
    entering = entering_the_last_block(classifier, pixels)[0]
    same(all_tokens(classifier, pixels, 3)[0, 0, 1:], loops(network, entering, 3).scores[1:], 1e-12)


def test_the_class_token_s_own_score_is_that_of_the_definition_only_with_what_its_query_brings():
    network, pixels = vit().double(), pixels_of(1).double()
    classifier = classifier_of(network)
    entering = entering_the_last_block(classifier, pixels)[0]
    without = loops(network, entering, 3).scores[0]
    expected = definition(network, pixels, lambda logits: logits[:, 3])[0, 0]
    assert (without - expected).abs() > 0.05 * expected.abs()
    same(all_tokens(classifier, pixels, 3)[0, 0, 0], expected, 1e-12)


def test_formula_with_biases_in_omega_and_lambda_would_not_pass():
    network, pixels = vit(reg_tokens=4).double(), pixels_of(1).double()
    classifier = classifier_of(network)
    entering = entering_the_last_block(classifier, pixels)[0]
    wrong, expected = (
        loops(network, entering, 3, with_biases=True).scores,
        definition(network, pixels, lambda logits: logits[:, 3])[0],
    )
    assert (wrong - expected)[1:].abs().max() > 0.05 * expected[1:].abs().max()


def test_gradient_from_the_last_block_only_is_that_of_the_whole_graph():
    network, pixels = vit(reg_tokens=1).double(), pixels_of().double()
    classifier = classifier_of(network)
    question = ask(2, classifier, len(pixels))
    place = classifier.tokens.attention_input
    leaf, output = differentiable_from(network, place, lambda: classifier.respond(pixels))
    (gradient,) = of_targets(output, leaf, question.cotangents(output))
    expected = definition(network, pixels, lambda logits: logits[:, 2])
    same((gradient[0] * leaf).sum(-1).detach(), expected, 1e-12)


@pytest.mark.parametrize("form", ["closed", "autograd"])
def test_fused_and_unfused_attention_give_the_same_maps(form):
    fused, unfused, pixels = vit().double(), vit().double(), pixels_of()
    for block in (*fused.blocks, *unfused.blocks):
        block.attn.fused_attn = block in list(fused.blocks)
    maps = [regard.CDAM(classifier_of(network), form=form)(pixels, ALL).maps for network in (fused, unfused)]
    same(maps[0], maps[1], 1e-6)
    if form == "closed":
        same(*(all_tokens(classifier_of(network), pixels, ALL) for network in (fused, unfused)), 1e-13)


def test_products_at_the_blocks_input_vanish_and_cdam_does_not():
    network, pixels = vit().double(), pixels_of().double()
    maps = regard.CDAM(classifier_of(network))(pixels, 0).maps
    wrong = token_products(network, pixels, lambda logits: logits[:, 0], "blocks.0")[:, 1:]
    assert maps.abs().amax(dim=(1, 2, 3)).min() > 0.1
    assert wrong.abs().max() < 1e-6 * maps.abs().max()


def test_value_and_routing_terms_add_up_to_cdam():
    classifier, pixels = classifier_of(vit()), pixels_of()
    both, value, routing = (
        regard.CDAM(classifier, terms=terms)(pixels, ALL).maps for terms in ("both", "value", "routing")
    )
    assert min(value.abs().max(), routing.abs().max()) > 0.1
    same(value + routing, both)


def test_sums_of_the_terms_over_all_tokens_are_their_closed_values():
    network, pixels = vit().double(), pixels_of(1).double()
    classifier = classifier_of(network)
    entering = entering_the_last_block(classifier, pixels)[0]
    parts = loops(network, entering, 1)
    value_bias = network.blocks[-1].attn.qkv.bias.detach().chunk(3)[2].view_as(parts.attended)
    value = (parts.gradient * (parts.attended - value_bias)).sum()
    expectation = [(parts.weights * factor).sum(1) for factor in (parts.omegas, parts.lambdas)]
    covariance = ((parts.weights * parts.omegas * parts.lambdas).sum(1) - expectation[0] * expectation[1]).sum()
    same(all_tokens(classifier, pixels, 1, "value").sum(), value, 1e-11)
    routing = all_tokens(classifier, pixels, 1, "routing")[0, 0]
    same(routing[1:].sum() + loops(network, entering, 1).routing[0], covariance, 1e-11)


def test_token_without_class_attention_scores_zero_as_if_it_were_not_there():
    network, pixels = vit().double(), pixels_of(1).double()
    classifier = classifier_of(network)
    evidence, unseen = regard.CDAM(classifier).evidence, 7
    parts, u = evidence.reader.projections, torch.randn(1, 17, 24, generator=torch.Generator().manual_seed(4)).double()
    query = torch.einsum("D,hdD->hd", u[0, 0], parts.query) + parts.query_bias
    keys = torch.einsum("hd,hdD->hD", query * parts.scale, parts.key)
    u[0, unseen] = torch.linalg.pinv(keys) @ torch.full((3,), -2000.0, dtype=torch.float64)
    without = torch.cat([u[:, :unseen], u[:, unseen + 1 :]], dim=1)
    entering, question = entering_the_last_block(classifier, pixels), ask(ALL, classifier, 1)
    scores, output, _ = evidence(Point(entering, u, pixels), question)
    expected, answer, _ = evidence(Point(entering, without, pixels), question)
    assert bool((scores[..., unseen] == 0).all())
    same(torch.cat([scores[..., :unseen], scores[..., unseen + 1 :]], dim=-1), expected, 1e-12)
    same(output.logits, answer.logits, 1e-12)


@pytest.mark.parametrize("registers", [0, 1, 4])
def test_prefix_tokens_are_read_but_not_mapped(registers):
    classifier, pixels = classifier_of(vit(reg_tokens=registers)), pixels_of()
    cdam = regard.CDAM(classifier)
    explanation = cdam(pixels, ALL)
    scores = all_tokens(classifier, pixels, ALL)
    assert scores.shape[-1] == 1 + registers + 16
    same(explanation.maps.flatten(2), scores[..., 1 + registers :], 1e-6)
    same(explanation.prefix, scores[..., : 1 + registers], 1e-6)
    mass = scores.abs()
    same(explanation.prefix_mass, mass[..., : 1 + registers].sum(-1) / mass.sum(-1), 1e-6)
    rows = attend(cdam.evidence.reader, cdam.tokens, *entering_and_read(classifier, cdam.tokens, pixels))
    weights = rows.weights[:, 0].detach()
    same(weights.sum(-1), torch.ones(2, 3), 1e-6)
    same(explanation.attention.flatten(2), weights[..., 1 + registers :], 1e-6)


def test_maps_of_frames_that_are_not_square_are_row_major():
    network, pixels = vit(img_size=(32, 72)), pixels_of(size=(32, 72))
    maps = regard.CDAM(classifier_of(network, (32, 72)))(pixels, 1).maps
    flat = definition(network, pixels, lambda logits: logits[:, 1])[:, 1:]
    assert maps.shape == (2, 1, 4, 9)
    same(maps[:, 0], torch.stack([image.view(4, 9) for image in flat]))


@pytest.mark.parametrize("form", ["closed", "autograd"])
def test_three_tokens_of_two_channels_give_the_values_worked_by_hand(form):
    """u = (0, 1), (1, 2), (2, −1); q = (ln 2, 0), so a = (1, 2, 4) / 7; g = (1, 1), so ω = 1, 3, 1, ω̄ = 11 / 7."""
    network = vit(
        img_size=(8, 16), embed_dim=2, depth=1, num_heads=1, num_classes=1, norm_layer=torch.nn.Identity, pre_norm=False
    )
    log2, one, nothing = torch.tensor(2.0).log(), torch.eye(2), torch.zeros(2, 2)
    with torch.no_grad():
        for parameter in (*network.patch_embed.parameters(), *network.blocks[0].mlp.parameters()):
            parameter.zero_()
        network.cls_token.zero_()
        network.pos_embed.copy_(torch.tensor([[0.0, 1], [1, 2], [2, -1]]))
        attention = network.blocks[0].attn
        attention.qkv.weight.copy_(torch.cat([nothing, one, one]))
        attention.qkv.bias.copy_(torch.tensor([2**0.5 * log2, 0, 3, -2, 5, -3]))
        attention.proj.weight.copy_(one)
        network.head.weight.copy_(torch.tensor([[1.0, 1.0]]))
    explanation = regard.CDAM(classifier_of(network, (8, 16), outputs="scalar"), form=form)(pixels_of(1, (8, 16)), 0)
    first = 2 / 7 * (3 + (3 - 11 / 7) * log2)
    second = 4 / 7 * (1 + (1 - 11 / 7) * 2 * log2)
    same(explanation.maps, torch.stack([first, second]).view(1, 1, 1, 2), 1e-6)
    if form == "closed":
        same(explanation.attention, torch.tensor([2 / 7, 4 / 7]).view(1, 1, 1, 2), 1e-6)
