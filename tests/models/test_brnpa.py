"""A BR-NPA classifier is a classifier like any other, of a copy of its backbone and a head on representatives."""

import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

import regard
from regard.attention.bilinear import BilinearPooling
from regard.attention.pooled import MeanPooling
from regard.attention.representative import representative_pooling
from regard.compat import import_optional
from regard.errors import ClassifierError, LayerError, NotFiniteError, UnsupportedError
from regard.models import passes
from regard.models.batch_norm import remeasured
from regard.models.files import Finer
from regard.models.high_resolution import high_resolution

from ..explainers.networks import TOKENS_ALIKE, classifier_of, cnn, loud, pixels_of, same, vit
from .test_high_resolution import timm_network

LABELS = ["ant", "bee", "cat"]
pytestmark = TOKENS_ALIKE
"""The test of the warning sees it all the same."""


def brnpa(network=None, frame=32, **settings):
    return regard.BRNPAClassifier(classifier_of(cnn() if network is None else network, frame), LABELS, **settings)


MAKES = {
    "CNN": lambda: brnpa(),
    "CNN, finer": lambda: brnpa(strides=1),
    "ViT": lambda: brnpa(vit()),
    "ViT, finer": lambda: brnpa(vit(), strides=4),
}
each = pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)


def test_logits_are_the_head_s_on_the_joined_vectors():
    network, pixels = cnn(), pixels_of()
    classifier = brnpa(network, count=2, bias=True)
    vectors = representative_pooling(network[:6](pixels), 2).vectors
    weight, bias = classifier.head.weight, classifier.head.bias
    logits = [
        [float((weight[label] @ torch.cat([*rows]) + bias[label]).detach()) for label in range(3)] for rows in vectors
    ]
    same(classifier(pixels), torch.tensor(logits))
    same(classifier.embed(pixels), vectors.flatten(1))
    assert (classifier.class_count, classifier.width, classifier.labels) == (3, 16, LABELS)
    assert (classifier.outputs, classifier.source, classifier.head_module()) == ("softmax", None, classifier.head)


@pytest.mark.parametrize(
    ("make", "grid", "named"),
    [
        (MAKES["CNN"], (16, 16), "Sequential, BR-NPA"),
        (MAKES["CNN, finer"], (32, 32), "Sequential, 32×32, BR-NPA"),
        (MAKES["ViT"], (4, 4), "VisionTransformer, BR-NPA"),
        (MAKES["ViT, finer"], (8, 8), "VisionTransformer, 8×8, BR-NPA"),
        (lambda: brnpa(timm_network("test_efficientnet"), 96, strides=(1, 1)), (12, 12), "EfficientNet, 12×12, BR-NPA"),
    ],
    ids=[*MAKES, "EfficientNet, finer"],
)
def test_the_grid_is_that_of_the_strides(make, grid, named):
    classifier = make()
    found, output = classifier.represent(classifier.picture(noise=True))
    assert classifier.grid == found.maps.shape[2:] == grid
    assert classifier.name == named
    assert output.logits.shape == (1, 3)


def test_a_finer_grid_has_the_features_of_high_resolution():
    network, pixels = vit(), pixels_of()
    finer = high_resolution(network, 4, frame=32)
    tokens = finer.blocks(finer._pos_embed(finer.patch_embed(pixels)))[:, 1:]
    same(brnpa(network, strides=4).embed(pixels), representative_pooling(tokens, 3).vectors.flatten(1))


def test_the_backbone_given_stays_as_it_is_and_its_copy_has_no_head():
    network = cnn().train()
    network[8].weight.requires_grad_(False)
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    classifier = brnpa(network)
    classifier.network.train()
    classifier.head(classifier.network(pixels_of())).square().sum().backward()
    with torch.no_grad():
        for weight in classifier.network.parameters():
            weight.zero_()
    assert all(torch.equal(weights[name], tensor) for name, tensor in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())
    assert all(module.training for module in network.modules())
    assert isinstance(classifier.network.backbone[8], nn.Identity)
    assert classifier.backbone_source.removed == "8"
    assert classifier.head.weight.grad.abs().sum() > 0


