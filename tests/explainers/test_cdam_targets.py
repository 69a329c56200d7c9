"""What CDAM must satisfy, whatever it is asked: papers/cdam.md, checks 4, 5, 9 to 16 and 19."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import regard
from regard.explainers.evidence import Point

from .networks import CLASSES, class_maps, classifier_of, mlp_head, pixels_of, same, vit

ALL = list(range(CLASSES))
forms = pytest.mark.parametrize("form", ["closed", "autograd"])


def logit_when_tokens_are_scaled(network, pixels, factors, target):
    """The class's logit with every token that the last attention reads multiplied by its factor (N,)."""
    norm = network.blocks[-1].norm1
    handle = norm.register_forward_hook(lambda _, __, output: output * factors[:, None])
    try:
        with torch.no_grad():
            return network(pixels)[0, target]
    finally:
        handle.remove()


@pytest.mark.parametrize("group", [[3], [2, 5, 6], list(range(1, 17))], ids=["one token", "three", "all patches"])
def test_the_sum_over_tokens_is_the_slope_of_scaling_them(group):
    network, pixels, step = vit().double(), pixels_of(1).double(), 1e-5
    chosen = torch.zeros(17, dtype=torch.float64)
    chosen[group] = 1
    up, down = (logit_when_tokens_are_scaled(network, pixels, 1 + sign * step * chosen, 2) for sign in (1.0, -1.0))
    maps = class_maps(network, pixels)[0, 2].flatten()
    found = regard.CDAM(classifier_of(network))(pixels, 2).maps.flatten()
    members = torch.tensor(group) - 1
    same(maps[members].sum(), (up - down) / (2 * step), 1e-8)
    same(found[members].sum(), ((up - down) / (2 * step)).float())


def test_the_sum_predicts_a_small_shrinking_of_all_patches_to_first_order():
    network, pixels = vit().double(), pixels_of(1).double()
    patches = torch.ones(17, dtype=torch.float64)
    patches[0] = 0
    total = class_maps(network, pixels)[0, 2].sum()
    whole = logit_when_tokens_are_scaled(network, pixels, 0 * patches + 1, 2)

    def error(share):
        return whole - logit_when_tokens_are_scaled(network, pixels, 1 - share * patches, 2) - share * total

    assert float(error(0.002) / error(0.001)) == pytest.approx(4, rel=0.05)


@forms
def test_a_class_is_the_concept_of_its_row_of_the_head_whatever_the_bias(form):
    network, pixels = vit(), pixels_of()
    cdam = regard.CDAM(classifier_of(network), form=form)
    by_class = cdam(pixels, 3).maps
    same(cdam(pixels, regard.Similarity(network.head.weight[3].detach(), measure="dot")).maps, by_class)
    with torch.no_grad():
        network.head.bias += torch.randn(CLASSES)
    same(cdam(pixels, 3).maps, by_class, 1e-6)


@forms
@given(first=st.floats(-3, 3), second=st.floats(-3, 3))
def test_maps_are_linear_in_the_direction_asked_for(form, first, second):
    cdam, pixels = regard.CDAM(classifier_of(vit()), form=form), pixels_of()
    one, two = torch.randn(2, 24, generator=torch.Generator().manual_seed(9))
    mixed = cdam(pixels, regard.Similarity(first * one + second * two, measure="dot")).maps
    parts = cdam(pixels, [regard.Similarity(one, measure="dot"), regard.Similarity(two, measure="dot")]).maps
    expected = first * parts[:, :1] + second * parts[:, 1:]
    assert (mixed - expected).abs().max() <= 1e-5 * parts.abs().max() * (abs(first) + abs(second) + 1e-3)


@forms
def test_the_map_of_a_probability_is_that_of_the_quotient_rule(form):
    classifier, pixels = classifier_of(vit()), pixels_of()
    cdam = regard.CDAM(classifier, form=form)
    classes = cdam(pixels, ALL)
    chances = classes.logits.softmax(1)[:, :, None, None]
    expected = chances * (classes.maps - (chances * classes.maps).sum(1, keepdim=True))
    found = cdam(pixels, [regard.Probability(index) for index in ALL]).maps
    same(found, expected)
    assert found.sum(1).abs().max() <= 1e-5 * found.abs().max()
    logarithms = cdam(pixels, [regard.LogProbability(index) for index in ALL]).maps
    same(logarithms, classes.maps - (chances * classes.maps).sum(1, keepdim=True))


def test_of_two_exclusive_classes_the_probability_maps_are_opposite_and_the_logit_maps_are_not():
    network, pixels = vit(num_classes=2), pixels_of()
    cdam = regard.CDAM(classifier_of(network))
    chances = cdam(pixels, [regard.Probability(0), regard.Probability(1)]).maps
    same(chances[:, 0], -chances[:, 1])
    logits = cdam(pixels, [0, 1]).maps
    assert (logits[:, 0] + logits[:, 1]).abs().max() > 0.1 * logits.abs().max()
    with torch.no_grad():
        network.head.weight[0] = -network.head.weight[1]
    logits = regard.CDAM(classifier_of(network))(pixels, [0, 1]).maps
    same(logits[:, 0], -logits[:, 1])


@forms
def test_a_difference_is_the_difference_of_the_maps(form):
    cdam, pixels = regard.CDAM(classifier_of(vit()), form=form), pixels_of()
    found = cdam(pixels, [4, 1, regard.Difference(4, 1), regard.Difference(1, 4)]).maps
    same(found[:, 2], found[:, 0] - found[:, 1])
    same(found[:, 2], -found[:, 3])


