"""Frames cut elsewhere than in the middle, for training: where they lie, and what they show."""

import numpy as np
import pytest

from regard.models.preparation import Preparation

PHOTO = np.arange(12 * 20 * 3, dtype=np.uint8).reshape(12, 20, 3)
PLAIN = Preparation(size=8, mean=(0.0,) * 3, std=(1.0,) * 3, crop=8 / 12)  # 12 × 20 stays as it is, 8 × 8 is cut out


@pytest.mark.parametrize(
    ("corner", "left", "top"), [((0, 0), 0, 0), ((1, 1), 12, 4), ((1, 0), 0, 4), ((0.5, 0.25), 3, 2), (None, 6, 2)]
)
def test_the_frame_is_cut_at_shares_of_the_room_that_it_leaves(corner, left, top):
    pixels = PLAIN([PHOTO], corner=corner)
    assert pixels.geometries[0].box == (left, top, left + 8, top + 8)
    expected = PHOTO[top : top + 8, left : left + 8].transpose(2, 0, 1) / np.float32(255)
    assert np.abs(pixels.numpy()[0] - expected).max() < 1e-6


@pytest.mark.parametrize("fit", ["squash", "pad"])
def test_where_nothing_is_left_over_a_corner_changes_nothing(fit):
    preparation = Preparation(size=8, mean=(0.5,) * 3, std=(0.5,) * 3, fit=fit)
    plain, cornered = preparation([PHOTO]), preparation([PHOTO], corner=(0.9, 0.1))
    assert plain.geometries == cornered.geometries
    assert bool((plain == cornered).all())
