"""What is known of the experiments that the named grids are like: figures, and what was claimed of them.

All figures are in per cent and from papers/sdc.md: section 6 quotes the experiments, section 5 what was measured for
that paper's summary. None is a target: there mosaics, networks, epochs and the number of runs were others, and what was
tested with had been learnt from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Published:
    """Figures of a cell.

    Attributes:
        section: of papers/sdc.md.
        train: (accuracy, FTPT) on what was learnt from.
        test: the same on other mosaics.
        seeds: instead, what single seeds came to in training, FTPT/FFPT, where their mean would say little.
        weights: support/simplex distance/entropy in bits, in training.
        doubt: why they may be wrong.
    """

    section: str
    train: tuple[float | None, float] | None = None
    test: tuple[float | None, float] | None = None
    seeds: str = ""
    weights: str = ""
    doubt: str = ""


@dataclass(frozen=True)
class Claim:
    """What was claimed of some cells.

    Attributes:
        words: the claim.
        section: of papers/sdc.md.
        cells: their names, in the order in which the figure is said to rise or fall; one alone where it is said to
            occur; two where that of the second less that of the first is said to be above or below a level.
        says: what of the figure. "occurs": in any seed.
        figure: which, in per cent.
        level: of "above" and "below", in points.
        untreated: a cell whose own difference from the first stands beside that of the second: whether there was
            anything to cure.
        doubt: what else was published against it.
    """

    words: str
    section: str
    cells: tuple[str, ...]
    says: Literal["rises", "falls", "above", "below", "occurs"] = "rises"
    figure: str = "test FTPT"
    level: float = math.nan
    untreated: str = ""
    doubt: str = ""

    @property
    def needs(self) -> frozenset[str]:
        """All cells without which it cannot be judged."""
        return frozenset({*self.cells, self.untreated} - {""})


PUBLISHED: Mapping[str, Mapping[str, Published]] = {
    "d1": {
        "default": Published("6.3", (98.16, 74.72), weights="2.407/0.241/0.677"),
        "layer 1": Published("6.3", (99.64, 78.51)),
        "layer 2": Published("6.3", (99.68, 85.95)),
        "focus mlp-10": Published("6.4", (None, 58.2)),
        "focus mlp-100": Published("6.4", (None, 79.8)),
        "focus mlp-100, classifier mlp-10": Published("6.4", (None, 81.9)),
        "focus mlp-100, classifier mlp-200": Published("6.4", (None, 69.8)),
        "sparsemax": Published("6.5", (98.57, 76.95), weights="1.61/0.740 (?)/0.394"),
        "spherical, focus random": Published("6.5", (96.16, 71.38), weights="3.294/0.338/1.038"),
        "k 0.001": Published("6.5", (91.93, 66.31)),
        "k 0.005": Published("6.5", (92.48, 65.95)),
        "k 0.02": Published("6.5", (56.07, 25.28)),
    },
    "d2": {
        "default": Published("6.3", (99.89, 87.62), weights="1.221/0.036/0.101"),
        "layer 1": Published("6.3", (99.74, 81.11)),
        "layer 2": Published("6.3", (99.89, 93.89)),
        "focus mlp-50, classifier mlp-50": Published("6.4", (99.99, 89.13)),
        "focus mlp-50, classifier mlp-200": Published(
            "6.4", (99.99, 99.99), doubt="the second 99.99 looks like a typing error"
        ),
        "focus mlp-200, classifier mlp-50": Published("6.4", (99.98, 88.89)),
        "focus mlp-200, classifier mlp-200": Published("6.4", (99.98, 86.50)),
        "sparsemax": Published("6.5", (99.99, 99.36), weights="1.091/0.018/0.051"),
        "spherical, focus random": Published("6.5", (98.44, 63.33), weights="2.747/0.224/0.686"),
    },
    "boxes": {
        "default": Published("5.1", seeds="three of five 65–67/33–35, one 41/55, one 48/45"),
        "boxes-1": Published("5.2", seeds="three of five 100/0, two 0/35, stuck"),
        "boxes-4": Published("5.1", seeds="two of five 83/17, two 100/0, one 70/21"),
        "focus mlp-50": Published("5.1", seeds="three of five 100/0, one 66/34, one 68/32"),
        "hard": Published("5.1", seeds="of three FFPT 24 to 35, right in 68 to 79"),
        "marginal": Published("5.1", seeds="two 66.6/32.6"),
    },
    "cifar-10": {
        "default": Published("6.1", (99, 82), (91, 76), weights="3.8–4.2/–/–, of CNN-6"),
        "focus learns": Published("6.1", (33, 3), (33, 3)),
        "classifier learns": Published("6.1", (99, 9), (41, 4)),
        "focus told": Published("6.1", (99, 99), (98, 98)),
        "focus told, classifier learns": Published("6.1", (99, 99), (97, 97)),
        "classifier told": Published("6.1", (99, 83), (93, 78)),
        "classifier told, focus learns": Published("6.1", (99, 84), (91, 79)),
        "classifier told, classifier learns": Published("6.1", (99, 14), (42, 6)),
        "m 5": Published("6.2", (99.45, 85.29), (91.70, 78.39)),
        "m 20": Published("6.2", (99.82, 72.19), (90.61, 66.76)),
        "m 50": Published("6.2", (99.13, 60.12), (82.59, 55.94)),
        "layer 3": Published("6.3, of CNN-6", (None, 87.6), (None, 83.5)),
        "sparsemax": Published("6.5, of CNN-6", (None, 85.7), (None, 82.8), weights="1.7–2.0/–/–"),
        "spherical": Published("6.5, of CNN-6", (None, 86.1), (None, 82.7), weights="4.0–4.8/–/–"),
        "k 0.003": Published("6.5, of CNN-6", (None, 84.2), (None, 81.0)),
        "1000 mosaics, focus cnn-6, classifier cnn-6": Published("6.1", (99, 85), (93, 80)),
    },
}
"""Grid → cell → figures. Of three seeds (6.5) their mean; their default has 82.8 in training and 79.8 in the test."""

SHORT = -5.0
"""Points of FTPT that a cell may miss of what its networks can reach if they are told where to look in every step, and
still be called cured. Of 100 that can be reached, 98 are there after a good beginning of the focus, 78 after a good
classifier alone (6.1, test). A level would not do: some focuses can reach 68."""


def _beginnings(focus: str = "") -> tuple[Claim, ...]:
    """Of good beginnings of a focus that could do well; its name, if it is not the default's."""
    named = f"{focus}, " if focus else ""
    told, classifier, bound = (named + each for each in ("focus told", "classifier told", "supervised"))
    untreated = focus or "default"
    return (
        Claim(
            "a good beginning of the focus cures it", "6.1", (bound, told), "above", level=SHORT, untreated=untreated
        ),
        Claim(
            "a good classifier does not cure it", "6.1", (bound, classifier), "below", level=SHORT, untreated=untreated
        ),
        Claim("a good focus helps more than a good classifier", "6.1", (classifier, told)),
    )


