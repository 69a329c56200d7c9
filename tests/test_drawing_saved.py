"""Figures as files, and maps as layers of a page."""

import numpy as np
import pytest
import torch
from PIL import Image

from regard.drawing import Scale, cover, layer, overlay
from regard.errors import FileFormatError
from regard.figure_file import save

from .test_notebook import explained

BEGINS = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF-"}


@pytest.mark.parametrize("ending", BEGINS)
def test_a_figure_is_written_as_its_ending_says_and_twice_the_same(ending, tmp_path):
    for name in ("one", "two"):
        save(explained(1).figure(), tmp_path / f"{name}{ending}")
    one, two = ((tmp_path / f"{name}{ending}").read_bytes() for name in ("one", "two"))
    assert one.startswith(BEGINS[ending])
    assert one == two


def test_words_stay_words_in_vectors(tmp_path):
    save(explained(1).figure(), tmp_path / "a.svg")
    save(explained(1).figure(), tmp_path / "a.pdf")
    assert ">random · " in (tmp_path / "a.svg").read_text("utf-8")
    assert b"/Type3" not in (tmp_path / "a.pdf").read_bytes()


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(FileFormatError, match="one of these"):
        save(explained(1).figure(), tmp_path / "a.docx")


@pytest.mark.parametrize("signed", [True, False])
def test_a_layer_over_the_greyed_picture_is_the_overlay(signed):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn((6, 5), generator=generator).numpy()
    values[0, 0] = np.nan
    picture = torch.randint(256, (6, 5, 3), dtype=torch.uint8, generator=generator).numpy()
    scale = Scale(2.0, signed)
    none = np.zeros((6, 5))
    grey = cover(picture, np.zeros((6, 5, 3)), none, none.astype(bool))
    grey[0, 0] = picture[0, 0]
    laid = Image.alpha_composite(
        Image.fromarray(grey).convert("RGBA"), Image.fromarray(layer(values, scale, signed), "RGBA")
    )
    difference = np.asarray(laid.convert("RGB"), int) - overlay(picture, values, scale, signed).astype(int)
    assert np.abs(difference).max() <= 2
