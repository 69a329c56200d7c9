"""The last block is cut open for the closed forms: projections by structure, the tail by the network's own code."""

import copy

import pytest
import torch
from torch import nn

from regard.errors import UnsupportedError
from regard.models import passes
from regard.models.projections import attention_modules, projections
from regard.models.reader import open_reader
from regard.models.taps import Place, read

from ..explainers.networks import CLASSES, WIDTH, classifier_of, mlp_head, pixels_of, same, vit
from .test_transformer import ANATOMY, HUGGING_FACE, OfTuples, hugging_face

OPENED = {
    **{
        name: anatomy[0] for name, anatomy in ANATOMY.items() if name in ("timm", "registers", "post-norm", "distilled")
    },
    **{name: ANATOMY[name][0] for name in ("DINOv2", "chunks of blocks", "tuples", "torchvision", "not square")},
    **{f"transformers {name}": (lambda m=m: hugging_face(*m)) for name, (m, _, rows) in HUGGING_FACE.items() if rows},
    "many tuples": lambda: OfTuples(depth=7),
    "layer scale": lambda: vit(init_values=0.1),
    "no qkv bias": lambda: vit(qkv_bias=False),
    "norm after pooling": lambda: vit(fc_norm=True),
}


def attended_by_loops(block, u, rows):
    """Heads' outputs of the rows read, one head, one row and one image after the other, (B, R, H·d)."""
    parts, images = block.projections, []
    for tokens in u:
        found = []
        for row in rows:
            heads = []
            for head in range(len(parts.query)):
                query = parts.query[head] @ tokens[row] + parts.query_bias[head]
                weights = torch.stack([query @ (parts.key[head] @ token) for token in tokens]) * parts.scale
                values = torch.stack([parts.value[head] @ token + parts.value_bias[head] for token in tokens])
                heads.append(weights.softmax(0) @ values)
            found.append(torch.cat(heads))
        images.append(torch.stack(found))
    return torch.stack(images)


@pytest.mark.parametrize("make", OPENED.values(), ids=OPENED)
def test_the_parts_put_together_are_the_network(make):
    network = make().eval().double()
    side = 32
    classifier, pixels = classifier_of(network, side), pixels_of(2, (side, side)).double()
    tokens = classifier.tokens
    block = open_reader(classifier, tokens)
    places = [Place(tokens.blocks[-1], "input"), tokens.attention_input]
    with torch.no_grad():
        (entering, u), answer = read(network, places, lambda: classifier.respond(pixels))
        again = block.tail(attended_by_loops(block, u, tokens.rows), entering[:, list(tokens.rows)])
    assert block.dtype is torch.float64
    for found, expected in ((again.logits, answer.logits), (again.embedding, answer.embedding)):
        assert (found is None) == (expected is None)
        assert found is None or same(found, expected, 1e-12)


def test_the_tail_goes_through_a_separate_head_and_counts_no_passes():
    classifier = classifier_of(vit(num_classes=0), head=mlp_head())
    block = open_reader(classifier, classifier.tokens)
    with passes.counted() as spent:
        answer = block.tail(torch.randn(4, 1, WIDTH), torch.randn(4, 1, WIDTH))
    assert answer.logits.shape == (4, CLASSES)
    assert answer.embedding.shape == (4, WIDTH)
    assert spent.forwards == 0


def gated():
    network = vit()
    network.blocks[-1].attn.gate = nn.Linear(WIDTH, WIDTH)
    return network


def not_linear():
    network = vit()
    network.blocks[-1].attn.qkv = nn.Sequential(network.blocks[-1].attn.qkv)
    return network


REFUSED = {
    "normalised keys": (lambda: vit(qk_norm=True), "queries or keys are normalised"),
    "normalised output": (lambda: vit(scale_attn_norm=True), "attention output is normalised"),
    "gate": (gated, "gated"),
    "no linear projections": (not_linear, "not linear layers"),
}


@pytest.mark.parametrize(("make", "reason"), REFUSED.values(), ids=REFUSED)
def test_an_attention_of_another_kind_is_refused_by_name(make, reason):
    with pytest.raises(UnsupportedError, match="closed form does not hold") as refusal:
        projections(make().blocks[-1].attn, torch.float32)
    assert reason in refusal.value.came


def test_attention_modules_are_the_outermost_that_are_attention_alone():
    assert attention_modules(vit()) == ["blocks.0.attn", "blocks.1.attn"]
    nested = nn.ModuleDict({"attention": nn.ModuleDict({"query": nn.Linear(4, 4)})})
    assert attention_modules(nested) == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("depth", [1, 2])
def test_half_precision_weights_are_computed_with_in_float32_and_stay_as_they_are(dtype, depth):
    network = vit(init_values=0.1, fc_norm=True, depth=depth).to(dtype)
    before, widened = copy.deepcopy(network.state_dict()), copy.deepcopy(network).float()
    classifiers = [classifier_of(one) for one in (network, widened)]
    block, expected = (open_reader(one, one.tokens) for one in classifiers)
    for name in ("query", "key", "value", "query_bias", "value_bias"):
        assert getattr(block.projections, name).equal(getattr(expected.projections, name))
        assert getattr(block.projections, name).dtype is torch.float32
    attended, residual = torch.randn(2, 2, 1, WIDTH, generator=torch.Generator().manual_seed(2))
    assert block.tail(attended, residual).logits.equal(expected.tail(attended, residual).logits)
    after = network.state_dict()
    assert all(after[name].equal(before[name]) and after[name].dtype is dtype for name in before)
