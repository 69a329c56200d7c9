"""Every kind of layer that a finer network may get, against loops over the places that it should read."""

import copy

import pytest
import torch
from torch import nn

from regard.models.high_resolution import high_resolution

from ..explainers.networks import CLASSES, loud, pixels_of

# a layer, and by hand: how far before its place a window begins, how far apart it reads, how many places a side
BY_HAND = {
    "3×3": (nn.Conv2d(2, 4, 3, 2, 1), (1, 1, 3)),
    "3×3 of each channel": (nn.Conv2d(2, 2, 3, 2, 1, groups=2), (1, 1, 3)),
    "2×2": (nn.Conv2d(2, 4, 2, 2), (0, 1, 2)),
    "3×3 that trims": (nn.Conv2d(2, 4, 3, 2), (0, 1, 3)),
    "5×5 set apart": (nn.Conv2d(2, 4, 5, 2, 4, dilation=2), (4, 2, 5)),
    "largest of 2×2": (nn.MaxPool2d(2), (0, 1, 2)),
    "largest of 3×3": (nn.MaxPool2d(3, 2, 1), (1, 1, 3)),
    "largest of 3×3, to the end": (nn.MaxPool2d(3, 2, ceil_mode=True), (0, 1, 3)),
    "mean of 2×2": (nn.AvgPool2d(2), (0, 1, 2)),
    "mean of 3×3 with zeros": (nn.AvgPool2d(3, 2, 1), (1, 1, 3)),
    "mean of 3×3 without zeros": (nn.AvgPool2d(3, 2, 1, count_include_pad=False), (1, 1, 3)),
    "a quarter of the sum": (nn.AvgPool2d(3, 2, 1, divisor_override=4), (1, 1, 3)),
}


def window(layer, grid, row, column, before, apart, size):
    """One output (K,), place by place, of a window whose first place lies `before` cells above and left."""
    down = [row - before + apart * index for index in range(size)]
    across = [column - before + apart * index for index in range(size)]
    height, width = grid.shape[1:]
    inside = {
        (i, j): grid[:, y, x]
        for i, y in enumerate(down)
        for j, x in enumerate(across)
        if y in range(height) and x in range(width)
    }
    if isinstance(layer, nn.MaxPool2d):
        return torch.stack(list(inside.values())).amax(0)
    if isinstance(layer, nn.AvgPool2d):
        padded = range(-before, height + before), range(-before, width + before)
        counted = sum(y in padded[0] and x in padded[1] for y in down for x in across)
        counted = counted if before and layer.count_include_pad else len(inside)
        return sum(inside.values()) / (layer.divisor_override or counted)
    group = len(grid) // layer.groups
    answer = []
    for channel in range(layer.out_channels):
        first = channel * layer.groups // layer.out_channels * group
        places = (layer.weight[channel, :, i, j] @ value[first : first + group] for (i, j), value in inside.items())
        answer.append(layer.bias[channel] + sum(places))
    return torch.stack(answer)


class Twice(nn.Module):
    """A layer with a stride, after another stride, both seen by the head."""

    def __init__(self, layer):
        super().__init__()
        self.first, self.layer = nn.Conv2d(3, 2, 1, 2), copy.deepcopy(layer)
        self.head = nn.Linear(layer.out_channels if isinstance(layer, nn.Conv2d) else 2, CLASSES)
        loud(self)

    def forward(self, pixels):
        return self.head(self.layer(self.first(pixels)).mean((2, 3)))


@pytest.mark.parametrize(("layer", "by_hand"), BY_HAND.values(), ids=BY_HAND)
@pytest.mark.parametrize("dilation", [False, True], ids=["plain", "dilated"])
def test_every_kind_of_layer_reads_the_places_that_it_should(layer, by_hand, dilation):
    network, pixels = Twice(layer), pixels_of(1, (12, 20))
    before, apart, size = by_hand
    spacing = 2 if dilation else 1
    finer = high_resolution(network, (1, 1), dilation=dilation, frame=(12, 20))
    with torch.no_grad():
        grid, given = finer.first(pixels)[0], finer.layer(finer.first(pixels))[0]
        assert given.shape[1:] >= (12, 20)
        for row, column in ((0, 0), (0, 9), (5, 19), (6, 10), (11, 3), (11, 19)):
            expected = window(network.layer, grid, row, column, before * spacing, apart * spacing, size)
            torch.testing.assert_close(given[:, row, column], expected, rtol=1e-5, atol=1e-5)
