"""Maps of TAME beside the picture and beside other methods: papers/tame.md, checks 29, 30 and 39."""

import pytest
import torch
import torch.nn.functional as functional

import regard

from ..metrics.replicas import slow_enlarged
from .attentions import drawn
from .networks import TOKENS_ALIKE, classifier_of, cnn, pixels_of, same, vit
from .test_matrix import explainers

pytestmark = TOKENS_ALIKE


@pytest.fixture(params=[cnn, vit], ids=["cnn", "vit"], scope="module")
def classifier(request):
    return classifier_of(request.param(), labels=list("abcde"))


@pytest.mark.parametrize(("patch", "factor"), [(8, 8), (16, 16)], ids=["28 to 224", "14 to 224"])
def test_a_map_is_enlarged_between_the_centres_of_its_cells(patch, factor):
    """No pixel's centre is a cell's, so that away from the edges no pixel has the least or the largest value."""
    classifier = classifier_of(vit(img_size=224, patch_size=patch), 224)
    found = regard.TAME(classifier, drawn(classifier))(pixels_of(1, (224, 224)), [0, 2])
    side = 224 // factor
    assert found.maps.shape == (1, 2, side, side)
    enlarged = found.to_pixels((224, 224), mode="bilinear")
    for target in range(2):
        expected = torch.tensor(slow_enlarged(found.maps[0, target].tolist(), (224, 224)))
        same(enlarged[0, target], expected)
    low, high = found.maps.amin((2, 3), keepdim=True), found.maps.amax((2, 3), keepdim=True)
    shares = ((enlarged - low) / (high - low))[..., factor:-factor, factor:-factor]
    assert bool(((shares > 0) & (shares < 1)).all())


def test_a_mirrored_picture_of_kernels_that_are_mirrored_has_the_mirrored_map():
    network = cnn()
    with torch.no_grad():
        for layer in (network[0], network[4]):
            layer.weight.copy_((layer.weight + layer.weight.flip(-1)) / 2)
    classifier = classifier_of(network)
    tame = regard.TAME(classifier, drawn(classifier))
    same(tame(pixels_of().flip(-1), 1).maps, tame(pixels_of(), 1).maps.flip(-1))


def test_a_mirrored_picture_s_map_is_more_like_its_own_than_like_another_s(classifier):
    """Not equal, since neither kernels nor positions are mirrored."""
    pixels = functional.interpolate(pixels_of(6, (4, 4)), (32, 32), mode="bilinear")
    tame = regard.TAME(classifier, drawn(classifier))
    maps, mirrored = tame(pixels, 1).maps.flatten(1), tame(pixels.flip(-1), 1).maps.flip(-1).flatten(1)
    alike = torch.corrcoef(torch.cat([maps, mirrored]))[:6, 6:]
    others = alike[~torch.eye(6, dtype=torch.bool)]
    assert float(alike.diag().mean()) > float(others.mean()) + 0.3
    assert float(alike.diag().min()) > 0
    spread = maps.amax(1) - maps.amin(1)
    assert bool(((maps - mirrored).abs().amax(1) < 1.5 * spread).all())
    assert not torch.allclose(maps, mirrored, atol=1e-3)


def test_every_method_beside_it_explains_the_same_classifier_and_the_same_likeliest_classes(classifier):
    pixels = pixels_of(3)
    likeliest = classifier(pixels).argmax(1).tolist()
    asked = explainers(classifier)
    assert len(asked) > 15
    assert "tame" in {explainer.name for explainer in asked}
    for explainer in asked:
        found = explainer(pixels)
        assert found.classifier_hash == classifier.hash, explainer.name
        assert [row[0].index for row in found.targets] == likeliest, explainer.name
        same(found.logits, classifier(pixels))