def test_the_head_is_torch_s_own_draw_from_the_seed_and_takes_nothing_from_the_caller_s():
    network = cnn()
    torch.manual_seed(7)
    expected = nn.Linear(24, 3, bias=False)
    state = torch.get_rng_state()
    classifier = brnpa(network, seed=7)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(classifier.head.weight, expected.weight)
    assert classifier.head.bias is None
    assert not torch.equal(brnpa(seed=8).head.weight, expected.weight)


def test_a_head_of_one_s_own_is_copied():
    head = loud(nn.Linear(24, 5))
    classifier = regard.BRNPAClassifier(classifier_of(cnn()), head=head)
    assert torch.equal(classifier.head.weight, head.weight)
    assert classifier.head is not head
    assert (classifier.labels, classifier.class_count) == (None, 5)


@each
def test_representatives_and_answer_come_from_one_pass(make):
    classifier, pixels = make(), pixels_of()
    with passes.counted() as count, classifier.untouched(), torch.no_grad():
        found, output = classifier.represent(pixels)
    assert count.forwards == 2
    assert torch.equal(output.embedding, found.joined())
    assert torch.equal(output.logits, classifier(pixels))
    assert not classifier.network.pooling._forward_hooks


def test_in_training_the_answer_has_dropout_and_the_representatives_have_not():
    classifier, pixels = brnpa(dropout=0.5), pixels_of()
    classifier.network.train()
    classifier.network.backbone.eval()
    found, output = classifier.represent(pixels)
    assert torch.equal(found.joined(), classifier.embed(pixels))
    gone = (output.embedding == 0) & (found.joined() != 0)
    assert gone.any()
    same(output.embedding[~gone], 2 * found.joined()[~gone])


def test_even_activity_is_warned_about_once_and_not_in_training():
    classifier, pixels = brnpa(vit(), layer="norm"), pixels_of()
    with torch.no_grad():
        classifier.network.backbone.norm.weight.fill_(1)
        classifier.network.backbone.norm.bias.zero_()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        classifier.network.train()
        classifier.represent(pixels)
        assert not seen
        classifier.network.eval()
        assert classifier.grid == (4, 4)  # of a grey picture, of which nothing is said
        assert not seen
        classifier.represent(pixels)
        classifier.represent(pixels)
    assert ["equally active" in str(one.message) for one in seen] == [True]


def test_grad_cam_of_it_is_that_of_its_own_features():
    classifier, pixels = brnpa(), pixels_of()
    explanation = regard.GradCAM(classifier)(pixels, targets=["bee"])
    features = classifier.network.backbone[:6](pixels).detach().requires_grad_()
    logit = classifier.head(representative_pooling(features, 3).vectors.flatten(1))[:, 1]
    (gradient,) = torch.autograd.grad(logit.sum(), features)
    same(explanation.maps[:, 0], (gradient.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1).clamp(min=0))


def test_cdam_of_it_follows_patches_through_the_last_attention_and_beside_it():
    """The definition for heads that read patches, u · ∂/∂u + x · ∂/∂x, on a block written out by hand."""
    network, pixels = vit(), pixels_of()
    classifier, block = brnpa(network), network.blocks[1]
    entering = network.blocks[0](network._pos_embed(network.patch_embed(pixels))).detach()
    read, beside = block.norm1(entering).detach().requires_grad_(), entering.clone().requires_grad_()
    middle = beside + block.attn(read)
    tokens = (middle + block.mlp(block.norm2(middle)))[:, 1:]
    logit = classifier.head(representative_pooling(tokens, 3).vectors.flatten(1))[:, 1]
    gradients = torch.autograd.grad(logit.sum(), [read, beside])
    products = read * gradients[0] + beside * gradients[1]
    same(regard.CDAM(classifier)(pixels, targets=[1]).maps[:, 0], products.sum(dim=2)[:, 1:].unflatten(1, (4, 4)))


