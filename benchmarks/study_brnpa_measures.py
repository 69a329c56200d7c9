"""What benchmarks/study_brnpa.py measures on trained networks, photo by photo."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as functional
from study_brnpa_cases import (
    BILINEAR,
    BRANCH,
    CASES,
    CLOTHING,
    ON_VIT,
    RANDOM,
    SETS,
    SLOWER,
    STUDENT,
    TEACHER,
    TORN,
    TORN_ALONE,
    Study,
)
from torch import Tensor

import regard
from regard.explainers.brnpa import BRNPA
from regard.fills import Blur, Fill
from regard.metrics.common_grid import on_grid
from regard.metrics.curves import Level, curves
from regard.metrics.rank_correlation import rank_correlation
from regard.metrics.retention import average_drop
from regard.metrics.sparsity import gini, inverse_rho
from regard.models.brnpa import BRNPAClassifier

BATCH = 10
STEPS, SHARE = 16, 0.5
MASKS, FEW = 200, 20
"""Masks a photo of RISE; photos of a set, spread evenly over the classes, where a pass is dear."""
COARSE = (7, 7)
"""The teacher's grid."""
FIGURES = ("clean", "deletion", "insertion", "drop", "1/ρ", "Gini")

RANKED = (TEACHER, STUDENT, RANDOM, ON_VIT[TEACHER], ON_VIT[STUDENT])
"""Cases whose ranks are looked at; those of "random" mean nothing, and say what chance is."""

Columns = dict[str, Any]
Explained = Callable[[Mapping[str, BRNPAClassifier]], regard.Explainer]


@dataclass(frozen=True)
class Method:
    """A method whose maps are judged by what a network answers.

    Attributes:
        name: of the row.
        judge: the case whose network answers.
        explainer: of the trained networks by case; it may explain another one than the judge.
        others: cases whose networks it needs besides the judge's.
        photos: of a set, at most; None for all.
        sets: in which it is judged.
        changed: what maps (B, T, h, w) become before they are judged; None for as they are.
        fill: what pixels become that are taken away; None for black.
        level: what is taken away: "pixel"s of the enlarged map, or places of its own "grid".
        seeds: of these the first, no more.
    """

    name: str
    judge: str
    explainer: Explained
    others: tuple[str, ...] = ()
    photos: int | None = None
    sets: tuple[str, ...] = SETS
    changed: Callable[[Tensor], Tensor] | None = None
    fill: Fill | None = None
    level: Level = "pixel"
    seeds: int = 3

    @property
    def what(self) -> str:
        return judged_by(self.judge, self.name)


def judged_by(judge: str, name: str) -> str:
    """What is kept of a method's maps as a network answers to them."""
    return f"{name} judged by {judge}"


def _ranked(case: str, rank: int | str) -> Explained:
    return lambda networks: BRNPA(networks[case], rank=rank)


def own_map(case: str) -> str:
    """What a training's own map is called, where a network has one or is judged by one alone."""
    return f"{case}'s own" if case in (BILINEAR, BRANCH) else of_ranks(case, "mean")


def called(rank: int | str) -> str:
    return {"mean": "mean of ranks", "max": "largest of ranks"}.get(str(rank), f"rank {rank}")


def of_ranks(case: str, rank: int | str) -> str:
    return f"{case}'s {called(rank)}"


def coarsened(rank: int | str) -> str:
    """The student's map with no more places than the teacher's."""
    return f"{of_ranks(STUDENT, rank)} in cells of 7×7"


def by_cells(case: str, rank: int | str) -> str:
    """A map whose places are taken away whole."""
    return f"{of_ranks(case, rank)}, by whole cells"


def blurred(name: str) -> str:
    """A map that is judged with a blur in place of black."""
    return f"{name}, with a blur"


def _crossed(teacher: str, student: str, **how: Any) -> tuple[Method, ...]:
    """Both networks' maps, each judged by both."""
    return tuple(
        Method(of_ranks(case, rank), judge, _ranked(case, rank), (case,), **how)
        for judge in (teacher, student)
        for rank in (1, "mean")
        for case in (teacher, student)
    )


CROSSED = (
    *_crossed(TEACHER, STUDENT),
    *_crossed(ON_VIT[TEACHER], ON_VIT[STUDENT], photos=FEW, sets=(CLOTHING,), seeds=1),
)