@forms
def test_a_sigmoid_s_map_is_its_slope_times_the_logit_s(form):
    network, pixels = vit(num_classes=1), pixels_of(3)
    explanation = regard.CDAM(classifier_of(network, outputs="sigmoid"), form=form)(pixels, [0, regard.Probability(0)])
    chance = explanation.logits.sigmoid()[:, :, None]
    same(explanation.maps[:, 1], chance * (1 - chance) * explanation.maps[:, 0])


@forms
def test_likeness_to_itself_is_at_its_maximum_so_the_cosine_s_map_is_zero_and_the_dot_product_s_is_not(form):
    network, pixels = vit().double(), pixels_of(1).double()
    classifier = classifier_of(network)
    own = classifier.embed(pixels)[0]
    targets = [regard.Similarity(own, measure=measure) for measure in ("cosine", "dot")]
    targets += [regard.Score(lambda embedding: (embedding**2).sum(1), of="embedding")]
    cosine, dot, square = regard.CDAM(classifier, form=form)(pixels, targets).maps[0]
    assert cosine.abs().max() < 1e-6 * dot.abs().max()
    same(dot, square / 2)


@forms
def test_a_concept_s_map_is_the_mean_of_its_examples_and_grows_with_its_vector(form):
    classifier, pixels, examples = classifier_of(vit()), pixels_of(), pixels_of(3, seed=7)
    cdam = regard.CDAM(classifier, form=form)
    concept = regard.Concept.from_images(classifier, examples, name="horn")
    each = [regard.Concept.from_images(classifier, examples[i : i + 1], name=str(i)) for i in range(3)]
    found = cdam(pixels, [concept, *each]).maps
    same(found[:, 0], found[:, 1:].mean(1))
    same(cdam(pixels, regard.Similarity(2.5 * concept.direction, measure="dot")).maps[:, 0], 2.5 * found[:, 0])


def test_permuting_the_patch_tokens_permutes_the_map():
    classifier, order = classifier_of(vit().double()), torch.randperm(16, generator=torch.Generator().manual_seed(2))
    evidence = regard.CDAM(classifier).evidence
    draw = torch.Generator().manual_seed(3)
    entering, u = torch.randn(2, 1, 17, 24, generator=draw).double()
    permuted = torch.cat([u[:, :1], u[:, 1:][:, order]], dim=1)
    question = regard.question.ask(ALL, classifier, 1)
    plain, moved = (evidence(Point(entering, x, pixels_of(1)), question)[0] for x in (u, permuted))
    same(moved[..., 1:], plain[..., 1:][..., order], 1e-12)


@forms
def test_equal_rows_of_the_head_give_equal_maps_and_a_zero_row_the_zero_map(form):
    network = vit()
    with torch.no_grad():
        network.head.weight[1] = network.head.weight[0]
        network.head.weight[2] = 0
    maps = regard.CDAM(classifier_of(network), form=form)(pixels_of(), ALL).maps
    assert maps[:, 0].equal(maps[:, 1])
    assert (maps[:, 2] == 0).all()
    assert (maps[:, 3] != 0).all()


@forms
def test_a_map_depends_neither_on_batch_mates_nor_on_other_targets(form):
    cdam, pixels = regard.CDAM(classifier_of(vit()), form=form), pixels_of(4)
    together = cdam(pixels, ALL).maps
    for image in range(4):
        same(cdam(pixels[image : image + 1], ALL).maps[0], together[image])
    for target in ALL:
        same(cdam(pixels, target).maps[:, 0], together[:, target])
    assert cdam(pixels, ALL).maps.equal(together)


def test_more_targets_than_channels_are_read_out_of_the_embedding_s_directions():
    network, pixels = vit(num_classes=60), pixels_of()
    cdam = regard.CDAM(classifier_of(network))
    many = cdam(pixels, list(range(60)))
    few = cdam(pixels, [0, 31, 59])
    same(many.maps[:, [0, 31, 59]], few.maps)
    assert many.backwards == 2 * 24
    assert few.backwards == 2 * 3


def test_a_head_of_several_layers_is_explained_through_all_of_them():
    backbone, head, pixels = vit(num_classes=0), mlp_head(), pixels_of()
    maps = regard.CDAM(classifier_of(backbone, head=head))(pixels, ALL).maps

    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks, self.backbone, self.head = backbone.blocks, backbone, head

        def forward(self, images):
            return self.head(self.backbone(images))

    same(maps, class_maps(Joined(), pixels))


def test_targets_of_several_kinds_are_answered_at_once_and_by_image():
    classifier, pixels = classifier_of(vit(), labels=list("abcde")), pixels_of(3)
    cdam = regard.CDAM(classifier)
    mixed = cdam(pixels, ["b", regard.Predicted(2), regard.Difference("a", regard.Predicted())])
    second = mixed.logits.argsort(dim=1, descending=True)[:, 1]
    same(mixed.maps[:, 1], cdam(pixels, regard.PerImage(second)).maps[:, 0])
    assert [row[1].name for row in mixed.targets] == [list("abcde")[index] for index in second]
    same(mixed.maps[:, 0], class_maps(classifier.network, pixels)[:, 1])


def test_nearest_enlargement_and_its_block_mean_give_the_map_back():
    explanation = regard.CDAM(classifier_of(vit()))(pixels_of(), ALL)
    large = explanation.to_pixels(mode="nearest")
    assert large.shape[-2:] == (32, 32)
    same(torch.nn.functional.avg_pool2d(large, 8), explanation.maps, 1e-6)
