"""Score-CAM: a plain loop over channels, and pytorch-grad-cam's values."""

import pytest
import torch
import torch.nn.functional as functional
from torch import nn

import regard
from regard.compat import import_optional
from regard.errors import LayerError, UnsupportedError
from regard.explainers import score_cam
from regard.models import passes

from .networks import CLASSES, classifier_of, cnn, pixels_of, same, vit

ALL = list(range(CLASSES))


def judged(network, picture, features, target):
    """One channel after the other, those without a mask too, as the paper's algorithm has it."""
    values = []
    for channel in features:
        mask = functional.interpolate(channel[None, None], picture.shape[1:], mode="bilinear")
        low, high = float(mask.min()), float(mask.max())
        mask = (mask - low) / (high - low) if high > low else torch.zeros_like(mask)
        values.append(network(picture * mask)[0, target].detach())
    weights = torch.stack(values).exp() / torch.stack(values).exp().sum()
    return sum(weight * channel for weight, channel in zip(weights, features, strict=True)).clamp(min=0)


@pytest.mark.parametrize("layer", [0, 3, 4, 5])
def test_maps_are_the_plain_loop_over_channels(layer):
    network, pixels = cnn(), pixels_of(2)
    maps = regard.ScoreCAM(classifier_of(network), layer=str(layer))(pixels, ALL).maps
    for image in range(2):
        features = network[: layer + 1](pixels[image : image + 1])[0].detach()
        for target in ALL:
            same(maps[image, target], judged(network, pixels[image], features, target))


@pytest.mark.parametrize("registers", [0, 4])
def test_a_transformer_s_tokens_are_laid_on_their_grid(registers):
    network, pixels, kept = vit(reg_tokens=registers), pixels_of(2), []
    handle = network.blocks[1].norm1.register_forward_hook(lambda _, __, output: kept.append(output.detach()))
    network(pixels)
    handle.remove()
    explanation = regard.ScoreCAM(classifier_of(network))(pixels, [1, 3])
    for image in range(2):
        features = kept[0][image, 1 + registers :].T.unflatten(1, (4, 4))
        for place, target in enumerate([1, 3]):
            same(explanation.maps[image, place], judged(network, pixels[image], features, target))
    assert explanation.forwards == 2 * regard.ScoreCAM(classifier_of(network)).forwards_each == 2 * 25


@pytest.mark.parametrize("layer", ["1", "4", "5"])
def test_maps_are_pytorch_grad_cam_s(layer, monkeypatch):
    """Its enlargement puts corners upon corners, which moves all cells; ours are where they lie on the picture."""
    peers = import_optional("pytorch_grad_cam", "baselines")
    targets = import_optional("pytorch_grad_cam.utils.model_targets", "baselines")
    monkeypatch.setattr(nn, "UpsamplingBilinear2d", lambda size: nn.Upsample(size, mode="bilinear"))
    network, pixels = cnn(), pixels_of(2)
    peer = peers.ScoreCAM(network, [network[int(layer)]])
    with torch.no_grad():
        features = network[: int(layer) + 1](pixels).numpy()
    chosen = [targets.ClassifierOutputTarget(2)] * 2
    expected = peer.get_cam_image(pixels, network[int(layer)], chosen, features, None, False)
    peer.activations_and_grads.release()
    maps = regard.ScoreCAM(classifier_of(network), layer=layer)(pixels, 2).maps
    same(maps[:, 0], torch.from_numpy(expected).clamp(min=0), 1e-5)


def test_channels_without_a_mask_and_identical_ones_share_a_pass():
    network, pixels = cnn(), pixels_of(2)
    with torch.no_grad():
        network[4].bias[[1, 4, 6]] = -100
        network[4].weight[7], network[4].bias[7] = network[4].weight[2], network[4].bias[2]
    scorer = regard.ScoreCAM(classifier_of(network))
    explanation = scorer(pixels, [0, 2])
    assert scorer.forwards_each == 1 + 8
    living = network[:6](pixels)[:, [0, 2, 3, 5]].flatten(2).any(2)
    assert explanation.forwards == int((1 + 1 + living.sum(1)).sum()) <= 2 * (1 + 8 - 2 - 1)
    for image in range(2):
        features = network[:6](pixels[image : image + 1])[0].detach()
        for place, target in enumerate([0, 2]):
            same(explanation.maps[image, place], judged(network, pixels[image], features, target))


def test_constant_channels_that_are_not_zero_have_no_mask_either_but_count_in_the_map():
    network, pixels = cnn(), pixels_of(1)
    with torch.no_grad():
        network[4].weight[[1, 4]] = 0
        network[4].bias[[1, 4]] = torch.tensor([2.0, 3.0])
    explanation = regard.ScoreCAM(classifier_of(network))(pixels, 2)
    features = network[:6](pixels)[0].detach()
    moving = int((features.flatten(1).amin(1) < features.flatten(1).amax(1)).sum())
    assert explanation.forwards == 1 + moving + 1
    same(explanation.maps[0, 0], judged(network, pixels[0], features, 2))


def test_a_score_that_shifts_leaves_the_map():
    network, pixels = cnn(), pixels_of(2)
    before = regard.ScoreCAM(classifier_of(network))(pixels, ALL).maps
    with torch.no_grad():
        network[-1].bias += 3
    same(regard.ScoreCAM(classifier_of(network))(pixels, ALL).maps, before, 1e-5)


def test_a_predicted_class_stays_that_of_the_whole_picture():
    classifier, pixels = classifier_of(vit()), pixels_of(4)
    likeliest = classifier(pixels).argmax(1)
    scorer = regard.ScoreCAM(classifier)
    same(scorer(pixels, regard.Predicted()).maps, scorer(pixels, regard.PerImage(likeliest)).maps)


def test_masks_are_made_a_chunk_at_a_time_and_chunks_change_nothing(monkeypatch):
    classifier, pixels, sizes = classifier_of(cnn()), pixels_of(3), []
    made = score_cam.as_masks
    monkeypatch.setattr(score_cam, "as_masks", lambda maps, frame: (sizes.append(len(maps)), made(maps, frame))[1])
    maps = []
    for size in (1, 5, 64):
        passes.remember_chunk(classifier, pixels[:1], size)
        maps.append(regard.ScoreCAM(classifier)(pixels, [0, 1]).maps)
        assert max(sizes) <= size
        sizes.clear()
    same(maps[1], maps[0])
    same(maps[2], maps[0])


def test_a_map_without_evidence_is_zero_and_says_why():
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Hardtanh(-9, -1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    explanation = regard.ScoreCAM(classifier_of(network), layer="1")(pixels_of(1), 1)
    assert (explanation.maps == 0).all()
    assert "below zero in every cell" in explanation.notes[0]


def test_masks_go_from_zero_to_one_on_pixels_and_are_zero_where_there_is_nothing():
    maps = torch.stack([pixels_of(1)[0, 0, :4, :4], torch.zeros(4, 4), torch.full((4, 4), 1e-30)])
    maps[2, 0, 0] = 2e-30
    masks = score_cam.as_masks(maps, (9, 12))
    assert masks.shape == (3, 1, 9, 12)
    assert masks.amin((1, 2, 3)).tolist() == [0, 0, 0]
    assert masks.amax((1, 2, 3)).tolist() == pytest.approx([1, 0, 1])


def test_what_has_no_grid_is_refused():
    with pytest.raises(LayerError, match="does not give one feature map"):
        regard.ScoreCAM(classifier_of(cnn()), layer="8")
    with pytest.raises(UnsupportedError, match=r"regard\.Classifier"):
        regard.ScoreCAM(cnn())
