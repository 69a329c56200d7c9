"""The poolings that BR-NPA is compared with, against plain loops; and their names."""

import pytest
import torch
from torch import nn

from regard.attention.bilinear import BilinearPooling
from regard.attention.branch import BranchPooling
from regard.attention.pooled import MeanPooling
from regard.attention.poolings import described, pooling_called
from regard.attention.representative import RepresentativePooling
from regard.errors import UnsupportedError

from ..explainers.networks import loud

IMAGES, CHANNELS, HEIGHT, WIDTH = 3, 6, 4, 5


def features(seed=1, images=IMAGES):
    return torch.randn(images, CHANNELS, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


def told(pooling):
    """With weights that matter, and statistics that are none of a batch."""
    loud(pooling)
    for norm in pooling.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean += 0.1
            norm.running_var *= 1.7
    return pooling


def vector(weights, given):
    """Σ_p w_p f_p / N, place by place."""
    total = torch.zeros(given.shape[0])
    for row in range(HEIGHT):
        for column in range(WIDTH):
            total += weights[row, column] * given[:, row, column]
    return total / (HEIGHT * WIDTH)


def convolved(layer, given):
    """A 3×3 or 1×1 convolution with zeros around, place by place."""
    side = layer.kernel_size[0]
    reach = side // 2
    out = torch.zeros(layer.out_channels, HEIGHT, WIDTH)
    for row in range(HEIGHT):
        for column in range(WIDTH):
            for down in range(side):
                for across in range(side):
                    place = row + down - reach, column + across - reach
                    if 0 <= place[0] < HEIGHT and 0 <= place[1] < WIDTH:
                        out[:, row, column] += layer.weight[:, :, down, across] @ given[:, place[0], place[1]]
    return out if layer.bias is None else out + layer.bias[:, None, None]


def normed(layer, given):
    scale = layer.weight / (layer.running_var + layer.eps) ** 0.5
    return (given - layer.running_mean[:, None, None]) * scale[:, None, None] + layer.bias[:, None, None]


def residual(block, given):
    first, norm, _, last, after = block.residual
    inner = normed(norm, convolved(first, given)).relu()
    return (given + normed(after, convolved(last, inner))).relu()


@torch.no_grad()
def test_the_mean_is_what_plain_networks_read_and_shows_the_activity():
    found = MeanPooling()(features())
    assert torch.allclose(found.joined(), features().mean(dim=(2, 3)), atol=1e-6)
    assert found.vectors.shape == (IMAGES, 1, CHANNELS)
    shown = found.maps[:, 0] * found.norms
    assert torch.allclose(shown * HEIGHT * WIDTH, features().square().sum(dim=1).sqrt(), rtol=1e-5)


@torch.no_grad()
def test_bilinear_pooling_is_the_formula():
    pooling = told(BilinearPooling(CHANNELS, 2))
    found = pooling(features())
    assert found.maps.shape == (IMAGES, 2, HEIGHT, WIDTH)  # K, and not one too many
    for image, given in enumerate(features()):
        maps = convolved(pooling.to_maps, residual(pooling.block, given)).relu()
        assert torch.allclose(found.maps[image], maps, atol=1e-4)
        for rank in range(2):
            assert torch.allclose(found.vectors[image, rank], vector(maps[rank], given), atol=1e-4)
    assert torch.equal(found.joined(), torch.cat([found.vectors[:, 0], found.vectors[:, 1]], dim=1))


@torch.no_grad()
def test_the_branch_is_the_formula():
    pooling = told(BranchPooling(CHANNELS, 4))
    found = pooling(features())
    for image, given in enumerate(features()):
        convolution, norm, _ = pooling.by_class
        by_class = normed(norm, convolved(convolution, residual(pooling.block, given))).relu()
        answers = convolved(pooling.to_logits, by_class).mean(dim=(1, 2))
        convolution, norm, _ = pooling.to_map
        attention = normed(norm, convolved(convolution, by_class)).sigmoid()
        assert torch.allclose(found.logits[image], answers, atol=1e-4)
        assert torch.allclose(found.maps[image], attention, atol=1e-4)
        assert torch.allclose(found.vectors[image, 0], vector(1 + attention[0], given), atol=1e-4)


ALL = {
    "representative": {"count": 2, "refine": False},
    "bilinear": {"channels": CHANNELS, "count": 2},
    "branch": {"channels": CHANNELS, "classes": 4},
    "mean": {},
}


@pytest.mark.parametrize(("name", "settings"), ALL.items(), ids=ALL)
def test_every_pooling_learns_and_no_picture_depends_on_another(name, settings):
    pooling = pooling_called(name, **settings)
    given = features().relu().requires_grad_()
    pooling.train()(given).joined().square().sum().backward()
    assert bool(given.grad.isfinite().all())
    assert all(weight.grad is not None for label, weight in pooling.named_parameters() if "to_logits" not in label)
    pooling = told(pooling)
    with torch.no_grad():
        whole, alone = pooling(features()), pooling(features()[1:2])
    assert torch.allclose(whole.joined()[1:2], alone.joined(), atol=1e-5)
    assert whole.norms.shape == (IMAGES, HEIGHT, WIDTH)
    assert whole.valid.shape == whole.maps.shape[:2]


def test_a_map_that_is_zero_everywhere_is_not_valid():
    pooling = told(BilinearPooling(CHANNELS, 2))
    with torch.no_grad():
        pooling.to_maps.weight[0].zero_()
        pooling.to_maps.bias[0] = -1
        found = pooling(features())
    assert found.valid[:, 0].tolist() == [False] * IMAGES
    assert not found.vectors[:, 0].any()


def test_features_of_half_precision_are_summed_in_float32():
    large = torch.full((1, CHANNELS, 200, 200), 3.0, dtype=torch.float16)
    found = MeanPooling()(large)
    assert found.vectors.dtype == torch.float16
    assert found.norms.dtype == torch.float32
    assert torch.equal(found.joined(), torch.full((1, CHANNELS), 3.0, dtype=torch.float16))


@pytest.mark.parametrize(("name", "settings"), ALL.items(), ids=ALL)
def test_a_pooling_can_be_said_and_built_again(name, settings):
    pooling = pooling_called(name, **settings)
    words = described(pooling)
    assert words["name"] == name
    again = pooling_called(**words)
    assert repr(again) == repr(pooling)
    again.load_state_dict(pooling.state_dict())


def test_poolings_and_settings_that_there_are_not_are_refused():
    with pytest.raises(UnsupportedError, match="no such pooling"):
        pooling_called("maximum")
    with pytest.raises(UnsupportedError, match="no such settings"):
        pooling_called("mean", count=3)
    with pytest.raises(UnsupportedError, match="counted from 1"):
        pooling_called("bilinear", channels=4, count=0)
    with pytest.raises(UnsupportedError, match="counted from 1"):
        pooling_called("branch", channels=4, classes=0)
    with pytest.raises(UnsupportedError, match="has no name"):
        described(nn.AdaptiveAvgPool2d(1))


def test_no_class_of_the_table_is_another_by_accident():
    assert type(pooling_called("representative")) is RepresentativePooling