def in_cells(maps: Tensor) -> Tensor:
    """Means over the teacher's places."""
    return on_grid(maps, COARSE).float()


def _beside(back: bool) -> Callable[[Tensor], Tensor]:
    """Maps moved by half of their own cell up and left, where what a student finds belongs, or as far from there."""
    sides = (0, 1, 0, 1) if back else (1, 0, 1, 0)
    return lambda maps: functional.avg_pool2d(functional.pad(maps, sides, mode="replicate"), 2, stride=1)


def beside(rank: int | str, back: bool) -> str:
    return f"{of_ranks(STUDENT, rank)}, half a cell {'back' if back else 'on'}"


COARSENED = tuple(Method(coarsened(rank), STUDENT, _ranked(STUDENT, rank), changed=in_cells) for rank in (1, "mean"))
MOVED = tuple(
    Method(beside(rank, back), STUDENT, _ranked(STUDENT, rank), changed=_beside(back), seeds=1)
    for rank in (1, "mean")
    for back in (True, False)
)
"""Whether it is that a finer grid stands beside the coarser, see `high_resolution`; both ways smooth as much."""
BY_CELLS = tuple(
    Method(by_cells(case, rank), STUDENT, _ranked(case, rank), (case,), level="grid", seeds=1)
    for rank in (1, "mean")
    for case in (TEACHER, STUDENT)
)
"""Whether it is that a coarse map is enlarged smoothly: as was published, what is taken away is a place."""
OTHERS = (
    Method(of_ranks(STUDENT, "max"), STUDENT, _ranked(STUDENT, "max")),
    Method("Grad-CAM", STUDENT, lambda networks: regard.GradCAM(networks[STUDENT])),
    Method("random", STUDENT, lambda networks: regard.Random(networks[STUDENT])),
    Method("centre", STUDENT, lambda networks: regard.Centre(networks[STUDENT])),
    Method(own_map(BILINEAR), BILINEAR, _ranked(BILINEAR, "mean")),
    Method(own_map(BRANCH), BRANCH, _ranked(BRANCH, 1), sets=(CLOTHING,)),
    Method(
        "RISE",
        STUDENT,
        lambda networks: regard.RISE(networks[STUDENT], samples=MASKS),
        photos=FEW,
        sets=(CLOTHING,),
    ),
)


AGAIN = tuple(method for method in (*CROSSED, *OTHERS) if method.judge == STUDENT and method.photos is None)
BLURRED = tuple(replace(method, name=blurred(method.name), fill=Blur(), seeds=1) for method in AGAIN)
"""Whether it is the black that ranks methods so."""
OWN = tuple(
    Method(own_map(case.name), case.name, _ranked(case.name, "mean"), sets=(CLOTHING,), seeds=case.seeds)
    for case in CASES
    if case.name not in (TEACHER, STUDENT, BILINEAR, BRANCH, TORN, TORN_ALONE, *ON_VIT.values(), SLOWER)
)
"""The maps of other trainings, each judged by its own network."""


def examined(study: Study, of: str, seed: int, case: str) -> tuple[list[Path], Tensor, Tensor]:
    """The photos that are examined, their classes, and which of them a trained network is right about."""
    row = study.done(of, case, seed)
    assert row is not None
    truth = torch.tensor(row["truth"])
    return [study.data / photo for photo in row["photos"]], truth, torch.tensor(row["logits"]).argmax(dim=1) == truth


def judged(study: Study, method: Method, of: str, seed: int) -> Columns:
    """How the judge's probability of the true class fares; NaN of photos that it is wrong about, or were not taken.

    Deletion and insertion are areas under curves of the probability; drop is the share lost where half is shown. 1/ρ
    and Gini are the map's, on the grid on which it is judged.
    """
    networks = {case: study.network(case, of, seed) for case in (method.judge, *method.others)}
    explainer, judge = method.explainer(networks), networks[method.judge]
    files, truth, right = examined(study, of, seed, method.judge)
    taken = right & _spread(len(files), method.photos)
    found: Columns = {name: [math.nan] * len(files) for name in FIGURES}
    for places in taken.nonzero()[:, 0].split(BATCH):
        pixels = judge.prepare([files[place] for place in places])
        explanation = explainer(pixels, regard.PerImage(truth[places]))
        maps = explanation.maps if method.changed is None else method.changed(explanation.maps)
        others = replace(explanation, maps=maps, classifier=judge.name, classifier_hash=judge.hash)
        read = curves(judge, pixels, others, fill=method.fill, steps=STEPS, level=method.level)
        values = (
            read.clean,
            read.area("deletion"),
            read.area("insertion"),
            average_drop(read.clean, read.retained[SHARE]),
            inverse_rho(maps),
            gini(maps),
        )
        for name, value in zip(FIGURES, values, strict=True):
            for place, number in zip(places.tolist(), value[:, 0].tolist(), strict=True):
                found[name][place] = number
    return found


