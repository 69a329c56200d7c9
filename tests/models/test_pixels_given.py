"""What a classifier takes as pixels, and in which precision and mode it answers."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import regard
from regard.errors import NotFiniteError, PixelsError, RegardError
from regard.images import Geometry, Pixels

from ..explainers.networks import classifier_of, cnn, loud, mlp_head, pixels_of, same, vit

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8))
UNSCALED = regard.Preparation(size=32, mean=(0, 0, 0), std=(1, 1, 1))


def grey():
    return loud(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)))


def grey_classifier():
    return regard.Classifier(grey(), regard.Preparation(size=32, mean=(0.5,), std=(0.5,), crop=1.0))


@pytest.mark.parametrize(
    "pixels",
    [
        (torch.rand(1, 3, 32, 32) * 255).to(torch.uint8),
        torch.ones(1, 3, 32, 32, dtype=torch.int64),
        torch.ones(1, 3, 32, 32, dtype=torch.bool),
        torch.randn(3, 32, 32),
        torch.randn(32, 32),
        torch.randn(1, 1, 3, 32, 32),
        torch.randn(1, 1, 32, 32),
        torch.randn(1, 4, 32, 32),
        torch.randn(1, 32, 32, 3),
        torch.randn(0, 3, 32, 32),
    ],
    ids=lambda pixels: f"{pixels.dtype} {tuple(pixels.shape)}",
)
def test_a_tensor_of_another_kind_or_shape_is_refused(pixels):
    classifier = classifier_of(cnn())
    for take in (classifier, classifier.prepare, classifier.embed):
        with pytest.raises(PixelsError, match="floats of the right shape") as refusal:
            take(pixels)
        assert str(tuple(pixels.shape)) in refusal.value.came
        assert refusal.value.expected == "float32 (B, 3, H, W)"
        assert "uint8 arrays" in refusal.value.remedy


@pytest.mark.parametrize("factor", [1, 255, 20, -20], ids=str)
def test_a_range_that_no_preparation_gives_is_refused(factor):
    with pytest.raises(PixelsError, match="cannot have been prepared") as refusal:
        classifier_of(cnn())(torch.rand(2, 3, 32, 32) * factor)
    assert "values from" in refusal.value.came
    assert "(0.5, 0.5, 0.5)" in refusal.value.expected


@pytest.mark.parametrize("values", [pixels_of(), pixels_of() * 0, pixels_of() * 0 + 0.5, pixels_of().double() / 4])
def test_a_range_that_a_preparation_may_give_is_taken(values):
    classifier_of(cnn().to(values.dtype))(values)


def test_colours_between_zero_and_one_are_right_where_nothing_is_scaled():
    classifier = regard.Classifier(cnn(), UNSCALED)
    classifier(torch.rand(1, 3, 32, 32))
    with pytest.raises(PixelsError, match="cannot have been prepared"):
        classifier(torch.rand(1, 3, 32, 32) * 255)


@pytest.mark.parametrize("size", [(36, 32), (32, 33), (7, 7)])
def test_pixels_that_do_not_fit_the_patches_are_refused_with_a_size_that_does(size):
    with pytest.raises(PixelsError, match="does not fit the patches") as refusal:
        classifier_of(vit())(pixels_of(size=size))
    assert f"{size[0]}×{size[1]}" in refusal.value.came
    assert refusal.value.expected == "multiples of 8×8"


def test_pixels_of_another_size_than_the_network_takes_are_refused():
    with pytest.raises(RegardError):
        classifier_of(vit())(pixels_of(size=(40, 40)))


@pytest.mark.parametrize(
    ("given", "by"),
    [
        (lambda: classifier_of(cnn(), size=33).prepare(PHOTO), lambda: classifier_of(vit())),
        (lambda: classifier_of(cnn()).prepare(PHOTO), grey_classifier),
        (lambda: classifier_of(cnn()).prepare([PHOTO])[:0], lambda: classifier_of(cnn())),
    ],
    ids=["size", "channels", "none"],
)
def test_pixels_that_another_classifier_prepared_are_checked_too(given, by):
    with pytest.raises(PixelsError):
        by()(given())


def test_prepared_pixels_are_themselves_with_the_geometry_of_the_whole():
    classifier, values = classifier_of(cnn()), pixels_of(size=(32, 48))
    pixels = classifier.prepare(values)
    assert isinstance(pixels, Pixels)
    assert pixels.equal(values)
    assert pixels.geometries == (Geometry.whole((32, 48)),) * 2
    assert classifier.prepare(pixels).geometries == pixels.geometries
    assert classifier(pixels).equal(classifier(values))
    assert type(classifier(pixels)) is torch.Tensor


@pytest.mark.parametrize(
    "photos", [PHOTO, [PHOTO], (PHOTO,), np.asarray(PHOTO), [np.asarray(PHOTO)]], ids=lambda p: type(p).__name__
)
def test_one_photo_needs_no_list(photos):
    classifier = classifier_of(cnn())
    assert classifier.prepare(photos).equal(classifier.preparation([PHOTO]))


def test_a_path_is_a_photo_and_not_a_list_of_letters(tmp_path):
    PHOTO.save(tmp_path / "photo.png")
    classifier = classifier_of(cnn())
    for path in (tmp_path / "photo.png", str(tmp_path / "photo.png")):
        assert classifier.prepare(path).equal(classifier.prepare(PHOTO))


def test_no_photos_are_refused():
    with pytest.raises(PixelsError, match="no photos"):
        classifier_of(cnn()).prepare([])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "make", [lambda values: values, lambda values: classifier_of(cnn()).prepare(values)], ids=["tensor", "Pixels"]
)
def test_what_is_not_finite_is_refused_with_its_place(make, value):
    pixels = pixels_of(3)
    pixels[1, 2, 30, 4] = pixels[2, 0, 0, 0] = value
    classifier = classifier_of(cnn())
    for take in (classifier, classifier.embed):
        with pytest.raises(NotFiniteError, match="NaN or infinity") as refusal:
            take(make(pixels))
        assert refusal.value.came == f"{value} at image 1, channel 2, row 30, column 4"


def test_pixels_of_nothing_but_nan_are_refused_with_their_place():
    with pytest.raises(NotFiniteError, match="image 0, channel 0, row 0, column 0"):
        classifier_of(cnn())(pixels_of() * float("nan"))


def test_weights_that_are_not_finite_are_named():
    network = cnn()
    assert "all weights are finite" in classifier_of(network).blame_for_nan()
    with torch.no_grad():
        network[4].bias[1] = network[8].weight[0, 0] = float("nan")
    assert classifier_of(network).blame_for_nan() == "the weight '4.bias' holds NaN or infinity (2 in all)"


def test_a_grey_network_receives_the_grey_of_the_photo():
    classifier = grey_classifier()
    values = np.asarray(PHOTO.resize((32, 40), Image.Resampling.BICUBIC).convert("L"), dtype=np.float32)[4:36] / 255
    expected = torch.from_numpy((values - 0.5) / 0.5)[None, None]
    pixels = classifier.prepare(PHOTO)
    torch.testing.assert_close(pixels.as_subclass(torch.Tensor), expected)
    assert classifier(pixels).equal(grey()(pixels.as_subclass(torch.Tensor)))
    with pytest.raises(PixelsError, match="right shape"):
        classifier(pixels_of())


@pytest.mark.parametrize("head", [None, mlp_head(), nn.Sequential(mlp_head(), nn.Softplus())], ids=["", "head", "own"])
def test_bfloat16_is_autocast_and_leaves_the_network_in_float32(head):
    network = vit(num_classes=0 if head else 5)
    exact, fast = (classifier_of(network, head=head, precision=kind) for kind in ("float32", "bfloat16"))
    for call in ("__call__", "embed"):
        expected, found = (getattr(classifier, call)(pixels_of(4)).detach() for classifier in (exact, fast))
        assert found.dtype is torch.float32
        assert not found.equal(expected)
        same(found, expected, 0.03)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


@pytest.mark.parametrize(("dtype", "answers"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)])
def test_a_network_of_another_precision_is_run_as_it_is(dtype, answers):
    network = vit().to(dtype)
    classifier = classifier_of(network)
    assert classifier(pixels_of()).equal(network(pixels_of().to(dtype)).to(answers))
    assert classifier.embed(pixels_of()).dtype is answers
    assert network.head.weight.dtype is dtype


def test_float32_is_float32_also_inside_the_caller_s_autocast():
    classifier = classifier_of(vit(num_classes=0), head=mlp_head())
    expected = classifier(pixels_of())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert classifier(pixels_of()).equal(expected)


def test_gradients_are_recorded_where_the_caller_records_them():
    network, pixels = vit(), pixels_of().requires_grad_()
    (gradient,) = torch.autograd.grad(classifier_of(network)(pixels)[:, 2].sum(), pixels)
    (expected,) = torch.autograd.grad(network(pixels)[:, 2].sum(), pixels)
    same(gradient, expected, 1e-6)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_inside_no_grad_and_inference_mode_the_answers_are_the_same(mode):
    classifier = classifier_of(vit())
    logits, embedding = classifier(pixels_of()).detach(), classifier.embed(pixels_of())
    with mode():
        here = pixels_of()
        assert classifier(here).equal(logits)
        assert classifier.embed(here).equal(embedding)
        assert not classifier(here).requires_grad
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()


def test_random_numbers_drawn_by_a_network_are_not_taken_from_the_caller():
    network = cnn()
    network[2].forward = lambda tensor: tensor + torch.rand(())
    classifier = classifier_of(network)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, second = classifier(pixels_of()), torch.rand(3)
    assert second.equal(expected)
    assert not first.equal(classifier(pixels_of()))


def test_pixels_that_another_preparation_made_are_refused():
    pixels = UNSCALED([PHOTO])
    with pytest.raises(PixelsError, match="prepared for another classifier") as refusal:
        classifier_of(cnn())(pixels)
    assert "again" in refusal.value.remedy
    assert regard.Classifier(cnn(), UNSCALED)(pixels).shape == (1, 5)
    assert classifier_of(cnn(seed=1))(classifier_of(cnn()).prepare(PHOTO)).shape == (1, 5)


def test_one_unscaled_picture_among_prepared_ones_is_refused():
    mixed = torch.cat([pixels_of(3), torch.rand(1, 3, 32, 32)])
    with pytest.raises(PixelsError, match="cannot have been prepared"):
        classifier_of(cnn()).prepare(mixed)


def test_nothing_is_no_photo():
    with pytest.raises(PixelsError, match="no photos"):
        classifier_of(cnn()).prepare(None)
