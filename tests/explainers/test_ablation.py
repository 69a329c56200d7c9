"""Token ablation and its last-block form: papers/cdam.md, sections 4.7 and 4.8, check 21."""

import pytest
import torch

import regard
from regard.errors import UnsupportedError
from regard.models import passes

from .networks import CLASSES, classifier_of, cnn, pixels_of, same, vit

ALL = list(range(CLASSES))


def without(network, pixels, places, block=0):
    """Logits with tokens taken out of what enters a block; the class token's residual stays."""
    stay = [token for token in range(network.num_prefix_tokens + 16) if token not in places]
    handle = network.blocks[block].register_forward_pre_hook(lambda _, given: (given[0][:, stay],))
    try:
        return network(pixels).detach()
    finally:
        handle.remove()


def by_loop(network, pixels, block=0):
    prefix = network.num_prefix_tokens
    losses = [network(pixels).detach() - without(network, pixels, [prefix + patch], block) for patch in range(16)]
    return torch.stack(losses, dim=2).unflatten(2, (4, 4))


@pytest.mark.parametrize("registers", [0, 1, 4])
def test_the_map_is_the_loop_over_patches(registers):
    network, pixels = vit(reg_tokens=registers), pixels_of(3)
    explanation = regard.TokenAblation(classifier_of(network))(pixels, ALL)
    same(explanation.maps, by_loop(network, pixels))
    assert explanation.forwards == 3 * regard.TokenAblation(classifier_of(network)).forwards_each == 3 * (2 + 16)


def test_patches_of_a_group_go_together_and_share_what_they_lose_evenly():
    network, pixels = vit(img_size=(32, 24)), pixels_of(2, (32, 24))
    maps = regard.TokenAblation(classifier_of(network, (32, 24)), group=2)(pixels, 1).maps[:, 0]
    whole = network(pixels)[:, 1].detach()
    groups = [[1, 2, 4, 5], [3, 6], [7, 8, 10, 11], [9, 12]]
    expected = torch.empty(2, 12)
    for group in groups:
        stay = [token for token in range(13) if token not in group]
        handle = network.blocks[0].register_forward_pre_hook(lambda _, given, stay=stay: (given[0][:, stay],))
        lost = whole - network(pixels)[:, 1].detach()
        expected[:, [token - 1 for token in group]] = lost[:, None] / len(group)
        handle.remove()
    same(maps.flatten(1), expected)


def test_coarse_to_fine_takes_the_patches_of_the_strongest_groups_one_by_one():
    classifier, pixels = classifier_of(vit()), pixels_of(3)
    coarse, fine = (regard.TokenAblation(classifier, group=group)(pixels, ALL).maps for group in (2, 1))
    ablation = regard.TokenAblation(classifier, group=2, refine=0.5)
    found = ablation(pixels, ALL)
    for image in range(3):
        strength = coarse[image, :, ::2, ::2].abs().amax(0).flatten()
        chosen = strength.topk(2).indices.tolist()
        for group in range(4):
            rows, columns = (slice(2 * place, 2 * place + 2) for place in divmod(group, 2))
            expected = fine if group in chosen else coarse
            same(found.maps[image, :, rows, columns], expected[image, :, rows, columns], 1e-4)
    assert found.forwards == 3 * ablation.forwards_each == 3 * (2 + 4 + 1 + 2 * 4)


def test_all_groups_refined_are_the_plain_map():
    classifier, pixels = classifier_of(vit(img_size=(32, 24)), (32, 24)), pixels_of(2, (32, 24))
    refined = regard.TokenAblation(classifier, group=2, refine=1)(pixels, ALL).maps
    same(refined, regard.TokenAblation(classifier)(pixels, ALL).maps, 1e-4)


@pytest.mark.parametrize(
    "wrong", [{"refine": 0.5}, {"group": 2, "refine": 1.5}, {"group": 2, "refine": "half"}], ids=str
)
def test_a_share_of_groups_that_cannot_be_is_refused(wrong):
    with pytest.raises(UnsupportedError, match="share of groups"):
        regard.TokenAblation(classifier_of(vit()), **wrong)