_BY_LAYER = "it helps where is averaged at the second layer"
_MORE_SEGMENTS = Claim("FTPT falls as m grows", "6.2", ("m 5", "default", "m 20", "m 50"), "falls")
_LESS_DATA = Claim("less data hurts", "6.2", ("2000 mosaics", "default"))

CLAIMS: Mapping[str, tuple[Claim, ...]] = {
    "d1": (
        *_beginnings(),
        Claim(
            "averaging at a later layer helps",
            "6.3",
            ("default", "layer 1", "layer 2"),
            doubt="an older table has the last layer worst",
        ),
        Claim("a larger focus helps", "6.4", ("focus mlp-10", "focus mlp-100")),
        Claim(
            "a larger classifier hurts",
            "6.4",
            ("focus mlp-100, classifier mlp-10", "focus mlp-100", "focus mlp-100, classifier mlp-200"),
            "falls",
        ),
        Claim(
            "more entropy in the loss hurts",
            "6.5",
            ("default", "k 0.001", "k 0.005", "k 0.02"),
            "falls",
            doubt="another table has it help a little",
        ),
        Claim("sparsemax hurts a little", "6.5", ("default", "sparsemax"), "falls", doubt=_BY_LAYER),
        Claim("spherical weights hurt", "6.5", ("focus random", "spherical, focus random"), "falls", doubt=_BY_LAYER),
    ),
    "d2": (
        *_beginnings(),
        Claim("averaging at the second layer helps", "6.3", ("default", "layer 2")),
        Claim("sparsemax helps", "6.5", ("default", "sparsemax")),
        Claim("spherical weights hurt", "6.5", ("focus random", "spherical, focus random"), "falls"),
    ),
    "boxes": (
        *_beginnings("focus mlp-50"),  # a linear focus can hold nothing better
        Claim("soft attention comes to code a class", "5.1", ("default",), "occurs", "class-coded"),
        Claim("class-coded focus survives hard attention", "5.1", ("hard",), "occurs", "class-coded"),
        Claim("class-coded focus survives marginal likelihood", "5.1", ("marginal",), "occurs", "class-coded"),
        Claim(
            "class-coded focus survives a focus that could do better", "5.1", ("focus mlp-50",), "occurs", "class-coded"
        ),
        Claim("class-coded focus survives sparse weights", "5.1", ("sparsemax",), "occurs", "class-coded"),
        Claim(
            "of nine segments, too, soft attention comes to code a class", "5.1", ("boxes-4",), "occurs", "class-coded"
        ),
        Claim(
            "where background lies to one side, soft attention may be stuck",
            "5.2",
            ("boxes-1",),
            "occurs",
            "not learnt",
        ),
    ),
    "cifar-10": (
        *_beginnings(),
        _MORE_SEGMENTS,
        replace(
            _MORE_SEGMENTS, words="of right answers, fewer look at the foreground as m grows", figure="test rightly"
        ),
        _LESS_DATA,
        replace(
            _LESS_DATA, words="with less data, fewer of the right answers look at the foreground", figure="test rightly"
        ),
        Claim("averaging at the third layer helps", "6.3", ("default", "layer 3")),
        Claim("sparsemax helps", "6.5", ("default", "sparsemax")),
        Claim("spherical weights help", "6.5", ("default", "spherical")),
        Claim("a little entropy in the loss helps", "6.5", ("default", "k 0.003")),
        Claim("a test of what was learnt from flatters", "8", ("default", "leaky")),
    ),
}
"""Grid → what was claimed."""
