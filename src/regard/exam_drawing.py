"""What came out of an exam: outcomes by epoch, largest weights by outcome, and what a model of the plane sees where.

Blue is a focus that is true, red one that is not; pale is a wrong prediction. Told apart by colour-blind eyes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from torch import Tensor

from regard.errors import UnsupportedError

OUTCOME_COLOURS = {"FTPT": "#1f78c8", "FFPT": "#e0401b", "FTPF": "#86c5f4", "FFPF": "#ffab5e"}
"""Focus true or false, prediction true or false: in their order everywhere."""
MEANINGS = {
    "FTPT": "focus and prediction true",
    "FFPT": "focus false, prediction true",
    "FTPF": "focus true, prediction false",
    "FFPF": "focus and prediction false",
}
WIDTH_INCHES = 9.0
"""Of every figure: 900 pixels at 100 to the inch, as wide as a page of the documents."""
_PARTS = ("train", "test")

_LABEL_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
"""Of labels, by Okabe and Ito; further ones begin again, with another marker."""
_MARKERS = "os^DvPX<>hp"
_LOOKED_AT = LinearSegmentedColormap.from_list("regard_looked_at", ["#ffffff", "#d4d4d4", "#6b6b6b"])
"""Of a focus: the darker, the more it is looked at; points in colours can still be told on it."""
_GRID, _LEVELS, _LEAST_SHARE, _PALENESS = 201, 12, 0.2, 0.7
_PANEL, _AROUND, _HEIGHTS = 3.7, 1.1, (2.0, 6.0)
"""Inches of a figure of regions: the width of a plane, what stands above and beneath it, and how high it may be."""


def draw_curves(seeds: Sequence[Sequence[Mapping[str, float]]], title: str = "") -> Figure:
    """The four outcomes by epoch, in per cent: a thin line a seed, a thick one their mean.

    A seed that ended keeps its last figures in the mean, and its line has a dot where it ended.

    Args:
        seeds: of each its epochs, the one before training first, each with the shares "train FTPT", … "test FFPF": as
            `regard.training.selective.fit.TrainedSeed.epochs` are, where `judged` gave the outcomes.
        title: above all.

    Raises:
        UnsupportedError: no epochs, or an epoch without these shares.
    """
    if not seeds or not all(len(epochs) for epochs in seeds):
        raise UnsupportedError("there is nothing to draw of a seed without epochs", came=f"{[*map(len, seeds)]}"[:200])
    longest = max(map(len, seeds))
    figure, panels = _figure(3.6, title, columns=2)
    for axes, part in zip(panels, _PARTS, strict=True):
        for outcome, colour in OUTCOME_COLOURS.items():
            lines = [100 * _shares(epochs, f"{part} {outcome}") for epochs in seeds]
            for line in lines:
                axes.plot(line, color=colour, linewidth=0.7, alpha=0.4)
                axes.plot(len(line) - 1, line[-1], ".", color=colour, markersize=3, alpha=0.6)
            mean = np.mean([np.pad(line, (0, longest - len(line)), mode="edge") for line in lines], axis=0)
            axes.plot(mean, color=colour, linewidth=2.4, label=outcome)
        _decorate(axes, part, "epoch", "% of mosaics" if part == "train" else "")
        axes.set_ylim(-2, 102)
    of_seeds = f"{len(seeds)} seeds and their mean" if len(seeds) > 1 else "1 seed"
    outcome_legend(figure, of_seeds)
    return figure


def draw_largest_weights(counts: Tensor, title: str = "") -> Figure:
    """Histograms of the largest weight of a mosaic, one an outcome, each in per cent of its own mosaics.

    Args:
        counts: (4, bins), how many mosaics of each outcome have their largest weight in which equal part of [0, 1]: see
            `regard.exams.sdc.weight_figures.largest_weights`.
        title: above all.

    Raises:
        UnsupportedError: other counts, or of no mosaic.
    """
    figure, panels = _figure(2.4, title, columns=4, sharey=True)
    show_largest_weights(panels, counts)
    return figure


def show_largest_weights(panels: Sequence[Axes], counts: Tensor) -> None:
    """The histograms of `draw_largest_weights` on four axes."""
    values = counts.detach().double().cpu().numpy()
    if values.ndim != 2 or len(values) != 4 or not (values >= 0).all() or not 0 < values.sum() < np.inf:
        raise UnsupportedError(
            "largest weights are counted for four outcomes",
            came=f"{values.shape} with {values.sum():g} mosaics",
            expected="(4, bins), none below 0, some above",
        )
    bins = values.shape[1]
    left = np.arange(bins) / bins
    for axes, (outcome, colour), own in zip(panels, OUTCOME_COLOURS.items(), values, strict=True):
        heights = 100 * own / own.sum() if own.any() else own
        axes.bar(left, heights, 1 / bins, align="edge", color=colour, edgecolor="white", linewidth=0.5)
        first = outcome == "FTPT"
        _decorate(axes, f"{outcome} · {own.sum() / values.sum():.1%}", "largest weight", "% of these" if first else "")
        axes.set_xlim(0, 1)


def draw_regions(
    points: Tensor,
    labels: Tensor,
    names: Sequence[str],
    answer: Callable[[Tensor], Tensor],
    focus: Callable[[Tensor], Tensor],
    title: str = "",
) -> Figure:
    """What a model of the plane sees where: which label it gives a segment, and how much the focus would look at it.

    Args:
        points: (n, 2), segments.
        labels: (n,), the label that each decides; −1 for background.
        names: of the C labels.
        answer: points (N, 2) → logits (N, C) of the classifier for what stands there.
        focus: points (N, 2) → scores (N,); what counts is how much higher one is than another.
        title: above all.

    Raises:
        UnsupportedError: segments that are no points of the plane, or answers that are no numbers for these.
    """
    if points.dim() != 2 or points.shape[1:] != (2,) or labels.shape != points.shape[:1] or not len(points):
        raise UnsupportedError(
            "regions are drawn for points of the plane, each with its label",
            came=f"{tuple(points.shape)} and {tuple(labels.shape)}",
            expected="(n, 2) and (n,)",
        )
    across, upward, grid = _grid_about(points)
    said = _on_grid("logits", answer(grid), (len(grid), len(names))).argmax(axis=1)
    scores = _on_grid("scores", focus(grid), (len(grid),))
    fitting = _PANEL * float(np.ptp(upward) / np.ptp(across))
    height = float(np.clip(fitting, *_HEIGHTS))
    figure, (left, right) = _figure(height + _AROUND, title, columns=2)
    shape = (len(upward), len(across))
    colours = [_pale(_LABEL_COLOURS[number % len(_LABEL_COLOURS)]) for number in range(len(names))]
    left.pcolormesh(across, upward, said.reshape(shape), cmap=ListedColormap(colours), vmin=-0.5, vmax=len(names) - 0.5)
    levels = _levels(_on_grid("scores", focus(points), (len(points),)))
    filled = right.contourf(across, upward, scores.reshape(shape), levels, cmap=_LOOKED_AT, extend="both")
    right.contour(filled, colors="0.35", linewidths=0.5, linestyles="solid")
    bar = figure.colorbar(filled, ax=right, fraction=0.04, pad=0.01, format="%.2g")
    bar.ax.tick_params(labelsize=7)
    bar.set_label("score · looked at →", fontsize=7)
    for axes, heading in ((left, "classifier: the label of what stands there"), (right, "focus: its score")):
        handles = _points(axes, points.detach().cpu().numpy(), labels.cpu().numpy(), names)
        _decorate(axes, heading, "", "")
        axes.set_aspect("equal" if height == fitting else "auto", adjustable="box")
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 7), fontsize=8, frameon=False)
    return figure


def outcome_legend(figure: Figure | SubFigure, title: str = "") -> None:
    """What the colours of outcomes mean, beneath a figure."""
    handles = [Line2D([], [], color=colour, linewidth=4) for colour in OUTCOME_COLOURS.values()]
    words = [f"{outcome}: {meaning}" for outcome, meaning in MEANINGS.items()]
    legend = figure.legend(
        handles, words, loc="outside lower center", ncols=4, fontsize=7.5, frameon=False, handlelength=1
    )
    legend.set_title(title, FontProperties(size=7.5))


def head(figure: Figure | SubFigure, words: str) -> None:
    """What stands above a figure."""
    figure.suptitle(words, fontsize=9, x=0.01, ha="left", parse_math=False)


def canvas(height: float) -> Figure:
    """An empty figure, of `WIDTH_INCHES`, that no window knows of."""
    figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _figure(height: float, title: str, columns: int, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    figure = canvas(height)
    if title:
        head(figure, title)
    return figure, [*figure.subplots(1, columns, sharey=sharey)]


def _decorate(axes: Axes, title: str, across: str, upward: str) -> None:
    axes.set_title(title, fontsize=8, parse_math=False)
    axes.set_xlabel(across, fontsize=8)
    axes.set_ylabel(upward, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _shares(epochs: Sequence[Mapping[str, float]], name: str) -> np.ndarray:
    values = np.array([epoch.get(name, np.nan) for epoch in epochs], dtype=float)
    if not ((values >= 0) & (values <= 1)).all():
        wrong = int(np.argmin((values >= 0) & (values <= 1)))
        raise UnsupportedError(
            f"an epoch has no share {name!r}", came=f"{epochs[wrong].get(name)} in epoch {wrong}", expected="0 to 1"
        )
    return values


def _grid_about(points: Tensor) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """Places across, places upward, and all their pairs (N, 2), row by row: about all points."""
    low, high = points.amin(dim=0), points.amax(dim=0)
    margin = 0.08 * (high - low).clamp(min=1e-3)
    ends = torch.stack([low - margin, high + margin], dim=1).tolist()
    across, upward = (torch.linspace(start, end, _GRID) for start, end in ends)
    rows, columns = torch.meshgrid(upward, across, indexing="ij")
    return across.numpy(), upward.numpy(), torch.stack([columns.flatten(), rows.flatten()], dim=1)


def _levels(scores: np.ndarray) -> np.ndarray:
    """Where the shades of a focus end: what is far below most segments is never looked at, and takes no shades."""
    low, high = np.quantile(scores, _LEAST_SHARE), scores.max()
    return np.linspace(low, high + 1e-3 * max(1.0, abs(high)), _LEVELS)


def _on_grid(what: str, values: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    if tuple(values.shape) != shape or not bool(values.isfinite().all()):
        raise UnsupportedError(
            f"a model of the plane has {what} everywhere", came=f"{tuple(values.shape)}", expected=f"finite, {shape}"
        )
    return values.detach().double().cpu().numpy()


def _points(axes: Axes, points: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> list[Line2D]:
    """Segments with a marker and a colour a label, background as grey crosses."""
    handles = axes.plot(*points[labels < 0].T, "x", color="0.3", markersize=3, alpha=0.5, label="background")
    for number, name in enumerate(names):
        colour, marker = _LABEL_COLOURS[number % len(_LABEL_COLOURS)], _MARKERS[number % len(_MARKERS)]
        own = points[labels == number].T
        handles += axes.plot(*own, marker, color=colour, markersize=4, mec="white", mew=0.4, label=name)
    return handles


def _pale(colour: str) -> np.ndarray:
    return _PALENESS + (1 - _PALENESS) * np.array(to_rgb(colour))
