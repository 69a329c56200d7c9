"""What sections of a report are made of. Each kind of block has one macro in `templates/blocks.html`, which escapes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from regard.report.charts import Chart


@dataclass(frozen=True)
class Words:
    """A paragraph; `tone` "warning" for what a reader must not overlook, "note" for what is small."""

    text: str
    tone: Literal["plain", "note", "warning"] = "plain"
    kind: ClassVar[str] = "words"


@dataclass(frozen=True)
class Facts:
    """Names and what they are: a list of terms. `code` names those that are written by machines, such as hashes."""

    pairs: Sequence[tuple[str, str]]
    code: frozenset[str] = frozenset()
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        rows: the head first; of each row the first cell is its name. `**…**` is emphasised, as in Markdown.
        title: above it, and what a screen reader calls it.
        folded: whether it is closed until a reader opens it; in print it is open.
    """

    rows: Sequence[Sequence[str]]
    title: str
    folded: bool = False
    kind: ClassVar[str] = "grid"


@dataclass(frozen=True)
class Charts:
    """Drawings of curves, beside each other."""

    charts: Sequence[Chart]
    kind: ClassVar[str] = "charts"


@dataclass(frozen=True)
class Layer:
    """A map on its photo.

    Attributes:
        target: what was asked.
        said: its numbers, in words.
        source: the map as a picture to lie over the photo, a data URI; None where there is none, as `said` says.
    """

    target: str
    said: str
    source: str | None


@dataclass(frozen=True)
class Maps:
    """The maps of one method on a photo, which share a scale.

    Attributes:
        method: by which.
        layers: a target each.
        ends: what the colours of the scale's ends mean, in numbers; None where there is no map.
        signed: which colours.
    """

    method: str
    layers: tuple[Layer, ...]
    ends: tuple[str, str] | None
    signed: bool = False


@dataclass(frozen=True)
class Card:
    """A photo in a gallery.

    Attributes:
        name: of the photo, as rows have it.
        source: the photo, a data URI; None where it is gone, as `notes` say.
        size: (width, height) of that picture.
        classes: by which it can be filtered.
        verdict: "right", "wrong", … ; "" where nobody knows.
        maps: a method each, side by side.
        scores: name → number, by which it can be ordered and filtered; NaN or infinity for none.
        notes: what else is said of it.
    """

    name: str
    source: str | None
    size: tuple[int, int]
    classes: tuple[str, ...] = ()
    verdict: str = ""
    maps: tuple[Maps, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def finite(self) -> dict[str, float]:
        """Its scores that are numbers: JSON, which the page's script reads, has no others."""
        return {name: value for name, value in self.scores.items() if math.isfinite(value)}


@dataclass(frozen=True)
class Gallery:
    """Photos with their maps.

    Attributes:
        cards: in their order.
        legend: how the maps' colours are read, a line a method.
        filtered: whether a reader can filter and order; not where few are shown for a reason.
    """

    cards: Sequence[Card]
    legend: Sequence[str] = ()
    filtered: bool = True
    kind: ClassVar[str] = "gallery"

    @property
    def classes(self) -> list[str]:
        """Of all cards, in alphabetical order."""
        return sorted({name for card in self.cards for name in card.classes}, key=str.casefold)

    @property
    def verdicts(self) -> list[str]:
        """Of all cards, where there are several to choose from."""
        found = sorted({card.verdict for card in self.cards} - {""})
        return found if len(found) > 1 else []

    @property
    def methods(self) -> list[str]:
        """By which there are maps, in their order, where there are several to choose from."""
        found = list(dict.fromkeys(maps.method for card in self.cards for maps in card.maps))
        return found if len(found) > 1 else []

    @property
    def scores(self) -> list[str]:
        """Names of numbers by which all cards can be ordered; cards without any number do not count."""
        scored = [card.scores for card in self.cards if card.scores]
        return [name for name in (scored[0] if scored else ()) if all(name in scores for scores in scored)]

    @property
    def layered(self) -> bool:
        """Whether any map is shown, so that its opacity can be chosen."""
        return any(layer.source for card in self.cards for maps in card.maps for layer in maps.layers)


@dataclass(frozen=True)
class Picture:
    """A figure that was drawn: what it shows, the figure as a data URI, its (width, height)."""

    words: str
    source: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Pictures:
    """Figures, as wide as the page, closed until a reader opens them."""

    title: str
    pictures: Sequence[Picture]
    kind: ClassVar[str] = "pictures"


Block = Words | Facts | Grid | Charts | Gallery | Pictures


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        anchor: its name in addresses.
        title: its heading.
        blocks: what it shows; a section without any is left out.
    """

    anchor: str
    title: str
    blocks: Sequence[Block]