def ranks_of(study: Study, case: str, of: str, seed: int) -> Columns:
    """What each rank adds to each logit, what becomes of ranks when a photo is changed, and how sparse maps are.

    truth: the true classes, (photos,).
    parts: (photos, classes, K); the logits are their sums.
    places: (photos, K), a row and a column each.
    mirrored, moved, paled: likewise, of the changed photo (see `CHANGES`), moved back where the change moved them.
    correlation: (photos, K), of a rank's map and the mirrored photo's, mirrored back.
    grid: of the maps.
    sparsity: by map and measure, (photos,).
    """
    network = study.network(case, of, seed)
    files, truth, _ = examined(study, of, seed, case)
    assert network.class_count is not None
    found: defaultdict[str, list[Any]] = defaultdict(list)
    sparsity: defaultdict[str, list[float]] = defaultdict(list)
    for start in range(0, len(files), BATCH):
        pixels = network.prepare(files[start : start + BATCH]).as_subclass(Tensor)
        explainer = BRNPA(network)
        shown, mirrored = explainer(pixels, [*range(network.class_count)]), explainer(pixels.flip(3))
        assert shown.ranks is not None
        assert mirrored.ranks is not None
        assert shown.ranks.shares is not None
        found["parts"] += shown.ranks.shares.tolist()
        found["places"] += _places(network, pixels).tolist()
        for name, (change, back) in CHANGES.items():
            found[name] += back(_places(network, change(pixels)), network.grid[1]).tolist()
        found["correlation"] += rank_correlation(shown.ranks.maps, mirrored.ranks.maps.flip(3)).tolist()
        for name, maps in ((called(1), shown.ranks.maps[:, 0]), (called("mean"), shown.ranks.maps.mean(dim=1))):
            for grid, sized in (("own", maps), ("7×7", on_grid(maps, COARSE))):
                sparsity[sparse(name, "1/ρ", grid)] += inverse_rho(sized).tolist()
                sparsity[sparse(name, "Gini", grid)] += gini(sized).tolist()
    return {**found, "truth": truth.tolist(), "grid": network.grid, "sparsity": sparsity}


def sparse(name: str, measure: str, grid: str) -> str:
    """What is kept of a map's sparsity."""
    return f"{name}, {measure}, {grid}"


def _places(network: BRNPAClassifier, pixels: Tensor) -> Tensor:
    """Row and column of each representative, (B, K, 2)."""
    with network.untouched(), torch.no_grad():
        found, _ = network.represent(pixels)
    across = network.grid[1]
    return torch.stack([found.indices // across, found.indices % across], dim=2)


def _mirrored(places: Tensor, across: int) -> Tensor:
    return torch.stack([places[..., 0], across - 1 - places[..., 1]], dim=-1)


def _moved(pixels: Tensor) -> Tensor:
    """A cell of the teacher's grid to the right; the first column of pixels fills what is new."""
    step = pixels.shape[3] // COARSE[1]
    return torch.cat([pixels[..., :1].expand(-1, -1, -1, step), pixels[..., :-step]], dim=3)


def _moved_back(places: Tensor, across: int) -> Tensor:
    return torch.stack([places[..., 0], places[..., 1] - across // COARSE[1]], dim=-1)


CHANGES: Mapping[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, int], Tensor]]] = {
    "mirrored": (lambda pixels: pixels.flip(3), _mirrored),
    "moved": (_moved, _moved_back),
    "paled": (lambda pixels: 0.6 * pixels, lambda places, _: places),
}
"""What is done to prepared pixels, whose zero is the mean colour; how places are brought back, by the grid's width."""


def _spread(count: int, taken: int | None) -> Tensor:
    """Which of some photos, in the order of their content, are taken."""
    marks = torch.ones(count, dtype=torch.bool)
    if taken is not None and taken < count:
        marks[:] = False
        marks[[place * count // taken for place in range(taken)]] = True
    return marks