METHODS = [regard.GradCAM, regard.RISE, regard.Occlusion, regard.ScoreCAM, regard.InputGradient]


@each
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_it_is_explained_as_any_other(make, method):
    classifier, pixels = make(), pixels_of()
    settings = {"samples": 20} if method is regard.RISE else {}
    hashed = classifier.hash
    explanation = method(classifier, **settings)(pixels, targets=["ant", regard.Difference("bee", "cat")])
    assert explanation.maps.isfinite().all()
    assert explanation.maps.abs().sum() > 0
    assert classifier.hash == hashed
    assert not any((*part._forward_hooks, *part._forward_pre_hooks) for part in classifier.network.modules())


@each
@pytest.mark.parametrize("method", [*METHODS, regard.BRNPA], ids=lambda method: method.__name__)
def test_nan_in_a_picture_or_in_the_network_is_left_out_by_every_method_as_it_is_asked(make, method):
    classifier, pixels = make(), pixels_of(3)
    explainer = method(classifier, **({"samples": 20} if method is regard.RISE else {}))
    clean = explainer(pixels, targets=["ant"])
    spoilt = pixels.clone()
    spoilt[1, 2, 5, 7] = torch.nan
    found = explainer(spoilt, targets=["ant"], on_nan="skip")
    assert found.not_finite == (1,)
    assert found.maps[1].isnan().all()
    same(found.maps[[0, 2]], clean.maps[[0, 2]])
    with torch.no_grad():
        next(classifier.network.parameters()).fill_(torch.nan)
    for rule in ("skip", "propagate"):
        assert explainer(pixels, targets=["ant"], on_nan=rule).not_finite == (0, 1, 2)
    with pytest.raises(NotFiniteError, match=r"the weight 'backbone\..*' holds NaN"):
        explainer(pixels, targets=["ant"])


@each
def test_concepts_and_similarities_are_of_the_joined_vectors(make):
    classifier, pixels = make(), pixels_of(3)
    concept = regard.Concept.from_images(classifier, pixels[:2], name="thing")
    alike = regard.Similarity(classifier.embed(pixels[:1])[0])
    explanation = regard.GradCAM(classifier)(pixels[2:], targets=[concept, alike])
    expected = functional.cosine_similarity(classifier.embed(pixels[2:]), classifier.embed(pixels[:1]))
    assert explanation.targets[0][1].score == pytest.approx(float(expected), abs=1e-5)


def test_the_anatomy_is_found_where_blocks_run_to_their_end_and_is_none_elsewhere():
    tokens = brnpa(vit()).tokens
    assert tokens.blocks == ("backbone.blocks.0", "backbone.blocks.1")
    assert (tokens.prefix, tokens.patch, tokens.rows, tokens.cannot_drop) == (1, (8, 8), None, None)
    assert brnpa(vit(), strides=4).tokens.patch == (4, 4)
    assert brnpa(vit(), layer="blocks.0").tokens.blocks == ("backbone.blocks.0",)
    for settings in (
        {"layer": "blocks.1.norm1"},
        {"layer": "patch_embed"},
        {"layer": "patch_embed.proj"},
        {"select": "random"},
    ):
        classifier = brnpa(vit(), **settings)
        assert classifier.tokens is None
        assert classifier(pixels_of()).isfinite().all()
    assert brnpa().tokens is None


def test_blocks_that_were_named_by_hand_are_named_in_the_pooled_network():
    named = {f"blocks.{depth}": f"blocks.{depth}.attn" for depth in range(2)}
    backbone = classifier_of(vit(), tokens=named)
    assert regard.BRNPAClassifier(backbone, LABELS, strides=4).tokens.attentions[1] == "backbone.blocks.1.attn"


