"""What the answer becomes while a picture is taken away, or shown, in the order of a map.

Each curve is computed once, for all metrics that read it (Petsiuk et al. 2018, RISE, section 3.3: insertion and
deletion; CDAM, section 5.2: most and least important first). With one fill and mirrored steps these are the same two
curves: removing the n least relevant of N places shows the N − n most relevant, so the least-important-first curve is
the insertion curve read backward, and the area between the two orders is insertion minus deletion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as functional
from torch import Tensor

from regard.errors import MetricError
from regard.explanation import Explanation
from regard.fills import Fill, black
from regard.metrics.common_grid import enlarged, on_grid
from regard.metrics.judged_pictures import JudgedPictures, judged_pictures
from regard.metrics.ranking import TIES, ranks
from regard.models import dropping, passes
from regard.models.classifier import Classifier

Level = Literal["pixel", "grid"]
STEPS = 32
RETAINED = (0.5, 0.15)
"""Shares of a picture that ranked scores show: the top half and the top 15 % (TAME, section 3.1; never all of it)."""
DROPPING = "token dropping"
"""What stands for a fill in rows of curves that drop tokens."""


@dataclass(frozen=True, eq=False)
class Curves:
    """The answers to B pictures while N places of each are shown or removed, for T targets.

    The value of a class is its probability, where the classifier gives probabilities; of any other target its own
    value. All values float64 (float32 on mps), a probability from softmax in float64 of the logits as they came.

    Attributes:
        counts: places shown at each point, (S+1,), ascending, int64: round(k · N / S), no count twice; the first is
            nothing (one token, where a network cannot do without), the last everything.
        places: N.
        insertion: (B, T, S+1): the `counts` most relevant places are shown.
        deletion: (B, T, S+1): point k has lost the N − counts[S−k] most relevant places.
        retained: share of places shown, by rank → (B, T).
        level: what a place is: "pixel" (the map enlarged bilinearly), "grid" (a cell of the map) or "token".
        fill: what removed places become, in words.
        ties: the tie rule, in words.
        precision: of the passes.
    """

    counts: Tensor
    places: int
    insertion: Tensor
    deletion: Tensor
    retained: dict[float, Tensor]
    level: str
    fill: str
    precision: str
    ties: str = TIES

    @property
    def clean(self) -> Tensor:
        """The value of the whole picture, (B, T)."""
        return self.deletion[:, :, 0]

    @property
    def empty(self) -> Tensor:
        """The value of nothing but the fill, (B, T)."""
        return self.insertion[:, :, 0]

    @property
    def least_first(self) -> Tensor:
        """(B, T, S+1): point k has lost the N − counts[S−k] least relevant places."""
        return self.insertion.flip(2)

    @property
    def steps(self) -> int:
        """S."""
        return len(self.counts) - 1

    def area(self, curve: Literal["insertion", "deletion", "least_first"]) -> Tensor:
        """Area under a curve over the share of places shown or removed, on the unit interval, (B, T), float64.

        The trapezoid rule over the exact shares; a curve that cannot start at nothing is stretched over the interval.
        """
        values: Tensor = getattr(self, curve)
        shares = self.counts.double()
        shares = (shares - shares[0]) / (shares[-1] - shares[0])
        if curve != "insertion":
            shares = 1 - shares.flip(0)
        found: Tensor = torch.trapezoid(values.double(), shares.to(values.device), dim=2)
        return found


def curves(
    classifier: Classifier,
    pixels: Tensor,
    explanation: Explanation,
    *,
    fill: Fill | None = None,
    steps: int = STEPS,
    level: Level = "pixel",
    targets: Any = None,
    seed: int = 0,
) -> Curves:
    """Insertion and deletion curves, and the answers at the retained shares, with pixels filled.

    Every pass shows a picture through a mask `rank < n`: no sort, no scatter a step, n exact. The clean and the empty
    picture are shared by both curves and all targets.

    Args:
        classifier: the one that the maps explain.
        pixels: what was explained, (B, 3, H, W), or photos.
        explanation: its maps, (B, T, h, w).
        fill: what removed pixels become; default black. Which fill it is decides what the figures are worth: on the
            134 Imagenette photos half a picture in random order loses 38 % of the probability with black, 43 % with
            the training set's mean colour and 11 % with a blur, the centre 8, 12 and 6, CDAM 3, 12 and 2: the mean
            colour does not tell CDAM from a blob, the blur hardly a random map from it (docs/evaluated.md).
        steps: S; 32. Fewer where a map has fewer places.
        level: what is ranked: "pixel" enlarges maps bilinearly first, so that methods of different grids remove
            equally fine parts; "grid" removes whole cells of each map's own grid. Any rising function of a map leaves
            its curves of "grid" alone; of "pixel", where enlarging comes first, a positive factor and a constant do.
        targets: what was asked, where it was no class; default the classes that the explanation names.
        seed: of the order among equals.

    Cost: 2 forwards an image, and 2 (S − 1) an image and target, + 1 for a share that no step meets: 2 S an image for
    one target. Where the method tells no targets apart, as for one target.

    Raises:
        MetricError: the explanation is of another classifier or other pictures, or explains no classes and `targets`
            are not given; no steps, or no such level.
        NotFiniteError: NaN or infinity in a picture or a map.
    """
    judged = judged_pictures(classifier, pixels, explanation, targets)
    covered = explanation.geometries[0].frame
    if level == "pixel":
        maps = enlarged(judged.maps, covered)
    elif level == "grid":
        maps = judged.maps
    else:
        raise MetricError("there is no such level", came=repr(level), expected="pixel or grid")
    fill = black(classifier.preparation.mean, classifier.preparation.std) if fill is None else fill
    order = ranks(maps, judged.pixels.cpu(), seed).to(judged.pixels.device)
    jobs = _Jobs.of(order, _counts(order.shape[2], steps))

    def masks(numbers: Tensor) -> Tensor:
        kept = jobs.kept(order, numbers).view(-1, 1, *maps.shape[2:]).float()
        kept = functional.interpolate(kept, covered, mode="nearest-exact")
        return _beside(kept, judged.pixels, jobs.inserts[numbers])

    answers = passes.masked(
        classifier,
        judged.pixels,
        jobs.image,
        masks,
        fill,
        lambda output, numbers: judged.values(output, jobs.image[numbers], jobs.row[numbers]),
    )
    empty = judged.answers_to(fill.background(judged.pixels))
    return jobs.curves(judged, empty, answers, level=level, fill=repr(fill), precision=classifier.precision)


def token_curves(
    classifier: Classifier,
    pixels: Tensor,
    explanation: Explanation,
    *,
    steps: int = STEPS,
    targets: Any = None,
    seed: int = 0,
) -> Curves:
    """The same curves by dropping the patches' tokens: nothing stands in for what is removed.

    Maps of another grid are averaged over patches first, by area. Never to be compared with curves of filled pixels.
    A network whose head reads the patches, to average or pool them, keeps one at least. Cost: as `curves`, and a
    forward or two an image; but a pass is as long as its tokens, so about S forwards an image and target in all.

    Args:
        classifier: of a transformer that can drop tokens.
        pixels: what was explained.
        explanation: its maps.
        steps: S; 32.
        targets: as in `curves`.
        seed: of the order among equals.

    Raises:
        UnsupportedError: the network cannot drop tokens.
        MetricError: as in `curves`.
    """
    tokens = classifier.tokens
    if tokens is None:
        raise MetricError("only a transformer has tokens to drop", came=classifier.name, remedy="use a fill")
    judged = judged_pictures(classifier, pixels, explanation, targets)
    grid, frame = tokens.grid(judged.pixels), explanation.geometries[0].frame
    down, across = (n * side / length for n, side, length in zip(grid, tokens.patch, frame, strict=True))
    order = ranks(on_grid(judged.maps, grid, (down, across)), judged.pixels.cpu(), seed).to(judged.pixels.device)
    jobs = _Jobs.of(order, _counts(order.shape[2], steps, least=0 if tokens.rows is not None else 1))
    every = torch.arange(len(jobs.image), device=order.device)
    shown = [places.nonzero()[:, 0] for places in jobs.kept(order, every)]
    answers = judged.values(
        dropping.dropped_answers(classifier, judged.pixels, jobs.image, shown), jobs.image, jobs.row
    )
    empty = None
    if tokens.rows is not None:
        images, nothing = torch.arange(len(order)), [order.new_empty(0, dtype=torch.int64)] * len(order)
        bare = dropping.dropped_answers(classifier, judged.pixels, images, nothing)
        empty = judged.values_of(bare)
    return jobs.curves(judged, empty, answers, level="token", fill=DROPPING, precision=classifier.precision)


@dataclass(frozen=True)
class _Jobs:
    """Every mask of every map: of image b and row m of its maps, the `shown` first or last places.

    Jobs stand image by image, row by row: insertion at each count of `shown_first`, deletion at each of `shown_last`.
    """

    shape: tuple[int, int]
    places: int
    counts: Tensor
    shown_first: Tensor
    shown_last: Tensor
    image: Tensor
    row: Tensor
    shown: Tensor
    inserts: Tensor

    @classmethod
    def of(cls, order: Tensor, counts: Tensor) -> _Jobs:
        images, rows, places = order.shape
        inner = counts[(counts > 0) & (counts < places)]
        first = torch.cat([inner, torch.tensor(list(_retained(counts).values()))]).unique()
        first = first[first > 0]
        each = len(first) + len(inner)
        jobs = torch.arange(images * rows * each, device=order.device)
        shown, point = torch.cat([first, inner]).to(order.device), jobs % each
        return cls(
            shape=(images, rows),
            places=places,
            counts=counts,
            shown_first=first,
            shown_last=inner,
            image=jobs // (rows * each),
            row=jobs // each % rows,
            shown=shown[point],
            inserts=point < len(first),
        )

    def kept(self, order: Tensor, numbers: Tensor) -> Tensor:
        """Which places stay in the jobs of those numbers, (n, N)."""
        ranked, shown = order[self.image[numbers], self.row[numbers]], self.shown[numbers, None]
        return torch.where(self.inserts[numbers, None], ranked < shown, ranked >= self.places - shown)

    def curves(self, judged: JudgedPictures, empty: Tensor | None, answers: Tensor, **words: str) -> Curves:
        """The answers to all jobs, and the ends that all of them share, put in order.

        Args:
            judged: what was asked of what.
            empty: (B, T); None where the jobs hold the first point themselves.
            answers: (jobs, T or 1).
            words: level, fill and precision.
        """
        found = judged.by_target(answers.view(*self.shape, -1, answers.shape[1]))
        first, last = found.split([len(self.shown_first), len(self.shown_last)], dim=2)
        clean = judged.clean.cpu()
        at = {int(count): first[:, :, place] for place, count in enumerate(self.shown_first)}
        removed = {int(count): last[:, :, place] for place, count in enumerate(self.shown_last)}
        at[self.places] = removed[self.places] = clean
        if empty is not None:
            at[0] = removed[0] = empty.cpu()
        counts = self.counts.tolist()
        return Curves(
            counts=self.counts,
            places=self.places,
            insertion=torch.stack([at[count] for count in counts], dim=2),
            deletion=torch.stack([removed[count] for count in reversed(counts)], dim=2),
            retained={share: at[count] for share, count in _retained(self.counts).items()},
            **words,
        )


def _counts(places: int, steps: int, least: int = 0) -> Tensor:
    """Places shown at each point: round(k · N / S) for k = 0 … S, from `least`, no count twice."""
    if type(steps) is not int or steps < 1:
        raise MetricError("a curve has a whole number of steps", came=f"steps={steps!r}", expected="1 or more")
    if places <= least:
        raise MetricError("a map of one place has no order", came=f"{places} places")
    counts = torch.tensor([_nearest(step * places / steps) for step in range(steps + 1)]).clamp(min=least)
    unique: Tensor = counts.unique()
    return unique


def _retained(counts: Tensor) -> dict[float, int]:
    """Places shown at each retained share; one at least, where a network cannot do without."""
    least, places = int(counts[0]), int(counts[-1])
    return {share: max(least, _nearest(share * places)) for share in RETAINED}


def _nearest(value: float) -> int:
    """To the nearest whole number, halves up."""
    return math.floor(value + 0.5)


def _beside(kept: Tensor, pixels: Tensor, inserts: Tensor) -> Tensor:
    """Masks of the part of the frame that maps are of, (n, 1, h, w) → of the whole frame, (n, 1, H, W).

    What no map speaks of is the last to be shown and the last to be removed.
    """
    below, beside = pixels.shape[2] - kept.shape[2], pixels.shape[3] - kept.shape[3]
    if not (below or beside):
        return kept
    whole: Tensor = (~inserts).to(kept)[:, None, None, None].expand(-1, 1, *pixels.shape[2:]).clone()
    whole[:, :, : kept.shape[2], : kept.shape[3]] = kept
    return whole
