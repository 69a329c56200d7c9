"""Figures as files: pixels for screens, vectors for papers."""

from __future__ import annotations

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from regard.errors import FileFormatError

PICTURES = (".png", ".svg", ".pdf")
"""Endings of files that figures are written to."""


def save(figure: Figure, file: Path) -> None:
    """Write a figure as its file's ending says: .png at 100 dots an inch; .svg and .pdf as vectors, for papers.

    Words stay words in both, with fonts that print shops take; photos and maps stay pixels, as they are. Equal figures
    are equal files.

    Raises:
        FileFormatError: another ending.
    """
    if file.suffix not in PICTURES:
        raise FileFormatError("a figure is written as one of these", came=str(file), expected=", ".join(PICTURES))
    undated: dict[str, dict[str, str | None]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "regard", "pdf.fonttype": 42}):
        figure.savefig(file, dpi=100, metadata=undated.get(file.suffix))
