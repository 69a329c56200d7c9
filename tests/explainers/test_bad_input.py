"""What a hostile person gives an explainer: a helpful error before any map, or correct handling."""

import numpy as np
import pytest
import torch
from PIL import Image

import regard
from regard.errors import ClassifierError, NotFiniteError, PhotoError, PixelsError, TargetError, UnsupportedError
from regard.models import passes

from .networks import classifier_of, cnn, pixels_of, same, vit

LABELS = ["tabby, tabby cat", "tiger cat", "crane, bird", "crane, machine", "zebra"]


@pytest.fixture(scope="module")
def cdam():
    return regard.CDAM(classifier_of(vit(), labels=LABELS))


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("tiger", "'tiger cat'"),
        ("zebr", "'zebra'"),
        ("crane", r"2 \(crane, bird\), 3 \(crane, machine\)"),
        (-1, "0 to 4"),
        (5, "0 to 4"),
        (2.0, "not a target"),
        (True, "not a target"),
        (torch.tensor([1, 2]), r"regard\.PerImage"),
        (np.array([1, 2]), r"regard\.PerImage"),
        ([torch.tensor([1, 2])], r"regard\.PerImage"),
        ([], "empty"),
        (regard.PerImage([0, 1, 2]), r"\(2,\)"),
        (regard.PerImage([[0, 1], [2]]), "not ragged"),
        (regard.PerImage([0, 9]), "0 to 4"),
        ([regard.PerImage([0, 1])], "alone"),
        (regard.Predicted(0), "1 to 5"),
        (regard.Similarity(torch.zeros(7)), "width 24"),
        (regard.Score(lambda logits: logits.sum()), "one number per image"),
    ],
    ids=lambda value: str(value).partition("=<")[0],
)
def test_wrong_targets_are_refused_in_words_before_a_pass(cdam, target, said):
    with passes.counted() as spent, pytest.raises(TargetError, match=said):
        cdam(pixels_of(), target)
    assert spent.forwards == 0 or isinstance(target, regard.Score)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (torch.rand(1, 3, 32, 32), "cannot have been prepared"),
        (torch.rand(1, 3, 32, 32) * 255, "cannot have been prepared"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "floats of the right shape"),
        (torch.zeros(3, 32, 32), "floats of the right shape"),
        (torch.zeros(1, 1, 32, 32), "floats of the right shape"),
        (torch.zeros(0, 3, 32, 32), "floats of the right shape"),
        (torch.zeros(1, 3, 32, 30), "32×32"),
        ([], "no photos"),
    ],
    ids=["unscaled", "0 to 255", "uint8", "no batch", "one channel", "empty", "half a patch", "nothing"],
)
def test_pixels_that_cannot_be_right_are_refused(cdam, given, said):
    with pytest.raises(PixelsError, match=said):
        cdam(given, 0)


def test_a_list_of_tensors_is_no_list_of_photos(cdam):
    with pytest.raises(PhotoError, match="not a photo"):
        cdam([torch.zeros(3, 32, 32)], 0)


def test_a_frame_of_another_size_than_the_network_takes_is_refused_in_words(cdam):
    with pytest.raises(PixelsError, match="does not take frames of this size"):
        cdam(pixels_of(1, (40, 40)), 0)


def test_a_grey_photo_and_a_tiny_one_are_explained(cdam):
    photos = [Image.new("L", (50, 40), 128), Image.new("RGB", (1, 1), "red")]
    assert cdam(photos, "zebra").maps.isfinite().all()


def test_a_class_asked_of_a_headless_network_is_refused_and_a_concept_is_not():
    classifier = classifier_of(vit(num_classes=0))
    cdam = regard.CDAM(classifier)
    for target in (0, "zebra", regard.Predicted(), None, regard.Probability(0)):
        with pytest.raises(TargetError, match="no head"):
            cdam(pixels_of(), target)
    concept = regard.Concept.from_images(classifier, pixels_of(1, seed=4), "horn")
    assert cdam(pixels_of(), concept).maps.shape == (2, 1, 4, 4)


def test_a_concept_of_another_classifier_is_refused_by_its_hash(cdam):
    concept = regard.Concept.from_images(classifier_of(vit(seed=1), labels=LABELS), pixels_of(), "horn")
    with pytest.raises(TargetError, match="another classifier"):
        cdam(pixels_of(), concept)


def test_a_network_that_is_no_classifier_is_refused():
    with pytest.raises(UnsupportedError, match=r"regard\.Classifier"):
        regard.CDAM(vit())


def test_an_unknown_rule_for_nan_is_refused(cdam):
    with pytest.raises(NotFiniteError, match="error, skip or propagate"):
        cdam(pixels_of(), 0, on_nan="ignore")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("explainer", [regard.CDAM, regard.AttentionMap, regard.GradCAM, regard.Random])
def test_nan_in_pixels_is_named_by_its_place_or_skipped_or_let_through(explainer, value):
    classifier = classifier_of(cnn() if explainer is regard.GradCAM else vit())
    pixels = pixels_of(3)
    clean = explainer(classifier)(pixels, [0, 1]).maps
    pixels[1, 2, 5, 7] = value
    with pytest.raises(NotFiniteError, match="image 1, channel 2, row 5, column 7"):
        explainer(classifier)(pixels, [0, 1])
    for rule in ("skip", "propagate"):
        explanation = explainer(classifier)(pixels, [0, 1], on_nan=rule)
        assert explanation.not_finite == (1,)
        same(explanation.maps[[0, 2]], clean[[0, 2]])
        assert rule == "propagate" or explanation.maps[1].isnan().all()


@pytest.mark.filterwarnings("ignore:CDAM differentiates the last block")
@pytest.mark.parametrize("explainer", [regard.CDAM, regard.AttentionMap, regard.GradCAM, regard.Random, regard.Centre])
def test_nan_in_a_weight_is_named_and_never_a_map(explainer):
    network = cnn() if explainer is regard.GradCAM else vit()
    classifier = classifier_of(network)
    layer = "4" if explainer is regard.GradCAM else "blocks.0.mlp.fc1"
    ready = explainer(classifier)
    with torch.no_grad():
        network.get_submodule(layer).weight[0] = float("nan")
    with pytest.raises(NotFiniteError, match=f"'{layer}.weight' holds NaN"):
        ready(pixels_of(), 0)


def test_a_network_that_cannot_run_on_its_preparation_is_refused_at_once():
    with pytest.raises(ClassifierError, match="cannot run on what its preparation gives"):
        classifier_of(vit(), size=48)
