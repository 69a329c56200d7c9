"""The Python that does what a job did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from regard.concepts import Concept
from regard.evaluate.asked import methods_asked
from regard.fills import Fill
from regard.targets import Class, Difference, Predicted, Probability, Target
from regard.web.classifiers import Served, written
from regard.web.photos import Sample, ShownPhoto
from regard.web.schema import Mosaic
from regard.web.visitors import KeptConcept


def lines_of_map(
    served: Served,
    photo: ShownPhoto,
    method: str,
    settings: Mapping[str, Any],
    target: Target,
    concepts: Sequence[KeptConcept],
) -> list[str]:
    """One map: imports, classifier, photo, concepts, the map, its picture."""
    body = [
        *head(served),
        *_mapped(served, photo, method, settings, target, concepts),
        'explanation.figure([photo]).savefig("map.png")',
    ]
    return [*imports(body), "", *body]


def lines_of_curve(
    served: Served,
    photo: ShownPhoto,
    method: str,
    settings: Mapping[str, Any],
    target: Target,
    concepts: Sequence[KeptConcept],
    fill: Fill | None,
    steps: int,
) -> list[str]:
    """A map and its curves."""
    asked = _target(target, _names(concepts))
    if fill is None:
        how = f"token_curves(classifier, pixels, explanation, steps={steps}, targets={asked})"
    else:
        how = (
            f"curves(\n    classifier, pixels, explanation, fill={_value(fill)}, steps={steps},"
            f' level="grid", targets={asked}\n)'
        )
    body = [
        *head(served),
        *_mapped(served, photo, method, settings, target, concepts),
        "pixels = classifier.prepare(photo)",
        f"found = {how}",
        'print(found.counts, found.insertion, found.deletion, found.area("deletion"))',
    ]
    return [*imports(body), f"from regard.metrics.curves import {how.partition('(')[0]}", "", *body]


def lines_of_exam(asked: Mosaic, network: str, epochs: int, rate: float, batch: int, mosaics: int) -> list[str]:
    """A model that selects, trained and examined."""
    name, seed = asked.exam, asked.seed
    return [
        "from regard.attention.selective import SelectiveModel",
        "from regard.attention.selective_networks import classifier_called, focus_called",
        "from regard.attention.selective_weights import weights_called",
        "from regard.exams.sdc import examine, task_called",
        "from regard.training.selective.fit import fit_selective",
        "from regard.training.selective.recipe import Phase, SelectiveRecipe",
        "",
        f"task = task_called({name!r}, train={mosaics}, test={mosaics}, seed={seed})",
        "",
        "",
        "def build(seed):",
        f"    focus = focus_called({network!r}, task.shape, seed)",
        f"    classifier = classifier_called({network!r}, task.shape, len(task.labels), seed)",
        f"    return SelectiveModel(focus, classifier, weights=weights_called({asked.weights!r}, seed))",
        "",
        "",
        f"recipe = SelectiveRecipe((Phase({epochs}, {asked.paradigm!r}),), rate={rate}, batch={batch}, stop=None)",
        f"(trained,) = fit_selective(build, task.train, task.test, [{seed}], recipe)",
        f"print(examine(trained.model, task, seed={seed}))",
    ]


def _names(concepts: Sequence[KeptConcept]) -> dict[int, str]:
    return {id(kept.concept): f"concept_{number}" for number, kept in enumerate(concepts, 1)}


def _mapped(
    served: Served,
    photo: ShownPhoto,
    method: str,
    settings: Mapping[str, Any],
    target: Target,
    concepts: Sequence[KeptConcept],
) -> list[str]:
    """Photo, concepts and map."""
    shown = [line for number, kept in enumerate(concepts, 1) for line in _shown(kept, f"concept_{number}")]
    typed = methods_asked([written(method, settings)], served.classifier)[0].settings
    given = "".join(f", {name}={_value(value)}" for name, value in typed.items())
    asked = _target(target, _names(concepts))
    return [
        f"photo = {expression(photo)}",
        *shown,
        f"explanation = regard.explain(photo, classifier, {method!r}, {asked}{given})",
    ]


def head(served: Served) -> list[str]:
    """The classifier."""
    return [f"classifier = regard.load({served.name!r})"]


def imports(body: Sequence[str]) -> list[str]:
    """What lines need."""
    return ["import regard", *(["import regard_embedded"] if any("regard_embedded" in line for line in body) else [])]


def expression(photo: ShownPhoto) -> str:
    """A photo: a sample that anybody has, or a file of that name."""
    if isinstance(photo, Sample) and photo.embedded:
        return f"next(each.path for each in regard_embedded.photos() if each.path.name == {photo.name!r})"
    return repr(photo.name)


def concept_lines(name: str, photos: Sequence[ShownPhoto], against: Sequence[ShownPhoto]) -> tuple[str, ...]:
    """What follows `NAME = ` where a concept is shown."""
    examples, others = (", ".join(map(expression, each)) for each in (photos, against))
    contrast = f', "contrast", [{others}]' if against else ""
    return ("regard.concepts.Concept.from_images(", f"    classifier, [{examples}], {name!r}{contrast}", ")")


def _shown(kept: KeptConcept, name: str) -> list[str]:
    first, *rest = kept.python
    return [f"{name} = {first}", *rest]


def _value(value: Any) -> str:
    return f"regard.fills.{value!r}" if isinstance(value, Fill) else repr(value)


def _target(target: Target, names: Mapping[int, str]) -> str:
    match target:
        case Class(which):
            return f"regard.Class({which!r})"
        case Predicted(rank):
            return f"regard.Predicted({rank})"
        case Probability(of):
            return f"regard.Probability({_target(of, names)})"
        case Difference(first, second):
            return f"regard.Difference({_target(first, names)}, {_target(second, names)})"
        case Concept():
            return names[id(target)]
    raise AssertionError(target)
