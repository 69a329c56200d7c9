"""A map of a photo for a target."""

from __future__ import annotations

import time

from regard.drawing import as_drawn, scale_of
from regard.explanation import Explanation
from regard.web import schema, told
from regard.web.classifiers import Served, plain_passes, written
from regard.web.desk import Desk
from regard.web.jobs import Result, Told, Work
from regard.web.kinds.asked import concepts_in, frame_of, packed, target_facts, target_of
from regard.web.python_lines import lines_of_map
from regard.web.visitors import Visitor


def explain(asked: schema.Explain, visitor: Visitor, desk: Desk) -> Work:
    """The work of a request."""
    served, photo = desk.classifiers[asked.classifier], desk.photo(asked.photo, visitor)
    target, concepts = target_of(asked.target, visitor)
    target.bind(served.classifier)
    known = served.known(asked.method, asked.settings)
    if known is not None:
        known.question(target, 1)

    def run(running: Told) -> Result:
        explainer = served.explainer(asked.method, asked.settings)
        running.costs(explainer.forwards_each)
        start = time.perf_counter()
        explanation = explainer(served.pixels(photo), target)
        seconds = time.perf_counter() - start
        python = lines_of_map(served, photo, asked.method, asked.settings, target, concepts)
        answer = map_of(explanation, served, seconds, "\n".join(python))
        size = len(answer.values) + sum(part.nbytes for part in (explanation.maps, explanation.pictures))
        return Result(answer, size + (0 if answer.ranks is None else 2 * len(answer.ranks.maps)), explanation, photo)

    passes, plain = (None, None) if known is None else (known.forwards_each, plain_passes(known))
    alike = (written(asked.method, asked.settings), len(concepts_in(target)))
    return served.work("explain", run, passes, plain, quick=passes == 1, alike=alike, photos=[photo])


def map_of(explanation: Explanation, served: Served, seconds: float, python: str) -> told.Map:
    """One image's explanation of one target as it travels."""
    drawn = as_drawn(explanation)
    scale = scale_of(explanation.maps[0], explanation.signed)
    notes = list(explanation.notes)
    if explanation.not_finite:
        notes.append("the map, or the classifier's answer, holds NaN or infinity")
    mass = explanation.prefix_mass
    return told.Map(
        method=explanation.method,
        settings={name: value for name, value in explanation.settings.items() if isinstance(value, int | float | str)},
        classifier=served.name,
        target=target_facts(explanation.targets[0][0]),
        grid=list(drawn.maps.shape[2:]),
        values=packed(drawn.maps[0, 0]),
        drawn=drawn is not explanation,
        signed=explanation.signed,
        signs=list(explanation.signs),
        scale=[scale.vmin or 0.0, scale.vmax or 1.0],
        scale_said=scale.said,
        frame=frame_of(explanation.geometries[0]),
        forwards=explanation.forwards,
        backwards=explanation.backwards,
        seconds=seconds,
        notes=notes,
        python=python,
        ranks=_ranks(explanation),
        prefix_mass=None if mass is None else float(mass[0, 0]),
    )


def _ranks(explanation: Explanation) -> told.RankFacts | None:
    ranks, score = explanation.ranks, explanation.targets[0][0].score
    if ranks is None:
        return None
    shares: list[float | None] | None = None if ranks.shares is None else [float(share) for share in ranks.shares[0, 0]]
    shown = ranks.maps[0][ranks.valid[0]]
    scale = scale_of(shown, signed=False)
    return told.RankFacts(
        maps=packed(ranks.maps[0]),
        valid=ranks.valid[0].tolist(),
        shares=shares,
        bias=None if ranks.shares is None or score is None else score - float(ranks.shares[0, 0].sum()),
        variation=float(ranks.variation[0]),
        scale=[0.0, scale.vmax or 1.0],
    )
