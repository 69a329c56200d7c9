"""What counts as a map that can be measured."""

from __future__ import annotations

from torch import Tensor

from regard.errors import NotFiniteError, PixelsError


def check_maps(maps: Tensor) -> None:
    """Refuse what are not maps (..., h, w), and maps that hold NaN or infinity, with the first place.

    Raises:
        PixelsError: fewer than two axes.
        NotFiniteError: NaN or infinity.
    """
    if maps.dim() < 2:
        raise PixelsError("a map has height and width", came=f"{tuple(maps.shape)}", expected="(..., h, w)")
    bad = ~maps.isfinite()
    if bool(bad.any()):
        place = tuple(bad.nonzero()[0].tolist())
        raise NotFiniteError(
            "a map that holds NaN or infinity cannot be measured",
            came=f"{float(maps[place])} at {place} of {tuple(maps.shape)}",
        )
