"""Photos as they are shown in training: every draw is the seed's, and does what it says."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

import regard
from regard.errors import UnsupportedError
from regard.training.brnpa.augmentation import NONE, Augmentation

PREPARATION = regard.Preparation(size=32, crop=0.8)
PHOTO = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)


def colours(pixels, preparation=PREPARATION):
    """Prepared pixels as 0 to 255, (H, W, 3)."""
    mean, std = torch.tensor(preparation.mean), torch.tensor(preparation.std)
    return (pixels[0].permute(1, 2, 0) * std + mean).numpy() * 255


def drawn(seed):
    return torch.rand(5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()


def test_without_any_change_it_is_the_photo_as_it_is_used():
    assert torch.equal(NONE(PHOTO, PREPARATION, 3), PREPARATION([PHOTO]).as_subclass(torch.Tensor))


def test_the_same_seed_gives_the_same_picture_whatever_else_is_drawn():
    first = Augmentation()(PHOTO, PREPARATION, 5)
    state = torch.get_rng_state()
    torch.rand(9)
    assert torch.equal(Augmentation()(PHOTO, PREPARATION, 5), first)
    torch.set_rng_state(state)
    assert not torch.equal(Augmentation()(PHOTO, PREPARATION, 6), first)
    Augmentation()(PHOTO, PREPARATION, 7)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_crop_is_a_part_of_the_scaled_photo_and_every_second_one_is_mirrored():
    flips = set()
    for seed in range(8):
        down, across, mirrored, *_ = drawn(seed)
        expected = PREPARATION([PHOTO], corner=(down, across)).as_subclass(torch.Tensor)
        expected = expected.flip(-1) if mirrored < 0.5 else expected
        flips.add(mirrored < 0.5)
        came = Augmentation(brightness=0, saturation=0)(PHOTO, PREPARATION, seed)
        assert torch.equal(came, expected)
    assert flips == {True, False}


@pytest.mark.parametrize("seed", range(4))
def test_colours_change_as_pillow_changes_them(seed):
    *_, lighter, stronger = drawn(seed)
    plain = Image.fromarray(colours(NONE(PHOTO, PREPARATION, 0)).round().astype(np.uint8))
    changed = ImageEnhance.Brightness(plain).enhance(1 + 0.3 * (2 * lighter - 1))
    grey = np.asarray(changed.convert("L"), dtype=float)[..., None]
    factor = 1 + 0.6 * (2 * stronger - 1)
    expected = np.clip(grey + factor * (np.asarray(changed, dtype=float) - grey), 0, 255)
    came = colours(Augmentation(crop=False, flip=False, brightness=0.3, saturation=0.6)(PHOTO, PREPARATION, seed))
    assert np.abs(came - expected).max() < 2.5  # Pillow rounds twice


def test_colours_stay_between_black_and_white():
    for seed in range(6):
        came = colours(Augmentation(brightness=1.0, saturation=1.0)(PHOTO, PREPARATION, seed))
        assert came.min() > -1e-3
        assert came.max() < 255.001


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (("crop", "flip", "colour"), Augmentation()),
        (("colour", "crop"), Augmentation(flip=False)),
        (("flip",), Augmentation(crop=False, brightness=0, saturation=0)),
        ((), NONE),
    ],
)
def test_some_changes_alone_leave_out_the_others(changes, expected):
    came = Augmentation().of_these(changes)
    assert came == expected
    assert sorted(came.changes) == sorted(changes)
    assert Augmentation(brightness=0.3, saturation=0).of_these(["colour"]).brightness == 0.3
    with pytest.raises(UnsupportedError, match="not changed so"):
        Augmentation().of_these(["mirror", *changes])


def test_a_letter_without_flips_is_never_mirrored():
    letter = np.zeros((40, 40, 3), np.uint8)
    letter[:, :20] = 255
    for seed in range(8):
        shown = colours(Augmentation().of_these(["crop", "colour"])(letter, PREPARATION, seed)).mean(axis=(0, 2))
        assert shown[0] > shown[-1]


def test_a_grey_photo_keeps_its_grey_and_one_channel_has_no_saturation():
    grey = np.repeat(PHOTO[..., :1], 3, axis=2)
    for seed in range(3):
        came = colours(Augmentation(brightness=0)(grey, PREPARATION, seed))
        assert np.abs(came - came.mean(axis=2, keepdims=True)).max() < 1e-3
    single = regard.Preparation(size=32, mean=(0.5,), std=(0.2,))
    assert Augmentation()(PHOTO, single, 0).shape == (1, 1, 32, 32)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "0.5", True], ids=str)
@pytest.mark.parametrize("name", ["brightness", "saturation"])
def test_shares_that_are_none_are_refused(name, value):
    with pytest.raises(UnsupportedError, match=f"{name} changes by a share"):
        Augmentation(**{name: value})