def test_the_hash_tells_settings_apart_and_equal_ones_not():
    settings = [
        {},
        {"count": 2},
        {"strides": 1},
        {"refine": False},
        {"select": "random"},
        {"select": "random", "seed": 1},
        {"layer": "4"},
        {"weights": "softmax", "temperature": 0.5},
    ]
    head = {"head": nn.Linear(24, 3, bias=False)}
    hashes = [brnpa(**({} if "count" in each else head) | each).hash for each in settings]
    assert len(set(hashes)) == len(hashes)
    assert brnpa().hash == brnpa().hash


def test_a_student_begins_with_its_teacher_s_backbone():
    teacher, pixels = brnpa(), pixels_of()
    with torch.no_grad():
        teacher.network.backbone[0].weight.mul_(2)
    student = regard.BRNPAClassifier(teacher, LABELS, strides=1, head=teacher.head)
    assert student.name == "Sequential, 32×32, BR-NPA"
    assert student.backbone_source == replace(teacher.backbone_source, finer=(Finer((1,), dilation=False),))
    finer = high_resolution(teacher.network.backbone, 1, frame=32)
    same(student.embed(pixels), representative_pooling(finer[:6](pixels), 3).vectors.flatten(1))
    assert torch.equal(student.head.weight, teacher.head.weight)
    assert student.backbone.source == student.backbone_source


def test_a_student_of_a_student_keeps_the_finer_grid_and_may_have_one_finer_still():
    network, pixels = normed_twice(), pixels_of()
    student = regard.BRNPAClassifier(brnpa(network), LABELS, strides=1)
    again = regard.BRNPAClassifier(student, LABELS)
    finest = regard.BRNPAClassifier(again, LABELS, strides=1)
    assert [each.grid for each in (student, again, finest)] == [(16, 16), (16, 16), (32, 32)]
    assert again.backbone_source.finer == (Finer((1,), dilation=False),)
    assert finest.backbone_source.finer == (Finer((1,), dilation=False), Finer((1,), dilation=False))
    same(again.embed(pixels), student.embed(pixels))
    at_once = high_resolution(network, (1, 1), frame=32)
    same(finest.embed(pixels), representative_pooling(at_once[:6](pixels), 3).vectors.flatten(1))


def normed_twice():
    """A CNN with two strides, of 8×8 places."""
    layers = [nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU()]
    layers += [nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    return loud(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)))


def test_its_grid_is_made_finer_where_it_is_made_and_batch_norm_measured_anew_leaves_it_what_it_is():
    classifier, pixels = brnpa(normed_twice(), negative="signed"), pixels_of(4)
    for subject in (classifier, classifier.network):
        with pytest.raises(UnsupportedError, match="made finer where its backbone is pooled"):
            high_resolution(subject, 1)
    measured = remeasured(classifier, pixels)
    assert type(measured) is regard.BRNPAClassifier
    assert (measured.grid, measured.labels) == (classifier.grid, LABELS)
    backbone = remeasured(classifier.network.backbone, pixels)
    vectors = representative_pooling(backbone[:6](pixels), 3, negative="signed").vectors
    same(measured(pixels), vectors.flatten(1) @ classifier.head.weight.T)
    same(regard.BRNPA(measured)(pixels, targets=["ant"]).ranks.shares.sum(dim=2), measured(pixels)[:, :1])


def test_another_pooling_is_made_of_as_many_channels_as_are_pooled():
    made = []
    classifier = brnpa(pooling=lambda channels: made.append(channels) or BilinearPooling(channels, 2))
    assert (made, classifier.head.in_features, classifier.network.pooling.count) == ([8], 16, 2)
    found, output = classifier.represent(pixels_of())
    same(output.logits, found.vectors.flatten(1) @ classifier.head.weight.T)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_is_as_precise_as_its_backbone(precision):
    backbone = classifier_of(vit(), precision=precision)
    exact, classifier = brnpa(vit(), count=1), regard.BRNPAClassifier(backbone, LABELS, count=1)
    assert classifier.precision == precision
    assert classifier(pixels_of()).dtype is torch.float32
    same(classifier(pixels_of()), exact(pixels_of()), 1e-6 if precision == "float32" else 5e-2)


