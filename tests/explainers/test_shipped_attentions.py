"""The attentions that are shipped with the embedded classifiers, on the sample photos: none was trained on."""

import pytest

import regard
from regard.metrics.curves import curves
from regard.metrics.of_curves import AverageDrop

regard_embedded = pytest.importorskip("regard_embedded", reason="the data package is not installed")

NAMES = ("efficientnet-lite0", "vit-small")
OF_IMAGENETTE = ("church", "parachute", "French horn")


@pytest.fixture(scope="module", params=NAMES)
def shipped(request):
    classifier = regard.load(f"regard:{request.param}")
    return regard.TAME(classifier)


def photos_of(classifier):
    """Single photos; of the ten classes alone for the classifier of ten."""
    single = [photo for photo in regard_embedded.photos() if " | " not in photo.label]
    known = [photo.path for photo in single if classifier.class_count == 1000 or photo.label in OF_IMAGENETTE]
    return known[:8]


def test_every_embedded_classifier_has_one_of_its_own(shipped):
    card = shipped.trained.card
    assert card.classifier == shipped.classifier.name
    assert card.training["photos"] + card.training["photos_held_out"] > 600
    assert card.training["epoch_chosen"] >= 1
    assert 0.05 < card.figures["own_mask"] < 0.8
    assert card.figures["average_drop_50"] < 0.35


def test_what_its_maps_show_keeps_the_class_better_than_chance(shipped):
    classifier = shipped.classifier
    pixels = classifier.prepare(photos_of(classifier))
    drop = AverageDrop(0.15)
    own, random = (
        drop.measure(curves(classifier, pixels, explainer(pixels), steps=1))[:, 0].nanmean()
        for explainer in (shipped, regard.Random(classifier))
    )
    assert float(own) < float(random) - 0.1


def test_the_masks_of_two_classes_lie_on_their_own_photos():
    """Share of σ(c) on the half of the class's photo; a half is chance. The paper's mask, of a class that is there."""
    classifier = regard.load("regard:vit-small")
    tame = regard.TAME(classifier)
    pairs = [photo for photo in regard_embedded.photos() if " | " in photo.label]
    assert len(pairs) == 3
    shares = []
    for photo in pairs:
        named = [next(label for label in classifier.labels if name in label) for name in photo.label.split(" | ")]
        left, right = tame(photo.path, named).maps[0].sigmoid()
        half = left.shape[1] // 2
        shares += [float(left[:, :half].sum() / left.sum()), float(right[:, half:].sum() / right.sum())]
    assert sum(shares) / len(shares) > 0.7