def test_a_predicted_class_stays_that_of_the_whole_picture():
    classifier, pixels = classifier_of(vit()), pixels_of(4)
    ablation = regard.TokenAblation(classifier)
    likeliest = classifier(pixels).argmax(1)
    targets = [regard.Predicted(), regard.Difference(regard.Predicted(), 0), regard.Probability(regard.Predicted())]
    found = ablation(pixels, targets).maps
    same(found[:, :1], ablation(pixels, regard.PerImage(likeliest)).maps)
    for image, index in enumerate(likeliest.tolist()):
        fixed = ablation(pixels[image : image + 1], [regard.Difference(index, 0), regard.Probability(index)])
        same(found[image, 1:], fixed.maps[0])


def test_concepts_are_answered_by_the_embedding():
    network, pixels = vit(num_classes=0), pixels_of(2)
    classifier = classifier_of(network)
    concept = regard.Concept.from_images(classifier, pixels_of(2, seed=5), "horn")
    expected = (by_loop(network, pixels) * concept.direction[:, None, None]).sum(1)
    same(regard.TokenAblation(classifier)(pixels, concept).maps[:, 0], expected)


@pytest.mark.parametrize("settings", [{}, {"reg_tokens": 2}, {"init_values": 0.3}], ids=str)
def test_the_last_block_s_closed_form_is_the_loop_that_drops_there(settings):
    network, pixels = vit(**settings), pixels_of(3)
    explanation = regard.LastBlockAblation(classifier_of(network))(pixels, ALL)
    same(explanation.maps, by_loop(network.double(), pixels.double(), block=1).float())
    assert explanation.forwards == 3


def test_of_a_network_of_one_block_both_are_the_same():
    classifier, pixels = classifier_of(vit(depth=1).double()), pixels_of()
    whole, last = (kind(classifier)(pixels, ALL).maps for kind in (regard.TokenAblation, regard.LastBlockAblation))
    same(last, whole)


def test_without_the_one_patch_that_a_head_looks_at_it_looks_at_the_others():
    """1 − a has no digits left there: what is taken out is not what is divided by."""
    network, pixels = vit(), pixels_of(3)
    with torch.no_grad():
        network.blocks[1].attn.qkv.weight[:48] *= 10
    maps = regard.LastBlockAblation(classifier_of(network))(pixels, ALL).maps
    same(maps, by_loop(network, pixels, 1), 1e-4)


def test_rows_are_cut_into_passes_of_bounded_size(monkeypatch):
    classifier, pixels = classifier_of(vit()), pixels_of()
    whole = regard.LastBlockAblation(classifier)(pixels, ALL).maps
    monkeypatch.setattr("regard.explainers.ablation.TAIL_ROWS", 5)
    same(regard.LastBlockAblation(classifier)(pixels, ALL).maps, whole)


def test_jobs_of_several_images_share_passes():
    network, sizes = vit(), []
    classifier, pixels = classifier_of(network), pixels_of(3)
    ablation = regard.TokenAblation(classifier)
    passes.remember_chunk(classifier, pixels[:1], 20)
    network.blocks[1].register_forward_pre_hook(lambda _, given: sizes.append(given[0].shape[:2]))
    ablation(pixels, 0)
    assert [size[0] for size in sizes if size[1] == 16] == [20, 20, 8]


@pytest.mark.parametrize("group", [0, -1, 1.5, True])
def test_a_group_of_no_patches_is_refused(group):
    with pytest.raises(UnsupportedError, match="whole number"):
        regard.TokenAblation(classifier_of(vit()), group=group)


@pytest.mark.parametrize("explainer", [regard.TokenAblation, regard.LastBlockAblation])
def test_convolutional_networks_are_refused(explainer):
    with pytest.raises(UnsupportedError, match="vision transformers"):
        explainer(classifier_of(cnn()))


def test_last_block_ablation_keeps_its_digits_where_patches_hardly_move_a_large_score():
    network, pixels = vit(), pixels_of(3)
    with torch.no_grad():
        network.head.bias.add_(1000)
    classifier = classifier_of(network, outputs="scalar")
    together = regard.LastBlockAblation(classifier)(pixels, ALL).maps
    for image in range(3):
        same(regard.LastBlockAblation(classifier)(pixels[image : image + 1], ALL).maps[0], together[image])
    same(together, by_loop(network.double(), pixels.double(), 1).float())


def test_half_precision_that_drowns_a_map_is_said_to():
    network, pixels = vit(), pixels_of(2)
    assert regard.TokenAblation(classifier_of(network))(pixels, 0).notes == ()
    with torch.no_grad():
        network.head.bias.add_(1000)
    half = classifier_of(network, precision="bfloat16", outputs="scalar")
    assert "take float32" in regard.TokenAblation(half)(pixels, 0).notes[0]
