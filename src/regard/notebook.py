"""Figures and tables as notebooks show them: small, and whatever they name escaped."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDEST = 900
"""Pixels of a figure in a notebook."""

MOST_ROWS = 8
"""Images of an explanation that a notebook shows."""


def html_figure(figure: Figure, said: str) -> str:
    """A figure as a picture inside of its HTML, and what it shows, for those who do not see it."""
    encoded = io.BytesIO()
    figure.savefig(encoded, format="png", dpi=min(100.0, WIDEST / figure.get_figwidth()))
    picture = base64.b64encode(encoded.getvalue()).decode()
    return f'<img alt="{html.escape(said)}" src="data:image/png;base64,{picture}">'


def html_table(rows: Sequence[Sequence[str]], caption: str) -> str:
    """A table, the head first; the first cell of each row is its name."""
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in rows[0])
    lines = (
        f'<tr><th scope="row">{html.escape(row[0])}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows[1:]
    )
    return (
        f"<table><caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table>"
    )
