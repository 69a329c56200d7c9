import pytest
import torch

import regard
from regard.compat import import_optional
from regard.errors import UnsupportedError

from .networks import classifier_of, cnn, pixels_of, same, vit


def attention_of_every_row(network, pixels):
    """The whole N×N attention of the last block, unfused, (B, H, N, N)."""
    block, kept = network.blocks[-1], []
    handle = block.attn.register_forward_pre_hook(lambda _, arguments: kept.append(arguments[0]))
    network(pixels)
    handle.remove()
    queries, keys, _ = block.attn.qkv(kept[0]).unflatten(2, (3, 3, 8)).permute(2, 0, 3, 1, 4)
    return (queries @ keys.transpose(2, 3) / 8**0.5).softmax(3).detach()


@pytest.mark.parametrize("registers", [0, 4])
def test_the_map_is_the_class_token_s_row_averaged_over_heads(registers):
    network, pixels = vit(reg_tokens=registers), pixels_of(3)
    explanation = regard.AttentionMap(classifier_of(network))(pixels, [0, 1])
    row = attention_of_every_row(network, pixels)[:, :, 0]
    same(row.sum(-1), torch.ones(3, 3))
    same(explanation.attention.flatten(2), row[..., 1 + registers :])
    same(explanation.maps[:, 0].flatten(1), row[..., 1 + registers :].mean(1))
    assert explanation.maps[:, 0].equal(explanation.maps[:, 1])


def test_cdam_brings_the_same_attention_along():
    classifier, pixels = classifier_of(vit()), pixels_of()
    same(regard.CDAM(classifier)(pixels, 0).attention, regard.AttentionMap(classifier)(pixels, 0).attention)


def test_attention_needs_no_target_where_there_is_no_head():
    explanation = regard.AttentionMap(classifier_of(vit(num_classes=0)))(pixels_of())
    assert explanation.maps.shape == (2, 1, 4, 4)
    assert explanation.targets[0][0].name == "any target"
    assert explanation.logits is None


def test_attention_with_normalised_queries_is_seen_as_the_network_forms_it():
    network, pixels = vit(qk_norm=True), pixels_of()
    block, kept = network.blocks[-1], []
    block.attn.fused_attn = False
    handle = block.attn.attn_drop.register_forward_pre_hook(lambda _, given: kept.append(given[0].detach()))
    network(pixels)
    handle.remove()
    block.attn.fused_attn = True
    explanation = regard.AttentionMap(classifier_of(network))(pixels, 0)
    same(explanation.attention.flatten(2), kept[0][:, :, 0, 1:])


def test_attention_does_not_change_when_the_head_does():
    network, pixels = vit(), pixels_of()
    before = regard.AttentionMap(classifier_of(network))(pixels, 0).maps
    torch.nn.init.normal_(network.head.weight)
    assert regard.AttentionMap(classifier_of(network))(pixels, 0).maps.equal(before)


def test_noise_belongs_to_the_picture_and_the_seed():
    classifier, pixels = classifier_of(vit()), pixels_of(3)
    maps = regard.Random(classifier)(pixels, [0, 1]).maps
    assert regard.Random(classifier)(pixels[[2, 0]], [0, 1]).maps.equal(maps[[2, 0]])
    assert not regard.Random(classifier, seed=1)(pixels, [0, 1]).maps.equal(maps)
    draws = maps.flatten(2).flatten(0, 1)
    assert len({tuple(draw.tolist()) for draw in draws}) == 6
    assert 0 <= float(maps.min()) < float(maps.max()) < 1
    assert float(maps.mean()) == pytest.approx(0.5, abs=0.1)


def test_a_seed_that_is_no_whole_number_is_refused():
    with pytest.raises(UnsupportedError, match="whole number"):
        regard.Random(classifier_of(cnn()), seed=1.5)


def test_the_blob_has_its_top_in_the_middle_and_falls_off_alike_on_all_sides():
    classifier = classifier_of(vit(img_size=(32, 72)), (32, 72))
    blob = regard.Centre(classifier)(pixels_of(1, (32, 72)), 0).maps[0, 0]
    assert blob.shape == (4, 9)
    assert blob.equal(blob.flip(0))
    assert torch.allclose(blob, blob.flip(1), atol=1e-7)
    expected = torch.exp(torch.tensor(-0.5 * (0.125**2 + 0.0**2) / 0.25**2))
    assert float(blob[1, 4]) == pytest.approx(float(expected), rel=1e-6)


def test_controls_have_a_grid_also_where_the_network_has_none():
    assert regard.Centre(classifier_of(cnn()))(pixels_of(), 0).maps.shape == (2, 1, 14, 14)


@pytest.mark.parametrize("make", [cnn, vit])
def test_edges_are_scipy_s(make):
    filters, pixels = import_optional("scipy.ndimage", "evaluate"), pixels_of(3)
    explanation = regard.Edges(classifier_of(make()))(pixels, [0, 1])
    for picture, maps in zip(pixels, explanation.maps, strict=True):
        grey = picture.mean(0).double().numpy()
        down, across = (filters.sobel(grey, axis, mode="nearest") for axis in (0, 1))
        same(maps[0], torch.from_numpy((down**2 + across**2) ** 0.5).float())
        assert maps[1].equal(maps[0])


def test_edges_of_a_step_are_worked_by_hand_and_the_frame_is_none():
    pixels = torch.zeros(1, 3, 32, 32)
    pixels[..., 10:] = 3
    edges = regard.Edges(classifier_of(cnn()))(pixels, 0).maps[0, 0]
    assert (edges[:, 9:11] == 12).all()
    edges[:, 9:11] = 0
    assert (edges == 0).all()


def test_edges_of_a_picture_of_one_colour_are_said_to_be_none():
    explanation = regard.Edges(classifier_of(cnn()))(torch.full((1, 3, 32, 32), 0.5), 0)
    assert (explanation.maps == 0).all()
    assert "one colour" in explanation.notes[0]


@pytest.mark.parametrize(("make", "grid"), [(cnn, (14, 14)), (vit, (4, 4))])
def test_ones_tie_all_places(make, grid):
    explanation = regard.Ones(classifier_of(make()))(pixels_of(2), [0, 1])
    assert explanation.maps.shape == (2, 2, *grid)
    assert (explanation.maps == 1).all()


@pytest.mark.parametrize("control", [regard.Random, regard.Centre, regard.Edges, regard.Ones])
def test_controls_need_no_pass_but_that_for_the_answer_and_no_head(control):
    assert control(classifier_of(cnn()))(pixels_of(3), 0).forwards == 3
    if not control.per_target:
        assert control(classifier_of(vit(num_classes=0)))(pixels_of(3)).maps.shape[:2] == (3, 1)
