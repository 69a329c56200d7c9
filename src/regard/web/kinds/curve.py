"""What becomes of the answer while what a map calls relevant is removed, and while cells are removed at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from regard.drawing import as_drawn
from regard.explanation import Explanation
from regard.fills import Colour, Fill
from regard.images import Pixels, seed_of
from regard.metrics.common_grid import on_grid
from regard.metrics.curves import Curves, curves, token_curves
from regard.metrics.ranking import ranks
from regard.models.classifier import Classifier
from regard.targets import Class, Predicted, Probability, Target
from regard.web import schema, told
from regard.web.classifiers import plain_passes, written
from regard.web.desk import Desk
from regard.web.jobs import Result, Told, Work
from regard.web.kinds.asked import fill_of, frame_of, numbers, packed, target_facts, target_of, tokens_to_drop
from regard.web.python_lines import lines_of_curve
from regard.web.visitors import Visitor

RANDOM_DRAWS = 3
"""Each gives two random orders, of which one is the other from its end: their curves cost no further passes."""


def curve(asked: schema.Curve, visitor: Visitor, desk: Desk) -> Work:
    """The work of a request: a map, and 2 S passes for it as for each random draw."""
    served, photo = desk.classifiers[asked.classifier], desk.photo(asked.photo, visitor)
    classifier = served.classifier
    target, concepts = target_of(asked.target, visitor)
    target.bind(classifier)
    if asked.removal == "tokens":
        tokens_to_drop(classifier)
    known, fill = served.known(asked.method, asked.settings), fill_of(asked.removal, classifier.preparation)
    removing = (2 * asked.steps + 2) * (1 + RANDOM_DRAWS)

    def run(running: Told) -> Result:
        explainer = served.explainer(asked.method, asked.settings)
        running.costs(explainer.forwards_each + removing)
        pixels = served.pixels(photo)
        explanation = on_cells(classifier, pixels, explainer(pixels, target), tokens=fill is None)
        shuffled = [in_random_order(explanation, pixels, seed) for seed in range(RANDOM_DRAWS)]
        found, *drawn = (
            _curves(classifier, pixels, each, fill, asked.steps, target) for each in (explanation, *shuffled)
        )
        random, areas = random_orders(drawn)
        order, random_order = (
            ranks(each.maps, pixels.as_subclass(Tensor).cpu()) for each in (explanation, shuffled[0])
        )
        grid = explanation.maps.shape[2:]
        answer = told.CurveFacts(
            counts=found.counts.tolist(),
            removed=(found.places - found.counts.flip(0)).tolist(),
            places=found.places,
            grid=list(grid),
            rank=packed(order[0, 0].view(grid), "<i4"),
            random_rank=packed(random_order[0, 0].view(grid), "<i4"),
            deletion=numbers(found.deletion[0, 0]),
            insertion=numbers(found.insertion[0, 0]),
            least_first=numbers(found.least_first[0, 0]),
            random_deletion=numbers(random.mean(dim=0)),
            random_insertion=numbers(random.mean(dim=0).flip(0)),
            random_deletion_band=band(random),
            random_insertion_band=band(random.flip(1)),
            random_orders=len(random),
            empty=float(found.empty[0, 0]),
            clean=float(found.clean[0, 0]),
            quantity="probability" if _is_probability(classifier, target) else "score",
            target=target_facts(explanation.targets[0][0]),
            fill_colour=_colour(classifier, pixels, fill),
            area=told.Areas(
                deletion=float(found.area("deletion")[0, 0]),
                insertion=float(found.area("insertion")[0, 0]),
                random_deletion=float(areas.mean()),
                random_insertion=float(areas.mean()),
                random_deletion_band=band(areas[:, None])[0],
                random_insertion_band=band(areas[:, None])[0],
            ),
            frame=frame_of(explanation.geometries[0]),
            python="\n".join(
                lines_of_curve(served, photo, asked.method, asked.settings, target, concepts, fill, asked.steps)
            ),
        )
        return Result(answer, 2 * len(answer.rank) + 1000 * asked.steps)

    passes, plain = (None, None) if known is None else (known.forwards_each + removing, plain_passes(known) + removing)
    alike = (written(asked.method, asked.settings), asked.removal, asked.steps)
    return served.work("curve", run, passes, plain, quick=False, alike=alike, photos=[photo])


def random_orders(drawn: Sequence[Curves]) -> tuple[Tensor, Tensor]:
    """Deletion curves (R, S) of cells in R random orders, and their areas (R,).

    Of each draw its order and, the least first, the same order from its end. Insertion of a random order is deletion of
    one from its end, so that these are the insertion curves, too, read from the right.
    """
    deletion = torch.stack([values[0, 0] for each in drawn for values in (each.deletion, each.least_first)])
    both: tuple[Literal["deletion"], Literal["least_first"]] = ("deletion", "least_first")
    return deletion, torch.stack([each.area(curve)[0, 0] for each in drawn for curve in both])


def band(values: Tensor) -> list[list[float | None]]:
    """(R, S) → the lowest and the highest at each of S points."""
    return [numbers(point) for point in torch.stack([values.amin(dim=0), values.amax(dim=0)], dim=1)]


def on_cells(classifier: Classifier, pixels: Pixels, explanation: Explanation, tokens: bool) -> Explanation:
    """The explanation on the cells that are removed: those of its map as it is drawn; or where tokens are, patches."""
    if not tokens:
        return as_drawn(explanation)
    anatomy = tokens_to_drop(classifier)
    grid, frame = anatomy.grid(pixels), explanation.geometries[0].frame
    part = tuple(cells * side / length for cells, side, length in zip(grid, anatomy.patch, frame, strict=True))
    maps = on_grid(explanation.maps, grid, (part[0], part[1])).float()
    corner = explanation.geometries[0].corner(grid[0] * anatomy.patch[0], grid[1] * anatomy.patch[1])
    pictures = explanation.pictures[:, : corner.frame[0], : corner.frame[1]]
    return replace(explanation, maps=maps, geometries=(corner,), pictures=pictures)


def in_random_order(explanation: Explanation, pixels: Pixels, seed: int) -> Explanation:
    """The same with a map of noise, drawn from the picture and the seed alone."""
    draw = torch.Generator().manual_seed(seed_of(pixels.as_subclass(Tensor)[0], seed))
    return replace(explanation, maps=torch.rand(explanation.maps.shape, generator=draw))


def _curves(
    classifier: Classifier, pixels: Pixels, explanation: Explanation, fill: Fill | None, steps: int, target: Target
) -> Curves:
    if fill is None:
        return token_curves(classifier, pixels, explanation, steps=steps, targets=target)
    return curves(classifier, pixels, explanation, fill=fill, steps=steps, level="grid", targets=target)


def _is_probability(classifier: Classifier, target: Target) -> bool:
    return isinstance(target, Class | Predicted | Probability) and classifier.outputs in ("softmax", "sigmoid")


def _colour(classifier: Classifier, pixels: Pixels, fill: Fill | None) -> list[int] | None:
    """What removed cells look like, where that is one colour."""
    if fill is None or not (isinstance(fill, Colour) or fill.name == "mean"):
        return None
    seen: list[int] = classifier.preparation.pictures(fill.background(pixels.as_subclass(Tensor)))[0, 0, 0].tolist()
    return seen
