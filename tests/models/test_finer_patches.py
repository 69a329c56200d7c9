"""Patches that overlap: where they are cut, where their positions lie, and that all else stays."""

import math

import pytest
import torch

import regard
from regard.compat import import_optional
from regard.errors import RegardError, UnsupportedError
from regard.models.high_resolution import high_resolution

from ..explainers.networks import CLASSES, classifier_of, loud, pixels_of, vit
from .test_transformer import hugging_face, tiny

timm = import_optional("timm", "timm")
torchvision = import_optional("torchvision.models", "torchvision")


def swin():
    sizes = {"img_size": 64, "window_size": 2, "depths": (1, 1), "embed_dim": 12, "num_heads": (1, 1)}
    return timm.create_model("swin_tiny_patch4_window7_224", pretrained=False, **sizes)


def test_overlapping_patches_are_cut_around_the_middles_of_their_cells():
    network, pixels = vit(img_size=(32, 48)), pixels_of(1, (32, 48))
    finer = high_resolution(network, 4, frame=(32, 48))
    weight, bias = network.patch_embed.proj.weight, network.patch_embed.proj.bias
    margin = 2  # of (8 − 4) / 2 pixels
    tokens = finer.patch_embed(pixels)[0].unflatten(0, (8, 12))
    for row, column in ((0, 0), (3, 5), (7, 11), (0, 11)):
        patch = torch.zeros(3, 8, 8)
        for i in range(8):
            for j in range(8):
                y, x = 4 * row - margin + i, 4 * column - margin + j
                if 0 <= y < 32 and 0 <= x < 48:
                    patch[:, i, j] = pixels[0, :, y, x]
        expected = (weight * patch).sum((1, 2, 3)) + bias
        torch.testing.assert_close(tokens[row, column], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("registers", [0, 4], ids=["class position", "registers without positions"])
def test_positions_in_between_lie_on_the_line_between_their_neighbours(registers):
    """A table that grows by 8 a row and 0.5 a column is a plane, which bicubic keeps, but at the edges."""
    network = vit(img_size=64, reg_tokens=registers, no_embed_class=registers > 0)
    prefix = 0 if registers else 1
    rows, columns = torch.arange(8.0).repeat_interleave(8), torch.arange(8.0).repeat(8)
    with torch.no_grad():
        network.pos_embed[0, prefix:] = (8 * rows + 0.5 * columns)[:, None]
        first = network.pos_embed[0, :prefix].clone()
    finer = high_resolution(network, 4, frame=64).pos_embed[0].detach()
    assert torch.equal(finer[:prefix], first)
    plane = finer[prefix:].unflatten(0, (16, 16))
    for row, column in ((5, 5), (8, 9), (10, 6)):  # the middle of fine cell j is at j/2 − 1/4 of the coarse ones
        expected = 8 * (row / 2 - 0.25) + 0.5 * (column / 2 - 0.25)
        torch.testing.assert_close(plane[row, column], torch.full((24,), expected), rtol=1e-4, atol=1e-3)


# make, frame, stride, patch that it had
TRANSFORMERS = {
    "timm": (vit, 32, 4, 8),
    "average": (lambda: vit(global_pool="avg"), 32, 2, 8),
    "frames of any size": (lambda: vit(dynamic_img_size=True), 32, 4, 8),
    "registers": (lambda: vit(reg_tokens=4, no_embed_class=True), 32, 4, 8),
    "not square": (lambda: vit(img_size=(32, 48)), (32, 48), 4, 8),
    "DeiT, distilled": (lambda: tiny("deit_tiny_distilled_patch16_224"), 32, 8, 16),
    "odd patch": (lambda: vit(img_size=42, patch_size=14), 42, 7, 14),
    "DINOv2 of transformers": (
        lambda: hugging_face("Dinov2WithRegisters", "Dinov2WithRegistersForImageClassification", num_labels=CLASSES),
        *(32, 4, 8),
    ),
    "torchvision": (
        lambda: loud(torchvision.VisionTransformer(32, 8, 2, 3, 24, 48, num_classes=CLASSES)),
        *(32, 4, 8),
    ),
}


@pytest.mark.parametrize(("make", "frame", "stride", "patch"), TRANSFORMERS.values(), ids=TRANSFORMERS)
def test_transformers_get_a_finer_grid_and_only_the_table_of_positions_is_another(make, frame, stride, patch):
    classifier = classifier_of(make().eval(), frame)
    finer, sides = high_resolution(classifier, stride), (frame, frame) if isinstance(frame, int) else frame
    pixels = finer.prepare(pixels_of(2, sides))
    grid = (sides[0] // stride, sides[1] // stride)
    assert (finer.tokens.patch, finer.tokens.prefix) == ((stride, stride), classifier.tokens.prefix)
    assert (finer.tokens.rows, finer.tokens.cannot_drop) == (classifier.tokens.rows, classifier.tokens.cannot_drop)
    maps = regard.CDAM(finer)(pixels, targets=[0]).maps
    assert maps.shape == (2, 1, *grid)
    before, after = classifier.network.state_dict(), finer.network.state_dict()
    assert list(before) == list(after)
    differing = [name for name in before if before[name].shape != after[name].shape]
    assert len(differing) == 1
    more = math.prod(grid) - math.prod(sides) // patch**2
    assert after[differing[0]].shape[1] == before[differing[0]].shape[1] + more
    assert all(torch.equal(before[name], after[name]) for name in before if name not in differing)


def test_a_stride_as_large_as_the_patch_changes_nothing():
    network, pixels = vit(), pixels_of()
    assert torch.equal(high_resolution(network, 8, frame=32)(pixels), network(pixels))
    assert high_resolution(network, frame=32).patch_embed.proj.stride == (4, 4)  # half a patch where nothing is asked


REFUSED = {
    "windows": (swin, {}, "no table of positions"),
    "rotary": (lambda: tiny("eva02_tiny_patch14_224", 14), {"frame": 28}, "rotary positions"),
    "a stem of convolutions": (lambda: tiny("vit_tiny_r_s16_p8_224", 32), {"frame": 64}, "cuts square patches"),
    "patches that do not tile": (vit, {"strides": 3, "frame": 32}, "a divisor of both sides"),
    "every pixel": (vit, {"strides": 1, "frame": 32}, "at least 2"),
    "patches further apart": (vit, {"strides": 16, "frame": 32}, "at most 8"),
    "two strides of patches": (vit, {"strides": (4, 4), "frame": 32}, "one number"),
    "patches set apart": (vit, {"dilation": True, "frame": 32}, "leave dilation out"),
}


@pytest.mark.parametrize(("make", "asked", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_refused_with_a_sentence(make, asked, said):
    with pytest.raises(UnsupportedError) as refusal:
        high_resolution(make().eval(), **{"frame": 64, **asked})
    assert said in str(refusal.value)


@pytest.mark.parametrize("frame", [16, (64, 0)], ids=repr)
def test_a_network_that_does_not_run_on_the_frame_is_refused(frame):
    with pytest.raises(RegardError, match="does not run on pictures of"):
        high_resolution(vit(), frame=frame)