def test_it_is_made_inside_inference_mode():
    backbone = classifier_of(cnn())
    with torch.inference_mode():
        classifier = regard.BRNPAClassifier(backbone, LABELS, strides=1)
        classifier.represent(pixels_of())
    classifier.head(classifier.network(pixels_of())).sum().backward()


REFUSED = {
    "no labels": (lambda: regard.BRNPAClassifier(classifier_of(cnn())), ClassifierError, "a head needs classes"),
    "one label": (lambda: regard.BRNPAClassifier(classifier_of(cnn()), "ant"), ClassifierError, "needs classes"),
    "labels that pass": (lambda: regard.BRNPAClassifier(classifier_of(cnn()), iter("abc")), ClassifierError, "needs"),
    "numbers": (lambda: regard.BRNPAClassifier(classifier_of(cnn()), [1, 2]), ClassifierError, "list of names"),
    "a network": (lambda: regard.BRNPAClassifier(cnn(), LABELS), ClassifierError, "the backbone is a classifier"),
    "a head of other vectors": (lambda: brnpa(head=nn.Linear(8, 3)), ClassifierError, "24 numbers"),
    "a head of layers": (lambda: brnpa(head=nn.Sequential(nn.Linear(24, 3))), ClassifierError, "24 numbers"),
    "dilation of nothing": (lambda: brnpa(dilation=True), ClassifierError, "nothing is dilated"),
    "strides that are not there": (lambda: brnpa(strides=(1, 1, 1)), UnsupportedError, "shrinks its grid less often"),
    "strides of text": (lambda: brnpa(strides="11"), ClassifierError, "strides are whole numbers"),
    "no such layer": (lambda: brnpa(layer="layer4"), LayerError, "no layer 'layer4'"),
    "a layer's number": (lambda: brnpa(layer=5), LayerError, "named by its dotted path"),
    "no such setting": (lambda: brnpa(colour=1), UnsupportedError, "no such settings"),
    "settings of another pooling": (
        lambda: brnpa(pooling=lambda _: MeanPooling(), refine=False),
        *(UnsupportedError, "settings of its own"),
    ),
    "dilation of text": (lambda: brnpa(strides=1, dilation="no"), ClassifierError, "dilated or not"),
    "no representative": (lambda: brnpa(count=0), UnsupportedError, "number of representatives"),
    "no such selection": (lambda: brnpa(select="best"), UnsupportedError, "no such selection"),
    "embeddings": (lambda: brnpa(outputs="embedding"), ClassifierError, "has other outputs than embeddings"),
    "a seed of text": (lambda: brnpa(seed="7"), UnsupportedError, "a seed is"),
}


@pytest.mark.parametrize(("make", "error", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused(make, error, said):
    with pytest.raises(error, match=said):
        make()


@pytest.mark.data
def test_lite0_without_its_last_strides_has_28_by_28_maps_of_a_photo(shared_data):
    import_optional("regard_embedded", "embedded")
    classifier = regard.BRNPAClassifier(regard.load("regard:efficientnet-lite0"), LABELS, strides=(1, 1))
    assert classifier.backbone_source.finer == (Finer((1, 1), dilation=True),)
    assert classifier.grid == (28, 28)
    photos = sorted((shared_data / "nips17-ccby").rglob("*.jpg"))[:1]
    with classifier.untouched(), torch.no_grad():
        found, output = classifier.represent(classifier.prepare(photos))
    assert found.maps.shape == (1, 3, 28, 28)
    assert output.logits.isfinite().all()
    assert found.valid.all()
